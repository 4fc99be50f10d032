"""A session has a writer from when it needs one."""

from collections.abc import Collection

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute.router.session import FIRST_MESSAGES, MAX_FIRST_BYTES
from resroute.transport.memory import BUFFER_BYTES
from tests.scenario import open_scenario


async def count_tasks() -> int:
    await wait_all_tasks_blocked()
    return trio.lowlevel.current_statistics().tasks_living


async def test_who_has_said_but_little_has_no_writer_yet(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect("party")
        tasks = await count_tasks()
        for _ in range(FIRST_MESSAGES):
            await party.ask("session.ping")
        assert await count_tasks() == tasks
        for _ in range(3):
            await party.ask("session.ping")
        assert await count_tasks() == tasks + 1


async def test_what_is_told_to_who_has_said_nothing_reaches_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        bound = await scenario.connect("bound", target="/resources/doc:7?owner_changes=true")
        owner = await scenario.owner("owner", "doc:7")
        assert (await bound.next("$/ownerChanged"))["params"]["resource_id"] == "doc:7"
        await owner.ask("resource.release", resource_ids=["doc:7"])
        assert "epoch" not in (await bound.next("$/ownerChanged"))["params"]


async def test_a_first_answer_that_its_peer_does_not_read_keeps_nothing_from_being_read(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        rival = await scenario.instance("rival")
        party = await scenario.connect("party", buffer_bytes=MAX_FIRST_BYTES)
        party.stall()
        discovery = await party.start("rpc.discover", {})
        await party.start("instance.register", {"service_name": "s", "instance_id": "party"})
        taken = await party.start("resource.register", {"resource_ids": ["doc:7"]})
        await wait_all_tasks_blocked()
        refused = await rival.refused("resource.register", resource_ids=["doc:7"])
        assert refused.data["owner_instance_id"] == "party"
        assert not discovery.is_settled and not taken.is_settled
        party.resume()
        await taken.result()
        assert len(str(await discovery.result())) > BUFFER_BYTES // 4 > MAX_FIRST_BYTES


async def test_what_is_told_to_a_peer_while_its_first_answer_is_sent_keeps_nothing_from_being_read(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        party = await scenario.connect("party", buffer_bytes=MAX_FIRST_BYTES)
        party.stall()
        await party.start("instance.register", {"service_name": "s", "instance_id": "party"})
        await wait_all_tasks_blocked()
        send = party.transport.send

        async def send_after_calls(messages: Collection[bytes]) -> None:
            party.transport.send = send  # type: ignore[method-assign]
            for _ in range(5):
                await caller.start_call("doc:7", params=["x" * MAX_FIRST_BYTES])
            await wait_all_tasks_blocked()
            await send(messages)

        party.transport.send = send_after_calls  # type: ignore[method-assign]
        await party.start("resource.register", {"resource_ids": ["doc:7"]})
        await wait_all_tasks_blocked()
        assert scenario.statistics().calls_in_flight == 5
        await party.start("resource.release", {"resource_ids": ["doc:7"]})
        await wait_all_tasks_blocked()
        assert (await caller.ask("resource.query"))["resources"] == []


async def test_who_is_to_go_before_it_has_said_anything_is_told_so(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        silent = await scenario.connect("silent")
        await scenario.router.drain(0)
        assert (await silent.next("session.closing"))["params"]["reason"]
        assert (await silent.wait_ended()).code == 1001
