"""The path of a call: from the caller to the owner, and the answer back. The hot path of the whole router.

Every method is synchronous: a call changes hands between two lines, and nothing can come between. What a method causes is
appended to the outboxes of the sessions concerned, whose writers do the I/O.

A call is settled exactly once: by its answer, its deadline, its caller or the end of a session, whichever is first. Settling
takes it out of every table; what arrives for it later finds nobody and is counted.
"""

import random
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import UNSET

from resroute.core.state import State
from resroute.errors import (
    AnswerTooLarge,
    CallCancelled,
    CallTimeout,
    Delivery,
    Forbidden,
    InvalidAnswer,
    InvalidParams,
    InvalidRequest,
    OwnerDisconnected,
    ResourceNotFound,
    RouterError,
    ServiceMismatch,
    ServiceNotFound,
    TooManyCalls,
    Unavailable,
)
from resroute.ids import (
    ID_RULE,
    CorrelationId,
    Epoch,
    ResourceId,
    ServiceName,
    SessionId,
    is_id,
    is_trace_id,
)
from resroute.protocol.deadlines import Deadlines
from resroute.protocol.envelope import (
    Envelope,
    RequestId,
    decode_envelope,
    encode_id,
    error_message,
    is_callee_error,
    notification_message,
)
from resroute.protocol.params import RouteCall
from resroute.router.call_params import check_method, decode_call, extra_meta, read_traceparent
from resroute.router.calls import MAX_EXTRA_BYTES, Batch, Call, meta_of, meta_of_refusal
from resroute.router.placement import Pools
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from resroute.router.session import Session

_encode = msgspec.json.encode


class Routing:
    """All calls in flight of one router.

    Args:
        state: who owns what.
        sessions: the sessions that have not ended.
        next_number: the next correlation id and outbox number.
        refuses_calls: whether new calls are refused because the router is draining.
        on_deadline: told of each new deadline, which may be the earliest.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        sessions: "Mapping[SessionId, Session]",
        metrics: Metrics,
        *,
        next_number: Callable[[], int],
        randomness: random.Random,
        refuses_calls: Callable[[], bool],
        on_deadline: Callable[[float], None],
    ) -> None:
        self.deadlines: Deadlines[Call] = Deadlines()
        self._settings = settings
        self._state = state
        self._sessions = sessions
        self._metrics = metrics
        self._next_number = next_number
        self._random_bits = randomness.getrandbits
        self._refuses_calls = refuses_calls
        self._on_deadline = on_deadline
        self.pools = Pools(state, sessions)
        self._idle: trio.Event | None = None  # somebody waits for the last call to be settled

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
        try:
            if caller_id is not None and caller_id in caller.made:
                caller_id = None
                raise InvalidRequest("this id is still in flight")
            request = decode_call(envelope, params)
            traceparent, trace_id = self._trace(envelope, request)
            self._admit(caller, request, is_notification=envelope.id is UNSET)
            timeout_seconds = self._settings.default_timeout_seconds
            if request.timeout_seconds is not UNSET:
                timeout_seconds = request.timeout_seconds
            resource_id = None if request.resource_id is UNSET else request.resource_id
            service_name = None if request.service_name is UNSET else request.service_name
            callee, epoch = self._find(resource_id, service_name, caller.now)
        except RouterError as error:
            if envelope.id is not UNSET:
                error.trace_id = trace_id or self.mint_trace_id()
                self._metrics.count_call(error.type)
                if batch is not None:
                    batch.expect()
                meta = None if envelope.meta is UNSET else meta_of_refusal(error.trace_id)
                caller.answer(caller_id, error_message(caller_id, error, meta), error.trace_id, batch)
            return
        call = Call()
        call.caller = caller
        call.resource_id = resource_id
        call.service_name = service_name
        call.trace_id = trace_id
        call.timeout_seconds = timeout_seconds
        call.extra = extra_meta(request, traceparent)
        call.started = caller.now
        body = b'"method":%b' % _encode(request.method)
        if request.params is not UNSET:
            body += b',"params":%b' % bytes(request.params)
        if caller_id is None:
            self._assign(call, callee, epoch)
            callee.outbox.post_call(call.number, self._delivered(call, body, b'{"jsonrpc":"2.0",'))
            return
        call.caller_id = caller_id
        call.batch = batch
        call.wants_meta = envelope.meta is not UNSET
        caller.made[caller_id] = call
        if batch is not None:
            batch.expect()
        self._deliver(call, callee, epoch, body)

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
        if caller.outbox.size_bytes > settings.outbox_soft_bytes:
            raise TooManyCalls(settings.outbox_soft_bytes)
        if len(caller.made) >= settings.max_calls_in_flight:
            raise TooManyCalls(settings.max_calls_in_flight)
        if self._refuses_calls():
            raise Unavailable("draining", delivery="not_delivered")

    def _trace(self, envelope: Envelope, request: RouteCall) -> tuple[str | None, str]:
        """The traceparent, if there is a good one, and the trace id: the caller's, the traceparent's or a new one."""
        traceparent = trace_id = None
        if envelope.meta is not UNSET:
            traceparent, trace_id = read_traceparent(envelope.meta)
        if request.trace_id is not UNSET:
            trace_id = request.trace_id
            if not is_trace_id(trace_id):
                raise InvalidParams.at("trace_id", "must be 1 to 128 characters of A-Z a-z 0-9 _ -")
        return traceparent, trace_id or f"{self._random_bits(128):032x}"

    def _find(
        self, resource_id: ResourceId | None, service_name: ServiceName | None, now: float
    ) -> "tuple[Session, Epoch | None]":
        """Who gets the call, and at which epoch of the resource."""
        soft_bytes = self._settings.outbox_soft_bytes
        if resource_id is None:
            if service_name is None:
                raise InvalidParams.at("", "resource_id or service_name is needed")
            _check_names(resource_id, service_name)
            return self.pools.choose(service_name, soft_bytes), None
        grant = self._state.grant_of(resource_id)
        callee = None if grant is None else self._sessions.get(grant.owner.session_id)
        if grant is None or callee is None:
            _check_names(resource_id, service_name)
            raise ResourceNotFound(resource_id)
        if service_name is not None and service_name != grant.owner.service.name:
            _check_names(resource_id, service_name)
            raise ServiceMismatch(service_name, resource_id=resource_id)
        if callee.outbox.size_bytes > soft_bytes:
            raise Unavailable("overloaded", delivery="not_delivered")
        grant.calls_total += 1
        grant.last_called_at = now
        return callee, grant.epoch

    def _assign(self, call: Call, callee: "Session", epoch: Epoch | None) -> None:
        call.callee = callee
        call.epoch = epoch
        call.number = CorrelationId(self._next_number())

    def _deliver(self, call: Call, callee: "Session", epoch: Epoch | None, body: bytes) -> None:
        """Put the call under a fresh correlation id, into every table and the callee's outbox."""
        self._assign(call, callee, epoch)
        number = call.number
        callee.take_on(number, call)
        at = call.started + call.timeout_seconds
        call.tick = self.deadlines.add(at, number, call)
        self._on_deadline(at)
        callee.outbox.post_call(number, self._delivered(call, body, b'{"jsonrpc":"2.0","id":%d,' % number))

    def _delivered(self, call: Call, body: bytes, head: bytes) -> bytes:
        """The request as the callee gets it. ``body`` is the method and the params, the sender's own bytes."""
        callee = call.callee
        if callee.takes_lines and b"\n" in body:
            body = body.replace(b"\n", b" ")  # JSON allows raw line breaks between tokens only
        if callee.is_plain:
            return b"%b%b}" % (head, body)
        meta = b'"service_name":%b,"caller":%b,"timeout_seconds":%b,"trace_id":"%b"%b' % (
            callee.service_json,
            call.caller.caller_json,
            repr(call.timeout_seconds - (call.caller.now - call.started)).encode(),
            call.trace_id.encode(),
            call.extra,
        )
        if call.resource_id is None or call.epoch is None:
            return b'%b%b,"meta":{%b}}' % (head, body, meta)
        return b'%b%b,"meta":{"resource_id":"%b","epoch":%d,%b}}' % (
            head,
            body,
            call.resource_id.encode(),
            call.epoch,
            meta,
        )

    def cancel(self, caller: "Session", request_id: RequestId) -> None:
        """The caller wants no answer any more. Does nothing if there is no such call."""
        call = caller.made.get(request_id)
        if isinstance(call, Call):
            self._fail(call, CallCancelled(delivery=self._recall(call)))

    # --- the callee's side ------------------------------------------------------------------------------------

    def settle(self, callee: "Session", envelope: Envelope, size_bytes: int) -> None:
        """Pass a callee's answer on."""
        call = callee.delivered.get(envelope.id)  # type: ignore[arg-type]  # what is no correlation id finds nothing
        if call is None or call.number > callee.outbox.taken:
            self._metrics.dropped_answers += 1
            return
        if size_bytes > self._settings.max_message_bytes:
            self._fail(call, AnswerTooLarge(self._settings.max_message_bytes, delivery="unknown"))
            return
        if envelope.error is UNSET and envelope.result is not UNSET:
            outcome, kind, payload = "ok", b"result", bytes(envelope.result)
        elif envelope.error is not UNSET and envelope.result is UNSET and is_callee_error(envelope.error):
            outcome, kind, payload = "error", b"error", bytes(envelope.error)
        else:
            self._fail(call, self._invalid_answer(call))
            return
        caller = call.caller
        if caller.takes_lines and b"\n" in payload:
            payload = payload.replace(b"\n", b" ")
        duration_seconds = callee.now - call.started
        if call.wants_meta:
            message = b'{"jsonrpc":"2.0","id":%b,"%b":%b,"meta":%b}' % (
                encode_id(call.caller_id),
                kind,
                payload,
                meta_of(call, duration_seconds),
            )
        else:
            message = b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (encode_id(call.caller_id), kind, payload)
        if len(message) > self._settings.max_message_bytes + MAX_EXTRA_BYTES:  # an id can be that long
            self._fail(call, AnswerTooLarge(self._settings.max_message_bytes, delivery="unknown"))
            return
        if caller.outbox.size_bytes + len(message) > self._settings.max_outbox_bytes:
            self._fail(call, Unavailable("overloaded", delivery="unknown"))
            return
        self._forget(call)
        metrics = self._metrics
        metrics.calls[outcome] = metrics.calls.get(outcome, 0) + 1
        metrics.observe(duration_seconds)
        if call.batch is None:
            caller.outbox.post(message)
        else:
            call.batch.add(call.caller_id, message, call.trace_id)

    def refuse_answer(self, callee: "Session", number: RequestId) -> bool:
        """A malformed answer: ends the call it is for. Returns False if there is no such call."""
        call = callee.delivered.get(number)
        if call is None or call.number > callee.outbox.taken:
            return False
        self._fail(call, self._invalid_answer(call))
        return True

    @staticmethod
    def _invalid_answer(call: Call) -> InvalidAnswer:
        owner = call.callee.owner
        return InvalidAnswer(owner.instance_id if owner is not None else None, delivery="unknown")

    # --- what else ends a call, or moves it -------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """End every call that is out of time."""
        for call in self.deadlines.due(now):
            self._fail(call, CallTimeout(call.timeout_seconds, delivery=self._recall(call)))

    def session_ended(self, session: "Session") -> None:
        """End or move every call of a session that has ended. Its resources are free already."""
        self.pools.remove(session)
        for call in list(session.made.values()):
            if isinstance(call, Call):
                self._recall(call)
                self._forget(call)
                self._metrics.count_call("caller_gone")
        waiting = [call for call in session.delivered.values() if not call.is_handed_over]
        for call in list(session.delivered.values()):
            if call.is_handed_over:
                self._fail(call, self._disconnected(call, "unknown"))
        for call in waiting:
            self._reroute(call, self._disconnected(call, "not_delivered"))

    def moved(self, session: "Session", resource_ids: Collection[ResourceId]) -> None:
        """A session has lost resources: calls for them that it was not handed yet go to the new owner, in order."""
        waiting: list[Call] = []
        for call in reversed(session.delivered.values()):
            if call.is_handed_over:
                break
            if call.resource_id in resource_ids:
                waiting.append(call)
        for call in reversed(waiting):
            assert call.resource_id is not None
            self._reroute(call, ResourceNotFound(call.resource_id))

    @staticmethod
    def _disconnected(call: Call, delivery: Delivery) -> OwnerDisconnected:
        owner = call.callee.owner
        return OwnerDisconnected(owner.instance_id if owner is not None else "", delivery=delivery)

    def _reroute(self, call: Call, otherwise: RouterError) -> None:
        """Deliver a call that was not handed over to whoever is to have it now; to nobody: end it."""
        message = call.callee.outbox.withdraw(call.number)
        assert message is not None, "what the writer has taken stays with its instance"
        try:
            callee, epoch = self._find(call.resource_id, call.service_name, call.caller.now)
        except (ResourceNotFound, ServiceNotFound, ServiceMismatch):
            self._fail(call, otherwise)
            return
        except RouterError as error:
            self._fail(call, error)
            return
        envelope = decode_envelope(message)
        body = b'"method":%b' % _encode(envelope.method)
        if envelope.params is not UNSET:
            body += b',"params":%b' % bytes(envelope.params)
        self._leave_callee(call)
        self._deliver(call, callee, epoch, body)

    def _recall(self, call: Call) -> Delivery:
        """Take the call back from its callee, or tell it that nobody waits any more."""
        if call.callee.outbox.withdraw(call.number) is not None:
            return "not_delivered"
        call.callee.post(notification_message("$/cancelRequest", {"id": call.number}))
        return "unknown"

    def _fail(self, call: Call, error: RouterError) -> None:
        """End the call with an error of the router's."""
        self._forget(call)
        self._metrics.count_call(error.type)
        error.trace_id = call.trace_id
        duration_ms = round((max(call.caller.now, call.callee.now) - call.started) * 1000, 3)
        meta = {"trace_id": call.trace_id, "duration_ms": duration_ms} if call.wants_meta else None
        call.caller.answer(
            call.caller_id, error_message(call.caller_id, error, meta), call.trace_id, call.batch
        )

    def _forget(self, call: Call) -> None:
        """Out of every table."""
        self._leave_callee(call)
        del call.caller.made[call.caller_id]

    def _leave_callee(self, call: Call) -> None:
        self.deadlines.remove(call.tick, call.number)
        call.callee.let_go(call.number)
        if self._idle is not None and not self.deadlines:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no call is in flight. Safe to cancel."""
        if self.deadlines:
            self._idle = trio.Event()
            try:
                await self._idle.wait()
            finally:
                self._idle = None


def _check_names(resource_id: ResourceId | None, service_name: ServiceName | None) -> None:
    """Why something was not found: it may be that nothing can have that name. What is found needs no check."""
    for path, name in (("resource_id", resource_id), ("service_name", service_name)):
        if name is not None and not is_id(name):
            raise InvalidParams.at(path, f"not a valid name: {ID_RULE}")
