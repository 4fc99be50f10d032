"""What becomes due by itself."""

import trio

from resroute.cluster.log import Log
from resroute.router.clocks import Clocks
from resroute.router.expiring import Expirer
from resroute.router.reclaiming import Reclaimer
from resroute.router.suspending import Graces


class Upkeep:
    """The ends of times to live and of graces, and tidying up after whoever has gone.

    Attributes:
        reclaimer: tidies up.
        expirer: ends grants.
        graces: ends what is left of instances that were cut off.
    """

    def __init__(self, log: Log, clocks: Clocks) -> None:
        self.reclaimer = Reclaimer(log, clocks.turn)
        self.expirer = Expirer(log, clocks.turn, clocks.wall)
        self.graces = Graces(log, clocks.wall)

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.reclaimer.run)
            nursery.start_soon(self.expirer.run)
            nursery.start_soon(self.graces.run)

    async def finish(self) -> None:
        """Nobody comes back to this router: tidy up after all. In place of :meth:`run`, when that was cancelled."""
        self.graces.end_all()
        await self.reclaimer.reclaim_all()
