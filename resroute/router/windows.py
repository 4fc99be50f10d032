"""The clock of what is counted “lately”: one task for all services."""

import trio

from resroute.telemetry.metrics import Metrics
from resroute.telemetry.traffic import WINDOW_SECONDS

_SERVICES_AT_A_TIME = 100


async def rotate_windows(metrics: Metrics) -> None:
    """Begin a new window for each service, again and again, until cancelled."""
    while True:
        await trio.sleep(WINDOW_SECONDS)
        for count, traffic in enumerate(list(metrics.services.values()), 1):
            traffic.rotate()
            if not count % _SERVICES_AT_A_TIME:
                await trio.lowlevel.checkpoint()
