"""Ending grants when their time to live is over: one timer for all of them, on Trio's clock."""

from collections.abc import Callable

import msgspec
import trio

from resroute.cluster.log import Log
from resroute.core.commands import Expire, Expiry
from resroute.core.facts import TtlChanged, TtlKept
from resroute.ids import ResourceId
from resroute.protocol.deadlines import Deadlines
from resroute.router.alarm import Alarm

SLICE_SECONDS = 0.0005
_MIN_COUNT = 32  # so that a clock that runs on while others have the processor does not make them many
_MAX_COUNT = 128
_MAX_DUE = 2048  # found at a time: the garbage collector walks through a list as a whole


class _Timer(msgspec.Struct, frozen=True, gc=False):
    """Stands in the deadlines, under its number, until it fires or the grant ends or is renewed."""

    at: float
    tick: int
    number: int
    expiry: Expiry


class Expirer:
    """Submits that grants are over, a slice of about :data:`SLICE_SECONDS` at a time.

    Args:
        turn_clock: seconds on any clock.
        wall_clock: seconds since 1970.
    """

    def __init__(self, log: Log, turn_clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._log = log
        self._turn_clock = turn_clock
        self._wall_clock = wall_clock
        self._alarm = Alarm()
        self._deadlines: Deadlines[Expiry] = Deadlines()
        # resource -> its timer
        self._timers: dict[ResourceId, _Timer] = {}
        self._number = 0
        self._count = _MIN_COUNT

    def __len__(self) -> int:
        return len(self._timers)

    def begin(self, change: TtlChanged) -> None:
        """The time to live of a grant begins now, or it has none any more."""
        self.forget(change.resource_id)
        if change.ttl_seconds is not None and change.expires_at is not None:
            expiry = Expiry(change.resource_id, change.epoch, change.expires_at)
            self._add(trio.current_time() + change.ttl_seconds, expiry)

    def go_on(self, kept: TtlKept) -> None:
        """A grant has followed one that expires, and expires when that would have."""
        timer = self._timers.get(kept.resource_id)
        # of one whose time has just come, the end is on its way through the log, and will find another epoch
        at = trio.current_time() + kept.seconds_left if timer is None else timer.at
        self.forget(kept.resource_id)
        self._add(at, Expiry(kept.resource_id, kept.epoch, kept.expires_at))

    def _add(self, at: float, expiry: Expiry) -> None:
        self._number += 1
        tick = self._deadlines.add(at, self._number, expiry)
        self._timers[expiry.resource_id] = _Timer(at, tick, self._number, expiry)
        self._alarm.no_later_than(at)

    def forget(self, resource_id: ResourceId) -> None:
        """The grant has ended, if there is one that would have expired."""
        timer = self._timers.pop(resource_id, None)
        if timer is not None:
            self._deadlines.remove(timer.tick, timer.number)

    async def run(self) -> None:
        """End what is over, until cancelled."""
        while True:
            await self._alarm.wait_until(self._deadlines.next_at())
            await self._expire(self._deadlines.due(trio.current_time(), _MAX_DUE))

    async def _expire(self, due: list[Expiry]) -> None:
        position = 0
        while position < len(due):
            slice_ = due[position : position + self._count]
            position += len(slice_)
            # not those that were renewed, or have ended, since they were found
            expiries = tuple(expiry for expiry in slice_ if self._is_current(expiry))
            for expiry in expiries:
                self.forget(expiry.resource_id)
            began = self._turn_clock()
            if expiries:
                self._log.submit(Expire(expiries, self._wall_clock()))
            took = self._turn_clock() - began
            if took > SLICE_SECONDS:
                self._count = max(_MIN_COUNT, self._count // 2)
            elif took < SLICE_SECONDS / 4:
                self._count = min(_MAX_COUNT, self._count * 2)
            await trio.lowlevel.checkpoint()

    def _is_current(self, expiry: Expiry) -> bool:
        timer = self._timers.get(expiry.resource_id)
        return timer is not None and timer.expiry is expiry
