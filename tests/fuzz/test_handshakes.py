"""Handshakes that may not be."""

import pytest
import trio.testing
from trio.testing import MockClock

from tests.fuzz import said
from tests.fuzz.arena import open_arena
from tests.fuzz.talking import wait_closed
from tests.fuzz.wrong import GOOD_HANDSHAKES, HANDSHAKES


@pytest.mark.parametrize(("data", "status"), HANDSHAKES)
async def test_a_handshake_that_may_not_be_is_refused_with_a_status(
    data: bytes, status: int, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.connect()
        await peer.send(data)
        assert await wait_closed(peer) is None
        assert peer.refusal is not None
        assert peer.refusal.startswith(b"HTTP/1.1 %d " % status)


async def test_what_comes_too_early_is_refused_and_ends_the_connection(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        for opening in (said.handshake(), said.handshake().replace(b"Sec-WebSocket-Key", b"X")):
            for early in (said.text(b"{}"), b"too early", b"\x81"):
                peer = await arena.connect()
                await peer.send(opening + early)
                assert await wait_closed(peer) is None
                assert not peer.has_opened
                assert peer.refusal is not None
                assert peer.refusal.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("data", GOOD_HANDSHAKES)
async def test_a_handshake_that_names_this_host_is_taken(data: bytes, autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.connect()
        await peer.send(data)
        await trio.testing.wait_all_tasks_blocked()
        assert peer.has_opened
