"""What a transport promises the router: one suite over every implementation."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.transport.interface import JSON, MAX_PACK_BYTES, MSGPACK, NDJSON, TransportEnded
from tests.transport.ends import Open, Peer, open_memory, open_websocket


@pytest.fixture(params=[open_memory, open_websocket], ids=["memory", "websocket"])
def open_pair(request: pytest.FixtureRequest) -> Open:
    opened: Open = request.param
    return opened


async def read_all(peer: Peer, into: list[bytes]) -> None:
    """Read until the connection has ended."""
    try:
        while True:
            into.append(await peer.receive())
    except TransportEnded:
        pass


async def test_messages_arrive_in_order(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b'{"n":1}')
            received = list(await transport.receive())
            nursery.start_soon(peer.send, b'{"n":2}')
            received += await transport.receive()
            assert received == [b'{"n":1}', b'{"n":2}']


async def test_lines_of_one_text_are_messages_of_their_own(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(NDJSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b"[1]\n\n[2]\n")
            assert list(await transport.receive()) == [b"[1]", b"[2]"]


async def test_without_lines_a_text_is_one_message(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b"[1,\n2]")
            assert list(await transport.receive()) == [b"[1,\n2]"]


async def test_with_messagepack_any_bytes_are_a_message(autojump_clock: MockClock, open_pair: Open) -> None:
    messages = [b"\xff\xfe\n\xc1", b"\n", b"[1]\n[2]", bytes(range(256)) * 600]
    with trio.fail_after(60):
        async with open_pair(MSGPACK) as (transport, peer), trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(peer.send, message)
                received = list(await transport.receive())
                while not received:
                    received += await transport.receive()
                assert received == [message]
            heard: list[bytes] = []
            nursery.start_soon(read_all, peer, heard)
            await transport.send(messages)
            await trio.testing.wait_all_tasks_blocked()
            assert heard == messages
            nursery.cancel_scope.cancel()


async def test_what_is_ready_goes_out_in_packs_of_lines(autojump_clock: MockClock, open_pair: Open) -> None:
    messages = [b"%d" % number * 1000 for number in range(10, 99)]
    with trio.fail_after(60):
        async with open_pair(NDJSON) as (transport, peer), trio.open_nursery() as nursery:
            texts: list[bytes] = []
            nursery.start_soon(read_all, peer, texts)
            await transport.send(messages)
            await trio.testing.wait_all_tasks_blocked()
            assert b"\n".join(texts).split(b"\n") == messages
            assert len(texts) < 5
            assert max(map(len, texts)) <= MAX_PACK_BYTES
            nursery.cancel_scope.cancel()


async def test_without_lines_each_message_is_a_text(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            texts: list[bytes] = []
            nursery.start_soon(read_all, peer, texts)
            await transport.send([b"[1]", b"[2]"])
            await trio.testing.wait_all_tasks_blocked()
            assert texts == [b"[1]", b"[2]"]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 65537, 300_000])
async def test_a_message_of_any_size_arrives_whole(
    autojump_clock: MockClock, open_pair: Open, size: int
) -> None:
    message = b'"%b"' % bytes(97 + number % 26 for number in range(size))
    with trio.fail_after(60):
        async with open_pair(NDJSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(transport.send, [b"1", message, b"2"])
            texts = [await peer.receive()]
            while not texts[-1].endswith(b"2"):
                texts.append(await peer.receive())
            assert b"\n".join(texts) == b"1\n%b\n2" % message
            nursery.start_soon(peer.send, message)
            received: list[bytes] = []
            while not received:
                received += await transport.receive()
            assert received == [message]


async def test_a_cancelled_receive_loses_nothing(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                await transport.receive()
            nursery.start_soon(peer.send, b"[1]")
            assert list(await transport.receive()) == [b"[1]"]


async def test_a_ping_goes_first_and_is_answered(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            was_urgent = [transport.is_urgent]
            transport.ping()
            was_urgent.append(transport.is_urgent)
            await transport.send([b"[1]"])
            was_urgent.append(transport.is_urgent)
            assert was_urgent == [False, True, False]
            assert list(await transport.receive()) == []
            assert (transport.pongs, peer.pings) == (1, 1)
            assert await peer.receive() == b"[1]"


async def test_a_stalled_peer_answers_pings_when_it_goes_on(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            peer.stall()
            transport.ping()
            nursery.start_soon(transport.send, [])
            with trio.move_on_after(5) as waited:
                await transport.receive()
            assert waited.cancelled_caught
            peer.resume()
            assert list(await transport.receive()) == []
            assert transport.pongs == 1


async def test_a_send_waits_for_a_peer_that_does_not_read_and_says_when_it_moves_on(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            peer.stall()
            is_sent = trio.Event()

            async def send() -> None:
                await transport.send([b"x" * 100_000, b"y" * 100_000])
                is_sent.set()

            nursery.start_soon(send)
            await trio.sleep(10)
            assert not is_sent.is_set()
            assert transport.progressed_at < trio.current_time() - 5
            peer.resume()
            assert await peer.receive() == b"x" * 100_000
            assert await peer.receive() == b"y" * 100_000
            await is_sent.wait()
            assert transport.progressed_at == trio.current_time()


async def test_the_peers_goodbye_comes_after_what_it_said_before(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:

            async def say_goodbye() -> None:
                await peer.send(b"[1]")
                await peer.aclose(4321, "enough")

            nursery.start_soon(say_goodbye)
            assert list(await transport.receive()) == [b"[1]"]
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert (ended.value.code, ended.value.reason) == (4321, "enough")
            await transport.aclose(1000, "")


async def test_a_goodbye_without_a_reason_has_one_for_the_log(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.aclose, 1000, "")
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert (ended.value.code, bool(ended.value.reason)) == (1000, True)
            await transport.aclose(1000, "")


async def test_a_peer_that_vanishes_leaves_no_code(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            await trio.testing.wait_all_tasks_blocked()
            peer.drop()
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert ended.value.code is None
            await transport.aclose(1000, "")


async def test_sending_to_a_peer_that_has_vanished_fails(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            peer.drop()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(TransportEnded) as ended:
                await transport.send([b"[1]"])
            assert ended.value.code is None
            await transport.aclose(1000, "")


async def test_a_send_that_waits_fails_when_the_peer_vanishes(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            peer.stall()

            async def vanish() -> None:
                await trio.sleep(5)
                peer.resume()
                peer.drop()

            nursery.start_soon(vanish)
            with pytest.raises(TransportEnded):
                await transport.send([b"x" * 10_000_000])


async def test_the_routers_goodbye_reaches_the_peer_after_what_was_sent(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            await transport.send([b"[1]"])
            await transport.aclose(4008, "too slow")
            assert await peer.receive() == b"[1]"
            with pytest.raises(TransportEnded) as ended:
                await peer.receive()
            assert (ended.value.code, ended.value.reason) == (4008, "too slow")


async def test_of_a_long_reason_the_peer_hears_as_many_whole_characters_as_fit(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            await transport.aclose(4010, "a" + "\u00e4" * 1000)
            with pytest.raises(TransportEnded) as ended:
                await peer.receive()
            assert ended.value.reason == "a" + "\u00e4" * 61


async def test_closing_waits_for_a_silent_peer_as_long_as_the_caller_allows(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            peer.stall()
            began = trio.current_time()
            with trio.move_on_after(2) as waited:
                await transport.aclose(1001, "going away")
            assert waited.cancelled_caught
            assert trio.current_time() - began == 2
            with trio.move_on_after(0):
                await transport.aclose(1001, "twice does no harm")


async def test_after_a_broken_send_there_is_no_goodbye(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer):
            peer.stall()
            with trio.move_on_after(1):
                await transport.send([b"x" * 10_000_000])
            await transport.aclose(4011, "nobody hears this")
            peer.resume()
            with pytest.raises(TransportEnded) as ended:
                while True:
                    await peer.receive()
            assert ended.value.code is None


async def test_closing_twice_does_no_harm(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, _):
            await transport.aclose(1000, "")
            await transport.aclose(1000, "")


async def test_a_message_over_the_limit_ends_the_connection_after_those_before_it(
    autojump_clock: MockClock, open_pair: Open
) -> None:
    with trio.fail_after(60):
        async with open_pair(NDJSON, 1000) as (transport, peer), trio.open_nursery() as nursery:

            async def say_too_much() -> None:
                await peer.send(b"1" * 1000)
                await peer.send(b"2" * 1001)

            nursery.start_soon(say_too_much)
            received: list[bytes] = []
            with pytest.raises(TransportEnded) as ended:
                while True:
                    received += await transport.receive()
            assert (received, ended.value.code) == ([b"1" * 1000], 1009)
            await transport.aclose(1000, "the mistake says more than this")
            with pytest.raises(TransportEnded) as ended:
                await peer.receive()
            assert ended.value.code == 1009


async def test_the_limit_can_be_changed(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(NDJSON, 1000) as (transport, peer), trio.open_nursery() as nursery:
            transport.max_message_bytes = 2000
            nursery.start_soon(peer.send, b"1" * 2000)
            assert list(await transport.receive()) == [b"1" * 2000]
            transport.max_message_bytes = 10
            nursery.start_soon(peer.send, b"1" * 11)
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert ended.value.code == 1009
            await transport.aclose(1009, "")


async def test_what_is_not_utf8_ends_the_connection(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(NDJSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, '"é"'.encode("latin-1"))
            with pytest.raises(TransportEnded) as ended:
                await transport.receive()
            assert ended.value.code == 1007
            await transport.aclose(1007, "")


async def test_nothing_follows_the_peers_goodbye(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.aclose, 1000, "")
            with pytest.raises(TransportEnded):
                await transport.receive()
            transport.ping()
            await transport.send([b"[1]"])
            await transport.aclose(1000, "")
            with pytest.raises(TransportEnded) as ended:
                await peer.receive()
            assert ended.value.code == 1000


async def test_nothing_is_held_between_messages(autojump_clock: MockClock, open_pair: Open) -> None:
    with trio.fail_after(60):
        async with open_pair(JSON) as (transport, peer), trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, b"[1]")
            await transport.receive()
            assert transport.held_bytes == 0
