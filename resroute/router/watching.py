"""What has happened lately, and those who are told of it."""

import trio

from resroute.router.feeding import Feeder
from resroute.router.history import History
from resroute.router.lookback import Lookback
from resroute.router.means import Means
from resroute.router.outbox import Memory
from resroute.router.telling import EventWriter
from resroute.router.watches import Watches


class Watching:
    """The history of changes, and what is read in it.

    Attributes:
        history: the last changes.
        watches: who watches what. Each is told from the history.
        lookback: finds what became of single resources.
    """

    def __init__(self, means: Means, memory: Memory) -> None:
        settings, clocks = means.settings, means.clocks
        self.history = History(
            means.log.state.revision,
            max_facts=settings.watch_history_events,
            max_bytes=settings.watch_history_bytes,
        )
        self.watches = Watches(self.history, settings, memory)
        self.lookback = Lookback(self.history, clocks.turn, means.tasks.report)
        writer = EventWriter(means.sessions, clocks.wall_time_of)
        self._feeder = Feeder(
            self.watches, self.history, writer, settings, memory, means.metrics, clocks.turn
        )

    async def run(self) -> None:
        """Tell whoever watches or asks, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.lookback.run)
            nursery.start_soon(self._feeder.run)
