"""Registrations that wait: their answers, the end of their time, and who is granted what has become free."""

import itertools
from collections.abc import Callable, Iterator

import trio

from resroute.core.commands import GiveUp, Register, Serve
from resroute.core.facts import (
    Answered,
    Applied,
    Fact,
    InLine,
    Outcome,
    Refused,
    Registered,
    ResourceRegistered,
)
from resroute.core.lots import Lot, parts_of
from resroute.errors import CallCancelled, RouterError
from resroute.ids import Revision, ServiceName
from resroute.protocol.deadlines import Deadlines
from resroute.protocol.hints import router_stops
from resroute.router.alarm import Alarm
from resroute.router.means import Means
from resroute.router.probing import Prober
from resroute.router.request import Request
from resroute.router.session import Session

_WAIT_BYTES = 1000
"""What one that waits takes in memory."""

_ID_BYTES = 300
"""What an id that is waited for takes beside its characters: a line of its own, when nobody else waits for it."""


_AT_ONCE = 16
"""How many give up before others get their turn."""


class _Wait:
    """One registration that waits, or may have to."""

    __slots__ = ("answer", "command", "ends_at", "number", "refusal", "request", "tick")

    def __init__(
        self, request: Request, command: Register, ends_at: float, answer: Callable[[Outcome], None]
    ) -> None:
        self.request = request
        self.command = command
        self.ends_at = ends_at
        self.answer = answer
        self.number: Revision | None = None  # there once it waits
        self.tick: int | None = None  # while its end is in the deadlines
        self.refusal: RouterError | None = (
            None  # what it is told if it is not granted; by default who is in its way
        )


class WaitingRegistrations:
    """Those that came to this router."""

    def __init__(self, means: Means, prober: Prober) -> None:
        self._log = means.log
        self._sessions = means.sessions
        self._tally = means.tally
        self._clocks = means.clocks
        self._prober = prober
        self._alarm = Alarm()
        self._deadlines: Deadlines[_Wait] = Deadlines()
        # by the revisions of their commands
        self._waits: dict[Revision, _Wait] = {}
        # of which it is not known yet whether they must wait
        self._beginning: dict[_Wait, None] = {}
        self._serving = trio.lowlevel.ParkingLot()  # parked while nobody is left to be served
        self._leaving = trio.lowlevel.ParkingLot()  # unparked with each answer

    def __len__(self) -> int:
        return len(self._waits) + len(self._beginning)

    def begin(
        self,
        request: Request,
        command: Register,
        service_name: ServiceName,
        seconds: float,
        answer: Callable[[Outcome], None],
    ) -> None:
        """Submit a registration that may have to wait, but not longer than so many seconds.

        Args:
            service_name: that of the instance that registers.
            answer: called once with what has become of it: as if it had not waited.
        """
        wait = _Wait(request, command, request.started + seconds, answer)
        self._beginning[wait] = None
        request.when_cancelled = lambda: self._withdraw(wait, CallCancelled())

        def begun(outcome: Outcome) -> None:
            del self._beginning[wait]
            if isinstance(outcome, Applied) and isinstance(outcome.result, InLine):
                self._tally.conflicted(service_name, outcome.result.conflicts)
                if request.trace is not None:
                    request.trace.waits("in line")
                self._stand_in_line(wait, outcome)
            else:
                self._leaving.unpark_all()
                answer(outcome)

        self._log.submit(command, begun)

    def _stand_in_line(self, wait: _Wait, outcome: Applied) -> None:
        wait.number = outcome.revision
        self._waits[wait.number] = wait
        ids = wait.command.resource_ids
        wait.request.keep(_WAIT_BYTES + sum(_ID_BYTES + len(resource_id) for resource_id in ids))
        for answered in outcome.answered:
            if answered.wait == wait.number:  # its turn came within its own command
                self._settle(answered, outcome)
                return
        if wait.refusal is not None:
            self._give_up(wait)
            return
        wait.tick = self._deadlines.add(wait.ends_at, wait.number, wait)
        self._alarm.no_later_than(wait.ends_at)
        self._prober.probe(self._in_the_way(wait), _do_nothing)

    def _in_the_way(self, wait: _Wait) -> Iterator[Session | None]:
        for resource_id in wait.command.resource_ids:
            grant = self._log.state.grant_of(resource_id)
            if grant is not None and grant.owner.session_id != wait.command.session_id:
                yield self._sessions.get(grant.owner.session_id)

    # --- what becomes of them ---------------------------------------------------------------------------------

    def follow(self, applied: Applied) -> None:
        """Answer those who wait no more, and go on where a command could not serve all."""
        for answered in applied.answered:
            self._settle(answered, applied)
        if self._log.state.must_serve:
            self._serving.unpark()

    def _settle(self, answered: Answered, applied: Applied) -> None:
        wait = self._waits.pop(answered.wait, None)
        if wait is None:
            return  # it came to another router, or is only about to stand in line
        self._forget_deadline(wait)
        self._leaving.unpark_all()
        if isinstance(answered.answer, Registered):
            wait.answer(Applied(applied.revision, answered.answer, _about(answered.answer, applied)))
        else:
            wait.answer(Refused(applied.revision, wait.refusal or answered.answer))

    def _withdraw(self, wait: _Wait, refusal: RouterError) -> None:
        """It is not to wait any longer. The first reason counts."""
        if wait.refusal is None:
            wait.refusal = refusal
            if wait.number is not None:
                self._give_up(wait)

    def _give_up(self, wait: _Wait, *, only_if_blocked: bool = False) -> None:
        assert wait.number is not None, "it stands in line"
        self._forget_deadline(wait)
        self._log.submit(GiveUp(wait.number, self._clocks.wall(), only_if_blocked))

    def _forget_deadline(self, wait: _Wait) -> None:
        if wait.tick is not None:
            assert wait.number is not None, "it stands in line"
            self._deadlines.remove(wait.tick, wait.number)
            wait.tick = None

    async def drain(self) -> None:
        """The router goes away: have nobody wait any longer. Nobody may begin to any more."""
        for batch in itertools.batched((*self._waits.values(), *self._beginning), _AT_ONCE, strict=False):
            for wait in batch:
                self._withdraw(wait, router_stops())
            await trio.lowlevel.checkpoint()

    async def wait_none(self) -> None:
        """Wait until nobody waits, nor is about to. Safe to cancel."""
        while self._waits or self._beginning:
            await self._leaving.park()

    # --- its tasks --------------------------------------------------------------------------------------------

    async def watch_deadlines(self) -> None:
        """Have those give up whose time is over, until cancelled."""
        while True:
            await self._alarm.wait_until(self._deadlines.next_at())
            due = self._deadlines.due(trio.current_time())
            for batch in itertools.batched(due, _AT_ONCE, strict=False):
                for wait in batch:
                    if wait.tick is not None:  # it may have been answered since it was found
                        self._end(wait)
                await trio.lowlevel.checkpoint()

    def _end(self, wait: _Wait) -> None:
        """Its time is over: whoever is in its way is named, but not who has been silent and turns out to be gone."""
        self._forget_deadline(wait)

        def give_up() -> None:
            if wait.refusal is None:
                self._give_up(wait, only_if_blocked=True)

        if not self._prober.probe(self._in_the_way(wait), give_up):
            give_up()

    async def serve(self) -> None:
        """Serve those who could not be served at once, until cancelled."""
        while True:
            if not self._log.state.must_serve:
                await self._serving.park()
                continue
            applied = trio.Event()
            self._serve_some(applied)
            await applied.wait()

    def _serve_some(self, applied: trio.Event) -> None:
        self._log.submit(Serve(self._clocks.wall()), lambda _: applied.set())


def _about(granted: Registered, applied: Applied) -> tuple[Fact, ...]:
    """What the command that served a registration tells of what it was granted."""
    return tuple(
        fact
        for part in parts_of(applied.facts)
        if not isinstance(part, Lot)  # those are of bulks
        for fact in part
        if isinstance(fact, ResourceRegistered) and granted.epochs.get(fact.resource_id) == fact.epoch
    )


def _do_nothing() -> None:
    """Those who are gone have made room already."""
