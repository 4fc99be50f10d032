"""How much later than they should tasks run."""

import trio

from resroute.telemetry.histograms import Histogram

INTERVAL_SECONDS = 0.5


async def measure_lag(histogram: Histogram) -> None:
    """Measure by how much later than it wants a task runs that has nothing else to do, until cancelled."""
    while True:
        due = trio.current_time() + INTERVAL_SECONDS
        await trio.sleep_until(due)
        histogram.observe(max(0.0, trio.current_time() - due))
