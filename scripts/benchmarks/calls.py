"""Routed calls: the router's CPU for each, and how long one takes alone.

Ours, the yardstick and Crossbar.io run side by side and are loaded in turn, a fifth of a second each, for some
rounds. What counts is the median of the ratios of one round: the machine may be busy, but it is so for all.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks import processes
from benchmarks.environments import environment
from benchmarks.processes import Figures, Target, figures_of
from benchmarks.report import NotMeasured, Row, in_words, median
from benchmarks.running import Run

TITLE = "Routed calls (200 bytes; held against others in the same minutes)"

YARDSTICK_RATIO = 1.45
# (callers, calls in flight of each, ndjson) -> how many times less CPU than Crossbar.io, which has no ndjson
CROSSBAR_RATIOS = {(4, 16, False): 5, (4, 64, False): 6, (4, 16, True): 8, (4, 64, True): 11}
ALONE_RATIO = 1.3


Contenders = dict[str, tuple[str, Target]]  # name -> (how it is spoken to, where)
Rounds = dict[str, list[Figures]]


def measure(run: Run) -> Iterator[Row]:
    """All rows about calls."""
    load_python = environment("load") / "python"
    with ExitStack() as stack:
        ours = stack.enter_context(processes.yardstick() if run.noise else processes.router())
        yard = stack.enter_context(processes.yardstick())
        contenders = {"ours": ("resroute", ours), "yardstick": ("resroute", yard)}
        packed = {
            "ours, ndjson": ("resroute.ndjson", ours),
            "yardstick, ndjson": ("resroute.ndjson", yard),
        }
        if run.peer:
            try:
                contenders["crossbar"] = "wamp", stack.enter_context(processes.crossbar(environment("peer")))
            except NotMeasured as error:
                run.warn(f"{error}. Crossbar's column stays empty.")

        def load(contenders: Contenders, callers: int, window: int, callees: int) -> Rounds:
            run.progress(f"calls {callers} × {window} in flight")
            command: list[str | Path] = [load_python, "-m", "benchmarks.rpc_load"]
            command += [f"{name}={how}:{to.port}:{to.pid}" for name, (how, to) in contenders.items()]
            command += [f"--callers={callers}", f"--window={window}", f"--callees={callees}"]
            command += [f"--rounds={run.rounds}", f"--turns={3 if run.quick else 6}"]
            return figures_of(command, "the load", timeout_seconds=300)

        for callers, window in dict.fromkeys((callers, window) for callers, window, _ in CROSSBAR_RATIOS):
            rounds = load(contenders | packed, callers, window, 4)
            for suffix in ("", ", ndjson"):
                name = f"call, {callers} × {window} in flight{suffix}"
                yield _against_yardstick(name, rounds[f"ours{suffix}"], rounds[f"yardstick{suffix}"])
                target = CROSSBAR_RATIOS[callers, window, bool(suffix)]
                yield _against_crossbar(name, target, rounds[f"ours{suffix}"], rounds.get("crossbar"))
        yield from _alone(load(contenders, 1, 1, 1))


def _ratio(over: list[Figures], under: list[Figures], figure: str) -> float:
    return median(a[figure] / b[figure] for a, b in zip(over, under, strict=True))


def _typical(rounds: list[Figures], figure: str) -> float:
    return median(figures[figure] for figures in rounds)


def _against_yardstick(name: str, ours: list[Figures], yardstick: list[Figures]) -> Row:
    ratio = _ratio(ours, yardstick, "router_cpu_us")
    cpu = _typical(ours, "router_cpu_us")
    return Row(
        operation=name,
        ours=cpu,
        target=f"≤ {YARDSTICK_RATIO} yardsticks",
        met=ratio <= YARDSTICK_RATIO,
        reference=f"yardstick {_typical(yardstick, 'router_cpu_us'):.1f} µs",
        ratio=ratio,
        cpu_us=cpu,
        raw={"ours": ours, "yardstick": yardstick},
    )


def _against_crossbar(name: str, target: float, ours: list[Figures], crossbar: list[Figures] | None) -> Row:
    cpu = _typical(ours, "router_cpu_us")
    row = Row(operation=name, ours=cpu, target=f"{target:g} times less than Crossbar", cpu_us=cpu)
    if crossbar is None:
        return row
    ratio = _ratio(crossbar, ours, "router_cpu_us")
    return attrs.evolve(
        row,
        met=ratio >= target,
        reference=f"Crossbar {_typical(crossbar, 'router_cpu_us'):.0f} µs",
        ratio=ratio,
        raw={"ours": ours, "crossbar": crossbar},
    )


def _alone(rounds: Rounds) -> Iterator[Row]:
    """One call at a time: how long it takes."""
    ours = rounds["ours"]
    row = Row(
        operation="call, alone, p50", ours=_typical(ours, "p50_us"), cpu_us=_typical(ours, "router_cpu_us")
    )
    for name, target in (("yardstick", ""), ("crossbar", f"{ALONE_RATIO} times shorter than Crossbar")):
        if name in rounds:
            ratio = _ratio(rounds[name], ours, "p50_us")
            yield attrs.evolve(
                row,
                target=target,
                met=ratio >= ALONE_RATIO if target else None,
                reference=f"{name.capitalize()} {in_words(_typical(rounds[name], 'p50_us') / 1e6)}",
                ratio=ratio,
                raw={"ours": ours, name: rounds[name]},
            )
        else:
            yield attrs.evolve(row, target=target)
