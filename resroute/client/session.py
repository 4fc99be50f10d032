"""One connection's life as a client sees it: what is asked over it, and what its end means for that.

Whoever reconnects makes a new :class:`Session`; nothing of this one outlives its connection. See
:mod:`resroute.client.link`.
"""

import itertools
import logging
import math
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from msgspec import UNSET, Raw

from resroute.client.arrivals import Arrivals, Listeners
from resroute.client.connection import NDJSON, Connection
from resroute.client.inbound import Inbound
from resroute.client.messages import (
    DECODE_ERRORS,
    ErrorObject,
    Message,
    MessageId,
    error_from,
    error_line,
    notification_line,
    read_message,
    read_progress,
    request_line,
)
from resroute.client.notices import Notification, is_pushed, read_notification
from resroute.client.outbox import SOFT_BYTES, Outbox
from resroute.client.pending import Pending
from resroute.client.reconnecting import Closing
from resroute.client.results import Heartbeat, read_session_info
from resroute.client.watched import EVENTS, LOST, WatchTable
from resroute.errors import (
    ConnectionLost,
    Delivery,
    InvalidAnswer,
    RemoteError,
    ResrouteError,
)

GREETING_SECONDS = 10.0
"""How long a router may take for the first answer."""
MAX_PACK_BYTES = 64 * 1024
FLUSH_SECONDS = 2.0
"""How long closing waits until what was already said has been sent."""
ANSWER_SECONDS = 5.0
"""How long a cancelled request waits for its answer, where it must be known what becomes of it."""
GOODBYE_SECONDS = 2.0
"""How long closing waits for the router's side of the goodbye."""
_SLICE = 128  # messages that are read before others have their turn: a millisecond or two
_SLICE_SENDS = 32
PING_SECONDS = 2.0
"""How long after the router's Ping is due it is asked whether it is still there."""

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from resroute.client.tracing import ClientTracing

_log = logging.getLogger("resroute.client")
_LINE = re.compile(r"[^\n]+")
_read_closing = msgspec.json.Decoder(Closing).decode


class Session:
    """Requests and answers over one connection. :meth:`run` does the work; everything else is for any task."""

    def __init__(self, connection: Connection) -> None:
        self.lost: ConnectionLost | None = None
        """Why the connection has ended, once it has."""
        self.when_ended: Callable[[ConnectionLost], None] = lambda lost: None
        """Told of the end, before anybody else is."""
        self.inbound: Inbound | None = None
        self.tracing: ClientTracing | None = None
        """There if what is asked and answered is traced."""
        self.closing: Closing | None = None
        """What the router has said of the end that it is about to make."""
        self.max_message_bytes = math.inf
        """The most that the router takes in one message."""
        self.max_timeout_seconds = math.inf
        """The most time that the router gives a call."""
        self.max_bulk_items = math.inf
        """The most ids in one request."""
        self.listeners = Listeners[Notification]()
        self.late_answers = 0
        self.unreadable_messages = 0
        self.dropped_notifications = 0
        self._connection = connection
        self._is_ndjson = connection.subprotocol == NDJSON
        self._outbox = Outbox()
        self._request_ids = itertools.count(1)
        # request id -> who waits for its answer; each entry is removed by the request that made it
        self._pending: dict[MessageId, Pending] = {}
        # token -> who wants to know how far the router is with a request
        self._progress_listeners: dict[MessageId, Callable[[Raw], None]] = {}
        self.watches = WatchTable(self._outbox.put)
        self._expiring = trio.Event()
        self._flushed = trio.Event()
        self._ended = trio.Event()
        self._running = trio.CancelScope()
        self._heartbeat = Heartbeat(interval_seconds=math.inf, timeout_seconds=math.inf)

    @property
    def calls_in_flight(self) -> int:
        """Requests without an answer yet."""
        return len(self._pending)

    @property
    def calls_serving(self) -> int:
        """Calls of others that are being worked on here."""
        return 0 if self.inbound is None else self.inbound.calls_serving

    @property
    def outbox_length(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outbox)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        unheard: Callable[[], None] | None = None,
        attempts: "list[SpanContext] | None" = None,
        meta: Mapping[str, Any] | None = None,
    ) -> T:
        """Send a request and wait for what its answer says.

        Cancelling it cancels the request at the router too, or withdraws it if it was not sent yet.

        Args:
            read: makes the value out of the result. It runs where the answer stands among everything else that
                arrives, so what it changes is in order with notices; it does not run after a cancellation.
            unheard: for who must know what becomes of it. A cancelled request that was sent waits for its answer
                nevertheless, so ``read`` may run; this is called if there is none within :data:`ANSWER_SECONDS`.
            attempts: see :meth:`resroute.client.tracing.ClientTracing.asking`.
            meta: what goes along with it. By default that of its span, if it is traced.

        Raises:
            TypeError: the params are not JSON; nothing was sent.
            ValueError: the request is larger than the router takes; nothing was sent.
            ConnectionLost: the connection has ended; ``delivery`` tells whether this was sent.
            ResrouteError: the answer is an error.
        """
        if self.tracing is not None and meta is None and not method.startswith("session."):
            with self.tracing.asking(method, params, attempts) as traced:
                return await self.request(method, params, read, unheard=unheard, meta=traced)
        number, line = self._next(method, params, meta)
        await self.wait_room()
        pending = self._pending[number] = Pending(self._outbox.put(line), read)
        try:
            await pending.settled.wait()
        finally:
            self._take_back(number, pending)
            if unheard is not None and pending.entry.handed_over and not pending.is_settled:
                with trio.move_on_after(ANSWER_SECONDS, shield=True):
                    await pending.settled.wait()
                if not pending.is_settled:
                    unheard()
            del self._pending[number]
        if pending.error is not None:
            raise pending.error
        value: T = pending.value
        return value

    @contextmanager
    def listening_to_progress(self, listener: Callable[[Raw], None]) -> Iterator[str]:
        """A token under which the router tells how far it is with a request, and who hears it. It must not raise."""
        token = f"progress-{next(self._request_ids)}"
        self._progress_listeners[token] = listener
        try:
            yield token
        finally:
            del self._progress_listeners[token]

    @asynccontextmanager
    async def open_request(
        self, method: str, params: Mapping[str, Any], read: Callable[[Raw], Any], meta: Mapping[str, Any]
    ) -> AsyncGenerator[Pending]:
        """Send a request that may have partial results, and let the block wait for them and for the answer.

        Leaving the block before there is an answer cancels the request, as for :meth:`request`. Raises the same errors
        as that, but those that an answer brings: they are left in what the block gets.
        """
        with ExitStack() as traced:
            if self.tracing is not None:
                meta = {**meta, **traced.enter_context(self.tracing.asking(method, params, None))}
            number, line = self._next(method, params, meta)
            await self.wait_room()
            pending = self._pending[number] = Pending(self._outbox.put(line), read, Arrivals())
            try:
                yield pending
            finally:
                self._take_back(number, pending)
                del self._pending[number]
                if not pending.is_settled:
                    pending.fail(trio.ClosedResourceError("the block of this call has ended"))

    def _next(
        self, method: str, params: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        number = next(self._request_ids)
        line = request_line(number, method, params, meta)
        self.check_size(line, "message")
        return number, line

    def check_size(self, line: bytes, what: str) -> None:
        """Raise ValueError for what the router would end the connection for."""
        if len(line) > self.max_message_bytes:
            raise ValueError(
                f"the {what} has {len(line)} bytes; the router takes {self.max_message_bytes:.0f}"
            )

    def _take_back(self, number: int, pending: Pending) -> None:
        """If there is no answer yet, nobody is to work on it any more."""
        if pending.is_settled:
            return
        if pending.entry.handed_over:
            self._cancel(number)
        else:
            self._outbox.withdraw(pending.entry)

    def _cancel(self, number: MessageId) -> None:
        self._outbox.put(notification_line("$/cancelRequest", {"id": number}))

    async def wait_room(self, max_bytes: int = SOFT_BYTES) -> None:
        """Wait while too much waits to be sent already. No checkpoint if there is room.

        Raises:
            ConnectionLost: the connection has ended.
        """
        await self._outbox.wait_room(max_bytes)
        if self.lost is not None:
            raise self._why_lost("not_delivered")

    def answer(self, line: bytes) -> None:
        """Send an answer, after :meth:`wait_room` if it can wait; or a notification. Dropped when the connection is gone."""
        self._outbox.put(line)

    async def wait_ended(self) -> ConnectionLost:
        """Wait until the connection has ended, and say why."""
        await self._ended.wait()
        return self._why_lost("unknown")

    # --- carrying -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry messages both ways until the connection ends, then close it.

        The end is no exception: see :attr:`lost`.
        """
        try:
            with self._running:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.end(ConnectionLost(reason="this client was closed"))
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await self._connection.aclose()

    async def greet(self) -> None:
        """Learn the router's limits, which also shows that it takes this session.

        Raises:
            ConnectionLost: it does not, and says nothing; or the connection has ended.
            RouterError: it does not.
            InvalidAnswer: whoever answers is no router, or one of another kind.
        """
        with trio.move_on_after(GREETING_SECONDS):
            try:
                info = await self.request("session.info", {}, read_session_info)
            except RemoteError as error:
                raise InvalidAnswer(delivery="unknown") from error
            limits = info.limits
            self.max_message_bytes = limits.get("max_message_bytes", math.inf)
            self.max_timeout_seconds = limits.get("max_timeout_seconds", math.inf)
            self.max_bulk_items = limits.get("max_bulk_items", math.inf)
            self._heartbeat = info.heartbeat
            return
        raise ConnectionLost(reason="the router does not answer")

    async def wait_expiring(self) -> None:
        """Wait until the router says once more that the token of this session ends soon."""
        await self._expiring.wait()
        self._expiring = trio.Event()

    async def watch_silence(self) -> None:
        """End the session when nothing has arrived for so long that the router must be gone, or cannot be reached.

        A router that lives says Ping at each interval. When that is overdue it is asked, and has the rest of its
        timeout to answer: so a program that did not run for a while itself does not take that for the router's silence.
        """
        due_seconds = self._heartbeat.interval_seconds + PING_SECONDS
        rest_seconds = max(self._heartbeat.timeout_seconds - due_seconds, PING_SECONDS)
        while True:
            due_at = self._connection.heard_at + due_seconds
            if trio.current_time() < due_at:
                await trio.sleep_until(due_at)
                continue
            with trio.move_on_after(rest_seconds):
                try:
                    await self.request("session.ping", {}, bytes)
                except ConnectionLost:
                    return
                except ResrouteError:
                    pass  # it answers
            if trio.current_time() >= self._connection.heard_at + due_seconds:
                silent_seconds = trio.current_time() - self._connection.heard_at
                self.end(ConnectionLost(reason=f"the router was silent for {silent_seconds:.0f} seconds"))
                return

    async def aclose(self) -> None:
        """Send what was said already, in bounded time, and end :meth:`run`."""
        self._outbox.finish()
        with trio.move_on_after(FLUSH_SECONDS, shield=True):
            await self._flushed.wait()
        self.end(ConnectionLost(reason="this client was closed"))

    def end(self, lost: ConnectionLost) -> None:
        """End the session: whoever waits for an answer fails with ``lost``. The first reason stands."""
        if self.lost is not None:
            return
        self.lost = lost
        self.when_ended(lost)
        self._outbox.finish()
        self._outbox.clear()
        for pending in self._pending.values():
            if not pending.is_settled:
                pending.fail(self._why_lost("unknown" if pending.entry.handed_over else "not_delivered"))
        if self.inbound is not None:
            self.inbound.connection_ended()
        self.listeners.finish()
        self.watches.finish()
        self._flushed.set()
        self._ended.set()
        self._running.cancel()

    def _why_lost(self, delivery: Delivery) -> ConnectionLost:
        """An exception of one's own for each task: a shared one would collect all their tracebacks."""
        assert self.lost is not None
        return type(self.lost)(self.lost.code, self.lost.reason, delivery)

    async def _write(self) -> None:
        max_bytes = MAX_PACK_BYTES if self._is_ndjson else 0
        left = _SLICE_SENDS  # a send that has room is no checkpoint
        while await self._outbox.wait_some():
            text = b"\n".join(self._outbox.take(max_bytes)).decode()
            try:
                await self._connection.send(text)
            except ConnectionLost:
                return  # the reader comes to the end too, and knows more about it
            left = left - 1 if self._outbox else _SLICE_SENDS
            if not left:
                await trio.lowlevel.checkpoint()
                left = _SLICE_SENDS
        self._flushed.set()

    async def _read(self) -> None:
        left = _SLICE  # what has arrived already is received without a checkpoint
        while True:
            try:
                text = await self._connection.receive()
            except ConnectionLost as lost:
                self.end(lost)
                return
            for line in _lines_of(text) if self._is_ndjson else (text,):
                if not line:
                    continue
                self._receive(line)
                left -= 1
                if not left:
                    await trio.lowlevel.checkpoint()
                    left = _SLICE

    def _receive(self, line: str) -> None:
        try:
            message = read_message(line)
            if message.method is UNSET:
                self._settle(message)
            elif message.id is UNSET or message.id is None:
                self._take_notification(message, message.method)
            elif self.inbound is not None:
                self.inbound.receive(message)
            else:
                self.answer(error_line(message.id, RemoteError(-32601, "This session is no instance")))
        except DECODE_ERRORS as error:
            self.unreadable_messages += 1
            _log.warning("message_unreadable reason=%r", str(error))

    def _take_notification(self, message: Message, method: str) -> None:
        if method == "$/progress":
            self._take_progress(b"" if message.params is UNSET else message.params)
        elif is_pushed(message, method):
            if self.listeners:
                self.listeners.tell(*read_notification(message, method))
        elif method in (EVENTS, LOST):
            self.watches.take(method, Raw() if message.params is UNSET else message.params)
        elif method == "session.closing":
            self.closing = _read_closing(b"{}" if message.params is UNSET else message.params)
        elif method == "session.expiring":
            self._expiring.set()
        elif self.inbound is not None:
            self.inbound.receive(message)

    def _take_progress(self, params: Raw | bytes) -> None:
        progress = read_progress(params)
        listener = self._progress_listeners.get(progress.token)
        if listener is not None:
            listener(progress.value)
            return
        pending = self._pending.get(progress.token)
        if pending is None or pending.is_settled or pending.chunks is None:
            return  # it has crossed our cancellation
        if not pending.take_chunk(progress.value):
            self._cancel(progress.token)

    def _settle(self, message: Message) -> None:
        if message.id is UNSET or message.id is None:
            self.unreadable_messages += 1
            _log.warning("answer_without_id error=%r", message.error)
            return
        pending = self._pending.get(message.id)
        if pending is None or pending.is_settled:
            self.late_answers += 1
        elif isinstance(message.error, ErrorObject):
            try:
                pending.fail(error_from(message.error, message.meta))
            except DECODE_ERRORS:
                pending.fail(InvalidAnswer(delivery="unknown"))
        elif message.result is not UNSET:
            pending.settle(message.result)
        else:
            pending.fail(InvalidAnswer(delivery="unknown"))


def _lines_of(text: str) -> Iterable[str]:
    """Lines, the quickest way; but of a text that is larger than a router's packs one after the other."""
    if len(text) <= MAX_PACK_BYTES:
        return text.split("\n")
    return (line[0] for line in _LINE.finditer(text))
