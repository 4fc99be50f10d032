"""WebSocket on Trio, the client's side. Frames are as at the router's end: see :mod:`resroute.transport.framed`."""

import os
import ssl
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from websockets.client import ClientProtocol
from websockets.protocol import State

from resroute.client.address import Address, parse_url
from resroute.client.connection import Connection
from resroute.client.dialing import CLOSING_SECONDS, NO_ANSWER, OPENING_SECONDS, open_stream
from resroute.client.handshake import Opening, client_protocol
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.tokens import check_token
from resroute.errors import ConnectionLost, connection_lost
from resroute.transport.framed import Framed
from resroute.transport.frames import WHOLE_TEXT, apply_mask, masked_header
from resroute.transport.interface import TransportEnded

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Above whatever a router delivers, also one whose ``max_message_bytes`` was raised."""

_REFUSAL_SECONDS = 2.0
"""How long the text of a refusal may take; that it is one is known before."""
_NORMAL = 1000  # RFC 6455, section 7.4.1


@asynccontextmanager
async def open_websocket(
    url: str, *, token: str | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[Connection]:
    """Connect to a router, and close the connection at the end of the block.

    Raises:
        ConnectionFailed: nobody answers in time, or not as a router does.
        ValueError: the URL or the token cannot be one.
    """
    address = parse_url(url)
    if ssl_context is not None and not address.is_secure:
        raise ValueError("an ssl_context goes with a wss:// URL")
    check_token(token)
    stream = await open_stream(address, ssl_context)
    async with _open_over(stream, address, token) as connection:
        yield connection


@asynccontextmanager
async def open_websocket_over(
    stream: trio.abc.Stream, *, url: str = "ws://localhost/", token: str | None = None
) -> AsyncGenerator[Connection]:
    """The same over a stream that leads to a router already. The stream is closed at the end.

    Args:
        url: what to call the router in the handshake; nothing is looked up.
    """
    async with _open_over(stream, parse_url(url), token) as connection:
        yield connection


@asynccontextmanager
async def _open_over(
    stream: trio.abc.Stream, address: Address, token: str | None
) -> AsyncGenerator[Connection]:
    frames = ClientFrames(stream, address)
    try:
        subprotocol = await frames.shake_hands(token)
        async with open_transparent_nursery() as nursery:
            connection = _WebSocket(frames, subprotocol)
            nursery.start_soon(connection.keep_answering)
            try:
                yield connection
            finally:
                with trio.move_on_after(CLOSING_SECONDS, shield=True):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await frames.aclose_forcefully()


class ClientFrames(Framed[ClientProtocol]):
    """The client's end of the frames."""

    def __init__(self, stream: trio.abc.Stream, address: Address) -> None:
        super().__init__(stream, max_message_bytes=MAX_MESSAGE_BYTES, masks=False)
        self._address = address

    def _make_protocol(self, state: State) -> ClientProtocol:
        return client_protocol(self._address, state=state, max_message_bytes=self._max_message_bytes)

    async def shake_hands(self, token: str | None) -> str | None:
        """Do the opening handshake in bounded time, and return the subprotocol that was agreed on.

        Raises:
            ConnectionFailed: the peer does not answer, or not as a router does.
            ValueError: the token cannot be one.
        """
        opening = Opening(self._address, token)
        with trio.move_on_after(OPENING_SECONDS) as scope:
            behind: bytes | None = None
            try:
                await self._wire.send_all(opening.request)
            except TransportEnded:
                pass  # why, the peer may have said
            while behind is None:
                try:
                    data = await self._wire.receive_some()
                except TransportEnded:
                    data = b""
                behind = opening.receive(data)
                if opening.is_refused:
                    scope.deadline = min(scope.deadline, trio.current_time() + _REFUSAL_SECONDS)
            self.begin(behind)
            return opening.subprotocol
        raise opening.failure(NO_ANSWER)

    def begin(self, behind: bytes = b"") -> None:
        """The handshake is done, and this came behind it: frames from here on."""
        self._has_begun = True
        self._rest += behind
        self._has_more = bool(behind)

    async def send_text(self, text: bytes) -> None:
        """Send one message in one frame, behind whatever is urgent.

        Raises:
            TransportEnded: the connection has ended.
        """
        if not self._is_open():
            raise self._ended()
        mask = os.urandom(4)
        await self._send_frames((masked_header(WHOLE_TEXT, len(text), mask), apply_mask(text, mask)))


class _WebSocket:
    """See :class:`resroute.client.connection.Connection`."""

    def __init__(self, frames: ClientFrames, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.heard_at = trio.current_time()
        self._frames = frames
        self._arrived: deque[bytes] = deque()
        self._turn = trio.Lock()  # to send: messages, or answers to Pings
        self._urgent = trio.Event()

    async def send(self, text: str) -> None:
        data = text.encode()
        await self._wait_turn()
        try:
            await self._frames.send_text(data)
        except TransportEnded as ended:
            self._urgent.set()
            raise self._lost(ended) from None
        finally:
            self._turn.release()

    async def _wait_turn(self) -> None:
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()

    async def receive(self) -> str:
        while not self._arrived:
            try:
                self._arrived += await self._frames.receive()
            except TransportEnded as ended:
                raise self._lost(ended) from None
            self.heard_at = trio.current_time()
            if self._frames.is_urgent:
                self._urgent.set()
        return self._arrived.popleft().decode()

    async def keep_answering(self) -> None:
        """Answer Pings until cancelled or at the end: who sends may be silent, and who reads must not wait for room.

        If nothing can be sent any more, whoever reads has a while to find out why, and then comes to the end too.
        """
        while True:
            await self._urgent.wait()
            self._urgent = trio.Event()
            await self._wait_turn()
            try:
                await self._frames.send_urgent()
            except TransportEnded:
                break
            finally:
                self._turn.release()
        await trio.sleep(CLOSING_SECONDS)
        await self._frames.aclose_forcefully()

    async def aclose(self) -> None:
        await self._frames.aclose(_NORMAL, "")

    def _lost(self, ended: TransportEnded) -> ConnectionLost:
        """The end as the SDK tells it. A code is the router's: what it says of this program, or of its own end."""
        if self._frames.is_closed_by_peer:
            return connection_lost(ended.code, ended.reason)
        match ended.code:
            case None:
                return ConnectionLost(reason=ended.reason)
            case 1000:  # that is what aclose says
                return ConnectionLost(reason="this client has closed it")
            case _:
                return ConnectionLost(reason=f"what came over it cannot be taken: {ended}")
