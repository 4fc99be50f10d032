"""The clock of what is counted “lately”: one task for all services."""

import trio

from resroute.router.close_ups import CloseUps
from resroute.telemetry.metrics import Metrics
from resroute.telemetry.traffic import WINDOW_SECONDS

_SERVICES_AT_A_TIME = 100


async def rotate_windows(metrics: Metrics, close_ups: CloseUps) -> None:
    """Begin a new window for each service and close-up, again and again, until cancelled."""
    while True:
        await trio.sleep(WINDOW_SECONDS)
        for count, traffic in enumerate(list(metrics.services.values()), 1):
            traffic.rotate()
            if not count % _SERVICES_AT_A_TIME:
                await trio.lowlevel.checkpoint()
        close_ups.rotate(trio.current_time())
