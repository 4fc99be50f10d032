"""What a connection promises the SDK, whatever carries its bytes and whatever its peer does."""

import gc
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
import trustme
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from resroute.client.connection import Connection
from resroute.client.reconnecting import is_final
from resroute.client.websocket import open_websocket_over
from resroute.errors import ConnectionLost
from tests.client.scripted import ScriptedRouter
from tests.fuzz import said

type Streams = Callable[[], AbstractAsyncContextManager[tuple[trio.abc.Stream, trio.abc.Stream]]]


@asynccontextmanager
async def open_memory() -> AsyncGenerator[tuple[trio.abc.Stream, trio.abc.Stream]]:
    yield memory_stream_pair()


@asynccontextmanager
async def open_tcp() -> AsyncGenerator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Sockets that hold little, so that most writes are partial."""
    with trio.socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await listening.bind(("127.0.0.1", 0))
        listening.listen()
        ours = trio.socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await ours.connect(listening.getsockname())
        theirs, _ = await listening.accept()
    streams = trio.SocketStream(ours), trio.SocketStream(theirs)
    try:
        yield streams
    finally:
        for stream in streams:
            await trio.aclose_forcefully(stream)


_CA = trustme.CA()
_OUR_TLS, _THEIR_TLS = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
_CA.configure_trust(_OUR_TLS)
_CA.issue_cert("localhost").configure_cert(_THEIR_TLS)


@asynccontextmanager
async def open_tls() -> AsyncGenerator[tuple[trio.abc.Stream, trio.abc.Stream]]:
    async with open_tcp() as streams:
        yield await secured(*streams)


@asynccontextmanager
async def open_tls_in_memory() -> AsyncGenerator[tuple[trio.abc.Stream, trio.abc.Stream]]:
    yield await secured(*memory_stream_pair())


async def secured(ours: trio.abc.Stream, theirs: trio.abc.Stream) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """TLS over a pair of streams, with its handshake."""
    client = trio.SSLStream(ours, _OUR_TLS, server_hostname="localhost", https_compatible=True)
    server = trio.SSLStream(theirs, _THEIR_TLS, server_side=True, https_compatible=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    return client, server


@pytest.fixture(
    params=[open_memory, open_tcp, open_tls_in_memory, open_tls],
    ids=["memory", "tcp", "tls in memory", "tls"],
)
def streams(request: pytest.FixtureRequest) -> Streams:
    chosen: Streams = request.param
    return chosen


@asynccontextmanager
async def open_pair(
    streams: Streams, *, is_silent: bool = False
) -> AsyncGenerator[tuple[Connection, ScriptedRouter]]:
    """A connection, and a router that reads all the time."""
    with trio.fail_after(30):
        async with streams() as (ours, theirs), trio.open_nursery() as nursery:
            router = ScriptedRouter(theirs, greets=False, is_silent=is_silent)
            nursery.start_soon(router.run)
            async with open_websocket_over(ours) as connection:
                await wait_all_tasks_blocked()
                yield connection, router
            nursery.cancel_scope.cancel()


async def until_lost(act: Callable[[], Awaitable[object]]) -> ConnectionLost:
    """Do something again and again until the connection has ended."""
    with pytest.raises(ConnectionLost) as caught:
        while True:
            await act()
    return caught.value


class Lost:
    """What a task of its own met."""

    def __init__(self, nursery: trio.Nursery, act: Callable[[], Awaitable[object]]) -> None:
        self.lost: ConnectionLost | None = None
        self.ended = trio.Event()
        nursery.start_soon(self._run, act)

    async def _run(self, act: Callable[[], Awaitable[object]]) -> None:
        self.lost = await until_lost(act)
        self.ended.set()


async def test_another_task_may_close_while_one_receives(streams: Streams) -> None:
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:
        reader = Lost(nursery, connection.receive)
        await wait_all_tasks_blocked()
        await connection.aclose()
        await wait_all_tasks_blocked()
        assert router.close_code == 1000
        assert reader.lost is not None and reader.lost.code is None


async def test_what_the_router_still_says_while_it_is_told_goodbye_is_nobodys(streams: Streams) -> None:
    async with open_pair(streams, is_silent=True) as (connection, router), trio.open_nursery() as nursery:
        reader = Lost(nursery, connection.receive)
        await wait_all_tasks_blocked()
        closed = trio.Event()

        async def close() -> None:
            await connection.aclose()
            closed.set()

        nursery.start_soon(close)
        await trio.sleep(0.05)
        await router.send_raw(b"\x81\x02hi\x81")
        await trio.sleep(0.05)
        assert not closed.is_set()
        assert reader.lost is not None
        await router.send_raw(b"\x02ho\x88\x02\x03\xe8")
        await closed.wait()


async def test_two_tasks_may_close_at_once(streams: Streams) -> None:
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(connection.aclose)
        await connection.aclose()
        await wait_all_tasks_blocked()
        assert router.close_code == 1000


async def test_of_two_that_close_one_may_have_no_patience(streams: Streams) -> None:
    async with open_pair(streams, is_silent=True) as (connection, _), trio.open_nursery() as nursery:
        nursery.start_soon(connection.aclose)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.05) as scope:
            await connection.aclose()
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    "data",
    [b"\x82\x02hi", b"\xc1\x02hi", b"\x81\x82maskhi", b"\x81\x02\xff\xff", b"\x81\x7f" + b"\0\0\0\1\0\0\0\0"],
    ids=["binary", "an extension", "masked", "no UTF-8", "4 GiB"],
)
async def test_mistakes_of_the_router_are_no_word_of_its(data: bytes) -> None:
    """So a client connects again, as it would not if it were told that it makes mistakes itself."""
    async with open_pair(open_memory) as (connection, router):
        await router.send_raw(b"\x81\x04good" + data + b"\x81\x05never")
        assert await connection.receive() == "good"
        for act in (connection.receive, partial(connection.send, "{}")):
            lost = await until_lost(act)
            assert (lost.code, is_final(lost)) == (None, False)
            assert lost.reason.startswith("what came over it cannot be taken: ")
        await connection.aclose()
        assert router.close_code in (1002, 1003, 1007, 1009)


async def test_an_end_without_a_goodbye_is_told_as_such(streams: Streams) -> None:
    async with open_pair(streams) as (connection, router):
        await router.cut()
        for act in (connection.receive, partial(connection.send, "{}")):
            lost = await until_lost(act)
            assert (lost.code, lost.reason) == (None, "the peer closed the connection")


def tcp_below(stream: trio.abc.Stream) -> trio.SocketStream:
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    return stream


def reset(stream: trio.SocketStream) -> None:
    """Let the connection end with a reset."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def send_no_tls(stream: trio.SocketStream) -> None:
    await stream.send_all(b"\x16\x03 no record of TLS" * 20)


async def say_no_more(stream: trio.SocketStream) -> None:
    await stream.send_eof()


async def break_off(stream: trio.SocketStream) -> None:
    reset(stream)


@pytest.mark.parametrize(
    ("streams", "end"),
    [
        (open_tcp, break_off),
        (open_tcp, say_no_more),
        (open_tls, break_off),
        (open_tls, say_no_more),
        (open_tls, send_no_tls),
    ],
)
async def test_however_tcp_ends_in_the_midst_of_a_frame_the_connection_does(
    streams: Streams, end: Callable[[trio.SocketStream], Awaitable[None]]
) -> None:
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:
        reader = Lost(nursery, connection.receive)
        await router.send_raw(b"\x81\x7e\x01\x00half of it")
        await wait_all_tasks_blocked()
        await end(tcp_below(router.stream))
        await reader.ended.wait()
        for act in (connection.receive, partial(connection.send, "{}")):
            assert (await until_lost(act)).code is None


async def test_whoever_reads_a_byte_at_a_time_gets_all_of_it(streams: Streams) -> None:
    text, arrived = f'"{"x" * 5000}"', bytearray()
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:
        router.stop_reading()
        await wait_all_tasks_blocked()

        async def read() -> None:
            while len(arrived) < len(text) + 8:
                arrived.extend(await router.stream.receive_some(1))
            await router.cut()

        nursery.start_soon(read)
        await connection.send(text)
        await until_lost(connection.receive)
    assert arrived[:4] == b"\x81\xfe" + len(text).to_bytes(2)
    assert said.masked(bytes(arrived[8:]), bytes(arrived[4:8])).decode() == text


async def test_both_ends_may_say_much_at_once(streams: Streams) -> None:
    texts = [f'"{number}{"x" * 20_000}"' for number in range(50)]
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:

        async def send_all() -> None:
            for text in texts:
                await connection.send(text)

        async def say_all() -> None:
            for text in texts:
                await router.stream.send_all(
                    said.text(text.encode(), None) + said.frame(said.PING, mask=None)
                )

        nursery.start_soon(send_all)
        nursery.start_soon(say_all)
        assert [await connection.receive() for _ in texts] == texts
        for _ in texts:
            await router.receive()
        await connection.aclose()
        await router.ended.wait()
        assert router.frames == texts
        assert router.pongs


@pytest.mark.parametrize("streams", [open_tcp, open_tls])
async def test_closing_does_not_wait_for_a_send_that_does(streams: Streams) -> None:
    async with open_pair(streams) as (connection, router), trio.open_nursery() as nursery:
        router.stop_reading()

        async def send() -> None:
            await connection.send("x" * 10_000_000)

        writer, reader = Lost(nursery, send), Lost(nursery, connection.receive)
        await trio.sleep(0.05)
        await connection.aclose()
        await wait_all_tasks_blocked()
        assert writer.lost is not None and reader.lost is not None


async def test_a_stream_that_somebody_else_has_closed_is_the_end(streams: Streams) -> None:
    with trio.fail_after(30):
        async with streams() as (ours, theirs), trio.open_nursery() as nursery:
            nursery.start_soon(ScriptedRouter(theirs, greets=False).run)
            async with open_websocket_over(ours) as connection:
                await trio.aclose_forcefully(ours)
                for act in (connection.receive, partial(connection.send, "{}")):
                    assert (await until_lost(act)).code is None


class Answering(ScriptedRouter):
    """It has a Ping and a text for each text."""

    async def _take(self, frame: Frame) -> None:
        await super()._take(frame)
        if frame.opcode is Opcode.TEXT and self._protocol.state is State.OPEN:
            await self.ping()
            await self.send_text(str(len(self.frames)))


class CutShort(trio.abc.Instrument):
    """Cancels at a given step of a task."""

    def __init__(self, task: trio.lowlevel.Task, steps: int) -> None:
        self.scope = trio.CancelScope()
        self._task = task
        self._left = steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.scope.cancel()


async def test_cancelled_anywhere_it_leaves_nothing_behind(streams: Streams) -> None:
    steps, was_cancelled = 0, True
    while was_cancelled:
        steps += 1
        with trio.fail_after(30):
            async with streams() as (ours, theirs), trio.open_nursery() as nursery:
                router = Answering(theirs, greets=False)
                nursery.start_soon(router.run)
                cut = CutShort(trio.lowlevel.current_task(), steps)
                trio.lowlevel.add_instrument(cut)
                with cut.scope:
                    await live(ours)
                trio.lowlevel.remove_instrument(cut)
                was_cancelled = cut.scope.cancelled_caught
                with pytest.raises(trio.ClosedResourceError):
                    await ours.send_all(b"x")
                await router.ended.wait()
        gc.collect()
    assert steps > 10


async def live(ours: trio.abc.Stream) -> None:
    """Open a connection, use it, and close it."""
    async with open_websocket_over(ours) as connection:
        for number in range(3):
            await connection.send(f'"{"x" * 20_000}"')
            assert await connection.receive() == str(number + 1)
        await connection.aclose()
