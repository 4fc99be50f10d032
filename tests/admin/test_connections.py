"""Connections that are slow, or many, or stay; and the sessions behind them."""

import contextlib
import json
from contextlib import AsyncExitStack

import attrs
import h11
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from resroute.admin import serve_admin, serving, sessions
from resroute.admin.sessions import AdminSession, AdminSessions
from resroute.router import Router
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from tests.admin.asking import Client, Seen, open_place

HEAD = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
KEEPS_US_WAITING = {
    "says nothing": b"",
    "has said all it wants": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "is slow with its headers": b"GET /healthz HTTP/1.1\r\nHost: loc",
    "is slow with its body": HEAD + b"Content-Length: 1000\r\n\r\ntoken=",
    "is slow with its chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\ntoken=\r\n",
    "reads nothing": b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100,
}


async def open_from(address: str, port: int) -> trio.SocketStream:
    """A connection whose own address is another one of this machine."""
    stream = trio.socket.socket()
    await stream.bind((address, 0))
    await stream.connect(("127.0.0.1", port))
    return trio.SocketStream(stream)


@pytest.mark.parametrize("said", KEEPS_US_WAITING.values(), ids=KEEPS_US_WAITING)
async def test_a_crowd_that_keeps_us_waiting_keeps_nobody_out(said: bytes) -> None:
    async with open_place() as place, AsyncExitStack() as crowd:
        ada = await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", place.client.port))
        for number in range(2 * serving.MAX_CONNECTIONS):
            stream = await crowd.enter_async_context(await open_from("127.0.0.2", place.client.port))
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(said)
            if number % 8 == 0:  # who is one of few keeps her place
                await ask_for_health(ada)
            if number > serving.MAX_CONNECTIONS:
                assert (await place.client.ask("GET", "/healthz")).status == 200


async def ask_for_health(stream: trio.SocketStream, headers: bytes = b"") -> None:
    """One request, and its answer."""
    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nok\n"):
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_crowd_in_the_same_place_keeps_nobody_out_either_and_is_not_worth_a_word() -> None:
    with capture_logs() as logs:
        async with open_place() as place, AsyncExitStack() as crowd:
            for _ in range(3 * serving.MAX_CONNECTIONS):
                await crowd.enter_async_context(await trio.open_tcp_stream("127.0.0.1", place.client.port))
            assert (await place.client.ask("GET", "/healthz")).status == 200
    assert not [line for line in logs if line["log_level"] == "warning"]


async def test_who_waits_for_us_keeps_its_place_and_more_are_closed_at_once() -> None:
    call = {"resource_id": "a", "method": "wait", "timeout_seconds": 60}
    async with open_place() as place, AsyncExitStack() as calls:
        await place.instance("ada", "a")
        waiting = [
            await calls.enter_async_context(await place.client.begin("POST", "/api/v1/call", call))
            for _ in range(serving.MAX_CONNECTIONS)
        ]
        while place.router.statistics().calls_in_flight < serving.MAX_CONNECTIONS:
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises((h11.RemoteProtocolError, trio.BrokenResourceError)):
            await place.client.ask("GET", "/healthz")
        await waiting[0].stream.aclose()
        while place.router.statistics().calls_in_flight == serving.MAX_CONNECTIONS:
            await trio.testing.wait_all_tasks_blocked()
        while True:  # until the server has noticed
            with contextlib.suppress(h11.RemoteProtocolError, trio.BrokenResourceError):
                if (await place.client.ask("GET", "/healthz")).status == 200:
                    break
        assert place.router.statistics().calls_in_flight == serving.MAX_CONNECTIONS - 1


# --- what is no HTTP/1.1 ----------------------------------------------------------------------------------

NO_REQUEST = {
    "garbage": (b"\x16\x03\x01" + b"\0" * 64 + b"\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "no length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "large headers": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000, 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 20_000, 431),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505),
}


@pytest.mark.parametrize(("said", "status"), NO_REQUEST.values(), ids=NO_REQUEST)
async def test_what_is_no_request_is_a_problem(said: bytes, status: int) -> None:
    async with open_place() as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            await stream.send_all(said)
            answer = b""
            with contextlib.suppress(trio.BrokenResourceError):  # closed with something unread
                while piece := await stream.receive_some():
                    answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-type: application/problem+json" in head
        problem = json.loads(body)
        assert (problem["type"], problem["status"]) == ("about:blank", status)
        assert problem["title"] and problem["detail"] and problem["trace_id"]


async def test_nobody_is_upgraded_to_another_protocol() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with open_place() as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            for _ in range(2):
                await ask_for_health(stream, upgrade)


# --- slow ones --------------------------------------------------------------------------------------------


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with open_place(Settings(handshake_timeout_seconds=0.3)) as place:
        await place.instance("ada", "a")
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            await stream.send_all(
                b"POST /api/v1/resources/release HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\nConnection: close\r\n\r\n{"resource_ids": ["a"]'
            )
            answer = b"".join([piece async for piece in stream])
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"about:blank"' in answer
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 1


@pytest.mark.parametrize(
    "before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "later"]
)
async def test_a_request_that_does_not_come_is_not_waited_for(before: bytes) -> None:
    """Who has begun one is told so."""
    for begun in (b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: loc"):
        async with open_place(Settings(handshake_timeout_seconds=0.3)) as place:
            async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
                if said := before + begun:
                    await stream.send_all(said)
                with trio.fail_after(20):
                    told = b"".join([piece async for piece in stream])
        late = told.partition(b"ok\n")[2] if before else told
        if not begun:
            assert late == b""
            continue
        assert late.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in late
        assert b'"about:blank"' in late


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nX: ", b"HTTP/1.1 408 "),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"HTTP/1.1 408 "),
    ],
    ids=["head", "body"],
)
async def test_a_request_that_comes_bit_by_bit_is_not_waited_for_any_longer(
    head: bytes, status: bytes
) -> None:
    async def trickle(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(0.02)

    async with open_place(Settings(handshake_timeout_seconds=0.3)) as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            await stream.send_all(head)
            answer = b""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trickle, stream)
                with trio.fail_after(20), contextlib.suppress(trio.BrokenResourceError):
                    while piece := await stream.receive_some():
                        answer += piece
                nursery.cancel_scope.cancel()
            assert answer.startswith(status)


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with open_place(Settings(write_timeout_seconds=0.3)) as place:
        await place.instance("ada", *(f"r:{number}" for number in range(1000)))
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            request = b"GET /api/v1/resources?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
            with pytest.raises(trio.BrokenResourceError):
                while True:  # until the server has closed it
                    await stream.send_all(request)


async def test_a_session_that_nobody_uses_ends(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with trio.open_nursery() as nursery:
        await nursery.start(router.serve)
        keeper = AdminSessions(Seen(router))
        await nursery.start(keeper.run)
        first = keeper.of("ada")
        assert (await first.request("session.ping", b"{}")).result
        other = keeper.of("bob")
        await other.request("session.ping", b"{}")
        assert keeper.of("ada") is first
        assert router.statistics().sessions == 2
        await trio.sleep(sessions.IDLE_SECONDS - 1)
        await first.request("session.ping", b"{}")
        await trio.sleep(sessions.IDLE_SECONDS - 1)
        assert router.statistics().sessions == 1
        assert keeper.of("ada") is first
        await trio.sleep(2 * sessions.IDLE_SECONDS)
        assert router.statistics().sessions == 0
        again = keeper.of("ada")
        assert again is not first
        info = await again.request("session.info", b"{}")
        assert b'"subject":"ada"' in bytes(info.result) and b'"roles":["admin"]' in bytes(info.result)  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()


async def test_a_request_that_waits_keeps_its_session(autojump_clock: trio.testing.MockClock) -> None:
    router = Router()
    async with trio.open_nursery() as nursery:
        await nursery.start(router.serve)
        keeper = AdminSessions(Seen(router))
        await nursery.start(keeper.run)

        async def call(session: AdminSession) -> None:
            answer = await session.request(
                "route.call",
                b'{"resource_id":"a","method":"x","wait_for_owner_seconds":300,"timeout_seconds":300}',
            )
            assert answer.is_refusal

        began = trio.current_time()
        await call(keeper.of("ada"))
        assert trio.current_time() - began >= 300
        nursery.cancel_scope.cancel()


@attrs.define
class Broken(Seen):
    """A router of which something cannot be counted, by a bug."""

    @property
    def metrics(self) -> Metrics:
        raise RuntimeError("a bug")


async def test_a_bug_beside_the_pages_does_not_end_the_server() -> None:
    router = Router()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = Client(listeners[0].socket.getsockname()[1])
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(router.serve)
            await nursery.start(serve_admin, Broken(router), listeners)
            assert (await client.ask("GET", "/healthz")).status == 200
            assert (await client.get("/openapi.json"))["openapi"] == "3.1.0"
            nursery.cancel_scope.cancel()
