"""What is read without the library is what the library would have made of it; anything unusual is left to it."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from resroute.transport.opening import _seen, read_opening

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
USUAL = (
    b"Host: a.example:1234",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + KEY,
)
UNUSUAL = (
    b"Host: b.example",
    b"Upgrade: h2c",
    b"Connection: close",
    b"Connection: Upgrade, close",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Key: c2hvcnQ=",
    b"Sec-WebSocket-Key: " + KEY[:-2] + b"A=",
    b"Sec-WebSocket-Protocol: a b",
    b"Sec-WebSocket-Protocol: ,",
    b"Sec-WebSocket-Protocol: resroute.v1, resroute.v1.ndjson",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Origin: http://c.example",
    b"Content-Length: 3",
    b"Transfer-Encoding: chunked",
    b"X: \xe4",
    b"X : y",
    b" folded",
    b"X:",
    b"",
)
FIRST = (
    b"GET / HTTP/1.1",
    b"POST / HTTP/1.1",
    b"GET /a?b HTTP/1.0",
    b"GET  / HTTP/1.1",
    b"GET /a?b=%20 HTTP/1.1",
)


def said(*lines: bytes, first: bytes = FIRST[0]) -> bytes:
    return b"\r\n".join((first, *lines, b"", b""))


def by_the_library(data: bytes) -> tuple[Request, bytes | None] | None:
    """The request, and the proof that it is accepted with."""
    protocol = ServerProtocol()
    protocol.receive_data(data)
    events = protocol.events_received()
    if len(events) != 1 or protocol.reader.buffer:
        return None
    [request] = events
    assert isinstance(request, Request)
    response = protocol.accept(request)
    return request, response.headers["Sec-WebSocket-Accept"].encode() if response.status_code == 101 else None


@given(
    st.sampled_from(FIRST),
    st.lists(st.sampled_from(USUAL), max_size=6).flatmap(st.permutations)
    | st.just(USUAL).flatmap(st.permutations),
    st.lists(st.sampled_from(UNUSUAL), max_size=2),
    st.binary(min_size=16, max_size=16).map(b64encode) | st.just(KEY[:-2] + b"A="),
)
def test_whatever_is_accepted_here_is_accepted_by_the_library(
    first: bytes, lines: list[bytes], more: list[bytes], key: bytes
) -> None:
    data = said(*lines, *more, first=first).replace(KEY, key)
    opening = read_opening(data)
    if opening is not None:
        theirs = by_the_library(data)
        assert theirs is not None
        request, accept = theirs
        assert opening.accept == accept
        assert opening.request.path == request.path
        for name in ("Host", "Origin"):
            assert opening.request.headers.get(name) == request.headers.get(name)


def test_what_clients_send_is_read_here() -> None:
    offers = (
        b"Sec-WebSocket-Protocol: resroute.v1, bearer.x",
        b"Sec-WebSocket-Extensions: permessage-deflate",
    )
    opening = read_opening(said(*USUAL, *offers, b"Origin: https://d.example", first=b"GET /a?b HTTP/1.1"))
    assert opening is not None
    assert opening.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    assert opening.subprotocols == ["resroute.v1", "bearer.x"]
    assert opening.request.path == "/a?b"
    assert opening.request.headers["Origin"] == "https://d.example"
    by_firefox = [b"connection: keep-alive, Upgrade" if line.startswith(b"Conn") else line for line in USUAL]
    assert read_opening(said(*by_firefox)) is not None


def test_a_part_of_a_request_and_what_follows_one_are_left_to_the_library() -> None:
    whole = said(*USUAL)
    assert read_opening(whole) is not None
    assert all(read_opening(whole[:end]) is None for end in range(len(whole)))
    assert read_opening(whole + b"\x81\x80\0\0\0\0") is None
    assert read_opening(whole + whole) is None
    assert read_opening(said(*USUAL, b"X: " + b"y" * 5000)) is None


@pytest.mark.parametrize("spaces", [0, 2, 3])
@pytest.mark.parametrize("around", [(b"", b"="), (b"A", b""), (b" ", b"="), (b"  A", b""), (b"", b" x")])
def test_having_read_a_request_makes_no_other_key_a_key(spaces: int, around: tuple[bytes, bytes]) -> None:
    before, after = around
    unusual = [b"Sec-WebSocket-Key:" + b" " * spaces + KEY if KEY in line else line for line in USUAL]
    assert read_opening(said(*unusual, b"X: y")) is not None
    wrong = [line.replace(KEY, before + KEY + after) for line in USUAL]
    data = said(*wrong, b"X: y")
    theirs = by_the_library(data)
    assert theirs is None or theirs[1] is None
    assert read_opening(data) is None


@pytest.mark.parametrize(
    "secret",
    [
        b"Authorization: Bearer hush-hush",
        b"Cookie: a=hush-hush",
        b"X-Api-Key: hush-hush",
        b"X-Forwarded-Access-Token: hush-hush",
        b"Sec-WebSocket-Protocol: resroute.v1, bearer.hush-hush",
        b"",
    ],
)
def test_of_requests_that_were_read_no_secret_is_kept(secret: bytes) -> None:
    target = b"/?token=hush-hush" if not secret else b"/"
    lines = (*USUAL, secret) if secret else USUAL
    assert read_opening(said(*lines, first=b"GET %b HTTP/1.1" % target)) is not None
    assert not any(b"hush-hush" in part for part in kept_parts())


def test_what_programs_and_browsers_send_again_and_again_is_kept() -> None:
    more = (
        b"User-Agent: some browser",
        b"Accept-Language: de, en",
        b"Accept-Encoding: gzip",
        b"Cache-Control: no-cache",
        b"Pragma: no-cache",
        b"Origin: https://d.example",
        b"Sec-Fetch-Mode: websocket",
        b"Sec-WebSocket-Extensions: permessage-deflate",
        b"Sec-WebSocket-Protocol: resroute.v1.ndjson",
    )
    for lines in (USUAL, (*USUAL, *more)):
        data = said(*lines, first=b"GET /resources/kept:%d HTTP/1.1" % len(lines))
        assert read_opening(data) is not None
        assert data in [before + KEY + after for before, after in _seen]


def kept_parts() -> list[bytes]:
    """What stands before and after the key of each request that is remembered."""
    return [part for around in _seen for part in around]
