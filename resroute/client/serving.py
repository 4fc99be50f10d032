"""The calls that an instance works on: each in a task of its own, until it is answered, cancelled or out of time."""

import logging
import math
from collections import deque

import attrs
import trio
from msgspec import UNSET

from resroute.client.calls import Call, Handler, calling
from resroute.client.messages import (
    DECODE_ERRORS,
    Message,
    MessageId,
    Meta,
    error_line,
    read_payload,
    result_line,
)
from resroute.client.methods import INVALID_PARAMS
from resroute.client.session import Session
from resroute.errors import ConnectionLost, RemoteError

INTERNAL_ERROR = -32000

_log = logging.getLogger("resroute.client")
_no_meta = Meta()


@attrs.define(eq=False)
class _Serving:
    """One call from its arrival to its answer. Notifications have no ``id``."""

    id: MessageId | None
    call: Call
    scope: trio.CancelScope


class Calls:
    """What arrives, and the tasks that answer it.

    Handlers begin in the order in which the calls arrived. A call that the router cancels, or that runs out of time,
    is not answered: the router has told its caller already.
    """

    def __init__(self, session: Session, handler: Handler) -> None:
        self._session = session
        self._handler = handler
        self._nursery: trio.Nursery | None = None
        # Trio runs new tasks in any order; so a task takes the oldest call only once it runs
        self._arrived: deque[_Serving] = deque()
        # calls and notifications, from their arrival to the end of their tasks; and the calls by their ids
        self._at_work: set[_Serving] = set()
        self._by_id: dict[MessageId, _Serving] = {}

    @property
    def in_flight(self) -> int:
        """Calls and notifications that are being worked on, or about to."""
        return len(self._at_work)

    def begin(self, nursery: trio.Nursery) -> None:
        """Take calls from now on, each in a task of ``nursery``."""
        self._nursery = nursery

    def refuse(self) -> None:
        """Take no more calls. Those at work go on."""
        self._nursery = None

    def receive(self, message: Message) -> None:
        """Take one call or notification."""
        call_id = None if message.id is UNSET else message.id
        if self._nursery is None:
            self._refuse_one(call_id, _stopped())
            return
        try:
            call = _call_from(message)
        except DECODE_ERRORS as error:
            self._refuse_one(call_id, RemoteError(INVALID_PARAMS, f"Invalid params: {error}"))
            return
        timeout_seconds = math.inf if call.timeout_seconds is None else call.timeout_seconds
        serving = _Serving(call_id, call, trio.CancelScope(deadline=trio.current_time() + timeout_seconds))
        if call_id is not None:
            self._by_id[call_id] = serving
        self._at_work.add(serving)
        self._arrived.append(serving)
        self._nursery.start_soon(self._serve_oldest)

    def cancel(self, call_id: MessageId) -> None:
        """Cancel a call for the router. Does nothing if it is answered already."""
        serving = self._by_id.get(call_id)
        if serving is not None:
            serving.scope.cancel()

    def cancel_all(self) -> None:
        """Cancel every call, for nobody waits any more."""
        for serving in self._at_work:
            serving.scope.cancel()

    async def _serve_oldest(self) -> None:
        serving = self._arrived.popleft()
        is_over = False
        try:
            with serving.scope:
                if not serving.scope.cancel_called:
                    await self._serve(serving)
            is_over = True
        finally:
            self._at_work.remove(serving)
            if serving.id is not None:
                self._by_id.pop(serving.id, None)
            if not is_over:
                # cancelled from outside: the router does not know, and the caller would wait for its whole time
                self._refuse_one(serving.id, _stopped())

    async def _serve(self, serving: _Serving) -> None:
        call = serving.call
        calling.set(call)
        error: RemoteError | None = None
        line: bytes | None = None
        try:
            result = self._handler(call)
            if hasattr(result, "__await__"):
                result = await result
            if serving.id is not None:
                line = self._result_line(serving.id, result)
        except RemoteError as raised:
            error = raised
        except Exception:
            _log.exception("call_failed method=%s trace_id=%s", call.method, call.trace_id)
            error = _internal_error(call)
        except BaseExceptionGroup as group:
            # an error may come together with a cancellation, and would be lost with it
            errors, rest = group.split(Exception)
            if errors is not None:
                _log.error("call_failed method=%s trace_id=%s", call.method, call.trace_id, exc_info=errors)
            assert rest is not None
            raise rest from None
        if serving.id is None or serving.scope.cancel_called:
            return
        if error is not None:
            line = _error_line(serving.id, error, call)
        assert line is not None
        try:
            await self._session.wait_room()
        except ConnectionLost:
            return
        self._session.answer(line)

    def _result_line(self, call_id: MessageId, result: object) -> bytes:
        line = result_line(call_id, result)
        # the router tells the caller that an answer is too large; twice as large, and it ends the connection instead
        if len(line) > 2 * self._session.max_message_bytes:
            raise ValueError(
                f"an answer of {len(line)} bytes; the router takes {self._session.max_message_bytes:.0f}"
            )
        return line

    def _refuse_one(self, call_id: MessageId | None, error: RemoteError) -> None:
        if call_id is not None:
            self._session.answer(error_line(call_id, error))


def _stopped() -> RemoteError:
    return RemoteError(INTERNAL_ERROR, "This instance has stopped serving")


def _internal_error(call: Call) -> RemoteError:
    """All that a caller learns of a bug; the traceback is in this program's log."""
    return RemoteError(INTERNAL_ERROR, f"Internal error in {call.method!r}")


def _error_line(call_id: MessageId, error: RemoteError, call: Call) -> bytes:
    try:
        return error_line(call_id, error)
    except TypeError:
        _log.exception("call_failed method=%s trace_id=%s", call.method, call.trace_id)
        return error_line(call_id, _internal_error(call))


def _call_from(message: Message) -> Call:
    meta = _no_meta if message.meta is UNSET else message.meta
    assert message.method is not UNSET
    return Call(
        method=message.method,
        params=None if message.params is UNSET else read_payload(message.params),
        resource_id=meta.resource_id,
        epoch=meta.epoch,
        service_name=meta.service_name,
        caller=meta.caller,
        trace_id=meta.trace_id,
        traceparent=meta.traceparent,
        idempotency_key=meta.idempotency_key,
        timeout_seconds=meta.timeout_seconds,
        is_notification=message.id is UNSET or message.id is None,
    )
