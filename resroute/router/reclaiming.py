"""Tidying up after owners that are gone, and after bulks that have ended, in slices that hold nobody up."""

from collections.abc import Callable

import trio

from resroute.cluster.log import Log
from resroute.core.commands import Reclaim, Tidy
from resroute.ids import SessionId

SLICE_SECONDS = 0.0005
LITTLE = 8
"""Grants that are reclaimed at once."""

_MIN_COUNT = 16
_MAX_COUNT = 512


class Reclaimer:
    """Reclaims the grants of ended sessions and bulks, a slice of about :data:`SLICE_SECONDS` at a time."""

    def __init__(self, log: Log, turn_clock: Callable[[], float]) -> None:
        self._log = log
        self._turn_clock = turn_clock
        self._lot = trio.lowlevel.ParkingLot()
        self._count = _MIN_COUNT

    def wake(self) -> None:
        """There may be something to reclaim."""
        self._lot.unpark()

    def reclaim_soon(self, session_id: SessionId, count: int) -> None:
        """A session has ended that owned so much. A little is reclaimed right after that: no task is to be woken for it."""
        if count <= LITTLE:
            self._log.submit(Reclaim(session_id, LITTLE), self._wake_if_needed)
        else:
            self.wake()

    def _wake_if_needed(self, _: object) -> None:
        state = self._log.state
        if state.next_dead() is not None or state.next_untidy() is not None:
            self.wake()

    async def run(self) -> None:
        """Reclaim whatever there is, until cancelled."""
        while True:
            state = self._log.state
            if (session_id := state.next_dead()) is not None:
                await self._take(Reclaim(session_id, self._count))
            elif (bulk_id := state.next_untidy()) is not None:
                await self._take(Tidy(bulk_id, self._count))
            else:
                await self._lot.park()

    async def reclaim_all(self) -> None:
        """Reclaim what there is, and return. In place of :meth:`run`, when that was cancelled."""
        while (session_id := self._log.state.next_dead()) is not None:
            await self._take(Reclaim(session_id, self._count))

    async def _take(self, slice_: Reclaim | Tidy) -> None:
        applied = trio.Event()
        began = self._turn_clock()
        self._log.submit(slice_, lambda _: applied.set())
        took = self._turn_clock() - began
        if took > SLICE_SECONDS / 2:
            self._count = max(_MIN_COUNT, self._count // 2)
        elif took < SLICE_SECONDS / 4:
            self._count = min(_MAX_COUNT, self._count * 2)
        await applied.wait()
