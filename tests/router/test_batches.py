"""Answers that wait for the rest of their batch are as much a burden as those that wait to be sent."""

import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import JSON
from tests.scenario import Json, Party, Pending, open_scenario

SETTINGS = Settings(outbox_soft_bytes=50_000, max_outbox_bytes=100_000)


async def start_batches(caller: Party, count: int) -> list[tuple[Pending, Pending]]:
    """Several batches, each of a call that is answered first and one that keeps the batch waiting."""
    batches = []
    for number in range(count):
        ids = (f"first-{number}", f"last-{number}")
        batches.append((caller.expect(ids[0]), caller.expect(ids[1])))
        members: list[Json] = [
            {"id": ids[0], "method": "route.call", "params": caller.call_params("r", "first")},
            {"id": ids[1], "method": "route.call", "params": caller.call_params("r", "last")},
        ]
        await caller.say_batch(*members)
    return batches


async def test_batches_that_are_done_at_once_do_not_end_a_session_that_reads(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(SETTINGS) as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller", subprotocol=JSON)
        batches = await start_batches(caller, 4)
        requests = [await owner.next() for _ in range(8)]
        for request in requests[::2]:
            await owner.answer(request, "x" * 40_000)
            await owner.ask("session.ping")
        await owner.say(*({"id": request["id"], "result": "last"} for request in requests[1::2]))
        kinds = []
        for first, last in batches:
            answer = await first.answer()
            kinds.append("result" if "result" in answer else answer["error"]["data"]["reason"])
            await last.answer()
        assert kinds[:2] == ["result", "result"]
        assert kinds[2:] == ["overloaded", "overloaded"]
        await caller.ask("session.ping")


async def test_what_waits_in_batches_counts_for_admission_and_for_memory(autojump_clock: MockClock) -> None:
    async with open_scenario(SETTINGS) as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller", subprotocol=JSON)
        batches = await start_batches(caller, 2)
        requests = [await owner.next() for _ in range(4)]
        for request in requests[::2]:
            await owner.answer(request, "x" * 40_000)
        await owner.ask("session.ping")
        assert scenario.statistics().memory_bytes > 80_000
        assert (await (await caller.start_call("r")).refusal()).type == "too_many_calls"
        for request in requests[1::2]:
            await owner.answer(request, "last")
        for pending in (pending for batch in batches for pending in batch):
            await pending.result()
        pending = await caller.start_call("r")
        await owner.answer(await owner.next("work"))
        await pending.result()


async def test_a_session_that_leaves_with_batches_open_takes_their_answers_along(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(SETTINGS) as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller", subprotocol=JSON)
        await start_batches(caller, 2)
        requests = [await owner.next() for _ in range(4)]
        for request in requests[::2]:
            await owner.answer(request, "x" * 40_000)
        await owner.ask("session.ping")
        caller.drop()
        await trio.testing.wait_all_tasks_blocked()
        assert scenario.statistics().memory_bytes == 0
        for request in requests[1::2]:
            await owner.answer(request, "too late")
