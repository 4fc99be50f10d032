"""An owner that has fallen silent is asked whether it is still there before it stands in somebody's way."""

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import JSON
from tests.scenario import open_scenario


async def test_a_silent_owner_that_answers_keeps_what_it_owns(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        rival = await scenario.instance("rival")
        owner.stall()
        await trio.sleep(15)
        pending = await rival.start("resource.register", {"resource_ids": ["r"]})
        await trio.sleep(1)
        assert not pending.is_settled
        owner.resume()
        assert (await pending.refusal()).data["owner_instance_id"] == "owner"


async def test_notifications_that_wait_for_a_silent_owner_are_as_few_as_calls_in_flight(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_calls_in_flight=5)) as scenario:
        owner = await scenario.owner("owner", "r")
        rival = await scenario.instance("rival")
        owner.stall()
        await trio.sleep(15)
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(50):
            await rival.notify("resource.register", resource_ids=["r"])
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living - before == 5
        owner.resume()
        await scenario.wait_until(lambda: scenario.statistics().calls_in_flight == 0)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_an_owner_whose_handler_blocks_for_two_seconds_is_never_taken_for_gone(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        rival = await scenario.instance("rival")
        newcomer = await scenario.connect("newcomer")
        for _ in range(60):  # over several heartbeats, whatever their phase
            owner.stall()
            await trio.sleep(2)
            refused = await rival.refused("resource.register", resource_ids=["r"])
            assert refused.data["owner_instance_id"] == "owner"
            params = {"service_name": "service", "instance_id": "owner"}
            assert (await newcomer.refused("instance.register", **params)).type == "instance_conflict"
            owner.resume()
            await trio.sleep(0.3)
        assert (await owner.ask("resource.query"))["total_count"] == 1


async def test_an_owner_that_reads_slowly_shows_by_that_that_it_is_there(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.connect("owner", subprotocol=JSON, buffer_bytes=0)
        await owner.ask("instance.register", service_name="service", instance_id="owner")
        await owner.ask("resource.register", resource_ids=["r"])
        rival = await scenario.instance("rival")
        caller = await scenario.connect("caller")
        owner.read_slowly(1)
        calls = [await caller.start_call("r", timeout_seconds=60) for _ in range(40)]
        await trio.sleep(20)  # its Ping waits behind the calls that it reads one by one
        refused = await rival.refused("resource.register", resource_ids=["r"])
        assert (refused.type, refused.data["owner_healthy"]) == ("resource_conflict", True)
        for call in calls:
            await owner.answer(await owner.next("work"))
            await call.result()


async def test_an_instance_id_of_a_silent_session_is_free_once_that_does_not_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        ghost = await scenario.owner("owner", "r")
        again = await scenario.connect("again")
        ghost.lose_everything()
        await trio.sleep(15)
        began = trio.current_time()
        params = {"service_name": "service", "instance_id": "owner"}
        assert (await again.ask("instance.register", **params))["instance_id"] == "owner"
        assert trio.current_time() - began == pytest.approx(3), "probe_timeout_seconds"


async def test_a_silent_owner_that_does_not_answer_is_ended_and_loses_to_its_rival(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        rival = await scenario.instance("rival")
        owner.lose_everything()
        await trio.sleep(15)
        began = trio.current_time()
        assert (await rival.ask("resource.register", resource_ids=["r"]))["registered"] == ["r"]
        assert trio.current_time() - began == pytest.approx(3), "probe_timeout_seconds"


async def test_two_rivals_wait_for_the_same_silent_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        rivals = [await scenario.instance(name) for name in ("first", "second")]
        owner.lose_everything()
        await trio.sleep(15)
        asked = [await rival.start("resource.register", {"resource_ids": ["r"]}) for rival in rivals]
        answers = [await pending.answer() for pending in asked]
        assert sorted("result" in answer for answer in answers) == [False, True]


async def test_what_is_granted_in_part_is_told_before_it_is_called(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        silent = await scenario.owner("silent", "taken")
        rival = await scenario.instance("rival")
        caller = await scenario.connect("caller")
        silent.lose_everything()
        await trio.sleep(15)
        asked = await rival.start("resource.register", {"resource_ids": ["free", "taken"], "partial": True})
        await trio.sleep(1)
        if not asked.is_settled:
            assert (await (await caller.start_call("free")).refusal()).type == "resource_not_found"
        assert (await asked.result())["registered"] == ["free", "taken"]
        await caller.start_call("free")
        await rival.answer(await rival.next("work"))


async def test_a_bug_while_a_silent_owner_is_asked_costs_no_other_session(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("an answer or a notice failed")
        owner = await scenario.owner("owner", "doc:7")
        rival = await scenario.instance("rival")
        owner.stall()
        await trio.sleep(15)
        sessions = scenario.router._sessions.values()
        [session] = [one for one in sessions if one.owner and one.owner.instance_id == "owner"]
        ping = session.transport.ping

        def broken() -> None:
            raise ZeroDivisionError

        session.transport.ping = broken  # type: ignore[method-assign]
        asked = await rival.start("resource.register", {"resource_ids": ["doc:7"]})
        refused = await asked.refusal()
        assert (refused.code, refused.type) == (409, "resource_conflict")
        session.transport.ping = ping  # type: ignore[method-assign]
        owner.resume()
        assert (await rival.ask("session.ping"))["trace_id"]
        assert (await owner.ask("resource.query"))["total_count"] == 1
