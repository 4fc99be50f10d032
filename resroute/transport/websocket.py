"""WebSocket on the router's side: the handshake, and what a router sends. All else is as at the other end, in ``framed``."""

from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

import trio
from websockets.exceptions import NegotiationError
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol as LibrarySubprotocol

from resroute.transport.framed import LIBRARY_LOG, Framed
from resroute.transport.frames import FIN, PING, WHOLE_BINARY, header
from resroute.transport.interface import (
    JSON,
    MAX_PACK_BYTES,
    MSGPACK,
    NDJSON,
    SUBPROTOCOLS,
    Subprotocol,
    TransportEnded,
)
from resroute.transport.opening import read_opening
from resroute.transport.packing import pack

_MAX_HANDSHAKE_BYTES = 16 * 1024  # the library would take a mebibyte of header, of which nobody keeps count
_MALFORMED = "This is no opening handshake of WebSocket, or something came with it before it was answered.\n"

Refusal = tuple[int, str]
"""An HTTP status and a sentence, with a line break at its end, for whoever asked."""


def _choose(offered: Sequence[str]) -> Subprotocol | None:
    """Choose among the subprotocols a client offers; a token offered beside them is none.

    Raises:
        NegotiationError: if only unknown ones are offered; it lists those that the router speaks.
    """
    real = [name for name in offered if not name.startswith("bearer.")]
    if not real:
        return None
    for name in SUBPROTOCOLS:
        if name in real:
            return name
    raise NegotiationError(f"this router speaks the subprotocols {', '.join(SUBPROTOCOLS)}")


class _Protocol(ServerProtocol):
    """The library's protocol with our choice of subprotocol. A method, since a function given to it makes a cycle."""

    def select_subprotocol(self, subprotocols: Sequence[LibrarySubprotocol]) -> LibrarySubprotocol | None:
        """See :func:`_choose`."""
        chosen = _choose(subprotocols)
        return None if chosen is None else LibrarySubprotocol(chosen)


class WebSocketTransport(Framed[_Protocol]):
    """The router's side of one WebSocket connection. See :class:`resroute.transport.interface.Transport`."""

    def __init__(self, stream: trio.abc.Stream, *, max_message_bytes: int) -> None:
        super().__init__(stream, max_message_bytes=max_message_bytes, masks=True)
        self.subprotocol: Subprotocol = JSON
        self.remote_address = _remote_address(stream)
        self._early = b""  # of the handshake

    def _make_protocol(self, state: State) -> _Protocol:
        return _Protocol(state=state, max_size=self._max_message_bytes, logger=LIBRARY_LOG)

    def open_at_once(self, refuse: Callable[[Request], Refusal | None]) -> str | None:
        """As :meth:`handshake`, if the request has arrived, and is a usual and a welcome one. Else None: call that."""
        data = self._wire.receive_nowait()
        opening = self._open(data, refuse)
        if opening is None:
            self._early = data
            return None
        target, answer = opening
        if self._wire.send_nowait(answer) < len(answer):
            raise TransportEnded(None, "the connection takes no answer to its handshake")
        return target

    def _open(self, data: bytes, refuse: Callable[[Request], Refusal | None]) -> tuple[str, bytes] | None:
        """The target of a request that is usual and welcome, and its answer; None: it is the library's to read."""
        opening = read_opening(data)
        if opening is None or refuse(opening.request) is not None:
            return None
        try:
            chosen = _choose(opening.subprotocols)
        except NegotiationError:
            return None
        self._begin(chosen)
        return opening.request.path, opening.answer(chosen)

    async def handshake(self, refuse: Callable[[Request], Refusal | None]) -> str:
        """Answer the opening handshake, and return its target: a path, perhaps with a query. The caller bounds its time.

        Args:
            refuse: looks at a request that may become a session and returns what to refuse it with, or None.

        Raises:
            TransportEnded: the peer left, was refused, or did not speak WebSocket. The stream is not closed yet.
        """
        events: list[object] = []
        left = _MAX_HANDSHAKE_BYTES
        while not events:
            data, self._early = self._early or await self._wire.receive_some(), b""
            if left == _MAX_HANDSHAKE_BYTES and (opened := self._open(data, refuse)) is not None:
                target, answer = opened
                await self._send_all(answer)
                return target
            if not data:
                raise TransportEnded(None, "the peer closed the connection")
            left -= len(data)
            if left < 0:
                await self._refuse_large_handshake()
            self._protocol.receive_data(data)
            events += self._protocol.events_received()
            if self._protocol.handshake_exc is not None:
                await self._flush_refusal()
                raise TransportEnded(None, "the peer did not speak WebSocket")
        if len(events) > 1 or self._protocol.reader.buffer or self._protocol.parser_exc is not None:
            await self._flush_refusal()
            raise TransportEnded(None, "the peer sent frames before the handshake was done")
        request = events[0]
        assert isinstance(request, Request)
        await self._accept(request, refuse)
        return request.path

    async def _accept(self, request: Request, refuse: Callable[[Request], Refusal | None]) -> None:
        """Have the library answer a request that it has read."""
        response = self._protocol.accept(request)
        if response.status_code == 101 and (refusal := refuse(request)) is not None:
            response = self._protocol.reject(*refusal)
        self._protocol.send_response(response)
        if response.status_code != 101:
            await self._flush_refusal()
            raise TransportEnded(None, f"the handshake was refused with HTTP {response.status_code}")
        self._collect()
        # the parser that read the request keeps it, with all its headers, for as long as it runs: go on with a new one
        self._protocol.parser.close()
        self._protocol.parser = Protocol.parse(self._protocol)
        next(self._protocol.parser)
        self._begin(self._protocol.subprotocol)
        await self.send_urgent()

    def _begin(self, chosen: str | None) -> None:
        """The handshake is done, but for what is to be sent: frames from here on."""
        self._has_begun = True
        if chosen == NDJSON:
            self.subprotocol = NDJSON
            self._ndjson = True
        elif chosen == MSGPACK:
            self.subprotocol = MSGPACK
            self._whole = WHOLE_BINARY

    async def _refuse_large_handshake(self) -> NoReturn:
        text = f"An opening handshake takes at most {_MAX_HANDSHAKE_BYTES} bytes.\n"
        self._protocol.send_response(self._protocol.reject(431, text))
        await self._flush_refusal()
        raise TransportEnded(None, "the handshake was too large")

    async def _flush_refusal(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if not data:  # the library has no answer to what is no HTTP, or more than a request
            data = self._protocol.reject(400, _MALFORMED).serialize()
        try:
            await self._wire.send_all(data)
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, TransportEnded):
            pass

    async def send(self, messages: Collection[bytes]) -> None:
        """See the interface."""
        wire, self._urgent = self._urgent, []
        if not self._is_open():
            messages = ()  # nothing may follow a Close
        if self._ndjson and len(messages) > 1:
            messages = pack(messages)
        for message in messages:
            size = len(message)
            if size > MAX_PACK_BYTES:
                await self._send_large(wire, message)
                wire = []
            else:
                wire.append(header(self._whole, size))
                wire.append(message)
        if wire:
            await self._send_all(b"".join(wire))

    async def _send_large(self, wire: list[bytes], message: bytes) -> None:
        """Send one message in fragments, between which Ping, Pong and Close may go."""
        for start in range(0, len(message), MAX_PACK_BYTES):
            part = message[start : start + MAX_PACK_BYTES]
            last = start + len(part) == len(message)
            opcode = 0x00 if start else self._whole & ~FIN
            wire += (header((FIN if last else 0) | opcode, len(part)), part)
            await self._send_all(b"".join(wire))
            wire, self._urgent = self._urgent, []
        if wire:
            await self._send_all(b"".join(wire))

    def ping(self) -> None:
        """See the interface."""
        if self._is_open():
            self._urgent.append(PING)
            self._bound_urgent()


def _remote_address(stream: trio.abc.Stream) -> str:
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return "memory"
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "unknown"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
