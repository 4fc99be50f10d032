"""Peers that stand still, read slowly, or are merely busy: a bounded amount of memory, and nobody else waits for them."""

import itertools
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from tests.fuzz import said
from tests.fuzz.talking import call, request
from tests.processes.hostile import SocketPeer, open_bystanders, shake_hands
from tests.processes.independent import open_nursery
from tests.processes.proxy import open_proxy
from tests.processes.running import Serving, open_router

SOFT_BYTES = 200_000
CALL_BYTES = 100_000
PROBES = 120
FLOOR_SECONDS = 0.25
"""Generous: what a busy machine alone may do to the slowest of a hundred calls."""


@asynccontextmanager
async def open_owner(
    router: Serving, *, receive_bytes: int | None = None
) -> AsyncGenerator[trio.SocketStream]:
    """An instance that owns ``bad:1``, read by nobody but whoever has the stream."""
    plug = trio.socket.socket()
    if receive_bytes is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await plug.connect(("127.0.0.1", router.port))
    async with trio.SocketStream(plug) as stream:
        register = request("instance.register", '{"service_name":"bad","instance_id":"bad-1"}')
        own = request("resource.register", '{"resource_ids":["bad:1"]}', "2")
        for words, answer in (
            (said.handshake("resroute.v1"), b"\r\n\r\n"),
            (said.text(register.encode()) + said.text(own.encode()), b"epochs"),
        ):
            await stream.send_all(words)
            heard = b""
            while answer not in heard:
                chunk = await stream.receive_some(4096)
                assert chunk, heard
                heard += chunk
        yield stream


async def stand_still(stream: trio.SocketStream) -> None:
    """Read nothing: the window closes."""
    await trio.sleep_forever()


async def read_byte_by_byte(stream: trio.SocketStream) -> None:
    """Read a byte at a time, with a pause after each."""
    while await stream.receive_some(1):  # noqa: ASYNC110  # it waits for bytes, not for the time
        await trio.sleep(0.001)


async def read_all(stream: trio.SocketStream) -> None:
    """Read as fast as it comes and answer nothing."""
    while await stream.receive_some(65536):
        pass


async def percentile(router: Serving) -> float:
    """The p99 in seconds of calls to an owner that behaves, made one after the other."""
    took = []
    async with router.open_session("prober") as session:
        for _ in range(PROBES):
            began = trio.current_time()
            await session.call("echo", resource_id="good:1")
            took.append(trio.current_time() - began)
    return sorted(took)[PROBES * 99 // 100]


@pytest.mark.parametrize("behave", [stand_still, read_byte_by_byte, read_all])
async def test_a_peer_that_reads_late_costs_bounded_memory_and_nobody_elses_time(
    behave: Callable[[trio.SocketStream], Awaitable[None]],
) -> None:
    async with (
        open_router(outbox_soft_bytes=SOFT_BYTES) as router,
        open_bystanders(router),
        open_owner(router, receive_bytes=4096) as stream,
        shake_hands(router) as caller,
    ):
        alone = await percentile(router)
        async with open_nursery() as nursery:
            nursery.start_soon(behave, stream)
            number = 0
            while behave is not read_all and not caller.heard:  # the sockets take some of it first
                number += 1
                await caller.send(said.text(call(number, "bad:1", params=["x" * CALL_BYTES]).encode()))
                await caller.wait_pong()  # the router has seen it
            for message in caller.heard:
                assert message["error"]["data"]["reason"] == "overloaded"

            async def flood() -> None:
                for more in itertools.count(number + 1):
                    text = call(more, "bad:1", params=["x" * CALL_BYTES], timeout_seconds=0.1)
                    await caller.send(said.text(text.encode()))
                    await trio.sleep(0.02)

            nursery.start_soon(flood)
            beside = await percentile(router)
            waiting = (await router.metrics())["outbox_bytes"]
            print(f"p99 {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside; {waiting:.0f} bytes wait")
            assert beside < 5 * alone + FLOOR_SECONDS
            assert waiting < SOFT_BYTES + 2 * CALL_BYTES
            if behave is not read_all:
                assert waiting > SOFT_BYTES / 2
            nursery.cancel_scope.cancel()


async def test_an_instance_that_writes_before_it_reads_is_no_deadlock() -> None:
    async with open_router() as router, open_bystanders(router), open_owner(router) as stream:
        pings = b"".join(said.text(request("session.info", request_id=str(n)).encode()) for n in range(5000))
        answered: set[int] = set()
        await stream.send_all(pings)  # more answers than its sockets hold wait in the router meanwhile
        async with open_nursery() as nursery:
            peer = SocketPeer(stream, takes_lines=False, speaks_msgpack=False)
            peer.has_opened = True
            nursery.start_soon(peer.run)
            while len(answered) < 5000:
                await peer.wait_more()
                answered |= {message["id"] for message in peer.heard}
                assert not peer.over.is_set()
            nursery.cancel_scope.cancel()


async def test_a_pong_does_not_wait_for_the_end_of_a_large_message() -> None:
    async with (
        open_router(outbox_soft_bytes=10_000_000) as router,
        open_bystanders(router),
        open_owner(router, receive_bytes=4096) as stream,
        shake_hands(router) as caller,
    ):
        for number in range(10):  # more than the sockets take
            large = call(number, "bad:1", params=["x" * 900_000], timeout_seconds=60)
            await caller.send(said.text(large.encode()))
        await caller.wait_pong()
        waiting = (await router.metrics())["outbox_bytes"]
        assert waiting > 1_000_000
        owner = SocketPeer(stream, takes_lines=False, speaks_msgpack=False)
        owner.has_opened = True
        await owner.send(said.frame(said.PING, b"now"))
        async with open_nursery() as nursery:
            nursery.start_soon(owner.run)
            while len(owner.heard) < 10:
                await owner.wait_more()
                assert not owner.over.is_set()
            nursery.cancel_scope.cancel()
        assert [len(message["params"][0]) for message in owner.delivered] == [900_000] * 10
        assert (owner.pongs, owner.pongs_between_fragments) == (1, 1)


def open_quick_router() -> AbstractAsyncContextManager[Serving]:
    """A router with a short heartbeat."""
    return open_router(heartbeat_interval_seconds=0.3, heartbeat_timeout_seconds=1)


async def test_who_answers_no_ping_is_ended_after_three_times_as_long_though_it_talks() -> None:
    async with open_quick_router() as router, shake_hands(router) as peer:
        began = trio.current_time()
        while not peer.over.is_set():
            await peer.send(said.text(request("session.ping").encode()))
            await trio.sleep(0.1)
        assert await peer.wait_closed() == 4011
        assert peer.close is not None
        assert peer.close.reason.startswith("heartbeat lost: no Ping answered for ")
        assert 3 <= trio.current_time() - began < 8


async def test_who_is_silent_is_ended_after_the_timeout_and_not_before() -> None:
    async with open_quick_router() as router, shake_hands(router) as peer:
        began = trio.current_time()
        assert await peer.wait_closed() == 4011
        assert peer.close is not None
        assert peer.close.reason.startswith("heartbeat lost: no sign of life for ")
        assert 0.9 <= trio.current_time() - began < 3


async def test_a_slow_reader_that_moves_on_outlives_its_heartbeat() -> None:
    async with (
        open_router(
            heartbeat_interval_seconds=0.5, heartbeat_timeout_seconds=1.5, outbox_soft_bytes=16_000_000
        ) as router,
        open_owner(router) as stream,
        shake_hands(router) as caller,
        open_nursery() as nursery,
    ):
        nursery.start_soon(read_slowly, stream)
        for number in range(16):  # the sockets hold a part of this; the rest waits for what is read
            await caller.send(said.text(call(number, "bad:1", params=["x" * 900_000]).encode()))
        nursery.start_soon(answer_pings, caller)
        until = trio.current_time() + 3.5  # over twice the timeout, and below three times
        while trio.current_time() < until:
            metrics = await router.metrics()
            assert metrics["instances"] == 1
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def read_slowly(stream: trio.SocketStream) -> None:
    """Read a good 3 MB a second, and say nothing."""
    while await stream.receive_some(100_000):  # noqa: ASYNC110  # it waits for bytes, not for the time
        await trio.sleep(0.03)


async def answer_pings(peer: SocketPeer) -> None:
    """Pong, whether asked or not."""
    while True:
        await peer.send(said.frame(said.PONG))
        await trio.sleep(0.1)


async def test_an_owner_that_blocks_for_two_seconds_keeps_its_ids_and_its_name() -> None:
    settings: dict[str, Any] = {
        "heartbeat_interval_seconds": 0.5,
        "heartbeat_timeout_seconds": 60,
        "probe_timeout_seconds": 3,
    }
    async with (
        open_router(**settings) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session("rival") as rival,
        router.open_session("newcomer") as newcomer,
    ):
        await rival.become("store", instance_id="store-2")
        for _ in range(2):
            owner.stop()
            until = trio.current_time() + 2
            while True:
                pending = await rival.start("resource.register", resource_ids=["doc:1"])
                other = await newcomer.start("instance.register", service_name="store", instance_id="store-1")
                if trio.current_time() >= until:
                    break
                await trio.sleep(0.1)
            owner.go_on()
            assert (await pending.wait_refused()).type == "resource_conflict"
            assert (await other.wait_refused()).type == "instance_conflict"
        assert (await rival.call("echo", resource_id="doc:1"))["by"] == "store-1"


async def test_the_name_of_a_half_open_connection_is_free_when_somebody_asks_for_it() -> None:
    settings: dict[str, Any] = {
        "heartbeat_interval_seconds": 0.3,
        "heartbeat_timeout_seconds": 60,
        "probe_timeout_seconds": 0.5,
    }
    async with (
        open_router(**settings) as router,
        open_proxy(router.port) as proxy,
        router.open_owner("store-1", "doc:1", url=proxy.url) as owner,
        router.open_session("newcomer") as newcomer,
    ):
        cut_at = trio.current_time()
        owner.is_cut_off()
        proxy.cut()
        while True:
            asked = await newcomer.start("instance.register", service_name="store", instance_id="store-1")
            await asked.wait_settled()
            if asked.refused is None:
                break
            assert asked.refused.type == "instance_conflict"
        assert trio.current_time() - cut_at < 0.3 + 2 + 0.5 + 3
        assert (await newcomer.ask("resource.query"))["total_count"] == 0
