"""Answers count only from whom a call was handed over to, once, and under its own correlation id."""

import pytest
import trio.testing
from trio.testing import MockClock

from resroute.transport.interface import JSON
from tests.scenario import open_scenario


async def test_a_guessed_answer_to_a_call_that_still_waits_is_dropped(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.connect("owner", subprotocol=JSON, buffer_bytes=0)
        await owner.ask("instance.register", service_name="service")
        await owner.ask("resource.register", resource_ids=["r"])
        caller = await scenario.connect("caller")
        owner.stall()
        handed_over = await caller.start_call("r", "first")
        await trio.testing.wait_all_tasks_blocked()
        waits = await caller.start_call("r", "second")
        await trio.testing.wait_all_tasks_blocked()
        for guess in range(30):
            await owner.say({"id": guess, "result": "guessed"})
        await trio.testing.wait_all_tasks_blocked()
        assert await handed_over.result() == "guessed", "it has the call, whether it reads it or not"
        assert not waits.is_settled
        assert scenario.router.metrics.dropped_answers == 29
        owner.resume()
        await owner.next("first")
        await owner.answer(await owner.next("second"), "read")
        assert await waits.result() == "read"


async def test_nobody_answers_for_another_instance(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        other = await scenario.owner("other", "s")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r")
        request = await owner.next("work")
        for impostor in (other, caller):
            await impostor.answer(request, "not mine")
            await impostor.fail(request, 1, "not mine")
            await impostor.say({"id": request["id"], "result": 1, "error": 1})
            await impostor.ask("session.ping")
        assert scenario.router.metrics.dropped_answers == 6
        assert not pending.is_settled
        await owner.answer(request, "mine")
        assert await pending.result() == "mine"


async def test_the_first_answer_counts(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r")
        request = await owner.next("work")
        await owner.say({"id": request["id"], "result": 1}, {"id": request["id"], "result": 2})
        assert await pending.result() == 1
        await owner.ask("session.ping")
        assert scenario.router.metrics.dropped_answers == 1


@pytest.mark.parametrize("wrong_id", ['"%d"', "%d.0", "true", "null"])
async def test_an_id_of_another_type_is_another_id(autojump_clock: MockClock, wrong_id: str) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r")
        request = await owner.next("work")
        text = wrong_id % request["id"] if "%" in wrong_id else wrong_id
        await owner.say_text('{"jsonrpc":"2.0","id":%s,"result":"wrong"}' % text)
        await owner.ask("session.ping")
        assert not pending.is_settled
        await owner.answer(request, "right")
        assert await pending.result() == "right"


async def test_calls_under_1_and_the_string_1_are_two_calls(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("r", id=request_id) for request_id in (-1, "-1")]
        requests = [await owner.next("work") for _ in pendings]
        await owner.answer(requests[1], "string")
        await owner.answer(requests[0], "number")
        assert [await pending.result() for pending in pendings] == ["number", "string"]


async def test_a_request_without_a_method_does_not_answer_the_one_in_flight(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r", id="mine")
        await caller.say({"id": "mine"})
        await caller.ask("session.ping")
        assert [stray["id"] for stray in caller.strays] == [None]
        await owner.answer(await owner.next("work"), "the one")
        assert await pending.result() == "the one"


async def test_answers_in_a_batch_are_answers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("r") for _ in range(2)]
        ids = [(await owner.next("work"))["id"] for _ in pendings]
        await owner.say_text(
            '[{"jsonrpc":"2.0","id":%d,"result":1},{"jsonrpc":"2.0","id":%d,"result":2}]' % (ids[1], ids[0])
        )
        assert [await pending.result() for pending in pendings] == [2, 1]
