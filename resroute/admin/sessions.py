"""Sessions of administrators with the router that serves their pages, in memory.

What comes in by HTTP goes through a session like any other, so that it meets the same checks and limits, takes its turn,
and is in the audit log with who asked for it.
"""

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Literal

import msgspec
import structlog
import trio
from msgspec import UNSET, Raw, UnsetType

from resroute.admin.view import Administrable
from resroute.errors import Delivery, Unavailable
from resroute.router.identity import Identity
from resroute.transport.interface import JSON, TransportEnded
from resroute.transport.memory import MemoryPeer, memory_transport_pair

IDLE_SECONDS = 60.0
"""A session that nobody has used for so long is ended."""

_LOOK_SECONDS = 20.0
_LAST_WORD_SECONDS = 1.0

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("resroute.admin")


class WireError(msgspec.Struct):
    """An error as it is on the wire."""

    code: int
    message: str
    data: Raw | UnsetType = UNSET


class _Meta(msgspec.Struct):
    origin: Literal["router"] | UnsetType = UNSET


class Message(msgspec.Struct):
    """What the router says: an answer or a notification, its payload as it came."""

    id: int | None = None
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: WireError | UnsetType = UNSET
    meta: Raw | UnsetType = UNSET

    @property
    def is_refusal(self) -> bool:
        """Whether it is an error of the router's own, and not of a callee's."""
        return (
            self.error is not UNSET and self.meta is not UNSET and _decode_meta(self.meta).origin is not UNSET
        )


read_message = msgspec.json.Decoder(Message).decode
_decode_meta = msgspec.json.Decoder(_Meta).decode


class RequestTooLarge(Exception):
    """It does not fit into one message to the router, and was not sent."""


class NotReady(Exception):
    """The router does not serve sessions yet."""


def request_text(request_id: int, method: str, params: bytes, traceparent: str | None = None) -> bytes:
    """A request as one text. ``params`` is the JSON of an object."""
    meta: Mapping[str, str] = {} if traceparent is None else {"traceparent": traceparent}
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b,"meta":%b}' % (
        request_id,
        _encode(method),
        params,
        _encode(meta),
    )


def _ended(method: str, delivery: Delivery) -> Unavailable:
    return Unavailable("draining", delivery=delivery if method == "route.call" else None)


class _Waiting:
    """Somebody who waits for an answer."""

    __slots__ = ("answer", "settled")

    def __init__(self) -> None:
        self.answer: Message | None = None
        self.settled = trio.Event()


class AdminSession:
    """One session. Any number of tasks make requests; one reads.

    Args:
        peer: its end of the connection.
        max_message_bytes: the router ends a session that sends more in one message.
    """

    def __init__(self, peer: MemoryPeer, max_message_bytes: int) -> None:
        self._peer = peer
        self._max_message_bytes = max_message_bytes
        self._next_id = itertools.count(1).__next__
        # request id -> who waits for its answer; each entry is removed by the request that made it
        self._waiting: dict[int, _Waiting] = {}
        self._used_at = trio.current_time()
        self.has_ended = False

    async def request(self, method: str, params: bytes, *, traceparent: str | None = None) -> Message:
        """Make a request and wait for its answer. Cancelling this cancels the request.

        Args:
            params: the JSON of an object.
            traceparent: of the trace that it belongs to, as W3C Trace Context has it.

        Raises:
            RequestTooLarge: it was not sent.
            Unavailable: the router has ended the session.
        """
        request_id = self._next_id()
        text = request_text(request_id, method, params, traceparent)
        if len(text) > self._max_message_bytes:
            raise RequestTooLarge
        waiting = self._waiting[request_id] = _Waiting()
        try:
            await self._peer.send(text)
            await waiting.settled.wait()
        except TransportEnded:
            raise _ended(method, "not_delivered") from None
        except trio.Cancelled:
            with trio.move_on_after(_LAST_WORD_SECONDS, shield=True):
                await self._cancel(request_id)
            raise
        finally:
            del self._waiting[request_id]
            self._used_at = trio.current_time()
        if waiting.answer is None:
            raise _ended(method, "unknown")
        return waiting.answer

    async def _cancel(self, request_id: int) -> None:
        try:
            await self._peer.send(
                b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%d}}' % request_id
            )
        except TransportEnded:
            pass

    async def run(self) -> None:
        """Read until the session has ended."""
        try:
            while True:
                message = read_message(await self._peer.receive())
                waiting = None if message.id is None else self._waiting.get(message.id)
                if waiting is not None:
                    waiting.answer = message
                    waiting.settled.set()
        except TransportEnded:
            pass
        finally:
            self.has_ended = True
            for waiting in self._waiting.values():
                waiting.settled.set()

    async def aclose_if_idle(self) -> None:
        """End it if nobody has used it lately."""
        if not self._waiting and trio.current_time() - self._used_at >= IDLE_SECONDS:
            self.has_ended = True  # nobody begins anything with it any more
            with trio.move_on_after(_LAST_WORD_SECONDS):
                await self._peer.aclose(1000, "idle")


class AdminSessions:
    """The sessions of those who use the pages: one for each administrator, opened when it is needed.

    Args:
        router: with which they are.
    """

    def __init__(self, router: Administrable) -> None:
        self._router = router
        self._nursery: trio.Nursery | None = None  # there while it runs
        # subject -> the session; an entry goes with its session
        self._sessions: dict[str, AdminSession] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have sessions live until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await trio.sleep(_LOOK_SECONDS)
                for session in list(self._sessions.values()):
                    await session.aclose_if_idle()

    def of(self, subject: str) -> AdminSession:
        """The session of an administrator.

        Raises:
            NotReady: there can be none yet.
        """
        session = self._sessions.get(subject)
        if session is None or session.has_ended:
            session = AdminSession(self.open(subject), self._router.settings.max_message_bytes)
            self._sessions[subject] = session
            self._started().start_soon(self._keep, subject, session)
        return session

    async def _keep(self, subject: str, session: AdminSession) -> None:
        try:
            await session.run()
        except Exception:  # a bug: whoever waits is told that the session has ended
            _log.exception("a session of an administrator failed")
        if self._sessions.get(subject) is session:
            del self._sessions[subject]

    def open(self, subject: str) -> MemoryPeer:
        """A session of one's own, for what a shared one would hold up: the peer's end of it, to be dropped when done.

        Raises:
            NotReady: there can be none yet.
        """
        if self._router.state_name == "starting":
            raise NotReady
        transport, peer = memory_transport_pair(
            subprotocol=JSON, max_message_bytes=self._router.settings.max_message_bytes
        )
        identity = Identity(subject, frozenset({"admin"}))
        self._started().start_soon(partial(self._router.serve_transport, transport, identity=identity))
        return peer

    def _started(self) -> trio.Nursery:
        assert self._nursery is not None, "run() comes first"
        return self._nursery
