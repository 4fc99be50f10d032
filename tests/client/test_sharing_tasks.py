"""Calls that arrive together share a task and a scope where they can, and none of them notices."""

import contextvars
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute import Call, RemoteError
from tests.client.scripted import ScriptedRouter, delivered, open_scripted
from tests.client.test_instance import Life, start_instance
from tests.client.test_serving import open_serving

Json = dict[str, Any]


async def answers_of(router: ScriptedRouter, count: int) -> dict[int, Json]:
    """As many answers as are awaited, by the ids of their calls."""
    answers = [await router.receive() for _ in range(count)]
    return {answer["id"]: answer for answer in answers}


async def test_handlers_begin_in_the_order_of_arrival_however_many_of_them_wait(
    autojump_clock: MockClock,
) -> None:
    begun: list[int] = []

    async def handle(call: Call) -> int:
        begun.append(call.params["n"])
        for _ in range(call.params["n"] % 3):  # some do not wait at all, some once, some twice
            await trio.sleep(1)
        return int(call.params["n"])

    async with open_serving(handle) as (client, router):
        await router.send(*(delivered(n, "m", {"n": n}) for n in range(30)))
        await wait_all_tasks_blocked()
        assert begun == list(range(30))
        assert client.statistics().calls_serving == 20
        answers = await answers_of(router, 30)
        assert {n: answer["result"] for n, answer in answers.items()} == {n: n for n in range(30)}


async def test_a_handler_that_waits_holds_nobody_up(autojump_clock: MockClock) -> None:
    waiting = trio.Event()

    async def handle(call: Call) -> str:
        if call.method == "wait":
            await waiting.wait()
        return call.method

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "wait"), delivered(2, "go"), delivered(3, "wait"), delivered(4, "go"))
        assert set(await answers_of(router, 2)) == {2, 4}
        await router.send(delivered(5, "go"))
        assert set(await answers_of(router, 1)) == {5}
        waiting.set()
        assert set(await answers_of(router, 2)) == {1, 3}


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_handler_leaves_in_a_context_variable_no_other_sees(
    is_async: bool, autojump_clock: MockClock
) -> None:
    def leave(call: Call) -> str:
        before = variable.get()
        variable.set(call.params["value"])
        return before

    async def leave_later(call: Call) -> list[str]:
        before = leave(call)
        await trio.sleep(call.params["seconds"])
        async with trio.open_nursery() as nursery:
            inherited: list[str] = []
            nursery.start_soon(inherit, inherited)
        return [before, variable.get(), *inherited]

    async def inherit(found: list[str]) -> None:
        found.append(variable.get())

    async with open_serving(leave_later if is_async else leave) as (_, router):
        calls = [delivered(n, "m", {"value": f"of {n}", "seconds": n % 2}) for n in range(6)]
        await router.send(*calls)
        for n, answer in (await answers_of(router, 6)).items():
            assert answer["result"] == (["unset", f"of {n}", f"of {n}"] if is_async else "unset")


async def test_each_handler_has_the_deadline_of_its_own_call(autojump_clock: MockClock) -> None:
    def tell(call: Call) -> float:
        return trio.current_effective_deadline() - trio.current_time()

    async def tell_later(call: Call) -> float:
        await trio.sleep(1)
        return tell(call) + 1

    for handler in (tell, tell_later):
        async with open_serving(handler) as (_, router):
            calls = [delivered(n, "m", timeout_seconds=n) for n in (5, 3, 9, 9, 4)]
            await router.send(*({**call, "id": n} for n, call in enumerate(calls)))
            answers = await answers_of(router, 5)
            assert [answers[n]["result"] for n in range(5)] == pytest.approx([5, 3, 9, 9, 4])


async def test_one_call_that_runs_out_of_time_or_is_cancelled_takes_no_other_with_it(
    autojump_clock: MockClock,
) -> None:
    async def handle(call: Call) -> str:
        if call.method == "wait":
            await trio.sleep(10)
        return call.method

    async with open_serving(handle) as (client, router):
        await router.send(
            delivered(1, "wait", timeout_seconds=2),
            delivered(2, "go"),
            delivered(3, "wait", timeout_seconds=20),
            delivered(4, "wait", timeout_seconds=20),
            delivered(5, "go"),
        )
        assert set(await answers_of(router, 2)) == {2, 5}
        await router.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 3}})
        await trio.sleep(5)
        assert client.statistics().calls_serving == 1
        assert set(await answers_of(router, 1)) == {4}
        assert trio.current_time() >= 10
        await router.send(delivered(6, "go"))
        assert set(await answers_of(router, 1)) == {6}


async def test_a_handler_that_ends_itself_by_its_cancellation_leaves_the_next_one_alone(
    autojump_clock: MockClock,
) -> None:
    """The task goes on to the calls that have arrived meanwhile, under a scope that nobody has cancelled."""

    async def handle(call: Call) -> str:
        if call.method == "stubborn":
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            return "too late"
        await trio.sleep(call.params["seconds"])
        return call.method

    async with open_serving(handle) as (_, router):
        await router.send(delivered(1, "stubborn", timeout_seconds=1))
        await trio.sleep(4.9)
        await router.send(*(delivered(n, "patient", {"seconds": n % 2}) for n in (2, 3, 4, 5)))
        answers = await answers_of(router, 4)
        assert {n: answer["result"] for n, answer in answers.items()} == dict.fromkeys(
            (2, 3, 4, 5), "patient"
        )


async def test_what_has_run_out_of_time_before_its_turn_does_not_begin(autojump_clock: MockClock) -> None:
    begun: list[str] = []

    def handle(call: Call) -> str:
        begun.append(call.method)
        if call.method == "long":
            autojump_clock.jump(3)  # as if it computed for that long
        return call.method

    async with open_serving(handle) as (_, router):
        await router.send(
            delivered(1, "long", timeout_seconds=9),
            delivered(2, "late", timeout_seconds=2),
            delivered(3, "in time", timeout_seconds=9),
        )
        assert set(await answers_of(router, 2)) == {1, 3}
        assert begun == ["long", "in time"]


async def test_an_error_in_one_is_the_answer_to_that_one(autojump_clock: MockClock) -> None:
    async def handle(call: Call) -> str:
        if call.method == "fail":
            raise RemoteError(7, "as it was told")
        if call.method == "break":
            raise ExceptionGroup("several", [ValueError(), TypeError()])
        return call.method

    async with open_serving(handle) as (_, router):
        methods = ["go", "fail", "go", "break", "go"]
        await router.send(*(delivered(n, method) for n, method in enumerate(methods)))
        answers = await answers_of(router, 5)
        assert [answers[n].get("error", {}).get("code") for n in range(5)] == [None, 7, None, -32000, None]


async def test_calls_that_have_arrived_when_the_instance_is_cancelled_are_all_answered(
    autojump_clock: MockClock,
) -> None:
    lives: list[Life] = []

    async def handle(call: Call) -> None:
        if call.method == "end":
            lives[0].cancel()  # while the calls behind this one have not begun
        await trio.sleep_forever()

    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, handle)
        lives.append(life)
        await router.send(delivered(0, "m"), delivered(1, "end"), *(delivered(n, "m") for n in range(2, 6)))
        leaving: Json | None = None
        answers: dict[int, Json] = {}
        while len(answers) < 6 or leaving is None:
            message = await router.receive()
            if "method" in message:
                leaving = message
                await router.answer(leaving, {"handed_over": 0, "released": 0, "in_flight": 0})
            else:
                answers[message["id"]] = message
        for answer in answers.values():
            assert answer["error"]["message"] == "This instance has stopped serving"
        await life.done.wait()
        assert client.statistics().calls_serving == 0
