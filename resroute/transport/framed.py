"""Messages in WebSocket frames over a Trio stream, once the handshake is done: the same at either end.

One ``receive_some`` yields a batch of messages and one ``send_all`` takes a batch: no task switch, lock or system call per
message. The protocol (RFC 6455) is the sans-I/O one of ``websockets``, which leaves it to us to put fragments together and
to check that text is UTF-8. For speed, what almost every frame is, a whole message, is read and written here without it;
all other frames, and so every rule about them, are the library's, whose parser always stands between two frames.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import trio
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State

from resroute.transport.frames import (
    CONTROL,
    MASKED,
    MAX_CONTROL_BYTES,
    WHOLE_BINARY,
    WHOLE_PONG,
    WHOLE_TEXT,
    apply_mask,
    locate,
    may_be_frame,
)
from resroute.transport.interface import TransportEnded, close_reason
from resroute.transport.wire import wire_of

_MAX_PENDING_PONGS = 16
_SLICE = 1024  # whole messages and Pongs that are read before others have their turn: about a millisecond
_SLICES_OTHER = 32  # as many of them take as long as one frame does that goes through the library
_SLICE_LINES = 4096  # of one text with ndjson: each takes forty bytes beside its own
_LOOK_BYTES = 256  # of the smallest frames that takes the library half a millisecond
_LARGE_LOOK_BYTES = 2048  # where there were but few frames
_FEW_FRAMES = 4

LIBRARY_LOG = logging.getLogger("resroute.transport")
"""The library's own lines; who carries the messages logs what matters."""
LIBRARY_LOG.setLevel(logging.ERROR)


class Framed[P: Protocol](ABC):
    """One end of a WebSocket connection, from the end of the handshake on. One task receives, one task sends.

    Any task may close it meanwhile: who receives then raises, and who sends.

    Args:
        masks: whether what arrives is masked, as all is that clients send (RFC 6455, section 5.3).
    """

    def __init__(self, stream: trio.abc.Stream, *, max_message_bytes: int, masks: bool) -> None:
        self.pongs = 0
        self._stream = stream
        self._wire = wire_of(stream)
        self._masks = MASKED if masks else 0
        self._max_message_bytes = max_message_bytes
        self._made: P | None = None
        self._has_begun = False  # the handshake is done
        self._is_gone = False  # the peer says nothing more
        self._what_broke = "the connection broke"
        self._fragments = bytearray()  # of a message; a list would take forty bytes for each of one byte
        self._rest = bytearray()  # an incomplete frame
        self._wanted = 0  # how many bytes it takes at least
        self._lines = b""  # of a text with very many, those that have not been looked at
        self._has_more = False  # what is left has not been looked at, for others are to have their turn
        self._urgent: list[bytes] = []
        self._sending = False  # inside send_all: what is on the wire may end in the middle of a frame
        self._is_reading = False
        self._stopped_reading: trio.Event | None = None  # for who closes while another task receives
        self._goodbye: trio.Event | None = None  # set when it is said, or cannot be
        self._ndjson = False
        self._whole = WHOLE_TEXT  # first byte of a message in one frame, in both directions

    @abstractmethod
    def _make_protocol(self, state: State) -> P:
        """The library's protocol for this end."""

    @property
    def max_message_bytes(self) -> int:
        """A larger message from the peer ends the connection with 1009. May be changed at any time."""
        return self._max_message_bytes

    @max_message_bytes.setter
    def max_message_bytes(self, size: int) -> None:
        self._max_message_bytes = size
        if self._made is not None:
            self._made.max_message_size = size

    @property
    def _protocol(self) -> P:
        """The library's. Made when it is needed: most connections come, speak and go without it."""
        if self._made is None:
            self._made = self._make_protocol(State.OPEN if self._has_begun else State.CONNECTING)
        return self._made

    @property
    def progressed_at(self) -> float:
        """On Trio's clock: when a send that had to wait last moved on."""
        return self._wire.progressed_at

    @property
    def held_bytes(self) -> int:
        """What has arrived of messages that are not complete yet."""
        return len(self._rest) + len(self._fragments) + len(self._lines)

    @property
    def is_urgent(self) -> bool:
        """Whether a Pong, a Ping or a Close waits for the next send."""
        return bool(self._urgent)

    @property
    def is_closed_by_peer(self) -> bool:
        """Whether the code and the reason of the end are the peer's own."""
        return self._made is not None and self._made.close_rcvd_then_sent is True

    def _is_open(self) -> bool:
        """Whether no Close has been sent or received, and the peer is still there."""
        if self._is_gone or not self._has_begun:
            return False
        return self._made is None or self._made.state is State.OPEN

    async def receive(self) -> Sequence[bytes]:
        """Wait for bytes, and return the messages that are complete now: none, one or many. Cancelling it loses nothing.

        Raises:
            TransportEnded: the peer has gone or broken the protocol.
        """
        if not self._is_open():
            raise self._ended()
        messages: list[bytes] = []
        if self._has_more:
            await trio.lowlevel.checkpoint()
            data = b""
        elif not (data := await self._receive_some()):
            self._rest.clear()  # of a frame that has no end
            self._is_gone = True
            if self._made is not None:
                self._made.receive_eof()
            self._what_broke = "the peer closed the connection"
            raise TransportEnded(None, self._what_broke)
        if not self._is_open():  # another task is closing
            self._rest += data
            raise self._ended()
        self._read_frames(data, messages)
        if self._made is not None and self._made.writes:
            self._collect()
        if not messages and not self._is_open():
            raise self._ended()
        return messages

    async def _receive_some(self) -> bytes:
        self._is_reading = True
        try:
            return await self._wire.receive_some()
        finally:
            self._is_reading = False
            if self._stopped_reading is not None:
                self._stopped_reading.set()

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
        masks = self._masks
        while start < end:
            if left <= 0 or self._lines:
                self._rest += data[start:]
                self._wanted, self._has_more = 0, True
                return
            at, stop = locate(data, start)
            if stop > end:
                self._take_incomplete(data, start, at, stop)
                return
            is_masked_right = data[start + 1] & MASKED == masks
            if (
                data[start] == self._whole
                and is_masked_right
                and (self._made is None or self._made.current_size is None)
            ):
                if stop - at > self._max_message_bytes:
                    self._protocol.receive_data(data[start:at])
                    return
                payload = data[at:stop]
                self._take(apply_mask(payload, data[at - 4 : at]) if masks else payload, messages)
            elif data[start] == WHOLE_PONG and is_masked_right and stop - at <= MAX_CONTROL_BYTES:
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

    def _take_incomplete(self, data: bytes, start: int, at: int, stop: int) -> None:
        """Keep a frame of which the end is missing, unless its beginning says that it cannot or must not become one."""
        is_at_payload = at <= len(data)
        before = 0 if data[start] & CONTROL else len(self._fragments)
        is_too_large = is_at_payload and before + stop - at > self._max_message_bytes
        if is_too_large or (len(data) - start >= 2 and not may_be_frame(data, start, self._masks)):
            self._protocol.receive_data(data[start:at])  # enough for the library to refuse it
            return
        self._rest += data[start:]
        self._wanted = stop - start

    def _handle_frame(self, frame: object, messages: list[bytes]) -> None:
        """A frame that went through the library: a control frame, or one of several that make up a message."""
        assert isinstance(frame, Frame)
        match frame.opcode:
            case Opcode.PONG:
                self.pongs += 1
            case Opcode.BINARY if self._whole == WHOLE_TEXT:
                self._fail(1003, "a binary message; this session takes text")
            case Opcode.TEXT if self._whole == WHOLE_BINARY:
                self._fail(1003, "a text message; this session takes binary ones")
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
            return TransportEnded(None, self._what_broke)
        sent, received = self._made.close_sent, self._made.close_rcvd
        if received is not None and self.is_closed_by_peer:
            return TransportEnded(received.code, received.reason or "the peer closed the connection")
        if sent is not None:
            return TransportEnded(sent.code, sent.reason)
        return TransportEnded(None, self._what_broke)

    def _collect(self) -> None:
        """Move what the library wants sent (Pongs, a Close) to where the next send finds it, bounded."""
        self._urgent += [data for data in self._protocol.data_to_send() if data]
        self._bound_urgent()

    def _bound_urgent(self) -> None:
        """RFC 6455, section 5.5.3: who is behind with its Pongs may answer the latest Pings only."""
        if len(self._urgent) > _MAX_PENDING_PONGS and self._is_open():
            del self._urgent[:-_MAX_PENDING_PONGS]

    async def send_urgent(self) -> None:
        """Send whatever is urgent, if anything is. As for cancelling it and its errors, it is a send.

        Raises:
            TransportEnded: the connection has ended.
        """
        await self._send_frames(())

    async def _send_frames(self, frames: Iterable[bytes]) -> None:
        """Send frames, behind whatever is urgent. They may not follow a Close."""
        if self._sending:  # the end of another frame is missing
            raise TransportEnded(None, "a send was cut short")
        wire, self._urgent = self._urgent, []
        wire += frames
        if wire:
            await self._send_all(b"".join(wire))

    async def _send_all(self, data: bytes) -> None:
        self._sending = True
        await self._wire.send_all(data)
        self._sending = False

    async def aclose(self, code: int, reason: str) -> None:
        """Say goodbye with a close code and as much of the reason as fits, wait for the peer's, close.

        The caller bounds the time; cancelled, the connection is closed at once. Closing twice does no harm.
        """
        try:
            if self._goodbye is not None:
                await self._goodbye.wait()
            elif not self._sending and not self._is_gone:  # after the end of the stream nobody listens
                self._goodbye = trio.Event()
                try:
                    await self._say_goodbye(code, reason)
                finally:
                    self._goodbye.set()
        finally:
            await self.aclose_forcefully()  # noqa: ASYNC102  # it waits for nothing

    def close_if_gone(self) -> bool:
        """Close at once if it is known that nobody is there to say goodbye to. Returns whether it is closed by that."""
        if self._is_gone:
            self._let_go()
        return self._is_gone and self._wire.close_nowait()

    async def aclose_forcefully(self) -> None:
        """Close at once, without a goodbye. May not be a checkpoint. Closing twice does no harm."""
        self._is_gone = True
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
            await self.send_urgent()
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            if self._is_reading:  # then whoever does leaves to us what comes next
                self._stopped_reading = trio.Event()
                await self._stopped_reading.wait()
            data, self._rest = bytes(self._rest), bytearray()
            while not await self._look_for_close(data):
                data = await self._wire.receive_some()
                if not data:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, TransportEnded):
            pass

    async def _look_for_close(self, data: bytes) -> bool:
        """Have the library look for the peer's Close. What comes before it is nobody's. Returns whether to look no more."""
        protocol = self._protocol
        start, size = 0, _LOOK_BYTES
        while start < len(data) and protocol.close_rcvd is None and not self._is_gone:
            protocol.receive_data(data[start : start + size])
            start += size
            size = _LOOK_BYTES if len(protocol.events_received()) > _FEW_FRAMES else _LARGE_LOOK_BYTES
            protocol.data_to_send()  # Pongs, which may not follow the Close that was sent
            await trio.lowlevel.checkpoint()
        return protocol.close_rcvd is not None or self._is_gone
