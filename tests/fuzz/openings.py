"""Whatever answers a client's opening handshake, and however it is chopped: a client is open, is told why not, or waits."""

from collections.abc import Sequence

from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from resroute.client.address import parse_url
from resroute.client.handshake import Opening
from resroute.errors import ConnectionFailed
from tests.fuzz import said
from tests.fuzz.effort import Target

RIGHT = b"<the right answer>"


def take(asked: tuple[bytes, list[int]]) -> None:
    """The same comes of it in pieces as at once, and what is told is one plain line."""
    data, sizes = asked
    outcome = _what_comes_of(data, [])
    assert _what_comes_of(data, sizes) == outcome
    if isinstance(reason := outcome[0], str):
        assert reason.isprintable() and len(reason) < 500


type Outcome = tuple[object, ...]


def _what_comes_of(data: bytes, sizes: Sequence[int]) -> Outcome:
    opening = Opening(parse_url("ws://localhost/"), None)
    data = data.replace(RIGHT, _right_answer_to(opening.request))
    behind: bytes | None = None
    try:
        for piece in said.chopped(data, sizes, len(data)):
            if behind is None:
                behind = opening.receive(piece)
            else:
                behind += piece
        if behind is None:
            opening.receive(b"")
    except ConnectionFailed as failed:
        return failed.reason, failed.http_status, failed.retry_after_seconds
    return len(behind or b""), opening.subprotocol


def _right_answer_to(request: bytes) -> bytes:
    server = ServerProtocol(subprotocols=None)
    server.receive_data(request)
    [asked] = server.events_received()
    assert isinstance(asked, Request)
    response = server.accept(asked)
    del response.headers["Date"]
    return response.serialize()


_NEWLINES = st.sampled_from((b"\r\n", b"\r\n", b"\n"))

_STATUS_LINES = st.sampled_from(
    (
        *(
            b"HTTP/1.1 503 Busy",
            b"HTTP/1.1 503",
            b"HTTP/1.0 401 ",
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 204 No Content",
        ),
        *(
            b"HTTP/1.1 101 Switching Protocols",
            b"HTTP/1.1 103 Early Hints",
            b"HTTP/1.1 100",
            b"HTTP/1.1 301 Moved",
        ),
        *(
            b"HTTP/1.1 999 ?",
            b"HTTP/2 200",
            b"HTTP/1.1 5O3 Busy",
            b"ICY 200 OK",
            b"HTTP/1.1 503 B\xfcsy\x1b[31m",
            b"",
        ),
    )
)

_HEADERS = st.sampled_from(
    (
        *(b"Content-Length: 5", b"content-length:0", b"Content-Length: -1", b"Content-Length: " + b"9" * 30),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip"),
        *(b"Content-Type: text/html", b"Retry-After: 7", b"Retry-After: x", b"Location: https://there/\x07"),
        *(
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: no",
            b" folded",
            b"\t",
            b": nothing",
        ),
        *(
            b"no colon",
            b"X: " + b"y" * 9000,
            b"Sec-WebSocket-Protocol: resroute.v1",
            b"X\xff: \xff",
            b"\0: \r",
        ),
        *(b'Sec-WebSocket-Extensions: permessage-deflate; x="', b"Sec-WebSocket-Protocol: ,,"),
    )
)

_BODIES = st.one_of(
    st.sampled_from(
        (
            *(
                b"",
                b"too busy",
                b"<title>503 Busy &amp; more</title>",
                b"<p>no <b>title",
                b"\x1b]0;x\x07",
                b"\xff\xfe",
            ),
            *(
                b"3\r\ntoo\r\n0\r\n\r\n",
                b"3;x\r\nto",
                b"ffffffff\r\nx",
                b"x\r\n",
                b"1\r\nx\r\n" * 3000,
                b"y" * 20_000,
            ),
        )
    ),
    st.binary(max_size=40),
)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """An HTTP response, most of them with something strange."""
    end = draw(_NEWLINES)
    head = end.join([draw(_STATUS_LINES), *draw(st.lists(_HEADERS, max_size=5)), b"", b""])
    return head + draw(_BODIES)


_INTERIM = st.sampled_from((b"HTTP/1.1 100\n\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))

answers = st.one_of(
    st.lists(st.one_of(responses(), st.binary(max_size=10)), max_size=3).map(b"".join),
    st.builds(
        lambda interim, behind: b"".join(interim) + RIGHT + behind,
        st.lists(_INTERIM, max_size=2),
        st.binary(max_size=20),
    ),
)

TAKE_ANSWERS = Target(
    check=take,
    inputs=st.tuples(answers, st.one_of(st.just([1]), st.lists(st.integers(1, 50), min_size=1, max_size=4))),
    everyday=150,
)
