"""What the end of a connection means, at each point where it may come."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

import resroute
from resroute.client import Client, open_client_over
from resroute.client.outbox import SOFT_BYTES
from tests.client.scripted import ScriptedRouter, delivered, open_scripted, open_scripted_router
from tests.client.test_calls import start_call


class Gate:
    """Holds back what a client writes, from when it is shut."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()

    async def pass_through(self) -> None:
        await self._open.wait()

    def shut(self) -> None:
        self._open = trio.Event()


@asynccontextmanager
async def open_gated() -> AsyncGenerator[tuple[Client, ScriptedRouter, Gate]]:
    """A client whose stream can stop taking bytes."""
    gate = Gate()
    ours, theirs = memory_stream_pair()
    assert isinstance(ours.send_stream, MemorySendStream)
    deliver = ours.send_stream.send_all_hook
    assert deliver is not None

    async def send_all_hook() -> None:
        await gate.pass_through()
        await deliver()

    ours.send_stream.send_all_hook = send_all_hook
    router = ScriptedRouter(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        async with open_client_over(ours) as client:
            yield client, router, gate
        nursery.cancel_scope.cancel()


async def test_calls_in_flight_fail_at_once_and_may_have_run(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        results = [start_call(nursery, lambda: client.call("m", service_name="s")) for _ in range(3)]
        for _ in results:
            await router.expect("route.call")
        await router.cut()
        await wait_all_tasks_blocked()
        errors = [result.error for result in results]
        for error in errors:
            assert isinstance(error, resroute.ConnectionLost)
            assert error.delivery == "unknown"
            assert error.code is None
        assert len(set(map(id, errors))) == 3, "each task has an exception of its own"
        assert client.statistics().calls_in_flight == 0


async def test_a_close_tells_its_code_and_reason(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        await router.expect("route.call")
        await router.close(4010, "ended by an administrator")
        lost = await client.wait_closed()
        assert (lost.code, lost.reason) == (4010, "ended by an administrator")
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ConnectionLost)
        assert result.error.code == 4010


async def test_what_arrived_before_the_end_counts(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        request = await router.expect("route.call")
        await router.answer(request, "just in time")
        await router.close(1001, "")
        await router.cut()
        await wait_all_tasks_blocked()
        assert result.value == "just in time"


async def test_a_call_after_the_end_was_not_delivered(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.cut()
        await client.wait_closed()
        with pytest.raises(resroute.ConnectionLost) as caught:
            await client.call("m", service_name="s")
        assert caught.value.delivery == "not_delivered"


async def test_what_the_websocket_never_had_was_not_delivered(autojump_clock: MockClock) -> None:
    async with open_gated() as (client, router, gate), trio.open_nursery() as nursery:
        gate.shut()
        handed_over = start_call(nursery, lambda: client.call("m", service_name="s"))
        await wait_all_tasks_blocked()
        waiting = start_call(nursery, lambda: client.call("m", service_name="s"))
        await wait_all_tasks_blocked()
        await router.cut()
        await wait_all_tasks_blocked()
        assert client.statistics().outbox_messages == 0
        for result, delivery in ((handed_over, "unknown"), (waiting, "not_delivered")):
            assert isinstance(result.error, resroute.ConnectionLost)
            assert result.error.delivery == delivery


async def test_a_call_that_was_not_sent_is_withdrawn_without_a_word(autojump_clock: MockClock) -> None:
    async with open_gated() as (client, _, gate), trio.open_nursery() as nursery:
        gate.shut()
        handed_over = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=5)
        await wait_all_tasks_blocked()
        waiting = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=3)
        await trio.sleep(4)
        assert waiting.was_cancelled
        assert client.statistics().outbox_messages == 0
        await trio.sleep(4)
        assert handed_over.was_cancelled
        assert client.statistics().outbox_messages == 1, "a $/cancelRequest"


async def test_who_waits_at_a_full_outbox_was_not_delivered(autojump_clock: MockClock) -> None:
    async with open_gated() as (client, router, gate), trio.open_nursery() as nursery:
        gate.shut()
        text = "x" * (SOFT_BYTES // 2)
        calls = [start_call(nursery, lambda: client.call("m", [text], service_name="s")) for _ in range(3)]
        await wait_all_tasks_blocked()
        in_time = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=2)
        at_the_door = start_call(nursery, lambda: client.call("m", service_name="s"))
        await trio.sleep(3)
        assert client.statistics().calls_in_flight == len(calls)
        assert in_time.was_cancelled, "waiting for room is under the caller's deadline"
        await router.cut()
        await wait_all_tasks_blocked()
        assert isinstance(at_the_door.error, resroute.ConnectionLost)
        assert at_the_door.error.delivery == "not_delivered"


async def test_the_end_of_the_connection_does_not_end_the_block(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.cut()
        lost = await client.wait_closed()
        assert lost.code is None
        await trio.sleep(100)
        assert (await client.wait_closed()) is not lost


async def test_a_write_that_fails_ends_the_session(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    router = ScriptedRouter(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        async with open_client_over(ours) as client:
            assert isinstance(ours.send_stream, MemorySendStream)
            ours.send_stream.close()
            with pytest.raises(resroute.ConnectionLost) as caught:
                await client.call("m", service_name="s")
            assert caught.value.delivery == "unknown"
            await client.wait_closed()
        nursery.cancel_scope.cancel()


class Severed:
    """A connection that can send nothing any more, and finds that out later when it receives."""

    subprotocol = "resroute.v1.ndjson"
    heard_at = math.inf

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        raise resroute.ConnectionLost(reason="cannot send")

    async def receive(self) -> str:
        await trio.sleep(1)
        raise resroute.ConnectionLost(4008, "slow consumer")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_the_reader_tells_why_the_connection_has_ended(autojump_clock: MockClock) -> None:
    with pytest.raises(resroute.ConnectionLost) as caught:
        async with open_client_over(Severed()):
            pass
    assert (caught.value.code, caught.value.delivery) == (4008, "unknown")


async def test_an_answer_that_waits_for_room_is_dropped_with_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_gated() as (client, router, gate), trio.open_nursery() as nursery:

        async def live() -> None:
            async with client.open_instance("s", lambda call: "x" * (SOFT_BYTES // 2)):
                await client.wait_closed()

        nursery.start_soon(live)
        await router.expect_register_instance()
        gate.shut()
        await router.send(*(delivered(n, "m") for n in range(5)))
        await wait_all_tasks_blocked()
        assert client.statistics().outbox_messages == 2, "one has been taken, and the others wait at the door"
        assert client.statistics().calls_serving == 2
        await router.cut()
        await wait_all_tasks_blocked()
        assert client.statistics().calls_serving == 0


async def test_a_binary_message_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.send_binary(b"\x81\x01")
        assert "binary" in (await client.wait_closed()).reason


async def test_a_broken_frame_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.send_raw(b"\xff\xff\xff\xff")
        await client.wait_closed()


async def test_text_that_is_not_utf_8_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        await router.send_raw(b"\x81\x02\xff\xff")
        assert "UTF-8" in (await client.wait_closed()).reason


# --- leaving ------------------------------------------------------------------------------------------------------


async def test_leaving_says_goodbye(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router):
        async with open_client_over(stream):
            pass
        await router.ended.wait()
        assert router.close_code == 1000
        assert trio.current_time() == 0


async def test_leaving_a_silent_router_takes_a_few_seconds_at_most(autojump_clock: MockClock) -> None:
    async with open_scripted_router(is_silent=True) as (stream, router):
        async with open_client_over(stream):
            pass
        assert trio.current_time() <= 4
        await router.ended.wait()


async def test_leaving_a_router_that_does_not_read_takes_a_few_seconds_at_most(
    autojump_clock: MockClock,
) -> None:
    async with open_gated() as (client, _, gate), trio.open_nursery() as nursery:
        gate.shut()
        for _ in range(3):
            start_call(nursery, lambda: client.call("m", service_name="s"), seconds=1)
    assert trio.current_time() <= 1 + 6


async def test_leaving_is_as_quick_when_it_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_scripted_router(is_silent=True) as (stream, router):
        with trio.move_on_after(1):
            async with open_client_over(stream):
                await trio.sleep_forever()
        assert 1 <= trio.current_time() <= 5
        await router.ended.wait()


async def test_who_is_cancelled_says_goodbye_and_does_not_wait_once_it_is_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted_router() as (stream, router):
        with trio.move_on_after(1):
            async with open_client_over(stream):
                await trio.sleep_forever()
        assert trio.current_time() == 1
        await router.ended.wait()
        assert router.close_code == 1000


async def test_a_ping_after_our_goodbye_does_no_harm(autojump_clock: MockClock) -> None:
    async with open_scripted_router(is_silent=True) as (stream, router), trio.open_nursery() as nursery:

        async def ping_later() -> None:
            await trio.sleep(0.5)
            await router.send_raw(b"\x89\x00")

        nursery.start_soon(ping_later)
        async with open_client_over(stream):
            pass


async def test_calls_of_other_tasks_fail_when_the_client_is_closed(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router), trio.open_nursery() as nursery:
        async with open_client_over(stream) as client:
            result = start_call(nursery, lambda: client.call("m", service_name="s"))
            await router.expect("route.call")
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ConnectionLost)
        assert "closed" in str(result.error)
        with pytest.raises(resroute.ConnectionLost):
            await client.ping()
        assert client.statistics() == resroute.ClientStatistics(
            calls_in_flight=0, calls_serving=0, outbox_messages=0, late_answers=0, unreadable_messages=0
        )


async def test_what_was_said_before_leaving_is_sent(autojump_clock: MockClock) -> None:
    async with open_scripted_router() as (stream, router), trio.open_nursery() as nursery:
        async with open_client_over(stream) as client:
            result = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=1)
            await router.expect("route.call")
            await trio.sleep(1)
            await wait_all_tasks_blocked()
            assert result.was_cancelled
        await router.expect("$/cancelRequest")
        await router.ended.wait()
        assert router.close_code == 1000
        assert trio.current_effective_deadline() == math.inf
