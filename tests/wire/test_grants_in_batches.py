"""What grants and stands in a batch: its answer waits for the rest of the array, and calls under the new epoch do not."""

import trio
from trio.testing import MockClock

from tests.party import Json, Party
from tests.scenario import open_scenario


async def say_batch(party: Party, *requests: tuple[str, Json]) -> None:
    """Send a batch, with the ids ``b0``, ``b1`` and so on."""
    await party.say_batch(
        *(
            {"id": f"b{number}", "method": method, "params": params}
            for number, (method, params) in enumerate(requests)
        )
    )


async def test_a_call_under_an_epoch_may_come_before_the_array_that_tells_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        slow = await scenario.owner("slow", "slow:1")
        party, caller = await scenario.instance("party"), await scenario.connect("caller")
        granted, slow_call = party.expect("b0"), party.expect("b1")
        await say_batch(
            party,
            ("resource.register", {"resource_ids": ["doc:7"]}),
            ("route.call", party.call_params("slow:1")),
        )
        held_up = await slow.next()
        pending = await caller.start_call("doc:7")
        call = await party.next()
        assert not granted.is_settled, "the array waits for the other call"
        await party.answer(call, "done")
        assert await pending.result() == "done"
        await slow.answer(held_up, "at last")
        assert (await granted.result())["epochs"] == {"doc:7": call["meta"]["epoch"]}
        assert await slow_call.result() == "at last"


async def test_what_an_instance_calls_of_its_own_in_the_batch_that_grants_it_is_answered(
    autojump_clock: MockClock,
) -> None:
    """To hold calls back until the array has gone would have each wait for the other."""
    async with open_scenario() as scenario:
        party = await scenario.instance("party")
        granted, called = party.expect("b0"), party.expect("b1")
        await say_batch(
            party,
            ("resource.register", {"resource_ids": ["doc:7"]}),
            ("route.call", party.call_params("doc:7", wait_for_owner_seconds=5)),
        )
        began_at = trio.current_time()
        await party.answer(await party.next(), "its own")
        assert await called.result() == "its own"
        assert (await granted.result())["registered"] == ["doc:7"]
        assert trio.current_time() - began_at < 1


async def test_so_it_is_with_what_is_resumed_in_a_batch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        slow = await scenario.owner("slow", "slow:1")
        old, new = await scenario.connect("old"), await scenario.connect("new")
        caller = await scenario.connect("caller")
        joined = await old.ask("instance.register", service_name="documents", instance_id="documents-1")
        before = (await old.ask("resource.register", resource_ids=["doc:7"]))["epochs"]["doc:7"]
        resumed, slow_call = new.expect("b0"), new.expect("b1")
        token = {"resume_token": joined["resume_token"]}
        await say_batch(
            new,
            ("instance.register", {"service_name": "documents", "instance_id": "documents-1", **token}),
            ("route.call", new.call_params("slow:1")),
        )
        held_up = await slow.next()
        assert (await old.wait_ended()).code == 4009
        pending = await caller.start_call("doc:7")
        call = await new.next()
        assert not resumed.is_settled
        assert call["meta"]["epoch"] > before, "an epoch above the one it knows is news of its grant"
        await new.answer(call, "done")
        assert await pending.result() == "done"
        await slow.answer(held_up, "at last")
        assert (await resumed.result())["resumed"] == {"doc:7": call["meta"]["epoch"]}
        assert await slow_call.result() == "at last"
