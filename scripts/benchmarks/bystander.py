"""What others' calls suffer from a load: calls without it and beside it, in turn."""

import sys
import time
from collections.abc import Sequence

import orjson

from benchmarks.delays import Probe
from benchmarks.environments import WORK
from benchmarks.processes import Figures, Target, running
from benchmarks.report import NotMeasured, Row, in_words, median, percentile
from benchmarks.running import Run

GROWTH = 2.0
ON_TIME = 0.95  # of a rate: less was not the load that the target speaks of
_LOAD_SECONDS = 120.0  # no load takes longer


class Load:
    """A module of the benchmarks that loads a router at a rate, in a process of its own, and prints its figures.

    Args:
        module: its name. It takes ``--port --pid --rate --seconds``.
        rate: of what it does, a second.
        what: that, in words.
        options: more arguments for the module.
    """

    def __init__(self, module: str, rate: int, what: str, options: Sequence[str] = ()) -> None:
        self.module = module
        self.options = options
        self.rate = rate
        self.what = what

    def rounds(self, run: Run, router: Target) -> list[Figures]:
        """What the load says of itself, and beside it how long a bystander's calls took, in each round."""
        seconds = 3.0 if run.quick else 6.0
        rounds: list[Figures] = []
        probe = Probe(router.port)
        try:
            for number in range(3 if run.quick else 5):
                run.progress(f"{self.rate} {self.what} a second: round {number + 1}")
                quiet = [end - began for began, end in probe.calls_until(time.perf_counter() + seconds, None)]
                figures, calls = self._beside(router, probe, seconds)
                figures["quiet_p99_seconds"] = percentile(quiet, 0.99)
                figures["p99_seconds"] = percentile(calls, 0.99)
                rounds.append(figures)
        finally:
            probe.close()
        return rounds

    def _beside(self, router: Target, probe: Probe, seconds: float) -> tuple[Figures, list[float]]:
        log = WORK / f"{self.module}.log"
        command = [sys.executable, "-m", f"benchmarks.{self.module}"]
        command += [
            f"--port={router.port}",
            f"--pid={router.pid}",
            f"--rate={self.rate}",
            f"--seconds={seconds}",
            *self.options,
        ]
        with running(command, log) as process:
            end = time.perf_counter() + _LOAD_SECONDS
            calls = [ended - began for began, ended in probe.calls_until(end, process)]
            if process.poll() != 0:
                raise NotMeasured(f"{self.module}: {log.read_text(errors='replace').strip()[-500:]}")
        figures: Figures = orjson.loads(log.read_bytes().splitlines()[-1])
        return figures, calls

    def shortfall(self, rate: float, *, came: bool) -> str:
        """What to note of a load that was not the one that the target speaks of."""
        return (
            ""
            if came
            else f"only {rate:.0f} a second came, so this is not the load that the target speaks of"
        )


def growth_row(rounds: list[Figures], shortfall: str, on_the_cores: str) -> Row:
    """By how much the bystander's p99 grew."""
    growth = median(each["p99_seconds"] / each["quiet_p99_seconds"] for each in rounds)
    return Row(
        operation="p99 of another's calls meanwhile",
        ours=median(each["p99_seconds"] for each in rounds) * 1e3,
        unit="ms",
        target=f"≤ {GROWTH:g} × that before",
        met=None if shortfall else growth <= GROWTH,
        reference=f"before {in_words(median(each['quiet_p99_seconds'] for each in rounds))}",
        ratio=growth,
        note=shortfall or f"with the router, {on_the_cores} and what calls on the cores that there are",
    )
