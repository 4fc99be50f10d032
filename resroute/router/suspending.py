"""Suspended instances: whose session was cut off, and who may come back. Their graces end by one timer, on Trio's clock."""

from collections.abc import Callable

import msgspec
import structlog
import trio

from resroute.cluster.log import Log
from resroute.core.commands import EndGrace
from resroute.core.facts import InstanceSuspended
from resroute.ids import SessionId
from resroute.protocol.deadlines import Deadlines
from resroute.router.alarm import Alarm

_AT_ONCE = 16
"""How many graces end before others get their turn."""

_log = structlog.get_logger("resroute.router")


class _Timer(msgspec.Struct, frozen=True):
    """Stands in the deadlines, under its number, until it fires or the instance is suspended no more."""

    tick: int
    number: int


class Graces:
    """Submits that the grace of a suspended instance is over.

    Args:
        wall_clock: seconds since 1970.
    """

    def __init__(self, log: Log, wall_clock: Callable[[], float]) -> None:
        self._log = log
        self._wall_clock = wall_clock
        self._alarm = Alarm()
        self._deadlines: Deadlines[InstanceSuspended] = Deadlines()
        # session that has ended -> its timer
        self._timers: dict[SessionId, _Timer] = {}
        self._number = 0

    def begin(self, fact: InstanceSuspended) -> None:
        """The grace of an instance begins."""
        at = trio.current_time() + fact.grace_seconds
        self._number += 1
        tick = self._deadlines.add(at, self._number, fact)
        self._timers[fact.owner.session_id] = _Timer(tick, self._number)
        self._alarm.no_later_than(at)
        _log.info(
            "instance suspended",
            session_id=fact.owner.session_id,
            instance_id=fact.owner.instance_id,
            service_name=fact.owner.service_name,
            cause=fact.cause,
            resources=fact.resource_count,
            grace_seconds=fact.grace_seconds,
        )

    def forget(self, session_id: SessionId) -> None:
        """The instance is suspended no more. Does nothing if it was not."""
        timer = self._timers.pop(session_id, None)
        if timer is not None:
            self._deadlines.remove(timer.tick, timer.number)

    async def run(self) -> None:
        """End the graces that are over, until cancelled."""
        while True:
            await self._alarm.wait_until(self._deadlines.next_at())
            for fact in self._deadlines.due(trio.current_time(), _AT_ONCE):
                self.forget(fact.owner.session_id)
                self._end(fact.owner.session_id, fact.suspended_until)
            await trio.lowlevel.checkpoint()

    def end_all(self) -> None:
        """Nobody will come back to this router."""
        for owner in list(self._log.state.all_suspended()):
            self.forget(owner.session_id)
            self._end(owner.session_id, owner.suspended_until)

    def _end(self, session_id: SessionId, until: float | None) -> None:
        self._log.submit(EndGrace(session_id, until, self._wall_clock()))
