"""Bytes that are no frames, and peers that vanish, stall or fall silent."""

import tracemalloc
from collections.abc import Collection

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from tests.fuzz import said
from tests.fuzz.arena import open_arena
from tests.fuzz.talking import JSON, NDJSON, PING, become_owner, hear, say, short, wait_closed
from tests.fuzz.wrong import FRAMES


@pytest.mark.parametrize(("data", "code"), FRAMES)
@pytest.mark.parametrize("sizes", [(), (1,)])
async def test_what_is_no_frame_closes_with_the_code_of_the_rfc(
    data: bytes, code: int, sizes: Collection[int], autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        [answer] = await say(peer, PING % 1)
        assert short(answer) == (1, "result")
        for piece in said.chopped(data, tuple(sizes)):
            await peer.send(piece)
        assert await wait_closed(peer) == code


async def test_the_close_code_comes_also_when_other_messages_came_with_the_mistake(
    autojump_clock: MockClock,
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        await peer.send(said.text((PING % 1).encode()) + said.text(b"\xff") + said.text((PING % 2).encode()))
        assert await wait_closed(peer) == 1007


async def test_a_ping_between_the_fragments_of_a_message_as_large_as_may_be_is_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_arena(Settings(max_message_bytes=2000)) as arena:
        peer = await arena.open(JSON)
        text = (PING % 1).encode().ljust(2000)
        await peer.send(said.frame(said.TEXT, text[:1990], fin=False))
        for piece in said.chopped(said.frame(said.PING, b"p" * 100), (50,)):
            await peer.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        await peer.send(said.frame(said.CONTINUATION, text[1990:]))
        assert [short(answer) for answer in await hear(peer)] == [(1, "result")]


async def test_one_byte_at_a_time_is_as_good_as_all_at_once(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.connect()
        for byte in said.handshake(JSON) + said.text((PING % 1).encode()):
            await peer.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
            if byte == ord("\n"):
                await arena.check_bystanders()
        # what is sent before the handshake is answered is nobody's, so it is answered by the last line
        assert [short(answer) for answer in await hear(peer)] == [(1, "result")]


async def test_who_never_finishes_the_handshake_is_hung_up_on(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        for data in (b"", said.handshake()[:-2]):
            peer = await arena.connect()
            began = trio.current_time()
            await peer.send(data)
            assert await wait_closed(peer) is None
            assert trio.current_time() - began == pytest.approx(10, abs=0.2)
            assert not peer.has_opened


async def test_who_feeds_the_handshake_by_drops_gets_no_more_time(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.connect()
        began = trio.current_time()
        for byte in said.handshake():
            await peer.send(bytes([byte]))
            await trio.sleep(1)
            if peer.over.is_set():
                break
        assert trio.current_time() - began <= 11


async def test_vanishing_in_the_middle_of_a_frame_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        baseline = arena.router.statistics()
        for length in range(1, len(said.text(b"abc"))):
            peer = await arena.open(NDJSON)
            await become_owner(peer, "bad:1")
            await peer.send(said.text(b"abc")[:length])
            await trio.testing.wait_all_tasks_blocked()
            assert arena.router.statistics().memory_bytes == length
            peer.vanish()
            await arena.wait_gone(peer, baseline)


async def test_vanishing_between_the_frames_of_a_message_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        baseline = arena.router.statistics()
        peer = await arena.open(NDJSON)
        await peer.send(
            said.frame(said.TEXT, b"a" * 1000, fin=False) + said.frame(said.CONTINUATION, b"a", fin=False)
        )
        await trio.testing.wait_all_tasks_blocked()
        assert arena.router.statistics().memory_bytes == 1001
        peer.vanish()
        await arena.wait_gone(peer, baseline)


@pytest.mark.parametrize("size", [0, 1])
async def test_fragments_take_no_more_memory_than_their_bytes(size: int, autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        await peer.send(said.frame(said.TEXT, b"a", fin=False))
        many = said.frame(said.CONTINUATION, b"a" * size, fin=False) * 1000
        tracemalloc.start()
        try:
            await trio.testing.wait_all_tasks_blocked()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(20):
                await peer.send(many)
            await trio.testing.wait_all_tasks_blocked()
            assert tracemalloc.get_traced_memory()[0] - before < 100_000
        finally:
            tracemalloc.stop()


async def test_falling_silent_is_noticed_after_the_heartbeat(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        await peer.send(said.text(b"abc")[:-1])
        began = trio.current_time()
        assert await wait_closed(peer) == 4011
        assert trio.current_time() - began < 25 + 3
