"""A call with 1 MiB of small objects, there and back: what it does to other calls."""

from collections.abc import Iterator

from benchmarks import processes
from benchmarks.delays import delays
from benchmarks.holds import holds_of
from benchmarks.report import Row, median
from benchmarks.running import Run

TITLE = "Calls with 1 MiB of small objects as params and as result, at the side of small ones"

TARGET_SECONDS = 0.005


def measure(run: Run) -> Iterator[Row]:
    """All rows about large messages."""
    with processes.router("watched", watched=True) as router:
        run.progress("calls of 1 MiB")
        found = delays(router, "large", rounds=run.rounds, times=5 if run.quick else 15)
        seen = holds_of(router)
    yield seen.row("longest hold", TARGET_SECONDS, found.rounds)
    yield found.row("longest delay of other calls", TARGET_SECONDS)
    took = [event["ended"] - event["began"] for event in found.events]
    yield Row(
        operation="the large call itself, p50", ours=median(took) * 1e3, unit="ms", raw={"seconds": took}
    )
