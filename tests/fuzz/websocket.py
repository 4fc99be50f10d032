"""The transport reads bytes as the WebSocket library does alone, however they are chopped.

The transport takes most frames without the library, for speed. So here the library is asked what the same bytes mean.
"""

import logging
from collections.abc import Iterable

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from resroute.transport.interface import TransportEnded
from resroute.transport.websocket import WebSocketTransport
from resroute.transport.wire import RECEIVE_BYTES
from tests.fuzz import said
from tests.fuzz.corpus import STREAMS
from tests.fuzz.effort import Target
from tests.fuzz.streams import ScriptedStream

MAX_MESSAGE_BYTES = 1000

_quiet = logging.getLogger("tests.fuzz")
_quiet.setLevel(logging.CRITICAL)


@attrs.define
class Heard:
    """What a peer's bytes came to.

    Attributes:
        messages: the texts.
        close: what the peer is told at the end, if it is told something.
        pongs: what its Pings are answered with.
        waits: whether there is more of which the end is missing.
    """

    messages: list[bytes] = attrs.field(factory=list)
    close: Close | None = None
    pongs: list[bytes] = attrs.field(factory=list)
    waits: bool = False


def heard_by_the_library(data: bytes) -> Heard:
    """The same as the transport does, without shortcuts: frame after frame by the library.

    But for one thing: the library takes control frames for a part of the message that they come between, so that a Close
    is a mistake there and a Ping may be too much.
    """
    protocol = ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
    heard = Heard()
    parts: list[bytes] = []
    for byte in said.chopped(data, [1], len(data)):
        protocol.receive_data(byte)
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            if protocol.state is not State.OPEN and frame.opcode is not Opcode.CLOSE:
                continue
            if frame.opcode is Opcode.BINARY:
                protocol.fail(1003, "this session takes text messages only")
            elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
                parts.append(bytes(frame.data))
                if frame.fin:
                    message, parts = b"".join(parts), []
                    if is_utf8(message):
                        heard.messages.append(message)
                    else:
                        protocol.fail(1007, "a text message is not UTF-8")
        for frame in frames_in(b"".join(protocol.data_to_send())):
            if frame.opcode is Opcode.PONG:
                heard.pongs.append(bytes(frame.data))
            elif frame.opcode is Opcode.CLOSE:
                heard.close = Close.parse(frame.data)
                if heard.close.reason == "incomplete fragmented message":
                    heard.close = protocol.close_rcvd
    return heard


def is_utf8(text: bytes) -> bool:
    """Whether it is."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def frames_in(data: bytes) -> list[Frame]:
    """The frames of a router's."""
    peer = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None, logger=_quiet)
    peer.receive_data(data)
    frames = peer.events_received()
    assert peer.parser_exc is None, peer.parser_exc
    return [frame for frame in frames if isinstance(frame, Frame)]


async def heard_by_the_transport(pieces: Iterable[bytes]) -> Heard:
    """What the transport makes of it."""
    stream = ScriptedStream((said.handshake(), *pieces))
    transport = WebSocketTransport(stream, max_message_bytes=MAX_MESSAGE_BYTES)
    heard = Heard()
    with trio.fail_after(100):
        await transport.handshake(lambda _request: None)
        head, _, _ = stream.sent.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        try:
            while True:
                heard.messages += await transport.receive()
                # of what was read at once, small frames may still wait for their turn
                assert transport.held_bytes <= MAX_MESSAGE_BYTES + RECEIVE_BYTES
                heard.waits = transport.held_bytes > 0
                if transport.is_urgent:
                    await transport.send(())
        except TransportEnded:
            pass
        if transport.is_urgent:
            await transport.send(())
        sent = frames_in(stream.sent[len(head) + 4 :])
        await transport.aclose(1000, "")
    assert stream.is_closed
    for frame in sent:
        if frame.opcode is Opcode.PONG:
            heard.pongs.append(bytes(frame.data))
        else:
            assert frame.opcode is Opcode.CLOSE and heard.close is None
            heard.close = Close.parse(frame.data)
    return heard


def read(asked: tuple[bytes, list[int]]) -> None:
    """However the bytes are chopped, the transport makes of them what the library makes of them."""
    data, sizes = asked
    trio.run(_read, data, sizes, clock=trio.testing.MockClock(autojump_threshold=0))


async def _read(data: bytes, sizes: list[int]) -> None:
    wanted = heard_by_the_library(data)
    heard = await heard_by_the_transport(said.chopped(data, sizes))
    assert heard.messages[: len(wanted.messages)] == wanted.messages
    if wanted.close and "bytes after reading" in wanted.close.reason:
        return  # a message too large; or it has counted a control frame
    assert len(heard.messages) == len(wanted.messages)
    if heard.waits and heard.close is None:
        assert wanted.pongs[: len(heard.pongs)] == heard.pongs
    else:
        assert (heard.close and heard.close.code) == (wanted.close and wanted.close.code)
        if len(wanted.pongs) <= 16:
            assert heard.pongs == wanted.pongs
        else:  # RFC 6455, section 5.5.3: who is behind may answer the latest Pings only
            assert heard.pongs[-16:] == wanted.pongs[-16:]


payloads = st.one_of(
    st.sampled_from(
        (b"", b"a", b'{"jsonrpc":"2.0"}', b"\xc3\xa9", b"\xc3", b"\xff", b"\xed\xa0\x80", b"\0", b"a\nb")
    ),
    st.sampled_from((b"a" * 125, b"a" * 126, b"a" * 999, b"a" * 1000, b"a" * 1001, b"\xe2\x82\xac" * 300)),
    st.binary(max_size=20),
)

masks = st.one_of(
    st.sampled_from((said.MASK, said.MASK, b"\0\0\0\0", None)), st.binary(min_size=4, max_size=4)
)

any_frame = st.builds(
    said.frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    reserved=st.sampled_from((0, 0, 0, 0, 1, 2, 4, 7)),
    mask=masks,
)

lying_frame = st.builds(
    said.frame,
    st.sampled_from((said.TEXT, said.BINARY, said.PING, said.CONTINUATION, said.CLOSE)),
    payloads,
    size=st.sampled_from((0, 1, 125, 1000, 1001, 65535)),
    size_bytes=st.sampled_from((2, 8)),
)

good_frames = st.one_of(
    payloads.map(said.text),
    st.builds(said.fragments, payloads, st.integers(1, 400)),
    st.builds(lambda payload: said.frame(said.PING, payload[:125]), payloads),
    st.builds(lambda payload: said.frame(said.TEXT, payload, fin=False), payloads),
    st.builds(lambda payload: said.frame(said.CONTINUATION, payload), payloads),
)

closes = st.builds(
    said.close,
    st.sampled_from((1000, 1001, 1002, 1004, 1005, 1006, 1015, 999, 0, 3000, 4999, 5000, 65535)),
    st.sampled_from((b"", b"bye", b"\xff", b"a" * 123)),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """What a peer may send after the handshake."""
    frames = st.one_of(good_frames, good_frames, good_frames, any_frame, lying_frame, closes)
    data = b"".join(draw(st.lists(frames, max_size=6)))
    fate = draw(st.integers(0, 5))
    if fate == 0:
        data = data[: draw(st.integers(0, len(data)))]
    elif fate == 1:
        data += draw(st.binary(max_size=30))
    return data


sizes: st.SearchStrategy[list[int]] = st.one_of(
    st.just([]), st.just([1]), st.lists(st.integers(1, 10), min_size=1, max_size=4), st.just([1460])
)

READ = Target(
    check=read,
    inputs=st.tuples(streams(), sizes),
    everyday=150,
    corpus=[(data, size) for data in STREAMS for size in ([], [1], [3, 7])],
)
