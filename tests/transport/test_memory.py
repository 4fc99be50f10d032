"""What the peer's end of a connection in memory can do beside behaving well."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.transport.interface import JSON, TransportEnded
from resroute.transport.memory import memory_transport_pair


async def test_a_half_open_connection_loses_everything_and_tells_nobody(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair()
    await transport.send([b"[1]"])
    peer.lose_everything()
    await peer.send(b"[2]")
    transport.ping()
    await transport.send([b"[3]"])
    with trio.move_on_after(100) as waited:
        await transport.receive()
    assert waited.cancelled_caught
    assert await peer.receive() == b"[1]"
    assert (transport.pongs, peer.pings) == (0, 0)
    with pytest.raises(trio.WouldBlock):
        peer.receive_nowait()
    peer.drop()
    with trio.move_on_after(100) as waited:
        await transport.receive()
    assert waited.cancelled_caught
    with pytest.raises(TransportEnded):
        await peer.receive()


async def test_what_is_lost_fills_the_buffer_all_the_same(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair(buffer_bytes=10)
    peer.lose_everything()
    with trio.move_on_after(100) as waited:
        await transport.send([b"x" * 11])
    assert waited.cancelled_caught


async def test_whoever_drops_is_told_what_it_never_read(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair(subprotocol=JSON)
    await transport.send([b"[1]", b"[2]", b"[3]"])
    assert peer.receive_nowait() == b"[1]"
    assert peer.drop() == [b"[2]", b"[3]"]
    with pytest.raises(TransportEnded):
        peer.receive_nowait()
    with pytest.raises(TransportEnded):
        await peer.send(b"[4]")


async def test_what_was_said_before_a_drop_arrives(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair()
    await peer.send(b"[1]")
    peer.drop()
    assert await transport.receive() == [b"[1]"]
    with pytest.raises(TransportEnded):
        await transport.receive()


async def test_a_peer_that_sends_much_waits_for_the_router(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair(buffer_bytes=10)
    await peer.send(b"x" * 11)
    with trio.move_on_after(1) as waited:
        await peer.send(b"[2]")
    assert waited.cancelled_caught
    assert await transport.receive() == [b"x" * 11]
    await peer.send(b"[3]")
    assert await transport.receive() == [b"[3]"]


async def test_a_peer_that_waits_to_send_is_told_when_the_router_closes(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair(buffer_bytes=10)
    await peer.send(b"x" * 11)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.aclose, 1001, "going away")
        with pytest.raises(TransportEnded):
            await peer.send(b"[2]")


async def test_a_stalled_peer_still_speaks(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair()
    peer.stall()
    await transport.send([b"[1]"])
    await peer.send(b"[2]")
    assert await transport.receive() == [b"[2]"]
    with pytest.raises(trio.WouldBlock):
        peer.receive_nowait()
    peer.resume()
    assert peer.receive_nowait() == b"[1]"


async def test_a_slow_peer_takes_its_time_for_each_text(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair(subprotocol=JSON, buffer_bytes=0)
    peer.read_slowly(2)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.send, [b"[1]", b"[2]"])
        assert [await peer.receive(), await peer.receive()] == [b"[1]", b"[2]"]
    assert trio.current_time() - began == pytest.approx(4)
    assert transport.progressed_at == pytest.approx(began + 4)


async def test_a_goodbye_that_is_cancelled_closes_at_once(autojump_clock: MockClock) -> None:
    transport, peer = memory_transport_pair()
    with trio.move_on_after(1):
        await peer.aclose(1000, "")  # nobody answers: the router does not read
    with pytest.raises(TransportEnded) as ended:
        await transport.receive()
    assert ended.value.code == 1000
    with pytest.raises(TransportEnded):
        await peer.receive()
