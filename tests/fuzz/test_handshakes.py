"""Handshakes that may not be."""

import pytest
from trio.testing import MockClock

from tests.fuzz import said
from tests.fuzz.arena import open_arena
from tests.fuzz.talking import wait_closed

HANDSHAKES = (
    (said.handshake("no.such"), 400),
    (said.handshake(path="/no/such"), 404),
    (said.handshake(path="//[x"), 400),
    (said.handshake(host="evil.example"), 403),
    (said.handshake(host="["), 400),
    (said.handshake(extra=b"Origin: http://evil.example\r\n"), 403),
    (said.handshake(extra=b"Origin: http://[\r\n"), 400),
    (said.handshake(extra=b"Host: localhost\r\n"), 400),
    (said.handshake(extra=b"Sec-WebSocket-Version: 8\r\n"), 400),
    (said.handshake().replace(b"Upgrade: websocket\r\n", b""), 426),
    (said.handshake().replace(b"Sec-WebSocket-Key", b"X"), 400),
    (said.handshake().replace(b"GET", b"POST"), 405),
    (said.handshake(extra=b"X: y\r\n" * 200), 431),
)


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


async def test_what_comes_too_early_ends_the_connection(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        for opening in (said.handshake(), said.handshake().replace(b"Sec-WebSocket-Key", b"X")):
            for early in (said.text(b"{}"), b"too early", b"\x81"):
                peer = await arena.connect()
                await peer.send(opening + early)
                assert await wait_closed(peer) is None
                assert not peer.has_opened
