"""Partial results that an instance sends while it works on a call."""

import gc
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute import Call, RemoteError, current_call
from tests.client.scripted import CALLER, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_connection_loss import open_gated
from tests.client.test_instance import start_instance
from tests.client.test_serving import cancel, open_serving


def chunk(call_id: int | str, value: Any) -> Json:
    return {"jsonrpc": "2.0", "method": "$/progress", "params": {"token": call_id, "value": value}}


def result(call_id: int | str, value: Any) -> Json:
    return {"jsonrpc": "2.0", "id": call_id, "result": value}


async def received(router: ScriptedRouter, count: int) -> list[Json]:
    return [await router.receive() for _ in range(count)]


class Counter:
    """Counts, in every way in which a method can report."""

    def __init__(self) -> None:
        self.log: list[object] = []

    async def count(self, to: int) -> str:
        call = current_call()
        for n in range(to):
            await call.progress(n)
        return "done"

    async def generate(self, to: int) -> AsyncGenerator[int]:
        try:
            for n in range(to):
                yield n
                self.log.append(n)
        finally:
            self.log.append("closed")

    async def generate_slowly(self) -> AsyncGenerator[int]:
        task = trio.lowlevel.current_task()
        try:
            for n in range(1000):
                yield n
                await trio.sleep(1)
        finally:
            self.log.append(trio.lowlevel.current_task() is task)
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            self.log.append("closed")

    async def generate_later(self, to: int) -> AsyncGenerator[int]:
        await trio.sleep(1)
        return self.generate(to)

    async def wants(self) -> bool:
        return current_call().wants_progress


@pytest.mark.parametrize("call_id", [7, "seven"])
@pytest.mark.parametrize(
    ("method", "answer"), [("count", "done"), ("generate", None), ("generate_later", None)]
)
async def test_progress_comes_in_order_and_before_the_answer(
    call_id: int | str, method: str, answer: object, autojump_clock: MockClock
) -> None:
    async with open_serving(Counter()) as (_, router):
        await router.send(delivered(call_id, method, [3], progress=True))
        assert await received(router, 4) == [
            *(chunk(call_id, n) for n in range(3)),
            result(call_id, answer),
        ]


@pytest.mark.parametrize(
    ("method", "answer"), [("count", "done"), ("generate", None), ("generate_later", None)]
)
async def test_who_did_not_ask_for_progress_gets_the_answer_alone(
    method: str, answer: object, autojump_clock: MockClock
) -> None:
    service = Counter()
    async with open_serving(service) as (client, router):
        await router.send(delivered(1, method, [3]), delivered(2, method, [3], progress=False))
        answers = sorted(await received(router, 2), key=lambda message: str(message["id"]))
        assert answers == [result(1, answer), result(2, answer)]
        await router.send(delivered(None, method, [3], progress=True, caller=CALLER))
        await trio.sleep(2)
        assert client.statistics().calls_serving == 0
    assert "$/progress" not in "".join(router.frames)
    if method == "generate":
        assert sorted(map(str, service.log)) == ["0"] * 3 + ["1"] * 3 + ["2"] * 3 + ["closed"] * 3, "it runs"


async def test_a_handler_can_ask_whether_progress_is_wanted(autojump_clock: MockClock) -> None:
    async with open_serving(Counter()) as (_, router):
        await router.send(delivered(1, "wants", progress=True))
        assert (await router.receive())["result"] is True
        await router.send(delivered(2, "wants"))
        assert (await router.receive())["result"] is False
    await Call(method="m").progress("to nobody")


async def test_a_generator_is_closed_in_its_own_task_when_its_call_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    service = Counter()
    async with open_serving(service) as (client, router):
        await router.send(delivered(1, "generate_slowly", progress=True))
        assert await received(router, 3) == [chunk(1, n) for n in range(3)]
        await router.send(cancel(1))
        await trio.sleep(10)
        assert service.log == [True, "closed"]
        assert client.statistics().calls_serving == 0
    assert '"result":null' not in "".join(router.frames)


async def test_a_generator_is_closed_when_the_connection_ends(autojump_clock: MockClock) -> None:
    service = Counter()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        await router.send(delivered(1, "generate_slowly", progress=True))
        await received(router, 1)
        await router.cut()
        await trio.sleep(1)
        assert service.log == [True, "closed"]
        life.leave()


async def test_a_generator_that_waits_at_a_full_outbox_is_closed_too(autojump_clock: MockClock) -> None:
    closed = trio.Event()

    async def handle(call: Call) -> AsyncGenerator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            closed.set()

    async with open_gated() as (client, router, gate), trio.open_nursery() as nursery:

        async def live() -> None:
            async with client.open_instance("s", handle):
                await client.wait_closed()

        nursery.start_soon(live)
        await router.expect_register_instance()
        gate.shut()
        await router.send(delivered(1, "m", progress=True))
        await wait_all_tasks_blocked()
        assert client.statistics().outbox_messages == 7, "64 KiB, and no more"
        assert not closed.is_set()
        await router.send(cancel(1))
        await wait_all_tasks_blocked()
        assert closed.is_set()
        assert client.statistics().calls_serving == 0
        await router.cut()


async def test_a_generator_may_hold_scopes_and_nurseries_at_a_yield(autojump_clock: MockClock) -> None:
    """Whatever is raised while a value is sent is raised where it was yielded."""
    log: list[str] = []

    async def handle(call: Call) -> AsyncGenerator[str]:
        with trio.move_on_after(1) as scope:
            yield "in a scope"  # noqa: ASYNC101, ASYNC119
            await trio.sleep_forever()
        assert scope.cancelled_caught
        with trio.move_on_after(0) as scope:
            yield "in a scope whose time is up"  # noqa: ASYNC101, ASYNC119
            log.append("not reached")
        log.append("scope")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                while True:
                    yield "in a nursery"  # noqa: ASYNC101, ASYNC119
                    await trio.lowlevel.checkpoint()
        except* KeyError:
            log.append("nursery")
        yield "and goes on"

    async def fail() -> None:
        raise KeyError

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", progress=True))
        values = []
        while "id" not in (message := await router.receive()):
            values.append(message["params"]["value"])
        assert message == result(1, None)
        assert [value for value in values if value != "in a nursery"] == ["in a scope", "and goes on"]
        assert log == ["scope", "nursery"]


async def test_a_generator_may_end_at_what_cannot_be_sent(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(call: Call) -> AsyncGenerator[object]:
        try:
            yield object()
        except TypeError:
            if call.method == "go on":
                yield "something else"
            if call.method == "fail":
                raise

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "go on", progress=True))
        assert await received(router, 2) == [chunk(1, "something else"), result(1, None)]
        await router.send(delivered(2, "end", progress=True))
        assert await router.receive() == result(2, None)
        assert caplog.records == []
        await router.send(delivered(3, "fail", progress=True))
        assert (await router.receive())["error"]["code"] == -32000
    [record] = caplog.records
    assert record.getMessage() == "call_failed method=fail trace_id=None"


async def test_a_generator_may_refuse(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> AsyncGenerator[int]:
        yield 1
        raise RemoteError(40, "no more")

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", progress=True))
        assert await router.receive() == chunk(1, 1)
        assert (await router.receive())["error"] == {"code": 40, "message": "no more"}


async def test_progress_that_is_too_large_is_an_error_of_the_handlers(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> str:
        with pytest.raises(ValueError, match="partial result"):
            await call.progress("x" * 2000)
        return "noticed"

    async with open_serving(handle, limits={"max_message_bytes": 2000}) as (_, router):
        await router.send(delivered(1, "m", progress=True))
        assert await router.receive() == result(1, "noticed")


async def test_each_chunk_gives_the_call_its_time_anew(autojump_clock: MockClock) -> None:
    seen: list[float] = []

    async def handle(call: Call) -> None:
        for n in range(4):
            await trio.sleep(2)
            await call.progress(n)
        seen.append(trio.current_effective_deadline())
        try:
            await trio.sleep_forever()
        finally:
            seen.append(trio.current_time())

    async with open_serving(handle) as (client, router):
        await router.send(delivered(1, "m", progress=True, timeout_seconds=3))
        assert await received(router, 4) == [chunk(1, n) for n in range(4)]
        await trio.sleep(30)
        assert seen == [pytest.approx(8 + 3), pytest.approx(8 + 3)]
        assert client.statistics().calls_serving == 0
    assert "result" not in "".join(router.frames[1:-1])


async def test_chunks_that_nobody_wants_give_a_call_no_time(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    async def handle(call: Call) -> None:
        try:
            while True:
                await trio.sleep(2)
                await call.progress(1)
        finally:
            ended.append(trio.current_time())

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", timeout_seconds=3))
        await trio.sleep(30)
    assert ended == [pytest.approx(3)]


async def test_a_call_that_is_over_sends_no_progress(autojump_clock: MockClock) -> None:
    calls: list[Call] = []

    async def handle(call: Call) -> str:
        calls.append(call)
        if call.method == "insist":
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
                await call.progress("too late")
        return "done"

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "m", progress=True))
        assert await router.receive() == result(1, "done")
        await calls[0].progress("after the answer")
        await router.send(delivered(2, "insist", progress=True))
        await wait_all_tasks_blocked()
        await router.send(cancel(2))
        await trio.sleep(3)
    assert "$/progress" not in "".join(router.frames)


async def test_a_call_that_is_over_leaves_nothing_for_the_collector(autojump_clock: MockClock) -> None:
    calls: list[weakref.ref[Call]] = []

    async def handle(call: Call) -> AsyncGenerator[int]:
        calls.append(weakref.ref(call))
        yield 1

    async with open_serving(handle) as (_, router):
        gc.collect()
        gc.disable()
        try:
            await router.send(delivered(1, "m", progress=True, caller=CALLER))
            await received(router, 2)
            await wait_all_tasks_blocked()
            assert calls[0]() is None
        finally:
            gc.enable()


async def test_progress_without_an_end_lets_others_run_and_can_be_cancelled(
    autojump_clock: MockClock,
) -> None:
    async def handle(call: Call) -> AsyncGenerator[int] | str:
        return forever() if call.method == "forever" else "between"

    async def forever() -> AsyncGenerator[int]:
        while True:
            yield 1

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, handle)
        await router.send(delivered(1, "forever", progress=True))
        await router.receive()
        await router.send(delivered(2, "m"), delivered(3, "forever"))
        await router.send(delivered(4, "m"))
        await receive_until(router, "id", 2)
        await receive_until(router, "id", 4)
        await router.send(cancel(1), cancel(3))
        life.leave()
        await router.answer(await receive_until(router, "method", "instance.drain"), {})


async def receive_until(router: ScriptedRouter, name: str, value: object) -> Json:
    while (message := await router.receive()).get(name) != value:
        pass
    return message
