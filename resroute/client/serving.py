"""The calls that an instance works on: each has a task to itself, until it is answered, cancelled or out of time."""

import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from types import AsyncGeneratorType
from typing import Any

import attrs
import trio
from msgspec import UNSET

from resroute.client.blocking import LONGEST_TURN_SECONDS, Stopwatch
from resroute.client.calls import MAX_TOLD, Call, Caller, Handler, calling, told
from resroute.client.drafts import maker
from resroute.client.gates import Gate, Gates
from resroute.client.messages import (
    DECODE_ERRORS,
    Message,
    MessageId,
    Meta,
    error_line,
    progress_line,
    read_payload,
    result_line,
)
from resroute.client.methods import INVALID_PARAMS
from resroute.client.requests import Asking
from resroute.client.session import MAX_PACK_BYTES, Session
from resroute.errors import ConnectionLost, RemoteError, StaleEpoch

INTERNAL_ERROR = -32000
MAX_NOTIFICATIONS_BYTES = 16 * 1024 * 1024
"""The most that notifications whose handlers have not ended come to, as they were on the wire: nobody else counts them."""
_OVERHEAD_BYTES = 1024  # what one takes beside that

_log = logging.getLogger("resroute.client")
_no_meta = Meta()
_no_caller = Caller()
_make_call = maker(Call)
_make_caller = maker(Caller)
_END = object()


@attrs.define(eq=False)
class _Serving:
    """One call from its arrival to its answer. Notifications have no ``id``.

    Attributes:
        deadline: on Trio's clock; it moves with each partial result.
        size_bytes: of a notification, what it counts.
        scope: what it runs under, from its beginning on.
        gate: of its resource, if that was closed after this had begun.
        is_cut_off: this instance does not finish it, and says so.
    """

    id: MessageId | None
    timeout_seconds: float
    deadline: float
    size_bytes: int = 0
    call: Call = attrs.field(init=False)
    scope: trio.CancelScope | None = None
    gate: "Gate[_Serving] | None" = None
    is_cut_off: bool = False
    _is_cancelled: bool = False

    @property
    def is_over(self) -> bool:
        """Nobody waits for it any more."""
        return self._is_cancelled or trio.current_time() >= self.deadline

    def cancel(self) -> None:
        """Have it end, or not begin."""
        self._is_cancelled = True
        if self.scope is not None:
            self.scope.cancel()

    def extend(self) -> None:
        """Give it its whole time anew."""
        self.deadline = max(self.deadline, trio.current_time() + self.timeout_seconds)
        if self.scope is not None:
            self.scope.deadline = self.deadline


CallGate = Gate[_Serving]


class Calls:
    """What arrives in one session, and the tasks that answer it.

    Handlers begin in the order in which the calls arrived. A call that the router cancels, or that runs out of time,
    is not answered: the router has told its caller already.

    One task takes the calls that have arrived, one after the other. When a handler has to wait, that task is the
    handler's until it ends, and another one takes what is left. So handlers never wait for each other, and a handler
    that does not wait costs no task.

    Args:
        instance: who asks the router something on behalf of handlers.
        epochs: of what the instance owns, a live view.
        max_concurrency: the most handlers that run at a time. The router holds back what is above, but it does not count
            notifications, nor what it has cancelled and a handler has not ended yet.
    """

    def __init__(
        self,
        session: Session,
        handler: Handler,
        instance: Asking,
        epochs: Mapping[str, int],
        *,
        max_concurrency: int | None = None,
    ) -> None:
        self._session = session
        self._epochs = epochs
        self._instance = instance
        self._handler = handler
        self._stopwatch = Stopwatch()
        self._nursery: trio.Nursery | None = None
        # what handlers see of context variables: never what another one has set that opens a gate
        self._context = copy_context()
        self._is_refusing = True
        self._arrived: deque[_Serving] = deque()
        # how many more handlers may begin
        self._room: float = math.inf if max_concurrency is None else max_concurrency
        # the task that takes what has arrived, if there is one; it may not have run yet
        self._taker: object = None
        # calls and notifications, from their arrival to the end of their tasks; and the calls by their ids
        self._at_work: set[_Serving] = set()
        self._by_id: dict[MessageId, _Serving] = {}
        self._notifications_bytes = 0
        self._is_dropping = False
        self._idle = trio.Event()
        # how many of them wait for the others to end
        self._waiting_for_others = 0
        self.gates: Gates[_Serving] = Gates(self._begin, self._refuse_held)

    @property
    def in_flight(self) -> int:
        """Calls and notifications that are being worked on, or about to."""
        return len(self._at_work)

    def begin(self, nursery: trio.Nursery) -> None:
        """Take calls from now on, each in a task of ``nursery``."""
        self._nursery = nursery
        self._is_refusing = False

    def refuse(self) -> None:
        """Take no more calls. Those at work go on."""
        self._is_refusing = True

    def receive(self, message: Message) -> None:
        """Take one call or notification."""
        call_id = None if message.id is UNSET else message.id
        if self._is_refusing:
            # nothing has run, and the router can say so of a call by resource
            has_epoch = message.meta is not UNSET and message.meta.epoch is not None
            self.refuse_one(message, StaleEpoch() if has_epoch else _stopped())
            return
        meta = _no_meta if message.meta is UNSET else message.meta
        seconds = math.inf if meta.timeout_seconds is None else meta.timeout_seconds
        serving = _Serving(call_id, seconds, trio.current_time() + seconds)
        try:
            serving.call = self._call_from(message, meta, serving)
        except DECODE_ERRORS as error:
            self._answer_error(call_id, RemoteError(INVALID_PARAMS, f"Invalid params: {error}"))
            return
        if call_id is not None:
            self._by_id[call_id] = serving
        elif not self._has_room_for(message, serving):
            return
        self._at_work.add(serving)
        gate = self.gates.get(meta.resource_id) if self.gates else None
        if gate is None:
            self._begin(serving)
        else:
            gate.held.append(serving)

    def _has_room_for(self, message: Message, notification: _Serving) -> bool:
        """Count a notification, or drop it: the router takes no answer to it, and must not be kept from saying all else."""
        call = notification.call
        size = _OVERHEAD_BYTES + len(call.method) + len(call.idempotency_key or "")
        if message.params is not UNSET:
            size += len(message.params)
        if self._notifications_bytes + size > MAX_NOTIFICATIONS_BYTES:
            self._session.dropped_notifications += 1
            if not self._is_dropping:
                self._is_dropping = True
                _log.warning(
                    "notifications_dropped method=%s handlers=%d", told(call.method), len(self._at_work)
                )
            return False
        if self._notifications_bytes < MAX_NOTIFICATIONS_BYTES // 2:
            self._is_dropping = False  # and the next time is worth a line of its own
        self._notifications_bytes += size
        notification.size_bytes = size
        return True

    def close_gates(self, resource_ids: Iterable[str]) -> dict[str, CallGate]:
        """Hold what arrives for these, which have no gates yet. They count the calls at work, but for the one that asks."""
        gates = {resource_id: self.gates.close(resource_id) for resource_id in resource_ids}
        if self._room <= 0:
            self._hold_waiting(gates)
        asking = calling.get(None)
        for serving in self._at_work:
            gate = gates.get(serving.call.resource_id or "")
            if gate is not None and serving.call is not asking and serving not in gate.held:
                serving.gate = gate
                gate.enter()
        return gates

    def _hold_waiting(self, gates: Mapping[str, CallGate]) -> None:
        """Hold what waits for room, too: who asks for the gates may be the one that has it."""
        arrived = list(self._arrived)
        self._arrived.clear()
        for serving in arrived:
            gate = gates.get(serving.call.resource_id or "")
            (self._arrived if gate is None else gate.held).append(serving)

    def busy_resources(self) -> set[str | None]:
        """Those for which there are calls."""
        return {serving.call.resource_id for serving in self._at_work}

    async def wait_idle(self) -> None:
        """Wait until there are no calls, but for those that wait for this themselves."""
        mine = len(self._at_work) - len(self._others())
        self._waiting_for_others += mine
        self._idle.set()  # one less is to be waited for
        try:
            while len(self._at_work) > self._waiting_for_others:
                if self._idle.is_set():
                    self._idle = trio.Event()
                await self._idle.wait()
        finally:
            self._waiting_for_others -= mine

    def cancel(self, call_id: MessageId) -> None:
        """Cancel a call for the router. Does nothing if it is answered already."""
        serving = self._by_id.get(call_id)
        if serving is not None:
            serving.cancel()

    def cancel_all(self) -> None:
        """Cancel every call, for nobody waits any more."""
        for serving in self._at_work:
            serving.cancel()

    def cut_off(self) -> int:
        """Cancel every call but the one that asks, and answer each that it will not be finished. Returns how many."""
        others = self._others()
        for serving in others:
            serving.is_cut_off = True
            serving.cancel()
        return len(others)

    def _others(self) -> list[_Serving]:
        """All calls but the one that asks, if it is one."""
        asking = calling.get(None)
        return [serving for serving in self._at_work if serving.call is not asking]

    def _begin(self, serving: _Serving) -> None:
        if self._is_refusing:
            self._refuse_held(serving)
            return
        self._arrived.append(serving)
        if self._taker is None:
            self._have_a_taker()

    def _refuse_held(self, serving: _Serving) -> None:
        """Nothing of it has run, and the router takes it to whoever owns the resource now."""
        self._forget(serving)
        if serving.is_cut_off or not serving.is_over:
            self._answer_error(serving.id, StaleEpoch())

    def _forget(self, serving: _Serving) -> None:
        self._at_work.remove(serving)
        if len(self._at_work) <= self._waiting_for_others:
            self._idle.set()
        if serving.id is None:
            self._notifications_bytes -= serving.size_bytes
        else:
            self._by_id.pop(serving.id, None)
        if serving.gate is not None:
            serving.gate.leave()
        serving.scope = None
        del serving.call  # which may know of this in turn, and be kept

    def _have_a_taker(self) -> None:
        """Have a task take what has arrived, if there is room for it and none does."""
        if self._taker is not None or not self._arrived or self._room <= 0:
            return
        assert self._nursery is not None
        self._taker = mine = object()
        self._context.run(self._nursery.start_soon, self._serve_arrived, partial(self._hand_on, mine))

    def _hand_on(self, taker: object) -> None:
        """Have another task take what is left, if it is this one that would."""
        if self._taker is taker:
            self._taker = None
            self._have_a_taker()

    async def _serve_arrived(self, hand_on: Callable[[], None]) -> None:
        try:
            while self._arrived and self._room > 0:
                try:
                    has_had_its_turn = await self._serve_in_one_scope(hand_on)
                except RuntimeError as error:
                    if not isinstance(error.__context__, Exception | trio.Cancelled | None):
                        raise  # what is to end the program came through it
                    # Trio's: a handler has left a scope of its own open. It has closed both, and all goes on
                    _log.exception("scope_left_open")
                    has_had_its_turn = False
                if has_had_its_turn:
                    await trio.lowlevel.checkpoint()
        finally:
            hand_on()
            self._have_a_taker()  # for what has waited for room

    async def _serve_in_one_scope(self, hand_on: Callable[[], None]) -> bool:
        """Serve until there is nothing or the scope is cancelled. Or so long, and then True, that others are to run."""
        # entering a scope costs as much as all the rest: calls share it, until it is cancelled for one of them
        with trio.CancelScope(deadline=self._arrived[0].deadline) as scope:
            await self._serve_oldest(scope, hand_on)  # even if its time is over: it is to go
            began_at = self._stopwatch.stopped_at
            while self._arrived and self._room > 0 and not scope.cancel_called:
                await self._serve_oldest(scope, hand_on)
                if self._stopwatch.stopped_at - began_at >= LONGEST_TURN_SECONDS:
                    return True
        return False

    async def _serve_oldest(self, scope: trio.CancelScope, hand_on: Callable[[], None]) -> None:
        serving = self._arrived.popleft()
        self._room -= 1
        is_over = False
        try:
            if not serving.is_over:
                serving.scope = scope
                if scope.deadline != serving.deadline:
                    scope.deadline = serving.deadline
                await self._stopwatch.run(self._serve(serving, serving.call), serving.call, hand_on)
            is_over = True
        finally:
            is_over = (is_over or serving.is_over) and not serving.is_cut_off
            self._room += 1
            self._forget(serving)
            if not is_over:
                # cancelled by this instance: the router does not know, and the caller would wait for its whole time
                self._answer_error(serving.id, _stopped())

    async def _serve(self, serving: _Serving, call: Call) -> None:
        calling.set(call)
        if self._session.tracing is None:
            await self._answer(serving, call)
        else:
            with self._session.tracing.serving(call):
                await self._answer(serving, call)

    async def _answer(self, serving: _Serving, call: Call) -> None:
        error: RemoteError | None = None
        line: bytes | None = None
        try:
            result = self._handler(call)
            if isinstance(result, Awaitable):
                result = await result
            if isinstance(result, AsyncGeneratorType):
                await _report_all(call, result)
                result = None
            if serving.id is not None:
                line = self._result_line(serving.id, result)
        except Exception as raised:
            error = _meant_for_caller(raised)
            if error is None:
                _log.exception("call_failed method=%s trace_id=%s", told(call.method), call.trace_id)
                error = _internal_error(call)
        except BaseExceptionGroup as group:
            # an error may come together with a cancellation, and would be lost with it
            errors, rest = group.split(Exception)
            if errors is not None:
                _log.error(
                    "call_failed method=%s trace_id=%s", told(call.method), call.trace_id, exc_info=errors
                )
            assert rest is not None
            raise rest from None
        if error is not None and self._session.tracing is not None:
            self._session.tracing.failed(error)
        if serving.id is None or serving.is_over:
            return
        if error is not None:
            line = self._error_line(serving.id, error, call)
        assert line is not None
        try:
            await self._session.wait_room()
        except ConnectionLost:
            return
        if not serving.is_over:  # it may have ended in the moment in which there was room
            self._session.answer(line)

    def _result_line(self, call_id: MessageId, result: object) -> bytes:
        return self._bounded(result_line(call_id, result))

    def _error_line(self, call_id: MessageId, error: RemoteError, call: Call) -> bytes:
        if _claims_that_nothing_ran(error):
            error = RemoteError(error.code, error.message)
        try:
            return self._bounded(error_line(call_id, error))
        except (TypeError, ValueError):
            _log.exception("call_failed method=%s trace_id=%s", told(call.method), call.trace_id)
            return error_line(call_id, _internal_error(call))

    def _bounded(self, line: bytes) -> bytes:
        # the router tells the caller that an answer is too large; twice as large, and it ends the connection instead
        if len(line) > 2 * self._session.max_message_bytes:
            raise ValueError(
                f"an answer of {len(line)} bytes; the router takes {self._session.max_message_bytes:.0f}"
            )
        return line

    # --- partial results ------------------------------------------------------------------------------------------

    async def _report(self, serving: _Serving, value: Any) -> None:
        """Send one partial result, unless the call is over."""
        assert serving.id is not None
        line = progress_line(serving.id, value)
        self._session.check_size(line, "partial result")
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            # a pack and no more, for who has much to say would else keep everybody from running until a megabyte waits
            await self._session.wait_room(MAX_PACK_BYTES)
        except ConnectionLost:
            pass  # and with it the call is over
        if serving not in self._at_work or serving.is_over:
            await trio.lowlevel.checkpoint()
            return
        self._session.answer(line)
        serving.extend()  # as the router counts it

    # --- refusing -------------------------------------------------------------------------------------------------

    def refuse_one(self, message: Message, error: RemoteError) -> None:
        """Answer a call with an error, without running anything."""
        self._answer_error(None if message.id is UNSET else message.id, error)

    def _answer_error(self, call_id: MessageId | None, error: RemoteError) -> None:
        if call_id is not None:
            self._session.answer(error_line(call_id, error))

    def _call_from(self, message: Message, meta: Meta, serving: _Serving) -> Call:
        assert message.method is not UNSET
        caller = _no_caller
        if meta.caller is not None:
            who = meta.caller
            caller = _make_caller(
                who.session_id, who.instance_id, who.subject, self._instance, meta.resource_id
            )
        wants_progress = meta.progress and serving.id is not None
        return _make_call(
            message.method,
            None if message.params is UNSET else read_payload(message.params),
            meta.resource_id,
            meta.epoch,
            meta.service_name,
            caller,
            meta.trace_id,
            meta.traceparent,
            meta.idempotency_key,
            meta.timeout_seconds,
            serving.id is None,
            wants_progress,
            partial(self._report, serving) if wants_progress else None,
            self._epochs,
        )


async def _report_all(call: Call, values: AsyncGenerator[Any]) -> None:
    """Send whatever a generator yields, as if it awaited ``progress`` at each ``yield``.

    What is raised while it is sent, cancellations too, is raised at the ``yield``. So a generator may hold a cancel
    scope or a nursery there: it runs in this task alone, and sees its own cancellation.
    """
    async with aclosing(values):
        value = await anext(values, _END)
        while value is not _END:
            try:
                await call.progress(value)
            except BaseException as error:  # noqa: ASYNC103  # the generator raises it on, or not
                try:
                    value = await values.athrow(error)  # noqa: ASYNC102  # it is under its own scopes
                except StopAsyncIteration:
                    return  # noqa: ASYNC104
            else:
                value = await anext(values, _END)


def _meant_for_caller(error: Exception) -> RemoteError | None:
    """The error that a handler has for its caller, also out of a nursery of the handler's, which wraps it in a group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return error if isinstance(error, RemoteError) else None


def _stopped() -> RemoteError:
    return RemoteError(INTERNAL_ERROR, "This instance has stopped serving")


def _internal_error(call: Call) -> RemoteError:
    """All that a caller learns of a bug; the traceback is in this program's log."""
    return RemoteError(INTERNAL_ERROR, f"Internal error in {call.method[:MAX_TOLD]!r}")


def _claims_that_nothing_ran(error: RemoteError) -> bool:
    """Whether an error that this handler relays from further on would have the router run *this* call again."""
    if isinstance(error, StaleEpoch):
        return False
    return isinstance(error.data, Mapping) and error.data.get("type") == StaleEpoch.type
