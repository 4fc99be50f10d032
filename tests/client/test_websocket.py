"""What a client puts on the wire, and how it answers what comes between messages."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from resroute.client.connection import Connection
from resroute.client.websocket import open_websocket, open_websocket_over
from resroute.errors import ConnectionFailed, ConnectionLost
from tests.client.scripted import ScriptedRouter


class Valve:
    """Where it is closed, a stream takes no bytes; and it keeps those that went through."""

    def __init__(self) -> None:
        self.through = bytearray()
        self._is_broken = False
        self._is_open = trio.Event()
        self._is_open.set()

    def close(self) -> None:
        self._is_open = trio.Event()

    def open(self) -> None:
        self._is_open.set()

    def break_down(self) -> None:
        """Let nothing through any more, and say so."""
        self._is_broken = True

    async def pass_through(self) -> None:
        await self._is_open.wait()
        if self._is_broken:
            raise trio.BrokenResourceError


class Plugged(trio.abc.Stream):
    """A stream behind a valve."""

    def __init__(self, stream: trio.abc.Stream, valve: Valve) -> None:
        self._stream = stream
        self._valve = valve

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._valve.pass_through()
        self._valve.through += data
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def open_connection() -> AsyncGenerator[tuple[Connection, ScriptedRouter, Valve]]:
    """A connection without a session over it, its router, and the valve between them."""
    ours, theirs = memory_stream_pair()
    router, valve = ScriptedRouter(theirs, greets=False), Valve()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        async with open_websocket_over(Plugged(ours, valve)) as connection:
            valve.through.clear()
            yield connection, router, valve
        nursery.cancel_scope.cancel()


async def test_a_message_is_one_frame_of_its_own_mask(autojump_clock: MockClock) -> None:
    async with open_connection() as (connection, router, valve):
        for _ in range(20):
            await connection.send('{"id":1}')
        await wait_all_tasks_blocked()
        frames = [bytes(valve.through[at : at + 14]) for at in range(0, len(valve.through), 14)]
        assert {frame[:2] for frame in frames} == {b"\x81\x88"}
        assert len({frame[2:6] for frame in frames}) == 20, "masks that nobody can foretell"
        assert router.frames == ['{"id":1}'] * 20


@pytest.mark.parametrize("size", [2, 125, 126, 65_535, 65_536, 300_000])
async def test_messages_of_all_sizes_arrive_as_they_are(size: int, autojump_clock: MockClock) -> None:
    text = '"' + "ü" * ((size - 2) // 2) + " " * (size % 2) + '"'
    async with open_connection() as (connection, router, _):
        await connection.send(text)
        await wait_all_tasks_blocked()
        assert router.frames == [text]


async def test_a_ping_is_answered_where_nothing_else_is_said(autojump_clock: MockClock) -> None:
    async with open_connection() as (connection, router, _), trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        for data in (b"first", b"second"):
            await router.ping(data)
            await wait_all_tasks_blocked()
        assert router.pongs == [b"first", b"second"]
        nursery.cancel_scope.cancel()


async def test_a_ping_counts_as_having_heard_something(autojump_clock: MockClock) -> None:
    async with open_connection() as (connection, router, _), trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        await trio.sleep(5)
        assert connection.heard_at == 0
        await router.ping()
        await wait_all_tasks_blocked()
        assert connection.heard_at == 5
        nursery.cancel_scope.cancel()


async def test_each_piece_of_a_large_message_counts_as_having_heard_something(
    autojump_clock: MockClock,
) -> None:
    async with open_connection() as (connection, router, _), trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        for seconds, piece in enumerate((b"\x81", b"\x7e\x01", b"\x00abc", b"d" * 200), start=1):
            await trio.sleep(1)
            await router.send_raw(piece)
            await wait_all_tasks_blocked()
            assert connection.heard_at == seconds
        nursery.cancel_scope.cancel()


async def test_who_can_send_nothing_receives_nothing_for_ever(autojump_clock: MockClock) -> None:
    with trio.fail_after(100):
        await receive_where_nothing_can_be_sent()


async def receive_where_nothing_can_be_sent() -> None:
    async with open_connection() as (connection, router, valve):
        valve.break_down()
        await router.send_text("before")
        await wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost):
            await connection.send("{}")
        assert await connection.receive() == "before"
        with pytest.raises(ConnectionLost):
            await connection.receive()
        assert trio.current_time() == 2, "it might have learnt more"


async def test_whoever_reads_does_not_wait_for_an_answer_to_a_ping_to_be_sent(
    autojump_clock: MockClock,
) -> None:
    async with open_connection() as (connection, router, valve):
        valve.close()
        await router.ping()
        await router.send_text("after it")
        assert await connection.receive() == "after it"
        await router.send_text("and more")
        assert await connection.receive() == "and more"
        assert router.pongs == []
        valve.open()
        await wait_all_tasks_blocked()
        assert router.pongs == [b""]


async def test_an_answer_to_a_ping_stands_between_whole_messages(autojump_clock: MockClock) -> None:
    async with open_connection() as (connection, router, valve), trio.open_nursery() as nursery:
        valve.close()
        nursery.start_soon(connection.send, '{"n":1}')
        await wait_all_tasks_blocked()
        nursery.start_soon(connection.receive)
        await router.ping(b"now")
        await wait_all_tasks_blocked()
        nursery.start_soon(connection.send, '{"n":2}')
        await wait_all_tasks_blocked()
        valve.open()
        await wait_all_tasks_blocked()
        assert router.frames == ['{"n":1}', '{"n":2}']
        assert router.pongs == [b"now"]
        nursery.cancel_scope.cancel()


async def test_of_more_pings_than_can_be_answered_the_latest_are(autojump_clock: MockClock) -> None:
    async with open_connection() as (connection, router, valve), trio.open_nursery() as nursery:
        valve.close()
        nursery.start_soon(connection.send, '{"n":1}')
        nursery.start_soon(connection.receive)
        for number in range(1000):
            await router.ping(b"%d" % number)
            await wait_all_tasks_blocked()
        valve.open()
        await wait_all_tasks_blocked()
        assert router.pongs == [b"%d" % number for number in range(984, 1000)]
        nursery.cancel_scope.cancel()


async def test_what_arrived_before_the_end_is_received_first_and_then_the_end_again_and_again(
    autojump_clock: MockClock,
) -> None:
    async with open_connection() as (connection, router, _):
        await router.send_text("[1]")
        await router.send_text("[2]")
        await router.close(4010, "enough")
        await wait_all_tasks_blocked()
        assert [await connection.receive(), await connection.receive()] == ["[1]", "[2]"]
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await connection.receive()
            assert (caught.value.code, caught.value.reason) == (4010, "enough")
            with pytest.raises(ConnectionLost):
                await connection.send("{}")
        await router.ended.wait()
        assert router.frames == []


async def test_after_a_send_that_was_cut_short_nothing_more_is_put_on_the_wire(
    autojump_clock: MockClock,
) -> None:
    async with open_connection() as (connection, _, valve):
        valve.close()
        with trio.move_on_after(1) as scope:
            await connection.send("{}")
        assert scope.cancelled_caught
        valve.open()
        with pytest.raises(ConnectionLost):
            await connection.send("{}")
        await connection.aclose()
        assert valve.through == b"", "a goodbye would stand in the middle of a frame"


async def test_a_send_that_is_cancelled_before_its_turn_has_cut_nothing_short(
    autojump_clock: MockClock,
) -> None:
    async with open_connection() as (connection, router, valve), trio.open_nursery() as nursery:
        valve.close()
        nursery.start_soon(connection.send, '{"n":1}')
        await wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await connection.send('{"n":2}')
        assert scope.cancelled_caught
        valve.open()
        await connection.send('{"n":3}')
        await wait_all_tasks_blocked()
        assert router.frames == ['{"n":1}', '{"n":3}']


async def test_over_tcp_closing_twice_does_no_harm_even_if_the_router_says_no_goodbye() -> None:
    async def be_silent(stream: trio.SocketStream) -> None:
        await ScriptedRouter(stream, greets=False, is_silent=True).run()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, be_silent, 0, host="127.0.0.1"))
            async with open_websocket(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/") as connection:
                for _ in range(2):
                    with trio.move_on_after(0.1):
                        await connection.aclose()
                for _ in range(2):
                    with pytest.raises(ConnectionLost):
                        await connection.receive()
                    with pytest.raises(ConnectionLost):
                        await connection.send("{}")
            nursery.cancel_scope.cancel()


async def test_a_refusal_whose_text_has_no_end_is_told_nevertheless(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 503 Busy\r\n\r\nCome ")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, theirs, b"later. " * 100)
        with pytest.raises(ConnectionFailed) as caught:
            async with open_websocket_over(ours):
                pass
        nursery.cancel_scope.cancel()
    assert caught.value.reason == "refused with HTTP 503: Come lat"
    assert trio.current_time() == 2


async def test_a_handshake_that_is_answered_by_drops_has_no_more_time_than_others(
    autojump_clock: MockClock,
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, theirs, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
        with pytest.raises(ConnectionFailed, match="no answer within 10 seconds"):
            async with open_websocket_over(ours):
                pass
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 10


async def drip(stream: trio.abc.Stream, data: bytes) -> None:
    """Send a byte and a bit a second."""
    for byte in data:
        await trio.sleep(0.6)
        await stream.send_all(bytes([byte]))


async def test_a_send_that_waits_ends_with_the_connection(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    assert isinstance(ours.send_stream, MemorySendStream)
    router = ScriptedRouter(theirs, greets=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        async with open_websocket_over(ours) as connection:
            await router.cut()
            with pytest.raises(ConnectionLost):
                await connection.receive()
            with pytest.raises(ConnectionLost) as caught:
                await connection.send("{}")
            assert caught.value.code is None
