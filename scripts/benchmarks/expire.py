"""100 000 resources whose time to live is over in the same second: what that does to other calls."""

from collections.abc import Iterator

from benchmarks import processes
from benchmarks.delays import delays
from benchmarks.holds import holds_of
from benchmarks.report import Row, median, percentile
from benchmarks.running import Run

TITLE = "100 000 resources that expire in the same second"

SETTINGS = {"max_resources_per_instance": 200_000}
HOLD_SECONDS = 0.010
DELAY_SECONDS = 0.010


def measure(run: Run) -> Iterator[Row]:
    """All rows about expiry."""
    with processes.router("watched", watched=True, settings=SETTINGS) as router:
        run.progress("100 000 expire")
        found = delays(router, "expire", rounds=2 if run.quick else 4, times=1)
        seen = holds_of(router)
    yield seen.row("longest hold", HOLD_SECONDS, found.rounds)
    yield found.row("longest delay of other calls", DELAY_SECONDS)
    p99 = [event["p99_delay_seconds"] for event in found.events]
    yield Row(
        operation="delay of other calls, p99",
        ours=median(p99) * 1e3,
        unit="ms",
        target="≤ 10 ms",
        met=median(p99) <= DELAY_SECONDS,
        raw={"seconds": p99},
    )
    late = sorted(late for event in found.events for late in event["late_seconds"])
    yield Row(
        operation="how late their owner is told, p50",
        ours=median(late) * 1e3,
        unit="ms",
        note=f"the last of all after {late[-1] * 1e3:.0f} ms; nine of ten after {percentile(late, 0.9) * 1e3:.0f} ms",
        raw={"seconds": [event["late_seconds"][-1] for event in found.events]},
    )
