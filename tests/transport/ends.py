"""Connections to test transports with: the router's end, and a peer that can be told what to do."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import trio
import trio.testing
from trio.testing import lockstep_stream_pair
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.typing import Subprotocol as OfferedSubprotocol
from websockets.uri import parse_uri

from resroute.transport.interface import MSGPACK, Subprotocol, Transport, TransportEnded
from resroute.transport.memory import memory_transport_pair
from resroute.transport.websocket import Refusal, WebSocketTransport


class Peer(Protocol):
    """The other end of a connection. It answers Pings and a goodbye by itself."""

    pings: int

    async def send(self, text: bytes) -> None:
        """Send one message of the kind that the session is for."""
        ...

    async def receive(self) -> bytes:
        """Wait for the next message. Raises TransportEnded."""
        ...

    async def aclose(self, code: int, reason: str) -> None:
        """Say goodbye and wait for the router's."""
        ...

    def drop(self) -> object:
        """Vanish without a word."""
        ...

    def stall(self) -> None:
        """Read nothing, answer nothing."""
        ...

    def resume(self) -> None:
        """Make up for it."""
        ...


class WebSocketPeer:
    """A WebSocket client that reads all the time, unless it is stalled, and can send frames by hand.

    Attributes:
        frames: all data frames that arrived, as they were.
        code: the router's close code, once it is there.
        response: the router's answer to the handshake.
    """

    def __init__(self, stream: trio.abc.Stream, *, path: str = "/", subprotocols: Sequence[str] = ()) -> None:
        self.stream = stream
        self.pings = 0
        self.pongs: list[bytes] = []
        self.frames: list[Frame] = []
        self.code: int | None = None
        self.protocol = ClientProtocol(
            parse_uri(f"ws://localhost{path}"),
            subprotocols=[OfferedSubprotocol(name) for name in subprotocols] or None,
            max_size=None,
        )
        self._opcode = Opcode.BINARY if MSGPACK in subprotocols else Opcode.TEXT
        self.ended: TransportEnded | None = None
        self._texts: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._changed = trio.lowlevel.ParkingLot()
        self._is_stalled = False
        self._sending = trio.Lock()
        self._reading = trio.CancelScope()

    async def shake_hands(self, headers: dict[str, str] | None = None) -> None:
        """Send the opening handshake and wait for the answer to it."""
        request = self.protocol.connect()
        for name, value in (headers or {}).items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value
        self.protocol.send_request(request)
        await self.flush()
        while self.protocol.state is State.CONNECTING and self.protocol.handshake_exc is None:
            await self._feed()

    async def _feed(self) -> bool:
        data = await self.stream.receive_some(65536)
        if data:
            self.protocol.receive_data(bytes(data))
        else:
            self.protocol.receive_eof()
        return bool(data)

    async def run(self) -> None:
        """Read until the connection has ended."""
        try:
            with self._reading:
                while await self._read():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.ended = TransportEnded(
            self.code, self.protocol.close_rcvd.reason if self.protocol.close_rcvd else ""
        )
        self._changed.unpark_all()
        await trio.aclose_forcefully(self.stream)

    async def _read(self) -> bool:
        await self._wait_while_stalled()
        is_open = await self._feed()
        await self._wait_while_stalled()
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        if self.protocol.close_rcvd is not None:
            self.code = self.protocol.close_rcvd.code
        await self.flush()
        self._changed.unpark_all()
        return is_open and self.protocol.close_rcvd is None

    async def _wait_while_stalled(self) -> None:
        while self._is_stalled:
            await self._changed.park()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.PING:
                self.pings += 1
            case Opcode.PONG:
                self.pongs.append(bytes(frame.data))
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self.frames.append(frame)
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    self._texts.append(b"".join(self._parts))
                    self._parts.clear()

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        async with self._sending:
            for data in self.protocol.data_to_send():
                if data:
                    await self.stream.send_all(data)

    async def send_frame(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        """Send a frame as it is, masked as a client's are."""
        await self.send_raw(Frame(opcode, data, fin).serialize(mask=True))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes."""
        async with self._sending:
            await self.stream.send_all(data)

    async def send(self, text: bytes) -> None:
        """See :class:`Peer`."""
        await self.send_frame(self._opcode, text)

    async def receive(self) -> bytes:
        """See :class:`Peer`."""
        while not self._texts:
            if self.ended is not None:
                raise self.ended
            await self._changed.park()
        return self._texts.popleft()

    async def aclose(self, code: int, reason: str) -> None:
        """See :class:`Peer`."""
        self.protocol.send_close(code, reason)
        await self.flush()
        while self.ended is None:
            await self._changed.park()

    def drop(self) -> None:
        """See :class:`Peer`."""
        self._reading.cancel()

    def stall(self) -> None:
        """See :class:`Peer`."""
        self._is_stalled = True

    def resume(self) -> None:
        """See :class:`Peer`."""
        self._is_stalled = False
        self._changed.unpark_all()


def accept_all(_request: Request) -> Refusal | None:
    """Refuse no handshake."""
    return None


@asynccontextmanager
async def open_websocket(
    subprotocol: Subprotocol, max_message_bytes: int = 1024 * 1024
) -> AsyncGenerator[tuple[WebSocketTransport, WebSocketPeer]]:
    """A WebSocket connection over a stream that holds nothing: what is sent waits until it is read."""
    ours, theirs = lockstep_stream_pair()
    transport = WebSocketTransport(theirs, max_message_bytes=max_message_bytes)
    peer = WebSocketPeer(ours, subprotocols=[subprotocol])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.handshake, accept_all)
        await peer.shake_hands()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(peer.run)
        yield transport, peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_memory(
    subprotocol: Subprotocol, max_message_bytes: int = 1024 * 1024
) -> AsyncGenerator[tuple[Transport, Peer]]:
    """A connection in memory."""
    yield memory_transport_pair(
        subprotocol=subprotocol, max_message_bytes=max_message_bytes, buffer_bytes=1000
    )


type Open = Callable[..., AbstractAsyncContextManager[tuple[Transport, Peer]]]
type Act = Callable[[], Awaitable[Any]]
