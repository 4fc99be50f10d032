"""WebSocket on a Trio stream: the only module on the router's side that knows a WebSocket library.

One ``receive_some`` yields a batch of messages and one ``send_all`` takes a batch: no task switch, lock or system call per
message. The protocol (RFC 6455) is the sans-I/O one of ``websockets``, which leaves it to us to put fragments together and
to check that text is UTF-8. For speed, what almost every frame is, a whole message, is read and written here without it;
all other frames, and so every rule about them, are the library's, whose parser always stands between two frames.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

import trio
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.speedups import apply_mask
from websockets.typing import Subprotocol as LibrarySubprotocol

from resroute.transport.frames import (
    CONTROL,
    FIN,
    MASKED,
    MAX_CONTROL_BYTES,
    PING,
    WHOLE_BINARY,
    WHOLE_PONG,
    WHOLE_TEXT,
    header,
    is_clients,
    locate,
)
from resroute.transport.interface import (
    JSON,
    MAX_PACK_BYTES,
    MSGPACK,
    NDJSON,
    SUBPROTOCOLS,
    Subprotocol,
    TransportEnded,
    close_reason,
)
from resroute.transport.opening import read_opening
from resroute.transport.packing import pack
from resroute.transport.wire import wire_of

_MAX_PENDING_PONGS = 16
_MAX_HANDSHAKE_BYTES = 16 * 1024  # the library would take a mebibyte of header, of which nobody keeps count
_SLICE = 1024  # whole messages and Pongs that are read before others have their turn: about a millisecond
_SLICES_OTHER = 32  # as many of them take as long as one frame does that goes through the library
_SLICE_LINES = 4096  # of one text with ndjson: each takes forty bytes beside its own
_LOOK_BYTES = 256  # of the smallest frames that takes the library half a millisecond
_LARGE_LOOK_BYTES = 2048  # where there were but few frames
_FEW_FRAMES = 4
_MALFORMED = "This is no opening handshake of WebSocket, or something came with it before it was answered.\n"

_log = logging.getLogger("resroute.transport")  # the library's own lines; the session logs what matters
_log.setLevel(logging.ERROR)

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


class WebSocketTransport:
    """The router's side of one WebSocket connection. See :class:`resroute.transport.interface.Transport`."""

    def __init__(self, stream: trio.abc.Stream, *, max_message_bytes: int) -> None:
        self.subprotocol: Subprotocol = JSON
        self.remote_address = _remote_address(stream)
        self.pongs = 0
        self._stream = stream
        self._wire = wire_of(stream)
        self._max_message_bytes = max_message_bytes
        self._made: _Protocol | None = None
        self._early = b""  # of the handshake
        self._has_begun = False  # the handshake is done
        self._is_gone = False  # the peer says nothing more
        self._fragments = bytearray()  # of a message; a list would take forty bytes for each of one byte
        self._rest = bytearray()  # an incomplete frame
        self._wanted = 0  # how many bytes it takes at least
        self._lines = b""  # of a text with very many, those that have not been looked at
        self._has_more = False  # what is left has not been looked at, for others are to have their turn
        self._urgent: list[bytes] = []
        self._sending = False  # inside send_all: what is on the wire may end in the middle of a frame
        self._ndjson = False
        self._whole = WHOLE_TEXT  # first byte of a message in one frame, in both directions

    @property
    def max_message_bytes(self) -> int:
        """See the interface."""
        return self._max_message_bytes

    @max_message_bytes.setter
    def max_message_bytes(self, size: int) -> None:
        self._max_message_bytes = size
        if self._made is not None:
            self._made.max_message_size = size

    @property
    def _protocol(self) -> _Protocol:
        """The library's. Made when it is needed: most connections come, speak and go without it."""
        if self._made is None:
            state = State.OPEN if self._has_begun else State.CONNECTING
            self._made = _Protocol(state=state, max_size=self._max_message_bytes, logger=_log)
        return self._made

    @property
    def progressed_at(self) -> float:
        """See the interface."""
        return self._wire.progressed_at

    @property
    def held_bytes(self) -> int:
        """See the interface."""
        return len(self._rest) + len(self._fragments) + len(self._lines)

    @property
    def is_urgent(self) -> bool:
        """See the interface."""
        return bool(self._urgent)

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
        await self.send(())

    def _begin(self, chosen: str | None) -> None:
        """The handshake is done, but for what is to be sent: frames from here on."""
        self._has_begun = True
        if chosen == NDJSON:
            self.subprotocol = NDJSON
            self._ndjson = True
        elif chosen == MSGPACK:
            self.subprotocol = MSGPACK
            self._whole = WHOLE_BINARY

    def _is_open(self) -> bool:
        """Whether no Close has been sent or received."""
        if self._made is None:
            return self._has_begun and not self._is_gone
        return self._made.state is State.OPEN

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

    async def receive(self) -> Sequence[bytes]:
        """See the interface."""
        if not self._is_open():
            raise self._ended()
        messages: list[bytes] = []
        if self._has_more:
            await trio.lowlevel.checkpoint()
            data = b""
        elif not (data := await self._wire.receive_some()):
            self._rest.clear()  # of a frame that has no end
            self._is_gone = True
            if self._made is not None:
                self._made.receive_eof()
            raise TransportEnded(None, "the peer closed the connection")
        self._read_frames(data, messages)
        if self._made is not None and self._made.writes:
            self._collect()
        if not messages and not self._is_open():
            raise self._ended()
        return messages

    def _read_frames(self, data: bytes, messages: list[bytes]) -> None:
        """Take every frame that is complete. What is left waits, without being looked at, until it can be complete.

        Of very many small ones only a slice is taken, for to look at all that one read may yield takes a tenth of a second.
        """
        self._has_more = False
        if self._lines:
            self._take_lines(self._lines, messages)
            self._has_more = bool(self._lines or self._rest)
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        start, end, left = 0, len(data), _SLICE
        while start < end:
            if left <= 0 or self._lines:
                self._rest += data[start:]
                self._wanted, self._has_more = 0, True
                return
            at, stop = locate(data, start)
            if stop > end:
                before = 0 if data[start] & CONTROL else len(self._fragments)
                is_too_large = at <= end and before + stop - at > self.max_message_bytes
                if is_too_large or (end - start >= 2 and not is_clients(data, start)):
                    self._protocol.receive_data(data[start:at])  # enough for the library to refuse it
                    return
                self._rest += data[start:]
                self._wanted = stop - start
                return
            is_masked = data[start + 1] & MASKED
            if (
                data[start] == self._whole
                and is_masked
                and (self._made is None or self._made.current_size is None)
            ):
                if stop - at > self._max_message_bytes:
                    self._protocol.receive_data(data[start:at])
                    return
                self._take(apply_mask(data[at:stop], data[at - 4 : at]), messages)
            elif data[start] == WHOLE_PONG and is_masked and stop - at <= MAX_CONTROL_BYTES:
                self.pongs += 1
            else:
                left -= _SLICES_OTHER
                protocol = self._protocol
                size = protocol.current_size
                if data[start] & CONTROL:  # no part of the message it comes between: RFC 6455, section 5.4
                    protocol.current_size = None
                protocol.receive_data(data[start:stop])
                if data[start] & CONTROL:
                    protocol.current_size = size
                for frame in protocol.events_received():
                    self._handle_frame(frame, messages)
            start = stop
            left -= 1
            if not self._is_open():
                return
        self._has_more = bool(self._lines)

    def _handle_frame(self, frame: object, messages: list[bytes]) -> None:
        """A frame that went through the library: a control frame, or one of several that make up a message."""
        assert isinstance(frame, Frame)
        match frame.opcode:
            case Opcode.PONG:
                self.pongs += 1
            case Opcode.BINARY if self._whole == WHOLE_TEXT:
                self._fail(1003, "this session takes text messages only")
            case Opcode.TEXT if self._whole == WHOLE_BINARY:
                self._fail(1003, "this session takes binary messages only")
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._fragments += frame.data
                if frame.fin:
                    whole = bytes(self._fragments)
                    self._fragments.clear()
                    self._take(whole, messages)

    def _take(self, text: bytes, messages: list[bytes]) -> None:
        """One whole message: check that it is text, if it should be, and split it into its lines where it is ndjson."""
        if not text.isascii() and self._whole == WHOLE_TEXT:
            try:
                text.decode()
            except UnicodeDecodeError:
                self._fail(1007, "a text message is not UTF-8")
                return
        if self._ndjson:
            self._take_lines(text, messages)
        else:
            messages.append(text)

    def _take_lines(self, text: bytes, messages: list[bytes]) -> None:
        lines = text.split(b"\n", _SLICE_LINES)
        self._lines = lines.pop() if len(lines) > _SLICE_LINES else b""
        messages += filter(None, lines)

    def _fail(self, code: int, reason: str) -> None:
        if self._is_open():
            self._protocol.fail(code, reason)

    def _ended(self) -> TransportEnded:
        """Why nothing more can be read."""
        if self._made is None:
            return TransportEnded(None, "the connection broke")
        sent, received = self._made.close_sent, self._made.close_rcvd
        if received is not None and self._made.close_rcvd_then_sent:
            return TransportEnded(received.code, received.reason or "the peer closed the connection")
        if sent is not None:
            return TransportEnded(sent.code, sent.reason)
        return TransportEnded(None, "the connection broke")

    def _collect(self) -> None:
        """Move what the library wants sent (Pongs, a Close) to where the next send finds it, bounded."""
        self._urgent += [data for data in self._protocol.data_to_send() if data]
        self._bound_urgent()

    def _bound_urgent(self) -> None:
        """RFC 6455, section 5.5.3: who is behind with its Pongs may answer the latest Pings only."""
        if len(self._urgent) > _MAX_PENDING_PONGS and self._is_open():
            del self._urgent[:-_MAX_PENDING_PONGS]

    async def send(self, messages: Collection[bytes]) -> None:
        """See the interface."""
        wire: list[bytes] = []
        if self._urgent:
            wire += self._urgent
            self._urgent.clear()
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
            wire = self._urgent
            self._urgent = []

        if wire:
            await self._send_all(b"".join(wire))

    async def _send_all(self, data: bytes) -> None:
        self._sending = True
        await self._wire.send_all(data)
        self._sending = False

    def ping(self) -> None:
        """See the interface."""
        if self._is_open():
            self._urgent.append(PING)
            self._bound_urgent()

    async def aclose(self, code: int, reason: str) -> None:
        """See the interface."""
        try:
            # after the end of the stream nobody listens
            if not self._sending and not self._is_gone:
                await self._say_goodbye(code, reason)
        finally:
            await self.aclose_forcefully()  # noqa: ASYNC102  # it waits for nothing

    def close_if_gone(self) -> bool:
        """See the interface."""
        if self._is_gone:
            self._let_go()
        return self._is_gone and self._wire.close_nowait()

    async def aclose_forcefully(self) -> None:
        """Close at once, without a goodbye. May not be a checkpoint. Closing twice does no harm."""
        self._let_go()
        await self._wire.aclose_forcefully()

    def _let_go(self) -> None:
        if self._made is not None:
            # the library's parser and its exception refer to their protocol: leave nothing for the collector to find
            self._made.parser.close()
            self._made.parser_exc = self._made.handshake_exc = None

    async def _say_goodbye(self, code: int, reason: str) -> None:
        if self._is_open():
            self._protocol.send_close(code, close_reason(reason))
        self._collect()
        try:
            await self.send(())
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            waiting, self._rest = bytes(self._rest), bytearray()
            while self._protocol.close_rcvd is None:
                waiting += await self._wire.receive_some()
                if not waiting:
                    break
                await self._look_for_close(waiting)
                waiting = b""
        except (trio.BrokenResourceError, trio.ClosedResourceError, TransportEnded):
            pass

    async def _look_for_close(self, data: bytes) -> None:
        """Have the library look for the peer's Close. What comes before it is nobody's."""
        protocol = self._protocol
        start, size = 0, _LOOK_BYTES
        while start < len(data):
            protocol.receive_data(data[start : start + size])
            start += size
            size = _LOOK_BYTES if len(protocol.events_received()) > _FEW_FRAMES else _LARGE_LOOK_BYTES
            protocol.data_to_send()  # Pongs, which may not follow the Close that was sent
            if protocol.close_rcvd is not None:
                return
            await trio.lowlevel.checkpoint()


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
