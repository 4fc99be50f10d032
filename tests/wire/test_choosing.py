"""Which instance of a service gets a call: also after some of its calls have timed out."""

from collections import Counter
from contextlib import suppress

import trio
from trio.testing import MockClock

from resroute.router.placement import LEFT_ALONE_SECONDS, TIMEOUTS_IN_A_ROW
from tests.scenario import Left, Party, Scenario, open_scenario


async def answer_all(party: Party, served: Counter[str]) -> None:
    """Answer every call at once, for as long as it is connected."""
    with suppress(Left):
        while True:
            request = await party.next("work")
            served[party.name] += 1
            await party.answer(request, party.name)


async def let_time_out(caller: Party, hanging: Party) -> None:
    """Have an instance let as many calls time out as it takes to be left alone."""
    calls = [
        await caller.start_call(service_name="hanging-alone", timeout_seconds=1)
        for _ in range(TIMEOUTS_IN_A_ROW)
    ]
    for call in calls:
        assert (await call.refusal()).code == 504
    hanging.take_news()


async def open_two(scenario: Scenario) -> tuple[Party, Party, Counter[str]]:
    """One that hangs, and one that answers."""
    served: Counter[str] = Counter()
    hanging = await scenario.instance("hanging", "service", priority=1)
    healthy = await scenario.instance("healthy", "service")
    scenario.start_soon(answer_all, healthy, served)
    return hanging, healthy, served


async def test_an_instance_that_lets_calls_time_out_is_left_alone_then_tried_with_one_call(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        hanging, healthy, served = await open_two(scenario)
        caller = await scenario.connect("caller")
        for _ in range(TIMEOUTS_IN_A_ROW):
            refusal = await (await caller.start_call(service_name="service", timeout_seconds=1)).refusal()
            assert refusal.code == 504
        hanging.take_news()
        assert [await caller.call(service_name="service") for _ in range(20)] == ["healthy"] * 20
        await trio.sleep(LEFT_ALONE_SECONDS)
        trial = await caller.start_call(service_name="service", timeout_seconds=1)
        assert [await caller.call(service_name="service") for _ in range(20)] == ["healthy"] * 20
        assert (await trial.refusal()).code == 504
        assert [message["method"] for message in hanging.take_news()] == ["work", "$/cancelRequest"]
        # twice as long now
        await trio.sleep(LEFT_ALONE_SECONDS * 1.5)
        assert await caller.call(service_name="service") == "healthy"
        await trio.sleep(LEFT_ALONE_SECONDS * 0.5)
        trial = await caller.start_call(service_name="service")
        await hanging.answer(await hanging.next("work"), "hanging")
        assert await trial.result() == "hanging"
        # it has answered: it is the one with the higher priority again
        again = await caller.start_call(service_name="service")
        await hanging.answer(await hanging.next("work"), "hanging")
        assert await again.result() == "hanging"
        assert healthy.ended is None and served["healthy"] == 41


async def test_who_lets_calls_time_out_gets_them_all_the_same_where_nobody_else_can(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        hanging = await scenario.instance("hanging", "hanging-alone")
        caller = await scenario.connect("caller")
        await let_time_out(caller, hanging)
        call = await caller.start_call(service_name="hanging-alone")
        await hanging.answer(await hanging.next("work"), 1)
        assert await call.result() == 1


async def test_a_slow_instance_gets_less(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        served: Counter[str] = Counter()
        slow = await scenario.instance("slow", "service")
        fast = await scenario.instance("fast", "service")
        scenario.start_soon(answer_all, fast, served)

        async def answer_slowly() -> None:
            with suppress(Left):
                while True:
                    request = await slow.next("work")
                    await trio.sleep(1)
                    served["slow"] += 1
                    await slow.answer(request)

        scenario.start_soon(answer_slowly)
        caller = await scenario.connect("caller")
        calls = []
        for _ in range(100):
            calls.append(await caller.start_call(service_name="service"))
            await trio.sleep(0.05)
        for call in calls:
            await call.result()
        assert served["fast"] > 4 * served["slow"] > 0


async def test_calls_by_service_do_not_stand_in_line(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.instance("only", "service", max_concurrency=1)
        await party.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7", "first")
        second = await caller.start_call("doc:7", "second")
        refusal = await (await caller.start_call(service_name="service")).refusal()
        assert (refusal.data["reason"], refusal.data["delivery"]) == ("overloaded", "not_delivered")
        for name, call in (("first", first), ("second", second)):
            await party.answer(await party.next(name))
            await call.result()
