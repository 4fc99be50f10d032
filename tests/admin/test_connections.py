"""Connections that are slow, or many, or stay; and the sessions behind them."""

import contextlib

import attrs
import h11
import pytest
import trio
import trio.testing

from resroute.admin import serve_admin, serving, sessions
from resroute.admin.sessions import AdminSession, AdminSessions
from resroute.router import Router
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from tests.admin.asking import Client, Seen, open_place


async def test_beyond_so_many_connections_more_are_closed_at_once() -> None:
    async with open_place() as place:
        idle = [
            await trio.open_tcp_stream("127.0.0.1", place.client.port) for _ in range(serving.MAX_CONNECTIONS)
        ]
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as one_more:
            try:
                assert await one_more.receive_some() == b""
            except trio.BrokenResourceError:
                pass  # likewise
        for stream in idle:
            await stream.aclose()
        while True:  # until the server has noticed
            with contextlib.suppress(h11.RemoteProtocolError, trio.BrokenResourceError):
                if (await place.client.ask("GET", "/healthz")).status == 200:
                    break


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


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
async def test_a_request_that_does_not_come_is_not_waited_for(said: bytes) -> None:
    async with open_place() as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            if said:
                await stream.send_all(said)
            with trio.fail_after(20):
                assert await stream.receive_some() == b""


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
