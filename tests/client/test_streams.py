"""Calls with partial results, as the caller sees them."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import CallStream, Client
from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from tests.client.scripted import Json, ScriptedRouter, answer_to, open_scripted, refusal_of


class Reading:
    """What somebody has read of a stream."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.result: Any = None
        self.error: Exception | None = None
        self.was_cancelled = False
        self.stream: CallStream | None = None


def start_reading(
    nursery: trio.Nursery,
    client: Client,
    *,
    seconds: float = math.inf,
    at_most: float = math.inf,
    pace: Callable[[Any], Awaitable[object]] | None = None,
    **options: Any,
) -> Reading:
    """Open a stream in a task of its own, and read it to its end, or some of it."""
    reading = Reading()

    async def read() -> None:
        with trio.move_on_after(seconds) as scope:
            try:
                async with client.open_stream("m", service_name="s", **options) as chunks:
                    reading.stream = chunks
                    async for chunk in chunks:
                        reading.chunks.append(chunk)
                        if len(reading.chunks) >= at_most:
                            break
                        if pace is not None:
                            await pace(chunk)
                    else:
                        reading.result = chunks.result
            except Exception as error:
                reading.error = error
        reading.was_cancelled = scope.cancelled_caught

    nursery.start_soon(read)
    return reading


def progress(request: Json, value: Any) -> Json:
    """A partial result as the router sends it."""
    return {"jsonrpc": "2.0", "method": "$/progress", "params": {"token": request["id"], "value": value}}


async def test_a_stream_asks_for_progress_and_says_what_a_call_says(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        start_reading(
            nursery,
            client,
            seconds=5,
            params={"n": 1},
            resource_id="r",
            wait_for_owner_seconds=1.5,
            idempotency_key="k",
        )
        request = await router.expect("route.call")
        assert request["meta"] == {"progress": True}
        assert request["params"] == {
            "method": "m",
            "params": {"n": 1},
            "resource_id": "r",
            "service_name": "s",
            "wait_for_owner_seconds": 1.5,
            "idempotency_key": "k",
            "timeout_seconds": pytest.approx(5),
        }
        await router.answer(request, None)


async def test_chunks_come_in_order_and_then_the_result(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        for value in (0, None, {"a": [2**70]}):
            await router.send(progress(request, value))
        await wait_all_tasks_blocked()
        assert reading.chunks == [0, None, {"a": [2**70]}], "each as it comes"
        await router.send(*(progress(request, n) for n in range(900)), answer_to(request, "done"))
        await wait_all_tasks_blocked()
        assert reading.chunks[3:] == list(range(900))
        assert reading.result == "done"
        assert client.statistics().calls_in_flight == 0
    assert len(router.frames) == 1


async def test_streams_do_not_get_each_others_chunks(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        one, two = start_reading(nursery, client), start_reading(nursery, client)
        first, second = [await router.expect("route.call") for _ in range(2)]
        await router.send(progress(second, 2), progress(first, 1), progress(second, 22))
        await router.send(answer_to(first, "one"), answer_to(second, "two"))
        await wait_all_tasks_blocked()
        assert {tuple(reading.chunks): reading.result for reading in (one, two)} == {
            (1,): "one",
            (2, 22): "two",
        }


async def test_an_error_of_the_call_is_raised_after_its_chunks(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        await router.send(
            progress(request, 1),
            refusal_of(request, 502, "owner_disconnected", instance_id="i1", delivery="unknown"),
        )
        await wait_all_tasks_blocked()
        assert reading.chunks == [1]
        assert isinstance(reading.error, resroute.OwnerDisconnected)


async def test_the_end_of_the_connection_is_raised_after_what_had_come(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        await router.send(progress(request, 1), progress(request, 2))
        await router.cut()
        await wait_all_tasks_blocked()
        assert reading.chunks == [1, 2]
        assert isinstance(reading.error, resroute.ConnectionLost)
        assert reading.error.delivery == "unknown"
        with pytest.raises(resroute.ConnectionLost) as caught:
            async with client.open_stream("m", service_name="s"):
                pass
        assert caught.value.delivery == "not_delivered"


async def test_leaving_the_block_early_cancels_the_call(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, at_most=2)
        request = await router.expect("route.call")
        await router.send(*(progress(request, n) for n in range(3)))
        assert (await router.expect("$/cancelRequest"))["params"] == {"id": request["id"]}
        assert (reading.chunks, reading.error) == ([0, 1], None)
        assert client.statistics().calls_in_flight == 0
        await router.send(progress(request, 3), answer_to(request, "late"))
        await wait_all_tasks_blocked()
        assert client.statistics().late_answers == 1
        assert client.statistics().unreadable_messages == 0


async def test_a_block_that_raises_cancels_the_call(autojump_clock: MockClock) -> None:
    async def fail(chunk: Any) -> None:
        raise KeyError(chunk)

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, pace=fail)
        request = await router.expect("route.call")
        await router.send(progress(request, 1))
        await router.expect("$/cancelRequest")
        assert isinstance(reading.error, KeyError)


async def test_cancelling_whoever_reads_cancels_the_call(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, seconds=3)
        request = await router.expect("route.call")
        await router.send(progress(request, 1))
        await router.expect("$/cancelRequest")
        assert trio.current_time() == pytest.approx(3)
        assert reading.was_cancelled
        assert reading.chunks == [1]


async def test_a_stream_that_is_over_is_not_cancelled(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, at_most=1)
        request = await router.expect("route.call")
        await router.send(progress(request, 1), answer_to(request, "done"))
        await wait_all_tasks_blocked()
        assert reading.chunks == [1]
        assert reading.error is None
    assert len(router.frames) == 1


async def test_the_routers_timeout_shows_as_the_callers_own_deadline(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, seconds=3)
        request = await router.expect("route.call")
        await trio.sleep(2.99)
        await router.refuse(request, 504, "call_timeout", timeout_seconds=3, delivery="unknown")
        await trio.sleep(1)
        assert reading.was_cancelled
        assert reading.error is None


async def test_a_timeout_that_is_not_the_readers_is_raised(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        assert "timeout_seconds" not in request["params"]
        await router.refuse(request, 504, "call_timeout", timeout_seconds=30, delivery="unknown")
        await wait_all_tasks_blocked()
        assert isinstance(reading.error, resroute.CallTimeout)


async def test_who_falls_behind_gets_what_was_kept_and_the_call_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    resume = trio.Event()

    async def wait(chunk: Any) -> None:
        await resume.wait()

    text = "x" * 100_000
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, pace=wait)
        request = await router.expect("route.call")
        sent = 0
        while client.statistics().calls_in_flight and not router_was_told_to_cancel(router):
            await router.send(progress(request, [sent, text]))
            sent += 1
            await wait_all_tasks_blocked()
            assert sent < 100, "there is a bound"
        await router.expect("$/cancelRequest")
        await client_answers(client, router)
        resume.set()
        await wait_all_tasks_blocked()
        assert isinstance(reading.error, resroute.FellBehind)
        assert reading.error.limit_bytes == MAX_ARRIVALS_BYTES
        assert [number for number, _ in reading.chunks] == list(range(sent - 1))
        assert (sent - 2) * len(text) > MAX_ARRIVALS_BYTES - len(text), "and it is not smaller"
        await router.send(progress(request, 1), answer_to(request, "late"))
        await wait_all_tasks_blocked()
        assert client.statistics().late_answers == 1
    assert len([frame for frame in router.frames if "$/cancelRequest" in frame]) == 1


def router_was_told_to_cancel(router: ScriptedRouter) -> bool:
    return "$/cancelRequest" in router.frames[-1]


async def client_answers(client: Client, router: ScriptedRouter) -> None:
    """The connection is not held up."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.ping)
        await router.answer(await router.expect("session.ping"), {})


async def test_however_small_chunks_are_they_are_bounded(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, pace=sleep)
        request = await router.expect("route.call")
        for _ in range(100):
            await router.send(*(progress(request, 1) for _ in range(500)))
        await router.expect("$/cancelRequest")
        nursery.cancel_scope.cancel()
    assert len(reading.chunks) <= 1


async def sleep(chunk: Any) -> None:
    await trio.sleep(1)


async def test_who_takes_chunks_as_they_come_is_never_behind(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        for _ in range(100):
            await router.send(*(progress(request, 1) for _ in range(500)))
        await router.answer(request, "done")
        await wait_all_tasks_blocked()
        assert len(reading.chunks) == 50_000
        assert reading.result == "done"


async def test_a_chunk_that_cannot_be_built_fails_its_call(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        await router.send(progress(request, 1))
        await router.send_text(
            f'{{"jsonrpc":"2.0","method":"$/progress","params":{{"token":{request["id"]},"value":1e999}}}}'
        )
        await router.expect("$/cancelRequest")
        await wait_all_tasks_blocked()
        assert reading.chunks == [1]
        assert isinstance(reading.error, resroute.InvalidAnswer)


@pytest.mark.parametrize("params", [None, {}, [1, 2], {"token": 1}, {"token": True, "value": 1}])
async def test_progress_that_makes_no_sense_is_counted(params: Any, autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client)
        request = await router.expect("route.call")
        message = {"jsonrpc": "2.0", "method": "$/progress"}
        await router.send(message if params is None else message | {"params": params})
        await router.send(progress({"id": 77}, 1), progress({"id": "1"}, 1), progress(request, 1))
        await router.answer(request, "done")
        await wait_all_tasks_blocked()
        assert (reading.chunks, reading.result) == ([1], "done")
        assert client.statistics().unreadable_messages == 1


async def test_progress_of_a_call_that_wants_none_is_dropped(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def call() -> None:
            assert await client.call("m", service_name="s") == "done"

        nursery.start_soon(call)
        request = await router.expect("route.call")
        assert "meta" not in request
        await router.send(progress(request, 1), answer_to(request, "done"))


async def test_the_result_is_there_only_after_the_chunks(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        reading = start_reading(nursery, client, pace=sleep)
        request = await router.expect("route.call")
        await router.send(progress(request, 1), answer_to(request, "done"))
        await wait_all_tasks_blocked()
        assert reading.stream is not None
        with pytest.raises(RuntimeError, match="iterate to the end"):
            assert reading.stream.result
        await trio.sleep(2)
        assert reading.stream.result == "done"


async def test_a_stream_cannot_be_read_when_its_block_has_ended(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, _):
        async with client.open_stream("m", service_name="s") as chunks:
            pass
        with pytest.raises(trio.ClosedResourceError):
            await anext(chunks)
        with pytest.raises(RuntimeError):
            assert chunks.result


async def test_a_stream_that_was_never_sent_is_withdrawn(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        async with client.open_stream("m", service_name="s"):
            pass
        await wait_all_tasks_blocked()
        assert router.frames == []
        with pytest.raises(TypeError):
            async with client.open_stream("m", {"a": object()}, service_name="s"):
                pass
        with trio.CancelScope(deadline=trio.current_time()) as scope:
            async with client.open_stream("m", service_name="s"):
                pass
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert router.frames == []
        assert client.statistics().calls_in_flight == 0
