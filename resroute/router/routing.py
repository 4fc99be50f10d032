"""The path of a call: from the caller to the owner, and the answer back. The hot path of the whole router.

Every method is synchronous: a call changes hands between two lines, and nothing can come between. What a method causes is
appended to the outboxes of the sessions concerned, whose writers do the I/O.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET, Raw

from resroute.errors import (
    AnswerTooLarge,
    CallCancelled,
    Forbidden,
    InvalidAnswer,
    InvalidParams,
    InvalidRequest,
    ResourceNotFound,
    RouterError,
    TooManyCalls,
    Unavailable,
)
from resroute.ids import ResourceId, is_trace_id
from resroute.protocol.envelope import (
    DECODE_ERRORS,
    Envelope,
    RequestId,
    error_message,
    read_callee_error,
)
from resroute.protocol.messagepack import Unsayable, own_payload
from resroute.protocol.params import RouteCall
from resroute.router.call_params import (
    CallerMeta,
    check_method,
    decode_call,
    extra_meta,
    find_trace_id,
    read_meta,
)
from resroute.router.calls import MAX_EXTRA_BYTES, Batch, Call, meta_of_refusal
from resroute.router.finding import Finder, lacks_owner
from resroute.router.flights import Flights
from resroute.router.partial_results import decode_params
from resroute.router.wording import (
    answer_message,
    body_json,
    body_packed,
    may_be_said_at_once,
    payload_between,
    progress_message,
    progress_messages,
)
from resroute.transport.interface import MAX_PACK_BYTES

if TYPE_CHECKING:
    from resroute.router.means import Means
    from resroute.router.session import Session
    from resroute.router.tracing import CallTrace, Tracing


class Routing:
    """Takes calls on, passes on what their callees say, and follows where ownership goes.

    Args:
        on_deadline: told of each new deadline, which may be the earliest.
        tracing: there if traces are wanted.
    """

    def __init__(
        self, means: "Means", on_deadline: Callable[[float], None], tracing: "Tracing | None" = None
    ) -> None:
        settings = self._settings = means.settings
        self._metrics = means.metrics
        self._random_bits = means.randomness.getrandbits
        self._tally = means.tally
        self._tracing = tracing
        self._finder = Finder(means.log.state, means.sessions, settings.outbox_soft_bytes)
        self.pools = self._finder.pools
        self.flights = Flights(
            settings,
            self._finder,
            means.tally,
            next_number=means.names.next_number,
            on_deadline=on_deadline,
        )

    def mint_trace_id(self) -> str:
        """A new trace id: 32 hex digits, as W3C Trace Context has them."""
        return f"{self._random_bits(128):032x}"

    # --- the caller's side ------------------------------------------------------------------------------------

    def route(
        self,
        caller: "Session",
        envelope: Envelope,
        batch: Batch | None = None,
        params: RouteCall | None = None,
    ) -> None:
        """Deliver a ``route.call``, or answer why not. A notification is delivered as one and never answered.

        ``params`` are the call's, if they were decoded already.
        """
        caller_id = None if envelope.id is UNSET else envelope.id
        trace_id: str | None = None
        request: RouteCall | None = None
        trace: CallTrace | None = None
        try:
            if caller_id is not None and caller_id in caller.made:
                caller_id = None
                raise InvalidRequest("this id is still in flight")
            request = decode_call(envelope, params)
            meta = caller.default_meta
            if envelope.meta is not UNSET:
                meta = read_meta(envelope.meta, meta)
            trace_id = self._trace_id(request, meta)
            if self._tracing is not None:
                trace = self._tracing.call_begins(caller, request, meta, trace_id)
                if trace is not None:
                    meta = trace.passed_on(meta)
            self._admit(caller, request, is_notification=envelope.id is UNSET)
            call = self._call(caller, caller_id, request, envelope, trace_id, meta)
            call.batch = batch
            call.trace = trace
            self._start(call)
        except RouterError as error:
            if trace is not None:
                trace.ended(error.type)
            if envelope.id is not UNSET:
                error.trace_id = trace_id or find_trace_id(envelope, params) or self.mint_trace_id()
                self._tally.refused(request, error)
                if batch is not None:
                    batch.expect(caller_id)
                answer_meta = None if envelope.meta is UNSET else meta_of_refusal(error.trace_id)
                message = error_message(caller_id, error, answer_meta)
                caller.answer(caller_id, message, error.trace_id, batch)

    def _admit(self, caller: "Session", request: RouteCall, *, is_notification: bool) -> None:
        """Whether this caller may make this call now."""
        if not caller.may_call:
            raise Forbidden("caller")
        settings = self._settings
        check_method(request.method, is_notification=is_notification)
        if (
            request.timeout_seconds is not UNSET
            and not 0 < request.timeout_seconds <= settings.max_timeout_seconds
        ):
            raise InvalidParams.at(
                "timeout_seconds", f"must be above 0 and at most {settings.max_timeout_seconds:g}"
            )
        if request.wait_for_owner_seconds:  # an unset one is false
            self._check_wait(request)
        if caller.outbox.size_bytes > settings.outbox_soft_bytes:
            raise TooManyCalls(settings.outbox_soft_bytes)
        if len(caller.made) >= settings.max_calls_in_flight:
            raise TooManyCalls(settings.max_calls_in_flight)
        if self.flights.is_draining:
            raise Unavailable("draining", delivery="not_delivered")

    def _check_wait(self, request: RouteCall) -> None:
        at_most = self._settings.max_timeout_seconds
        if request.resource_id is UNSET:
            raise InvalidParams.at("wait_for_owner_seconds", "needs a resource_id")
        if request.wait_for_owner_seconds is not UNSET and not 0 <= request.wait_for_owner_seconds <= at_most:
            raise InvalidParams.at("wait_for_owner_seconds", f"must be from 0 to {at_most:g}")

    def _trace_id(self, request: RouteCall, meta: CallerMeta) -> str:
        """The caller's trace id, the one of its traceparent, or a new one."""
        if request.trace_id is not UNSET:
            if not is_trace_id(request.trace_id):
                raise InvalidParams.at("trace_id", "must be 1 to 128 characters of A-Z a-z 0-9 _ -")
            return request.trace_id
        return meta.trace_id or f"{self._random_bits(128):032x}"

    def _call(
        self,
        caller: "Session",
        caller_id: RequestId | None,
        request: RouteCall,
        envelope: Envelope,
        trace_id: str,
        meta: CallerMeta,
    ) -> Call:
        params = request.params
        if caller.speaks_msgpack:
            if params is not UNSET:
                params = own_payload(envelope, params)
            body = body_packed(request.method, params)
        else:
            body = body_json(request.method, params)
        timeout_seconds = request.timeout_seconds
        waits = request.wait_for_owner_seconds
        now = caller.now
        return Call(
            caller,
            caller_id,
            None if request.resource_id is UNSET else request.resource_id,
            None if request.service_name is UNSET else request.service_name,
            trace_id,
            body,
            extra_meta(request, meta),
            now,
            self._settings.default_timeout_seconds if timeout_seconds is UNSET else timeout_seconds,
            now,
            now if waits is UNSET else now + waits,
            meta.is_given,
            meta.wants_progress,
        )

    def _start(self, call: Call) -> None:
        """Place a call where it belongs, and then take it on.

        Raises:
            RouterError: it cannot be taken on; nothing has changed.
        """
        flights = self.flights
        try:
            flights.send(call, call.started)
        except (ResourceNotFound, Unavailable) as error:
            if call.wait_until <= call.started or not lacks_owner(error):
                raise
            flights.wait_for_owner(call)
        if call.caller_id is not None:
            flights.accept(call)
            if call.batch is not None:
                call.batch.expect(call.caller_id)

    def cancel(self, caller: "Session", request_id: RequestId) -> None:
        """The caller wants no answer any more. Does nothing if there is no such call."""
        call = caller.made.get(request_id)
        if isinstance(call, Call):
            self.flights.fail(call, CallCancelled(delivery=self.flights.recall(call)))

    # --- the callee's side ------------------------------------------------------------------------------------

    def settle(self, callee: "Session", envelope: Envelope, size_bytes: int) -> None:
        """Pass a callee's answer on."""
        call = callee.delivered.get(envelope.id)  # type: ignore[arg-type]  # what is no correlation id finds nothing
        if call is None or call.caller_id is None or call.number > callee.outbox.taken:
            self._metrics.dropped_answers += 1
            return
        callee.timeouts_in_a_row = 0
        flights, limit = self.flights, self._settings.max_message_bytes
        if size_bytes > limit:
            flights.fail(call, AnswerTooLarge(limit, delivery="unknown"))
            return
        if envelope.error is UNSET and envelope.result is not UNSET:
            outcome, kind, payload = "ok", b',"result":', envelope.result
        elif (
            envelope.error is not UNSET
            and envelope.result is UNSET
            and (error := read_callee_error(envelope.error)) is not None
        ):
            if error.is_stale_epoch and call.resource_id is not None:
                self._find_newer_owner(call, call.resource_id)
                return
            outcome, kind, payload = "error", b',"error":', envelope.error
        else:
            flights.fail(call, _invalid_answer(callee))
            return
        caller, duration_seconds = call.caller, callee.now - call.started
        if callee.speaks_msgpack or caller.speaks_msgpack:
            try:
                said = payload_between(callee, caller, own_payload(envelope, payload))
            except Unsayable:
                flights.fail(call, _invalid_answer(callee))
                return
        else:
            said = bytes(payload)
        message = answer_message(call, call.caller_id, kind, said, duration_seconds)
        if len(message) > limit + MAX_EXTRA_BYTES:  # an id can be that long
            flights.fail(call, AnswerTooLarge(limit, delivery="unknown"))
            return
        if caller.outbox.size_bytes + len(message) > self._settings.max_outbox_bytes:
            flights.fail(call, Unavailable("overloaded", delivery="unknown"))
            return
        if call.trace is not None:
            call.trace.ended(outcome)
        flights.forget(call)
        callee.traffic.observe(duration_seconds)
        if outcome == "error":
            self._tally.failed(call, outcome)
        elif call.grant is not None:
            call.grant.calls_ok += 1
        if call.batch is None:
            caller.outbox.post(message)
        else:
            call.batch.add(call.caller_id, message, call.trace_id)

    def _find_newer_owner(self, call: Call, resource_id: ResourceId) -> None:
        """The callee has refused a call because its epoch has passed: once, it goes to who has a newer one.

        A call too large to have been kept does not; its caller is told that it may be sent again.
        """
        grant = self._finder.grant_of(resource_id)
        moved = Unavailable("moved", delivery="not_delivered")
        if call.is_rerouted or grant is None or grant.epoch == call.epoch or not call.body:
            self.flights.fail(call, moved)
        else:
            call.is_rerouted = True
            if call.trace is not None:
                call.trace.refused_as_stale()
            self.flights.reroute(call, moved)

    def progress(self, callee: "Session", envelope: Envelope) -> None:
        """Pass a part of a result on, if its caller asked for parts. What belongs to no such call is counted."""
        if envelope.params is UNSET:
            self._metrics.dropped_progress += 1
            return
        try:
            part = decode_params(envelope.params)
        except DECODE_ERRORS:
            self._metrics.dropped_progress += 1  # a notification has no answer, not even this one
            return
        self.pass_part_on(callee, part.token, own_payload(envelope, part.value))

    def pass_parts_on(self, callee: "Session", token: RequestId, parts: Sequence[Raw]) -> None:
        """As :meth:`progress`, of parts of one result that came together, as JSON."""
        call = self._in_parts(callee, token)
        if call is not None and call.caller_id is not None and may_be_said_at_once(call, call.caller_id):
            messages = progress_messages(call, call.caller_id, parts, are_lines=callee.takes_lines)
            size = sum(map(len, messages))
            outbox, settings = call.caller.outbox, self._settings
            room = min(settings.outbox_soft_bytes, settings.max_outbox_bytes) - outbox.size_bytes
            if size <= min(room, MAX_PACK_BYTES, settings.max_message_bytes):
                call.heard_at = callee.now
                callee.timeouts_in_a_row = 0
                for message in messages:
                    outbox.post(message)
                return
        for part in parts:  # one of them may be the last that is passed on
            self.pass_part_on(callee, token, part)

    def pass_part_on(self, callee: "Session", token: RequestId, part: Raw) -> None:
        """As :meth:`progress`, of a message that was taken apart already."""
        call = self._in_parts(callee, token)
        if call is None or call.caller_id is None:
            self._metrics.dropped_progress += 1
            return
        caller, settings = call.caller, self._settings
        outbox = caller.outbox
        if callee.speaks_msgpack is caller.speaks_msgpack:
            value = bytes(part)
        else:
            try:
                value = payload_between(callee, caller, part)
            except Unsayable:
                self.flights.recall(call)
                self.flights.fail(call, _invalid_answer(callee))
                return
        message = progress_message(call, call.caller_id, value)
        size = len(message)
        if size > settings.max_message_bytes + MAX_EXTRA_BYTES:  # an id can be that long
            self.flights.recall(call)
            self.flights.fail(call, AnswerTooLarge(settings.max_message_bytes, delivery="unknown"))
        elif (waiting := outbox.size_bytes) > settings.outbox_soft_bytes or (
            waiting + size > settings.max_outbox_bytes
        ):
            self.flights.recall(call)
            self.flights.fail(call, Unavailable("overloaded", delivery="unknown"))
        else:
            call.heard_at = callee.now
            callee.timeouts_in_a_row = 0
            outbox.post(message)

    def who_wants_parts(self, callee: "Session", token: RequestId) -> "Session | None":
        """Whom a part of the result is for that a callee tells under this token."""
        call = self._in_parts(callee, token)
        return None if call is None else call.caller

    @staticmethod
    def _in_parts(callee: "Session", token: RequestId) -> Call | None:
        """The call that a callee tells parts of the result of, if its caller asked for them."""
        call = callee.delivered.get(token)
        if call is None or call.number > callee.outbox.taken or not call.wants_progress:
            return None
        return call

    def refuse_answer(self, callee: "Session", number: RequestId) -> bool:
        """A malformed answer: ends the call it is for. Returns False if there is no such call."""
        call = callee.delivered.get(number)
        if call is None or call.number > callee.outbox.taken:
            return False
        self.flights.fail(call, _invalid_answer(callee))
        return True


def _invalid_answer(callee: "Session") -> InvalidAnswer:
    owner = callee.owner
    return InvalidAnswer(owner.instance_id if owner is not None else None, delivery="unknown")
