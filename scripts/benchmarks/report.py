"""What was measured, as a table for people and as JSON for later comparison."""

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import attrs
import orjson

_UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}


class NotMeasured(Exception):
    """A benchmark, or one column of it, could not be measured; the text says why."""


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        operation: what was measured.
        ours: our figure, in ``unit``; None if it could not be measured.
        target: what we aim at, in words.
        met: whether ``ours`` meets the target; None if there is none, or nothing to compare it with.
        reference: what the figure is held against, such as ``yardstick 28.1 µs``.
        ratio: by how much, in the terms of the target.
        cpu_us: the router's CPU for one operation.
        note: what a reader must know to read the figure rightly.
        raw: the single measurements, for the JSON.
    """

    operation: str
    ours: float | None = None
    unit: str = "µs"
    target: str = ""
    met: bool | None = None
    reference: str = ""
    ratio: float | None = None
    cpu_us: float | None = None
    note: str = ""
    raw: dict[str, Any] = attrs.field(factory=dict)

    def cells(self) -> tuple[str, ...]:
        """The row as it stands in the table."""
        if self.ours is None:
            verdict = "not measured"
        elif self.met is None:
            verdict = "not comparable" if self.target else ""
        else:
            verdict = "met" if self.met else "MISSED"
        return (
            self.operation,
            "" if self.ours is None else f"{number(self.ours)} {self.unit}",
            self.target,
            self.reference,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.cpu_us is None else f"{number(self.cpu_us)} µs",
            verdict,
        )


HEADINGS = ("operation", "ours", "target", "held against", "ratio", "CPU/op", "verdict")


def number(value: float) -> str:
    """Three digits that matter; whole numbers whole."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def in_words(seconds: float) -> str:
    """A duration in the unit that suits it."""
    unit = next(unit for unit, factor in _UNITS.items() if seconds * factor >= 1 or unit == "ns")
    return f"{number(seconds * _UNITS[unit])} {unit}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)


def print_table(title: str, rows: Sequence[Row], file: TextIO = sys.stdout) -> None:
    """Print the rows of one benchmark."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    print(f"\n{title}", file=file)
    for position, line in enumerate(lines):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=file
        )
        if not position:
            print("  ".join("-" * width for width in widths), file=file)
    for row in rows:
        if row.note:
            print(f"  {row.operation}: {row.note}", file=file)
    file.flush()


def write_json(path: Path, sections: dict[str, list[Row]], arguments: dict[str, Any]) -> None:
    """Write every figure, with what one needs to know to compare it with another run's."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": arguments,
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "load_average": os.getloadavg(),
        },
        "benchmarks": {name: [attrs.asdict(row) for row in rows] for name, rows in sections.items()},
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
