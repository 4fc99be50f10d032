"""What the benchmarks found, as tables and as a plot: both are made from ``docs/benchmarks.json`` and nothing else.

``scripts/bench --json docs/benchmarks.json`` writes that file, and ``python docs/tables.py`` the page and the plot.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "benchmarks.json"
PLOT = Path(__file__).parent / "benchmarks.svg"

_REFERENCE = re.compile(r"(\w+) ([\d. ]+) µs")  # another's CPU for the same
_ASIDE = re.compile(r", p\d+$|:.*$")  # what of an operation's name is not about its CPU
_MARKS = {"resroute": "ours", "yardstick": "bare", "Crossbar": "peer"}

_WIDTH, _LEFT, _RIGHT, _TOP, _LINE = 760, 330, 40, 62, 26
_STYLE = """
    text { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1d2733; }
    .small { font-size: 12px; fill: #56616e; }
    .card { fill: #ffffff; stroke: #c9d1da; }
    .grid { stroke: #dbe1e8; }
    .span { stroke: #a9b4c0; stroke-width: 2; }
    .ours { fill: #3f5fb5; }
    .bare { fill: #7b8794; }
    .peer { fill: #c4622d; }
  """


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(FIGURES.read_text())
    return document


def names() -> tuple[str, ...]:
    """Which benchmarks there are figures of."""
    return tuple(_document()["benchmarks"])


def rows(name: str) -> Iterator[tuple[str, ...]]:
    """What one benchmark found, a line of the table for each figure."""
    for row in _document()["benchmarks"][name]:
        ours = "not measured" if row["ours"] is None else f"{_number(row['ours'])} {row['unit']}"
        verdict = {True: "met", False: "**missed**", None: "not comparable" if row["target"] else ""}
        yield (
            row["operation"],
            ours,
            row["target"],
            row["reference"],
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            "" if row["cpu_us"] is None else f"{_number(row['cpu_us'])} µs",
            verdict[row["met"]],
        )


def conditions() -> str:
    """When and on what the figures were measured."""
    document = _document()
    machine = document["machine"]
    kind = "a shortened run (`--quick`)" if document["arguments"]["quick"] == "True" else "a full run"
    return (
        f"Measured on {document['at'][:10]} with CPython {machine['python']} on {machine['system']} "
        f"({machine['architecture']}, {machine['cores']} cores), {kind}. At its end {machine['load_average'][1]:.1f} "
        "programs wanted to run at the same time, those of the benchmarks among them: more than there are cores means "
        "that times are longer than they would be on a machine that does nothing else."
    )


def _number(value: float) -> str:
    """Three digits that matter; whole numbers whole."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _costs() -> Mapping[str, Mapping[str, float]]:
    """The CPU for each operation in microseconds: ours, and that of what it is held against."""
    costs: dict[str, dict[str, float]] = {}
    for name, found in _document()["benchmarks"].items():
        for row in found:
            # of calls through the SDK there is a row for the whole, and one for each part of it;
            # nothing is what the system books on what is over before it looks
            if not row["cpu_us"] or row["operation"].startswith("the "):
                continue
            operation = _ASIDE.sub("", row["operation"]) + (", Python SDK" if name == "sdk" else "")
            cost = costs.setdefault(operation, {})
            cost.setdefault("resroute", row["cpu_us"])
            other = _REFERENCE.fullmatch(row["reference"])
            # where the figure is a time, so is what it is held against
            if other is not None and other[1] in _MARKS and row["ours"] == row["cpu_us"]:
                cost[other[1]] = float(other[2].replace(" ", ""))
    return costs


def plot() -> str:
    """The router's CPU for each operation, as SVG."""
    costs = _costs()
    values = [value for cost in costs.values() for value in cost.values()]
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    bottom = _TOP + _LINE * len(costs)

    def across(value: float) -> float:
        return _LEFT + (math.log10(value) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    parts = list(_frame(bottom))
    for power in range(first, last + 1):
        at = across(10.0**power)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP - 6}" x2="{at:.1f}" y2="{bottom}"/>')
        label = f"{10.0**power:g} µs" if power < 3 else f"{10.0 ** (power - 3):g} ms"
        parts.append(
            f'<text class="small" text-anchor="middle" x="{at:.1f}" y="{bottom + 18}">{label}</text>'
        )
    for number, (operation, cost) in enumerate(costs.items()):
        y = _TOP + _LINE * number + _LINE / 2
        parts.append(f'<text text-anchor="end" x="{_LEFT - 14}" y="{y + 4:g}">{escape(operation)}</text>')
        least, most = across(min(cost.values())), across(max(cost.values()))
        parts.append(f'<line class="span" x1="{least:.1f}" y1="{y:g}" x2="{most:.1f}" y2="{y:g}"/>')
        for who, value in reversed(cost.items()):  # ours on top
            told = f"{operation}, {who}: {_number(value)} µs"
            mark = f'<circle class="{_MARKS[who]}" cx="{across(value):.1f}" cy="{y:g}" r="6">'
            parts.append(f"{mark}<title>{escape(told)}</title></circle>")
    return "\n  ".join(parts) + "\n</svg>\n"


def _frame(bottom: int) -> Iterator[str]:
    """What is around the marks: a card, which is as readable on a dark page, and the legend."""
    height = bottom + 34
    title = "CPU that the router takes for one operation, on a scale of powers of ten"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="t">\n'
        f'  <title id="t">{title}</title>\n  <style>{_STYLE}</style>'
    )
    yield f'<rect class="card" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
    yield '<text x="16" y="26">CPU for one operation: less is better</text>'
    for number, (who, mark) in enumerate(_MARKS.items()):
        x = _LEFT + 6 + 130 * number
        yield f'<circle class="{mark}" cx="{x}" cy="22" r="6"/><text class="small" x="{x + 12}" y="26">{who}</text>'
