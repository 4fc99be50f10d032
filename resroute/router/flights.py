"""Calls in flight: from being taken on to the one answer that each of them gets.

Every method is synchronous: a call changes hands between two lines, and nothing can come between. A call is settled exactly
once: by its answer, its deadline, its caller or the end of a session, whichever is first. Settling takes it out of every
table; what arrives for it later finds nobody and is counted.
"""

from collections.abc import Callable

import trio

from resroute.core.records import Grant
from resroute.errors import (
    CallTimeout,
    Delivery,
    InvalidParams,
    ResourceNotFound,
    RouterError,
    ServiceNotFound,
    Unavailable,
)
from resroute.ids import CorrelationId, ResourceId, ServiceName
from resroute.protocol.deadlines import TICK_SECONDS, Deadlines
from resroute.protocol.envelope import error_message, notification_message
from resroute.router.calls import MAX_KEPT_BYTES, NOWHERE, Call, Place
from resroute.router.finding import Finder, lacks_owner
from resroute.router.lines import FairLine, OwnerLines
from resroute.router.placement import note_timeout, note_try
from resroute.router.session import Session
from resroute.router.tally import Tally
from resroute.router.wording import request_message
from resroute.settings import Settings


class Flights:
    """All calls in flight of one router: where each of them is, and until when.

    Args:
        finder: says who is to have a call that has to move.
        next_number: the next correlation id and outbox number.
        on_deadline: told of each new deadline, which may be the earliest.
    """

    def __init__(
        self,
        settings: Settings,
        finder: Finder,
        tally: Tally,
        *,
        next_number: Callable[[], CorrelationId],
        on_deadline: Callable[[float], None],
    ) -> None:
        self.deadlines: Deadlines[Call] = Deadlines()
        self.without_owner = OwnerLines(settings.max_waiters_per_resource)
        self._settings = settings
        self._finder = finder
        self._tally = tally
        self._busiest = tally.busiest
        self._next_number = next_number
        self._on_deadline = on_deadline
        self.is_draining = False
        self._idle: trio.Event | None = None  # somebody waits for the last call to be settled

    @property
    def in_flight(self) -> int:
        """Calls that have no answer yet."""
        return len(self.deadlines)

    # --- finding its place --------------------------------------------------------------------------------------

    def send(self, call: Call, now: float) -> None:
        """Place a call that stands nowhere with whoever is to have it now.

        Raises:
            RouterError: nobody is, or nobody can take it. The call stands nowhere then.
        """
        try:
            callee, grant = self._finder.find(call.resource_id, call.service_name, now)
        except ResourceNotFound:
            self._tally.looked_up_in_vain(call.service_name)
            raise
        if grant is None:
            note_try(callee, now)
        else:
            callee.traffic.lookups += 1
        self._place(call, callee, grant, now)
        if grant is not None:
            grant.calls_total += 1
            grant.last_called_at = now
            if grant.last_caller is not call.caller.id:
                grant.note_caller(call.caller.id)
            if grant.calls_total == self._busiest.next_count:
                self._busiest.add(grant.resource_id)

    def look_ahead(
        self, caller: Session, resource_id: ResourceId | None, service_name: ServiceName | None
    ) -> Session:
        """Who would get a call of this caller now, at once or after a wait in line. Nothing changes by it.

        Raises:
            RouterError: what the call would meet instead.
        """
        callee, _ = self._finder.find(resource_id, service_name, trio.current_time())
        if not callee.has_room and callee.line is not None:
            callee.line.make_room_for(caller)
        return callee

    def _place(self, call: Call, callee: Session, grant: Grant | None, now: float) -> None:
        """Hand a call that stands nowhere to its callee, or let it stand in line there.

        Raises:
            Unavailable: the line is full. The call stands nowhere then.
            InvalidParams: the callee's encoding cannot say what the caller says. Likewise.
        """
        call.grant = grant
        if len(callee.delivered) >= callee.max_concurrency and self._has_to_line_up(call, callee):
            line = callee.line
            if line is None:
                line = callee.line = FairLine(callee, self._settings.max_queued_calls)
            crowded_out = line.make_room_for(call.caller)
            if crowded_out is not None:
                self.fail(crowded_out, Unavailable("overloaded", delivery="not_delivered"))
            self._stand(call, line, call.deadline)
            return
        call.callee = callee
        call.epoch = None if grant is None else grant.epoch
        number = call.number = self._next_number()
        try:
            message = request_message(call, callee, now)
        except InvalidParams:
            call.number = NOWHERE
            raise
        if len(call.body) > MAX_KEPT_BYTES and callee.speaks_msgpack is call.caller.speaks_msgpack:
            call.left_out_bytes, call.body = len(call.body), b""  # to be had from the message
        if call.caller_id is None:
            if grant is not None:
                callee.notes[number] = call
            call.number = NOWHERE
        else:
            callee.take_on(number, call)
            at = call.heard_at + call.timeout_seconds
            call.tick = self.deadlines.add(at, number, call)
            self._on_deadline(at)
        callee.outbox.post_call(number, message)
        if call.trace is not None:
            call.trace.delivered(call)

    @staticmethod
    def _has_to_line_up(call: Call, callee: Session) -> bool:
        """A notification takes no room, but must not overtake what its caller sent before."""
        return call.caller_id is not None or (callee.line is not None and callee.line.has_any_of(call.caller))

    def wait_for_owner(self, call: Call) -> None:
        """Let a call that stands nowhere wait for its resource to have an owner.

        Raises:
            TooManyWaiters: too many wait for it already. The call stands nowhere then.
            Unavailable: the router drains, and nothing new may wait.
        """
        assert call.resource_id is not None
        if self.is_draining:
            raise Unavailable("draining", delivery="not_delivered")
        self.without_owner.check_room_for(call.resource_id)
        self._stand(call, self.without_owner, min(call.wait_until, call.deadline))

    def _stand(self, call: Call, place: Place, until: float) -> None:
        call.number = self._next_number()
        call.place = place
        if call.caller_id is None:  # from here on its caller has something to leave behind
            call.caller.made[call.key] = call
        place.add(call)
        if call.trace is not None:
            call.trace.waits("for an owner" if place is self.without_owner else "in line")
        call.tick = self.deadlines.add(until, call.number, call)
        self._on_deadline(until)

    def accept(self, call: Call) -> None:
        """The caller has this call in flight now."""
        caller_id = call.caller_id
        assert caller_id is not None
        call.caller.made[caller_id] = call
        if type(caller_id) is str:
            call.caller.keep(len(caller_id))

    def leave(self, call: Call) -> None:
        """Take a call from where it stands. What waits for its room is delivered. Nothing to do if it stands nowhere."""
        number = call.number
        if number == NOWHERE:
            return
        self.deadlines.remove(call.tick, number)
        if call.place is not None:
            self._leave_line(call, call.place)
        else:
            callee = call.callee
            assert callee is not None
            call.number = NOWHERE
            callee.let_go(number)
            if callee.line is not None:
                self._admit_from(callee, callee.line)
        if self._idle is not None and not self.deadlines:
            self._idle.set()

    @staticmethod
    def _leave_line(call: Call, place: Place) -> None:
        place.remove(call)
        call.place = None
        if call.caller_id is None:
            del call.caller.made[call.key]
        call.number = NOWHERE

    def _admit_from(self, callee: Session, line: FairLine) -> None:
        """Deliver what waits in line while there is room."""
        while line and len(callee.delivered) < callee.max_concurrency:
            call = line.next()
            grant = self._finder.grant_at(callee, call.resource_id)
            if grant is None:
                assert call.resource_id is not None
                self.reroute(call, ResourceNotFound(call.resource_id))
            else:
                self.leave(call)
                try:
                    self._place(call, callee, grant, trio.current_time())
                except InvalidParams as error:
                    self.fail(call, error)

    # --- moving on ------------------------------------------------------------------------------------------------

    def reroute(self, call: Call, otherwise: RouterError) -> None:
        """Deliver a call that nobody has to whoever is to have it now. Nobody is: it waits, if it may, or fails so."""
        self.leave(call)
        now = trio.current_time()
        try:
            self.send(call, now)
        except ResourceNotFound:
            self._wait_or_fail(call, otherwise, now)
        except ServiceNotFound:
            self.fail(call, otherwise)
        except RouterError as error:
            if lacks_owner(error):
                self._wait_or_fail(call, error, now)
            else:
                self.fail(call, error)

    def _wait_or_fail(self, call: Call, otherwise: RouterError, now: float) -> None:
        if call.wait_until <= now:
            self.fail(call, otherwise)
            return
        try:
            self.wait_for_owner(call)
        except RouterError as error:
            self.fail(call, error)

    # --- the end of a call ----------------------------------------------------------------------------------------

    def recall(self, call: Call) -> Delivery:
        """Take the call back from where it is, or tell its callee that nobody waits any more."""
        if call.place is not None or call.number == NOWHERE:
            return "not_delivered"
        assert call.callee is not None
        if call.callee.outbox.withdraw(call.number) is not None:
            return "not_delivered"
        call.callee.post(notification_message("$/cancelRequest", {"id": call.number}))
        return "unknown"

    def fail(self, call: Call, error: RouterError) -> None:
        """End the call with an error of the router's."""
        if call.trace is not None:
            call.trace.ended(error.type)
        self.forget(call)
        if call.caller_id is None:
            return
        self._tally.failed(call, error.type)
        error.trace_id = call.trace_id
        meta = None
        if call.wants_meta:
            took = trio.current_time() - call.started
            meta = {"trace_id": call.trace_id, "duration_ms": round(took * 1000, 3)}
        call.caller.answer(
            call.caller_id, error_message(call.caller_id, error, meta), call.trace_id, call.batch
        )

    def forget(self, call: Call) -> None:
        """Out of every table."""
        self.leave(call)
        caller_id = call.caller_id
        if caller_id is not None:
            del call.caller.made[caller_id]
            if type(caller_id) is str:
                call.caller.keep(-len(caller_id))

    def expire(self, now: float) -> None:
        """End every call whose time is up."""
        for call in self.deadlines.due(now):
            if call.number == NOWHERE:
                pass  # it was settled with one before it
            elif call.deadline - now < TICK_SECONDS:
                delivery = self.recall(call)
                if delivery == "unknown" and call.callee is not None:
                    note_timeout(call.callee, now)
                self.fail(call, CallTimeout(call.timeout_seconds, delivery=delivery))
            elif call.place is self.without_owner and call.resource_id is not None:
                self.fail(call, self._finder.lack_of_owner(call.resource_id))
            else:  # progress has come meanwhile
                self.deadlines.remove(call.tick, call.number)
                call.tick = self.deadlines.add(call.deadline, call.number, call)

    def drain(self) -> None:
        """Nobody will become an owner any more: end the calls that wait for one, and let none begin to."""
        self.is_draining = True
        for call in self.without_owner.all():
            self.fail(call, Unavailable("draining", delivery="not_delivered"))

    async def wait_idle(self) -> None:
        """Wait until no call is in flight. Safe to cancel."""
        while self.deadlines:
            self._idle = trio.Event()
            try:
                await self._idle.wait()
            finally:
                self._idle = None
