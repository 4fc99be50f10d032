"""Both ends read bytes as the WebSocket library does alone, however they are chopped.

They take most frames without the library, for speed. So here the library is asked what the same bytes mean.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from resroute.client.address import parse_url
from resroute.client.websocket import ClientFrames
from resroute.transport.framed import Framed
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


def _server() -> ServerProtocol:
    return ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet)


def _client() -> ClientProtocol:
    uri = parse_uri("ws://localhost/")
    return ClientProtocol(uri, state=State.OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet)


async def _open_routers(stream: ScriptedStream) -> WebSocketTransport:
    transport = WebSocketTransport(stream, max_message_bytes=MAX_MESSAGE_BYTES)
    await transport.handshake(lambda _request: None)
    head, _, _ = stream.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    stream.sent = stream.sent[len(head) + 4 :]
    return transport


async def _open_clients(stream: ScriptedStream) -> ClientFrames:
    frames = ClientFrames(stream, parse_url("ws://localhost/"))
    frames.max_message_bytes = MAX_MESSAGE_BYTES
    frames.begin(await stream.receive_some())
    return frames


@attrs.frozen
class End:
    """One end of a connection.

    Attributes:
        alone: the library's protocol for it.
        peer: the same for the other end.
        first: what the peer says before its frames.
        open: has our own for it, over a stream.
        mask: of what the peer says.
    """

    alone: Callable[[], Protocol]
    peer: Callable[[], Protocol]
    first: tuple[bytes, ...]
    open: Callable[[ScriptedStream], Awaitable[Framed[ServerProtocol] | Framed[ClientProtocol]]]
    mask: bytes | None


ROUTERS = End(_server, _client, (said.handshake(),), _open_routers, said.MASK)
CLIENTS = End(_client, _server, (), _open_clients, None)


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


def heard_by_the_library(data: bytes, end: End) -> Heard:
    """The same as our own does, without shortcuts: frame after frame by the library.

    But for one thing: the library takes control frames for a part of the message that they come between, so that a Close
    is a mistake there and a Ping may be too much.
    """
    protocol = end.alone()
    heard = Heard()
    parts: list[bytes] = []
    for byte in said.chopped(data, [1], len(data)):
        protocol.receive_data(byte)
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            if protocol.state is not State.OPEN and frame.opcode is not Opcode.CLOSE:
                continue
            if frame.opcode is Opcode.BINARY:
                protocol.fail(1003, "a binary message; this session takes text")
            elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
                parts.append(bytes(frame.data))
                if frame.fin:
                    message, parts = b"".join(parts), []
                    if is_utf8(message):
                        heard.messages.append(message)
                    else:
                        protocol.fail(1007, "a text message is not UTF-8")
        for frame in frames_in(b"".join(protocol.data_to_send()), end):
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


def frames_in(data: bytes, end: End) -> list[Frame]:
    """The frames that it sends."""
    peer = end.peer()
    peer.receive_data(data)
    frames = peer.events_received()
    assert peer.parser_exc is None, peer.parser_exc
    return [frame for frame in frames if isinstance(frame, Frame)]


async def heard_by_ours(pieces: Iterable[bytes], end: End) -> Heard:
    """What our own end makes of it."""
    stream = ScriptedStream((*end.first, *pieces))
    heard = Heard()
    with trio.fail_after(100):
        ours = await end.open(stream)
        try:
            while True:
                heard.messages += await ours.receive()
                # of what was read at once, small frames may still wait for their turn
                assert ours.held_bytes <= MAX_MESSAGE_BYTES + RECEIVE_BYTES
                heard.waits = ours.held_bytes > 0
                await ours.send_urgent()
        except TransportEnded:
            pass
        await ours.send_urgent()
        sent = frames_in(stream.sent, end)
        await ours.aclose(1000, "")
    assert stream.is_closed
    for frame in sent:
        if frame.opcode is Opcode.PONG:
            heard.pongs.append(bytes(frame.data))
        else:
            assert frame.opcode is Opcode.CLOSE and heard.close is None
            heard.close = Close.parse(frame.data)
    return heard


def read(asked: tuple[bytes, list[int]]) -> None:
    """However the bytes are chopped, our own end makes of them what the library makes of them."""
    _read_at(ROUTERS, *asked)


def read_as_client(asked: tuple[bytes, list[int]]) -> None:
    """See :func:`read`."""
    _read_at(CLIENTS, *asked)


def _read_at(end: End, data: bytes, sizes: list[int]) -> None:
    trio.run(_read, end, data, sizes, clock=trio.testing.MockClock(autojump_threshold=0))


async def _read(end: End, data: bytes, sizes: list[int]) -> None:
    wanted = heard_by_the_library(data, end)
    heard = await heard_by_ours(said.chopped(data, sizes), end)
    assert heard.messages[: len(wanted.messages)] == wanted.messages
    if wanted.close and "bytes after reading" in wanted.close.reason:
        return  # a message too large; or it has counted a control frame
    assert len(heard.messages) == len(wanted.messages)
    if heard.waits and heard.close is None:
        if len(wanted.pongs) <= 16:
            assert wanted.pongs[: len(heard.pongs)] == heard.pongs
        else:
            left = iter(wanted.pongs)
            assert all(pong in left for pong in heard.pongs), "in order, but for those that were dropped"
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


def frames_of(mask: bytes | None) -> st.SearchStrategy[bytes]:
    """Frames of an end whose frames have this mask, most of them right."""
    frame = partial(said.frame, mask=mask)
    lying = st.builds(
        frame,
        st.sampled_from((said.TEXT, said.BINARY, said.PING, said.CONTINUATION, said.CLOSE)),
        payloads,
        size=st.sampled_from((0, 1, 125, 1000, 1001, 65535)),
        size_bytes=st.sampled_from((2, 8)),
    )
    good = st.one_of(
        payloads.map(partial(said.text, mask=mask)),
        st.builds(partial(said.fragments, mask=mask), payloads, st.integers(1, 400)),
        st.builds(lambda payload: frame(said.PING, payload[:125]), payloads),
        st.builds(lambda payload: frame(said.TEXT, payload, fin=False), payloads),
        st.builds(lambda payload: frame(said.CONTINUATION, payload), payloads),
    )
    closes = st.builds(
        partial(said.close, mask=mask),
        st.sampled_from((1000, 1001, 1002, 1004, 1005, 1006, 1015, 999, 0, 3000, 4999, 5000, 65535)),
        st.sampled_from((b"", b"bye", b"\xff", b"a" * 123)),
    )
    return st.one_of(good, good, good, any_frame, lying, closes)


@st.composite
def interrupted(draw: st.DrawFn, mask: bytes | None) -> bytes:
    """A message in fragments, with control frames between them; now and then more of it than there may be."""
    payload = draw(payloads)
    size = draw(st.integers(1, 400))
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    data = b""
    for index, part in enumerate(parts[: draw(st.integers(1, 30))]):
        opcode = said.CONTINUATION if index else said.TEXT
        data += said.frame(opcode, part, fin=index == len(parts) - 1, mask=mask)
        for control in draw(st.lists(st.sampled_from((said.PING, said.PONG)), max_size=2)):
            data += said.frame(control, draw(payloads)[:125], mask=mask)
    return data


@st.composite
def many(draw: st.DrawFn, mask: bytes | None) -> bytes:
    """So many small frames that those who read have to do it in slices."""
    kinds = [
        said.text(b"", mask),
        said.text(b"a", mask),
        said.text(b"\xc3\xa9", mask),
        said.frame(said.PONG, b"", mask=mask),
        said.frame(said.PING, b"!", mask=mask),
        said.fragments(b"ab", 1, mask=mask),
    ]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2))
    return b"".join(chosen) * draw(st.sampled_from((20, 40, 40, 700)))


@st.composite
def streams(draw: st.DrawFn, mask: bytes | None) -> bytes:
    """What a peer whose frames have this mask may send after the handshake."""
    single = frames_of(mask)
    frames = st.one_of(*[single] * 9, *[interrupted(mask)] * 4, many(mask))
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
    inputs=st.tuples(streams(ROUTERS.mask), sizes),
    everyday=150,
    corpus=[(data, size) for data in STREAMS for size in ([], [1], [3, 7])],
)

READ_AS_CLIENT = Target(check=read_as_client, inputs=st.tuples(streams(CLIENTS.mask), sizes), everyday=150)
