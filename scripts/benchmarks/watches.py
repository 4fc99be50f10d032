"""Watches while 10 000 resources a second come and go: what an event costs, and what others' calls suffer."""

from collections.abc import Iterator

from benchmarks import processes
from benchmarks.bystander import ON_TIME, Load, growth_row
from benchmarks.processes import Figures
from benchmarks.report import Row, median
from benchmarks.running import Run
from benchmarks.watchers import ALL, EACH, NARROW

TITLE = "Watches"

RATE = 10_000  # registrations a second, and as many releases

_KINDS = {
    "none": "no watchers",
    "narrow": f"{NARROW} watchers of a hundredth each",
    "all": f"{ALL} watchers of everything",
}


def measure(run: Run) -> Iterator[Row]:
    """Nobody watches, many watch a part each, some watch everything."""
    alone: list[Figures] | None = None
    for kind, who in _KINDS.items():
        with processes.router(f"watches-{kind}") as router:
            load = Load("watchers", RATE, f"registrations, {who},", options=(f"--watchers={kind}",))
            rounds = load.rounds(run, router)
        rate = median(each["changes"] / 2 / each["seconds"] for each in rounds)
        came = rate >= ON_TIME * RATE and all(each["heard"] == each["wanted"] for each in rounds)
        short = load.shortfall(rate, came=came)
        if alone is None:
            alone = rounds
            yield Row(
                operation="registering and releasing, nobody watches",
                ours=rate,
                unit="a second",
                cpu_us=median(each["cpu_seconds"] / each["changes"] for each in rounds) * 1e6,
                note=f"in requests of {EACH}; the CPU includes that of the calls that are made meanwhile",
                raw={"rounds": rounds},
            )
            continue
        before = median(each["cpu_seconds"] for each in alone)
        yield Row(
            operation=f"events to {who}",
            ours=median(each["heard"] / each["seconds"] for each in rounds),
            unit="a second",
            target="all arrive",
            met=came,
            cpu_us=(median(each["cpu_seconds"] for each in rounds) - before) / rounds[0]["wanted"] * 1e6,
            note="; ".join(filter(None, [short, "the CPU is what an event adds to that without watchers"])),
            raw={"rounds": rounds},
        )
        yield growth_row(rounds, short, "who registers, who watches")
