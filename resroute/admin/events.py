"""What becomes of resources, as server-sent events."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import msgspec
import trio
from msgspec import UNSET, Raw
from quart.wrappers.response import ResponseBody

from resroute.admin.problems import Problem
from resroute.admin.sessions import AdminSessions, Message, NotReady, WireError, read_message, request_text
from resroute.admin.streams import KEEP_ALIVE_SECONDS, RETRY_MS, Streams, event_text
from resroute.transport.interface import TransportEnded
from resroute.transport.memory import MemoryPeer

_encode = msgspec.json.Encoder().encode


class _Started(msgspec.Struct):
    revision: int


class _Changes(msgspec.Struct):
    revision: int
    index: int
    count: int
    events: Raw


class _ErrorType(msgspec.Struct):
    type: str


_decode_started = msgspec.json.Decoder(_Started).decode
_decode_changes = msgspec.json.Decoder(_Changes).decode
_decode_error_type = msgspec.json.Decoder(_ErrorType).decode


def open_event_stream(
    sessions: AdminSessions, streams: Streams, subject: str, filters: dict[str, Any]
) -> "EventStream":
    """One more, with a session of its own, which is to be closed whatever happens.

    Raises:
        NotReady: the router serves no sessions yet.
        Problem: there are too many.
    """
    leave = streams.take_place()
    try:
        return EventStream(sessions.open(subject), filters, leave)
    except NotReady:
        leave()
        raise


class EventStream(ResponseBody):
    """One stream.

    Args:
        peer: its session.
        filters: which resources it is about, as ``resource.watch`` takes them.
        leave: called when it is closed; more than once does no harm.
    """

    def __init__(self, peer: MemoryPeer, filters: dict[str, Any], leave: Callable[[], None]) -> None:
        self._peer = peer
        self._filters = filters
        self._leave = leave
        self._requests = 0
        self._first = b""

    async def begin(self, from_revision: int | None) -> None:
        """Begin to watch: after a revision, or from now on. What is no longer known is told as ``gone``.

        Raises:
            Problem: the router refuses it.
            TransportEnded: the router ends the session.
        """
        told = b""
        more = {} if from_revision is None else {"from_revision": from_revision}
        answer = await self._watch(more)
        if more and answer.error is not UNSET and self._is_gone(answer.error):
            told = _event("gone", _gone(answer.error))
            answer = await self._watch({})
        if answer.error is not UNSET:
            raise Problem.of_answer(answer.error)
        self._first = b"retry: %d\n\n%b%b" % (RETRY_MS, told, _watching(answer))

    async def _watch(self, more: dict[str, int]) -> Message:
        await self._ask(more)
        while True:
            message = read_message(await self._peer.receive())
            if message.id == self._requests:
                return message

    async def _ask(self, more: dict[str, int]) -> None:
        self._requests += 1
        await self._peer.send(request_text(self._requests, "resource.watch", _encode(self._filters | more)))

    @staticmethod
    def _is_gone(error: WireError) -> bool:
        """Whether a revision is one that the router knows nothing of: too old, or of a router whose clock ran ahead."""
        if error.data is UNSET:
            return False
        if _decode_error_type(error.data).type == "revision_gone":
            return True
        wrong = msgspec.json.decode(error.data).get("errors", ())
        return [it["path"] for it in wrong] == ["from_revision"]

    def close(self) -> None:
        """Its session ends."""
        self._leave()
        self._peer.drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            while True:
                text = None
                with trio.move_on_after(KEEP_ALIVE_SECONDS):
                    text = await self._peer.receive()
                if text is None:
                    return b":\n\n"
                told = await self._tell(read_message(text))
                if told:
                    return told
        except TransportEnded:
            raise StopAsyncIteration from None

    async def _tell(self, message: Message) -> bytes:
        if message.method == "resource.events" and message.params is not UNSET:
            return _changes(message.params)
        if message.method == "resource.watch_lost" and message.params is not UNSET:
            await self._ask({})  # what the answer says comes after this
            return _event("gone", message.params)
        if message.method == "session.closing" and message.params is not UNSET:
            return _event("closing", message.params)
        if message.id == self._requests and message.result is not UNSET:
            return _watching(message)
        return b""


def _watching(answer: Message) -> bytes:
    assert answer.result is not UNSET
    revision = _decode_started(answer.result).revision
    return _event("watching", _encode({"revision": revision}), revision)


def _gone(error: WireError) -> bytes:
    data = {} if error.data is UNSET else msgspec.json.decode(error.data)
    return _encode({"oldest_revision": data.get("oldest_revision")})


def _changes(params: Raw) -> bytes:
    """What one command changed, or a part of it. The id comes with the last part: streams go on between revisions."""
    changes = _decode_changes(params)
    told = {
        "revision": changes.revision,
        "index": changes.index,
        "count": changes.count,
        "events": changes.events,
    }
    is_last = changes.index + 1 == changes.count
    return _event("changes", _encode(told), changes.revision if is_last else None)


def _event(name: str, data: bytes | Raw, event_id: int | None = None) -> bytes:
    # raw line breaks can only be white space between tokens here
    return event_text(name, bytes(data).replace(b"\n", b" ").replace(b"\r", b" "), event_id)
