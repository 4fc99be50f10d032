"""Routed calls: the router's CPU for each, and how long one takes alone.

Ours, the yardstick and Crossbar.io run side by side and are loaded in turn, several rounds, in an order that turns
round each time. What counts is the median of the ratios of one round: the machine may be busy, but it is so for all.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks import processes
from benchmarks.environments import environment
from benchmarks.processes import Figures, Target, figures_of
from benchmarks.report import NotMeasured, Row, in_words, median
from benchmarks.running import Run

TITLE = "Routed calls (200 bytes; held against others in the same minutes)"

YARDSTICK_RATIO = 1.3
# (callers, calls in flight of each, ndjson) -> how many times less CPU than Crossbar.io, which has no ndjson
CROSSBAR_RATIOS = {(4, 16, False): 5, (4, 64, False): 6, (4, 16, True): 8, (4, 64, True): 11}
ALONE_RATIO = 1.3


@attrs.frozen
class Contender:
    """A router and the way it is spoken to."""

    target: Target
    protocol: str = "resroute"
    ndjson: bool = False


Rounds = dict[str, list[Figures]]


def measure(run: Run) -> Iterator[Row]:
    """All rows about calls."""
    load_python = environment("load") / "python"
    with ExitStack() as stack:
        ours = stack.enter_context(processes.yardstick() if run.noise else processes.router())
        yard = stack.enter_context(processes.yardstick())
        peers: dict[str, Contender] = {}
        if run.peer:
            try:
                peers["crossbar"] = Contender(
                    stack.enter_context(processes.crossbar(environment("peer"))), "wamp"
                )
            except NotMeasured as error:
                run.warn(f"{error}. Crossbar's column stays empty.")

        plain = {"ours": Contender(ours), "yardstick": Contender(yard)}
        packed = {
            "ours, ndjson": Contender(ours, ndjson=True),
            "yardstick, ndjson": Contender(yard, ndjson=True),
        }
        for callers, window in dict.fromkeys((callers, window) for callers, window, _ in CROSSBAR_RATIOS):
            rounds = _in_turn(run, load_python, plain | packed | peers, callers, window)
            for suffix in ("", ", ndjson"):
                name = f"call, {callers} × {window} in flight{suffix}"
                yield _against_yardstick(name, rounds[f"ours{suffix}"], rounds[f"yardstick{suffix}"])
                target = CROSSBAR_RATIOS[callers, window, bool(suffix)]
                yield _against_crossbar(name, target, rounds[f"ours{suffix}"], rounds.get("crossbar"))
        yield from _alone(_in_turn(run, load_python, plain | peers, 1, 1, callees=1))


def _in_turn(
    run: Run, python: Path, contenders: dict[str, Contender], callers: int, window: int, *, callees: int = 4
) -> Rounds:
    """Load each contender in each round."""
    rounds: Rounds = {name: [] for name in contenders}
    for number in range(run.rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            run.progress(f"calls {callers} × {window}: round {number + 1} of {run.rounds}, {name}")
            options = [f"--callers={callers}", f"--window={window}", f"--callees={callees}"]
            options += [f"--seconds={1 if run.quick else 1.5}", "--warm-up-seconds=0.5"]
            rounds[name].append(_load(python, contenders[name], options))
    run.progress_done()
    return rounds


def _load(python: Path, contender: Contender, options: Sequence[str]) -> Figures:
    target = contender.target
    command = [str(python), "-m", "benchmarks.rpc_load", contender.protocol, *options]
    command += [f"--port={target.port}", f"--pid={target.pid}", *["--ndjson"] * contender.ndjson]
    return figures_of(command, f"load on {target.name}", timeout_seconds=60)


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
