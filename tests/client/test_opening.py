"""How a client comes to be, what keeps it from it, and what leaves its block."""

import gc
import json
import math
import socket
import ssl
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

import resroute
from resroute import open_client, open_client_over
from resroute.client.address import parse_url
from tests.client.networks import open_network
from tests.client.scripted import ScriptedRouter, open_scripted_router


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "host_header"),
    [
        ("ws://localhost:8765/", "localhost", 8765, "/", "localhost:8765"),
        ("ws://localhost", "localhost", 80, "/", "localhost"),
        ("wss://router.example", "router.example", 443, "/", "router.example"),
        ("wss://router.example:80/a?b=c", "router.example", 80, "/a?b=c", "router.example:80"),
        ("ws://[::1]:8765/", "::1", 8765, "/", "[::1]:8765"),
        ("WS://LOCALHOST/%20", "localhost", 80, "/%20", "localhost"),
    ],
)
def test_a_url_says_where_to_go(url: str, host: str, port: int, target: str, host_header: str) -> None:
    address = parse_url(url)
    assert (address.host, address.port, address.target, address.host_header) == (
        host,
        port,
        target,
        host_header,
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "localhost:8765",
        "ws://",
        "ws:///path",
        "ws://user:secret@localhost/",
        "ws://localhost/#part",
        "ws://localhost/a b",
        "ws://localhost/a\r\nX: y",
        "ws://localhost/ü",
        "ws://localhost:99999/",
        "ws://[::1/",
        "ws://a..b/",
        "",
    ],
)
async def test_what_is_no_url_of_a_router_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        async with open_client(url):
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [None, 5, b"ws://localhost/", [5], ["ws://localhost:1/", None]])
async def test_a_url_is_text(url: Any) -> None:
    with pytest.raises(TypeError, match="the URL of a router is text"):
        async with open_client(url):
            pass


@pytest.mark.parametrize("token", [5, b"token"])
async def test_a_token_is_text(token: Any) -> None:
    with pytest.raises(TypeError, match="a token is text"):
        async with open_client("ws://localhost:1/", token=token):
            pass


@pytest.mark.parametrize("given", [None, 5, b"token"])
async def test_what_a_function_gives_is_text_too(given: Any, autojump_clock: MockClock) -> None:
    async def give() -> Any:
        return given

    for token in (give, lambda: given):
        with pytest.raises(
            resroute.ConnectionFailed, match=r"there is no token: (a token is text|the function)"
        ):
            async with open_client_over(memory_stream_pair()[0], token=token):
                pass


@pytest.mark.parametrize("path", ["resources/doc:1", "services/documents"])
async def test_a_url_that_binds_a_connection_is_told_as_such(path: str, autojump_clock: MockClock) -> None:
    url = f"ws://localhost/{path}"
    async with open_network() as network:

        async def connect() -> None:
            async with open_client_over(network.open_transport, url=url):
                pass

        with pytest.raises(resroute.ConnectionFailed, match="leave it out"):
            await connect()
        async with network.open_client() as client:
            async with client.open_instance("documents", lambda call: "I am no router") as instance:
                await instance.register("doc:1")
                with pytest.raises(resroute.ConnectionFailed, match="leave it out"):
                    await connect()


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX: y", "ü"])
async def test_what_cannot_be_a_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        async with open_client_over(memory_stream_pair()[0], token=token):
            pass
    with pytest.raises(ValueError, match="token"):
        async with open_client("ws://localhost:1/", token=token):
            pass


async def test_tls_settings_need_a_url_with_tls() -> None:
    with pytest.raises(ValueError, match="wss"):
        async with open_client("ws://localhost:1/", ssl_context=ssl.create_default_context()):
            pass


async def test_a_token_travels_as_bearer(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router):
        async with open_client_over(stream, url="ws://router.example:8765/at", token="T0k-en"):
            assert router.request is not None
            assert router.request.headers["Authorization"] == "Bearer T0k-en"
            assert router.request.headers["Host"] == "router.example:8765"
            assert router.request.path == "/at"


async def test_without_a_token_nothing_is_said_of_one(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router):
        async with open_client_over(stream):
            assert router.request is not None
            assert "Authorization" not in router.request.headers
            assert router.request.headers["Host"] == "localhost"


@pytest.mark.parametrize("status", [400, 401, 403, 503])
async def test_a_refused_handshake_tells_why(status: int, autojump_clock: MockClock) -> None:
    async with open_scripted_router(refuse=(status, "Because.\n")) as (stream, _):
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client_over(stream, url="ws://router/"):
                pass
        assert caught.value.reason == f"refused with HTTP {status}: Because."
        assert caught.value.url == "ws://router/"


_ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@asynccontextmanager
async def open_saying(*said: bytes) -> AsyncGenerator[trio.abc.Stream]:
    """A stream to a peer that says this once it was spoken to, and then closes."""
    ours, theirs = memory_stream_pair()

    async def run() -> None:
        await theirs.receive_some()
        for data in said:
            await theirs.send_all(data)
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield ours


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"7", 7.0), (b"0", 0.0), (b"Thu, 26 Nov 2026 12:00:00 GMT", None), (b"-7", None), (b"9" * 400, None)],
)
async def test_a_refusal_may_say_when_to_come_again(
    said: bytes, seconds: float | None, autojump_clock: MockClock
) -> None:
    refusal = b"HTTP/1.1 503 Busy\r\nRetry-After: " + said + b"\r\nContent-Length: 0\r\n\r\n"
    async with open_saying(refusal) as stream:
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client_over(stream):
                pass
    assert (caught.value.http_status, caught.value.retry_after_seconds) == (503, seconds)


@pytest.mark.parametrize(
    "said",
    [
        [b"HTTP/1.0 503 Busy\r\nRetry-After: 7\r\n\r\n<p>Busy.\n"],
        [b"HTTP/1.1 503 Busy\r\n", b"retry-after: 7\r\n\r\n", b"<p>Busy.\n"],
        [b"HTTP/1.1 503 Busy\r\nRetry-After:7\r\nContent-Length: 1000\r\n\r\n<p>Busy.\n"],
    ],
    ids=["no length", "in pieces", "less than its length"],
)
async def test_a_refusal_whose_end_is_that_of_the_connection_tells_why(
    said: list[bytes], autojump_clock: MockClock
) -> None:
    async with open_saying(*said) as stream:
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client_over(stream):
                pass
    assert (caught.value.http_status, caught.value.retry_after_seconds) == (503, 7.0)
    assert caught.value.reason == "refused with HTTP 503: Busy."


@pytest.mark.parametrize(
    "said",
    [
        [],
        [b"HTTP/1.1 101 Switching"],
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>not a router"],
        [b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"],
        [b"SSH-2.0-OpenSSH_9.9\r\n"],
        [_ACCEPTED + b"Sec-WebSocket-Accept: wrong\r\n\r\n"],
    ],
    ids=["nothing", "half an answer", "a page", "a redirect", "something else", "a wrong key"],
)
async def test_a_peer_that_does_not_shake_hands_is_no_router(
    said: list[bytes], autojump_clock: MockClock
) -> None:
    async with open_saying(*said) as stream:
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client_over(stream):
                pass
        assert "event type" not in str(caught.value), "that is about the libraries below"
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
    assert trio.current_time() == 0


async def test_a_peer_that_never_answers_is_given_up(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    with pytest.raises(resroute.ConnectionFailed, match="no answer within 10 seconds"):
        async with open_client_over(ours):
            pass
    assert trio.current_time() == 10
    while await theirs.receive_some():
        pass


async def test_a_router_that_never_says_who_it_is_is_given_up(autojump_clock: MockClock) -> None:
    async with open_scripted_router(greets=False) as (stream, router):
        with pytest.raises(resroute.ConnectionLost, match="does not answer"):
            async with open_client_over(stream):
                pass
        assert 10 <= trio.current_time() <= 14
        await router.ended.wait()


async def test_a_session_that_is_closed_at_once_tells_why(autojump_clock: MockClock) -> None:
    async with open_scripted_router(greets=False) as (stream, router), trio.open_nursery() as nursery:

        async def turn_away() -> None:
            await router.expect("session.info")
            await router.close(4029, "too many sessions")

        nursery.start_soon(turn_away)
        with pytest.raises(resroute.ConnectionLost) as caught:
            async with open_client_over(stream):
                pass
        assert caught.value.code == 4029


async def test_a_session_that_is_not_taken_tells_why(autojump_clock: MockClock) -> None:
    async with open_scripted_router(greets=False) as (stream, router), trio.open_nursery() as nursery:

        async def turn_away() -> None:
            await router.refuse(await router.expect("session.info"), 401, "unauthenticated")

        nursery.start_soon(turn_away)
        with pytest.raises(resroute.Unauthenticated):
            async with open_client_over(stream):
                pass


async def test_the_caller_bounds_the_opening_too(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    with trio.move_on_after(1) as scope:
        async with open_client_over(ours):
            pass
    assert scope.cancelled_caught
    assert trio.current_time() == 1
    while await theirs.receive_some():
        pass


async def test_where_nobody_listens_no_connection_can_be_made() -> None:
    with trio.fail_after(5), trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client(url):
                pass
        assert caught.value.url == url
        assert str(caught.value) == (
            f"Cannot connect to {url}: connection refused: nobody listens there (`resroute serve` starts a router)"
        )


async def test_a_name_of_several_addresses_has_its_reason_once() -> None:
    with trio.fail_after(5), trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        with pytest.raises(resroute.ConnectionFailed) as caught:
            async with open_client(f"ws://localhost:{unused.getsockname()[1]}/"):
                pass
        assert str(caught.value).count("connection refused") == 1


class KnowsNobody(trio.abc.HostnameResolver):
    """Looks names up, in vain."""

    async def getaddrinfo(self, host: bytes | None, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asks for that")


async def test_a_host_that_nobody_knows_is_told_as_such() -> None:
    trio.socket.set_custom_hostname_resolver(KnowsNobody())
    with pytest.raises(resroute.ConnectionFailed) as caught:
        async with open_client("ws://router.example:8765/"):
            pass
    assert caught.value.reason == "no address for this host: name or service not known"


# --- over TCP and TLS ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_listening(tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """The port of a scripted router on loopback."""
    routers: list[ScriptedRouter] = []

    async def serve(stream: trio.SocketStream) -> None:
        transport = (
            stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        )
        routers.append(ScriptedRouter(transport))
        await routers[-1].run()
        await trio.aclose_forcefully(transport)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


async def test_over_tcp() -> None:
    async with open_listening() as port, open_client(f"ws://127.0.0.1:{port}/") as client:
        assert client.statistics().calls_in_flight == 0


async def test_over_tls() -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    async with open_listening(theirs) as port:
        async with open_client(f"wss://127.0.0.1:{port}/", ssl_context=ours) as client:
            assert client.statistics().calls_in_flight == 0


async def test_a_certificate_that_is_not_trusted_is_told_at_once() -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(theirs)
    async with open_listening(theirs) as port:
        with pytest.raises(resroute.ConnectionFailed, match="certificate"):
            async with open_client(f"wss://127.0.0.1:{port}/"):
                pass


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "no TLS: the peer closed the connection in the middle of its handshake"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS: what answers there does not speak it"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "no TLS: tlsv1 alert protocol version"),
    ],
)
async def test_why_there_is_no_tls_is_told_in_words(said: bytes, reason: str) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if said:
            await stream.send_all(said)
        await stream.send_eof()
        while await stream.receive_some():
            pass

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            with pytest.raises(resroute.ConnectionFailed) as caught:
                async with open_client(f"wss://127.0.0.1:{listener.socket.getsockname()[1]}/"):
                    pass
            nursery.cancel_scope.cancel()
    assert caught.value.reason == reason


async def test_tls_settings_that_are_a_servers_leave_no_socket_open() -> None:
    async with open_listening() as port:
        with pytest.raises(resroute.ConnectionFailed, match="no TLS"):
            async with open_client(
                f"wss://127.0.0.1:{port}/", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ):
                pass
        with warnings.catch_warnings(category=ResourceWarning, action="error"):
            gc.collect()  # where that fails, pytest says so


async def test_tls_to_a_peer_without_it_is_told_at_once() -> None:
    async with open_listening() as port:
        with pytest.raises(resroute.ConnectionFailed):
            async with open_client(f"wss://127.0.0.1:{port}/"):
                pass


# --- what leaves the block ----------------------------------------------------------------------------------------


async def test_what_the_block_raises_leaves_it_as_it_is(autojump_clock: MockClock) -> None:
    error = KeyError("mine")
    async with open_scripted_router() as (stream, _):
        with pytest.raises(KeyError) as caught:
            async with open_client_over(stream):
                raise error
        assert caught.value is error
        assert error.__cause__ is None
        assert error.__context__ is None


async def test_an_error_of_the_routers_can_be_caught_around_the_block(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router), trio.open_nursery() as nursery:

        async def refuse() -> None:
            await router.refuse(
                await router.expect("route.call"), 404, "resource_not_found", resource_id="user:1"
            )

        nursery.start_soon(refuse)
        with pytest.raises(resroute.ResourceNotFound):
            async with open_client_over(stream) as client:
                await client.call("m", resource_id="user:1")


async def test_a_group_that_the_block_raises_stays_a_group(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, _):
        with pytest.RaisesGroup(KeyError):
            async with open_client_over(stream), trio.open_nursery():
                raise KeyError("mine")


async def test_an_error_in_the_midst_of_a_cancellation_leaves_the_block_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted_router() as (stream, _):
        with pytest.raises(KeyError), trio.move_on_after(1):
            async with open_client_over(stream):
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("in the clean-up")


async def test_a_cancelled_block_is_just_cancelled(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router):
        with trio.move_on_after(1) as scope:
            async with open_client_over(stream):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await router.ended.wait()


async def test_no_task_outlives_the_block(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router):
        living = trio.lowlevel.current_statistics().tasks_living
        async with open_client_over(stream):
            assert trio.lowlevel.current_statistics().tasks_living > living
        await router.ended.wait()
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living < living, "the router's task has ended too"


async def test_a_connection_that_is_no_stream_needs_no_handshake(autojump_clock: MockClock) -> None:
    class Answering:
        """Answers everything with the same."""

        subprotocol = None
        heard_at = math.inf

        def __init__(self) -> None:
            self.said: list[str] = []
            self.is_closed = False
            self._to_client, self._receive = trio.open_memory_channel[str](10)

        async def send(self, text: str) -> None:
            self.said.append(text)
            number = json.loads(text)["id"]
            result = (
                '{"session_id":"s","router_id":"r","protocol":"p","limits":{},'
                '"heartbeat":{"interval_seconds":1,"timeout_seconds":2}}'
            )
            await self._to_client.send(f'{{"jsonrpc":"2.0","id":{number},\n"result":{result}}}')

        async def receive(self) -> str:
            return await self._receive.receive()

        async def aclose(self) -> None:
            self.is_closed = True

    connection = Answering()
    async with open_client_over(connection) as client:
        await client.ping()
    assert len(connection.said) == 2
    assert connection.is_closed
