"""The opening handshake, a piece at a time."""

from collections.abc import Sequence

import pytest
from websockets.http11 import Request
from websockets.server import ServerProtocol

from resroute.client.address import parse_url
from resroute.client.handshake import Opening
from resroute.errors import ConnectionFailed

URL = "ws://router.example:8765/at?here=1"


def answer_to(request: bytes) -> bytes:
    """A router's, as the library gives it."""
    server = ServerProtocol(subprotocols=None)
    server.receive_data(request)
    [asked] = server.events_received()
    assert isinstance(asked, Request)
    assert asked.path == "/at?here=1"
    server.send_response(server.accept(asked))
    return b"".join(server.data_to_send())


def receive_all(opening: Opening, pieces: Sequence[bytes]) -> list[bytes | None]:
    return [opening.receive(piece) for piece in pieces]


def in_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_it_is_done_with_the_last_byte_of_the_answer() -> None:
    opening = Opening(parse_url(URL), None)
    *before, last = receive_all(opening, in_bytes(answer_to(opening.request)))
    assert set(before) == {None}
    assert last == b""
    assert opening.subprotocol is None


def test_what_comes_behind_the_answer_is_no_part_of_it() -> None:
    frames = b"\x81\x02hi\r\n\r\n\x81\x02"
    for at in (0, 1, 3, 40):
        opening = Opening(parse_url(URL), None)
        answer = answer_to(opening.request)
        *before, last = receive_all(
            opening, [answer[: len(answer) - at], answer[len(answer) - at :] + frames]
        )
        if at == 0:
            assert before == [b""], "done before"
        else:
            assert (before, last) == ([None], frames)


def test_a_token_stands_in_a_header_of_its_own() -> None:
    assert b"\r\nAuthorization: Bearer T0k-en\r\n" in Opening(parse_url(URL), "T0k-en").request
    assert b"Authorization" not in Opening(parse_url(URL), None).request
    with pytest.raises(ValueError, match="token"):
        Opening(parse_url(URL), "two words")


def test_no_two_are_alike() -> None:
    assert Opening(parse_url(URL), None).request != Opening(parse_url(URL), None).request


def refusal_by(*pieces: bytes, is_over: bool = True) -> ConnectionFailed:
    """What is raised for what a peer says, at the last piece or at the end."""
    opening = Opening(parse_url(URL), None)
    *before, last = pieces
    assert set(receive_all(opening, before)) <= {None}
    with pytest.raises(ConnectionFailed) as caught:
        if is_over:
            opening.receive(last)
        else:
            assert opening.receive(last) is None
            opening.receive(b"")
    assert caught.value.url == URL
    return caught.value


def test_a_refusal_with_a_length_is_told_without_waiting_for_the_end() -> None:
    head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\nRetry-After: 5\r\n\r\n"
    for pieces in ([head + b"a token"], [head, b"a token"], in_bytes(head + b"a token")):
        refused = refusal_by(*pieces)
        assert refused.reason == "refused with HTTP 401: a token"
        assert (refused.http_status, refused.retry_after_seconds) == (401, 5.0)


def test_the_chunks_of_a_refusal_are_put_together() -> None:
    head = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (
        refusal_by(head, b"3\r\ntoo\r\n5\r\n busy\r\n0\r\n\r\n").reason == "refused with HTTP 503: too busy"
    )


@pytest.mark.parametrize("protocol", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_refusal_without_a_length_ends_with_the_connection(protocol: bytes) -> None:
    refused = refusal_by(protocol + b" 503 Busy\r\nretry-after: 7\r\n\r\n", b"too ", b"busy", is_over=False)
    assert refused.reason == "refused with HTTP 503: too busy"
    assert (refused.http_status, refused.retry_after_seconds) == (503, 7.0)


def test_of_a_long_refusal_the_beginning_is_told() -> None:
    refused = refusal_by(b"HTTP/1.0 503 Busy\r\n\r\n" + b"x" * 1000, b"y" * 65536)
    assert refused.reason == f"refused with HTTP 503: {'x' * 200}"
    endless = refusal_by(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000)
    assert endless.reason == f"refused with HTTP 503: {'x' * 200}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
        (b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
        (b"HTTP/1.0 503 Busy\r\nContent-Length: 2\r\n\r\nno", "HTTP 503: no"),
        (b"HTTP/1.1 503 Busy\nContent-Length: 2\n\nno", "HTTP 503: no"),
        (b"HTTP/1.1 503 Busy\r\nX-Folded: a\r\n  b\r\nContent-Length:\r\n 2\r\n\r\nno", "HTTP 503: no"),
        (b"HTTP/1.1 503 Busy\r\n" + b"X: y\r\n" * 500 + b"Content-Length: 2\r\n\r\nno", "HTTP 503: no"),
        (
            b"HTTP/1.1 503 B\xfcsy\r\nX: " + b"y" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
            "HTTP 503: B\xfcsy",
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP 304: Not Modified"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08\0\0",
            "HTTP 403: Forbidden",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 111\r\n\r\n"
            b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
            b"<center><h1>502 Bad Gateway</h1></center></html>\r\n",
            "HTTP 502: Bad Gateway",
        ),
        (
            b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 107\r\n\r\n"
            b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n",
            "HTTP 503: Service Unavailable No server is available to handle this request.",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 29\r\n\r\n\x1b]0;owned\x07two\r\nlines \x1b[31mred",
            "HTTP 400: ]0;owned two lines [31mred",
        ),
        (
            b"HTTP/1.1 503 Busy\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\ntoo\r\nA\r\n busy, sir\r\n0\r\nX: y\r\n\r\n",
            "HTTP 503: too busy, sir",
        ),
        (
            b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://there/\r\nContent-Length: 0\r\n\r\n",
            "HTTP 308: it redirects to https://there/; connect to that instead",
        ),
    ],
)
def test_a_refusal_by_whatever_stands_there_is_told_at_its_end_in_one_plain_line(
    answer: bytes, reason: str
) -> None:
    for pieces in ([answer], in_bytes(answer)):
        opening = Opening(parse_url(URL), None)
        with pytest.raises(ConnectionFailed) as caught:
            receive_all(opening, pieces)
        assert caught.value.reason == f"refused with {reason}"
        assert caught.value.http_status == int(answer[9:12])


def test_a_page_is_no_refusal() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n<!doctype html><title>Welcome to it!</title>\n"
    assert refusal_by(page).reason == "no WebSocket there, but HTTP 200: Welcome to it!"


def test_hints_that_come_before_the_answer_are_none() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    opening = Opening(parse_url(URL), None)
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + hints + hints + answer_to(opening.request)
    *before, last = receive_all(opening, in_bytes(answer))
    assert set(before) == {None}
    assert last == b""
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    assert refusal_by(hints + refusal).reason == "refused with HTTP 403: no"


def test_hints_without_end_are_given_up() -> None:
    for pieces in ([b"HTTP/1.1 100\n\n" * 4000], [b"HTTP/1.1 100\n\n"] * 4000):
        with pytest.raises(ConnectionFailed, match="does not speak WebSocket"):
            receive_all(Opening(parse_url(URL), None), pieces)


def test_an_answer_in_a_free_form_is_one() -> None:
    opening = Opening(parse_url(URL), None)
    answer = answer_to(opening.request).replace(b"\r\n\r\n", b"\r\nX-Folded: a\r\n\tb\r\n\r\n")
    assert opening.receive(answer.replace(b"\r\n", b"\n") + b"\x81\x00") == b"\x81\x00"


def test_who_speaks_tls_only_is_told_as_such() -> None:
    for pieces in ([b"\x15\x03\x01\x00\x02\x02\x46"], in_bytes(b"\x15\x03\x01")):
        with pytest.raises(ConnectionFailed, match="wss://"):
            receive_all(Opening(parse_url(URL), None), pieces)
    for url, hint in (("ws://there/", True), ("wss://there/", False)):
        with pytest.raises(ConnectionFailed) as caught:
            Opening(parse_url(url), None).receive(b"")
        assert ("wss://" in caught.value.reason) is hint


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-", b"\x16\x03\x01", b"220 mail", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 1\r\n\r\n"]
)
def test_what_is_no_http_is_found_out_at_once(answer: bytes) -> None:
    with pytest.raises(ConnectionFailed, match="does not speak WebSocket"):
        receive_all(Opening(parse_url(URL), None), in_bytes(answer))


@pytest.mark.parametrize("line", [b"X: y\r\n", b"x" * 1000])
def test_a_head_without_an_end_is_given_up(line: bytes) -> None:
    opening = Opening(parse_url(URL), None)
    assert opening.receive(b"HTTP/1.1 101 Switching\r\nX: ") is None
    with pytest.raises(ConnectionFailed, match="does not speak WebSocket"):
        receive_all(opening, [line] * 20_000)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["another protocol", "TLS", "another upgrade", "half a page"],
)
def test_what_is_no_answer_to_it_is_told_as_such(answer: bytes) -> None:
    opening = Opening(parse_url(URL), None)
    with pytest.raises(ConnectionFailed, match="does not speak WebSocket"):
        opening.receive(answer)
        opening.receive(b"")


def test_an_unknown_subprotocol_is_none_of_ours() -> None:
    opening = Opening(parse_url(URL), None)
    answer = answer_to(opening.request).replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: wamp.2.json\r\n\r\n"
    )
    with pytest.raises(ConnectionFailed, match="does not speak WebSocket"):
        opening.receive(answer)


def test_of_nothing_the_reason_is_what_was_found() -> None:
    assert Opening(parse_url(URL), None).failure("no answer").reason == "no answer"
