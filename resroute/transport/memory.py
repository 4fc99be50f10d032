"""A connection in memory: the router's end of it, and the peer's, which can also misbehave on demand.

A real transport, for tests and for programs that have a router within them. What goes through it, how much of it may wait,
and how it ends are as over WebSocket; there are no frames, sockets or tasks underneath.
"""

from collections import deque
from collections.abc import Collection, Sequence

import msgspec
import trio

from resroute.transport.interface import (
    MSGPACK,
    NDJSON,
    SUBPROTOCOLS,
    Subprotocol,
    TransportEnded,
    close_reason,
)
from resroute.transport.packing import is_utf8, pack, unpack

BUFFER_BYTES = 64 * 1024
"""How much may wait unread in one direction before who sends has to wait."""

_VANISHED = "the connection broke"
_CLOSED = "the connection is closed"


class _Close(msgspec.Struct, frozen=True):
    """The last word of one end. ``code`` is None if it left without one."""

    code: int | None
    reason: str


class _Pipe:
    """What one end has said and the other has not read."""

    def __init__(self, buffer_bytes: int) -> None:
        self.close: _Close | None = None
        self.is_abandoned = False
        self.is_lossy = False
        self._texts: deque[bytes] = deque()
        self._size_bytes = 0
        self._buffer_bytes = buffer_bytes
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def has_texts(self) -> bool:
        return bool(self._texts)

    @property
    def is_full(self) -> bool:
        return self._size_bytes > self._buffer_bytes and not self.is_abandoned

    def put(self, text: bytes) -> None:
        """Say something. It arrives even if the pipe is full: who says it asks before, or waits after."""
        self._size_bytes += len(text)  # what is lost fills the buffer all the same: nobody acknowledges it
        if not self.is_lossy:
            self._texts.append(text)
            self.wake()

    def finish(self, close: _Close) -> None:
        """Say the last word, unless it has been said."""
        if self.close is None and not self.is_lossy:
            self.close = close
            self.wake()

    def take(self) -> bytes:
        text = self._texts.popleft()
        self._size_bytes -= len(text)
        self.wake()
        return text

    def abandon(self) -> list[bytes]:
        """Nobody reads any more. Returns what nobody has read."""
        unread = list(self._texts)
        self._texts.clear()
        self.is_abandoned = not self.is_lossy  # else nobody gets to know
        self.wake()
        return unread

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._lot.unpark_all()

    async def wait(self) -> None:
        """Wait until something changes. Safe to cancel."""
        await self._lot.park()


class MemoryTransport:
    """The router's end. See :class:`resroute.transport.interface.Transport`."""

    def __init__(
        self, incoming: _Pipe, outgoing: _Pipe, *, subprotocol: Subprotocol, max_message_bytes: int
    ) -> None:
        self.subprotocol = subprotocol
        self.remote_address = "memory"
        self.max_message_bytes = max_message_bytes
        self.pongs = 0
        self.progressed_at = 0.0
        self.held_bytes = 0
        self._incoming = incoming
        self._outgoing = outgoing
        self._peer: MemoryPeer | None = None  # as long as both ends are open
        self._failure: _Close | None = None  # the peer's mistake, and what it is told about it
        self._wants_ping = False
        self._heard_pong = False
        self._is_sending = False  # in the middle of a send, or broken there

    @property
    def is_urgent(self) -> bool:
        """See the interface."""
        return self._wants_ping or (self._failure is not None and self._outgoing.close is None)

    async def receive(self) -> Sequence[bytes]:
        """See the interface."""
        await trio.lowlevel.checkpoint()
        incoming = self._incoming
        while self._failure is None and not self._heard_pong and not incoming.has_texts:
            if incoming.close is not None:
                reason = incoming.close.reason or "the peer closed the connection"
                raise TransportEnded(incoming.close.code, reason)
            await incoming.wait()
        self._heard_pong = False
        messages: list[bytes] = []
        while self._failure is None and incoming.has_texts:
            self._take(incoming.take(), messages)
        if self._failure is not None and not messages:
            raise TransportEnded(self._failure.code, self._failure.reason)
        return messages

    def _take(self, text: bytes, messages: list[bytes]) -> None:
        if len(text) > self.max_message_bytes:
            self._failure = _Close(1009, f"a message is larger than {self.max_message_bytes} bytes")
        elif self.subprotocol != MSGPACK and not is_utf8(text):
            self._failure = _Close(1007, "a text message is not UTF-8")
        elif self.subprotocol == NDJSON:
            messages += unpack(text)
        else:
            messages.append(text)

    def _hear_pong(self) -> None:
        self.pongs += 1
        self._heard_pong = True
        self._incoming.wake()

    async def send(self, messages: Collection[bytes]) -> None:
        """See the interface."""
        await trio.lowlevel.checkpoint()
        self._is_sending = True
        if self._wants_ping:
            self._wants_ping = False
            if self._peer is not None:
                self._peer._hear_ping()
        if self._failure is not None:
            self._outgoing.finish(self._failure)
        elif self._incoming.close is None or self._incoming.close.code is None:
            texts = pack(messages) if self.subprotocol == NDJSON and len(messages) > 1 else messages
            for text in texts:
                await self._put(text)
        self._is_sending = False

    async def _put(self, text: bytes) -> None:
        outgoing = self._outgoing
        if not outgoing.is_abandoned:
            outgoing.put(text)
            while outgoing.is_full:
                await outgoing.wait()
                self.progressed_at = trio.current_time()
        if outgoing.is_abandoned:
            raise TransportEnded(None, _VANISHED)

    def ping(self) -> None:
        """See the interface."""
        self._wants_ping = self._failure is None and self._incoming.close is None

    def close_if_gone(self) -> bool:
        """See the interface. Here it takes nothing to say goodbye to who is gone."""
        return False

    async def aclose(self, code: int, reason: str) -> None:
        """See the interface."""
        try:
            if self._peer is not None and not self._is_sending:
                self._outgoing.finish(
                    self._failure or self._incoming.close or _Close(code, close_reason(reason))
                )
                self._peer._hear_close()
                while self._incoming.close is None:
                    await self._incoming.wait()
        finally:
            self._peer = None
            self._outgoing.finish(_Close(None, _VANISHED))
            self._incoming.abandon()
        await trio.lowlevel.checkpoint()


class MemoryPeer:
    """The peer's end. One task receives, one task sends.

    It answers Pings and the router's goodbye by itself, as libraries do; :meth:`stall` has it stop that.

    Attributes:
        pings: Pings that have arrived.
    """

    def __init__(self, transport: MemoryTransport, incoming: _Pipe, outgoing: _Pipe) -> None:
        self.pings = 0
        self._transport = transport
        self._incoming = incoming
        self._outgoing = outgoing
        self._is_gone = False
        self._is_stalled = False
        self._owes_pong = False
        self._read_seconds = 0.0

    async def send(self, text: bytes) -> None:
        """Send one text, or with MessagePack bytes: one JSON-RPC message or, with ndjson, one or more in lines.

        Waits while the router has too much to read.

        Raises:
            TransportEnded: the connection is closed.
        """
        await trio.lowlevel.checkpoint()
        outgoing = self._outgoing
        while outgoing.is_full and not self._is_gone:
            await outgoing.wait()
        if self._is_gone or outgoing.close is not None or outgoing.is_abandoned:
            raise TransportEnded(None, _CLOSED)
        outgoing.put(text)

    async def receive(self) -> bytes:
        """Wait for the next text. Safe to cancel.

        Raises:
            TransportEnded: the router has closed the connection, and all it said before has been read.
        """
        await trio.lowlevel.checkpoint()
        if self._read_seconds:
            await self._wait_readable()
            await trio.sleep(self._read_seconds)
        await self._wait_readable()
        return self._incoming.take()

    async def _wait_readable(self) -> None:
        while not self._is_readable():
            await self._incoming.wait()

    def _is_readable(self) -> bool:
        if self._is_gone:
            raise TransportEnded(None, _CLOSED)
        if self._is_stalled:
            return False
        if not self._incoming.has_texts and self._incoming.close is not None:
            raise TransportEnded(self._incoming.close.code, self._incoming.close.reason)
        return self._incoming.has_texts

    def receive_nowait(self) -> bytes:
        """The next text, if it is there.

        Raises:
            trio.WouldBlock: it is not, or the peer is stalled.
            TransportEnded: as in :meth:`receive`.
        """
        if not self._is_readable():
            raise trio.WouldBlock
        return self._incoming.take()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and wait for the router's. Cancelled, the connection is closed at once."""
        self._outgoing.finish(_Close(code, reason))
        try:
            while self._incoming.close is None:
                await self._incoming.wait()
        except trio.Cancelled:
            self.drop()
            raise
        await trio.lowlevel.checkpoint()

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def drop(self) -> list[bytes]:
        """Vanish without a word. Returns what had arrived and was not read."""
        self._is_gone = True
        self._outgoing.finish(_Close(None, "the peer closed the connection"))
        self._outgoing.wake()
        return self._incoming.abandon()

    def stall(self) -> None:
        """Read nothing and answer no Ping from now on. What is sent still leaves."""
        self._is_stalled = True

    def resume(self) -> None:
        """Make up for a stall."""
        self._is_stalled = False
        if self._owes_pong:
            self._owes_pong = False
            self._transport._hear_pong()
        if self._incoming.close is not None:
            self._hear_close()
        self._incoming.wake()

    def lose_everything(self) -> None:
        """Be half-open: nothing arrives any more, in either direction, and neither end is told."""
        self._incoming.is_lossy = self._outgoing.is_lossy = True

    def read_slowly(self, seconds: float) -> None:
        """Take that long to read each text from now on."""
        self._read_seconds = seconds

    def _hear_ping(self) -> None:
        if self._incoming.is_lossy:
            return
        self.pings += 1
        if self._is_stalled:
            self._owes_pong = True
        elif self._outgoing.close is None:
            self._transport._hear_pong()

    def _hear_close(self) -> None:
        if not self._is_stalled and self._incoming.close is not None:
            self._outgoing.finish(self._incoming.close)


def memory_transport_pair(
    *,
    subprotocol: Subprotocol = NDJSON,
    max_message_bytes: int = 1024 * 1024,
    buffer_bytes: int = BUFFER_BYTES,
) -> tuple[MemoryTransport, MemoryPeer]:
    """The two ends of a connection whose handshake is done.

    Args:
        subprotocol: what both have agreed on.
        max_message_bytes: a larger text from the peer ends the connection with 1009.
        buffer_bytes: how much may wait unread in each direction.

    Raises:
        ValueError: the subprotocol needs an extra that is not installed.
    """
    if subprotocol not in SUBPROTOCOLS:
        raise ValueError(f"{subprotocol} needs an extra that is not installed")
    to_router, to_peer = _Pipe(buffer_bytes), _Pipe(buffer_bytes)
    transport = MemoryTransport(
        to_router, to_peer, subprotocol=subprotocol, max_message_bytes=max_message_bytes
    )
    peer = MemoryPeer(transport, to_peer, to_router)
    transport._peer = peer
    return transport, peer
