"""A router that stops: it takes nothing new, lets calls finish, and says goodbye to everybody."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.router.hosting import GOODBYE_SECONDS
from resroute.settings import Settings
from tests.scenario import open_scenario


async def test_a_drain_returns_once_all_sessions_are_gone(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(drain_seconds=1)) as scenario:
        stuck = await scenario.connect("stuck", buffer_bytes=0)
        stuck.stall()
        for _ in range(10):
            await stuck.start("session.info")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await scenario.router.drain()
        assert scenario.statistics().sessions == 0
        assert trio.current_time() - began < 5


async def test_whoever_is_connected_during_a_drain_is_told_and_ended_too(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(drain_seconds=5)) as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r")
        request = await owner.next("work")
        scenario.start_soon(scenario.router.drain)
        await trio.sleep(1)
        late = await scenario.connect("late")
        assert (await late.next("session.closing"))["params"]["reconnect_after_seconds"] > 0
        refused = await (await late.start_call("r")).refusal()
        assert (refused.type, refused.data["reason"]) == ("unavailable", "draining")
        await owner.answer(request, "in time")
        assert await pending.result() == "in time"
        for party in (owner, caller, late):
            assert (await party.wait_ended()).code == 1001


@pytest.mark.parametrize("steps", range(12))
async def test_a_drain_ends_whoever_connects_at_the_last_moment(
    autojump_clock: MockClock, steps: int
) -> None:
    async with open_scenario() as scenario:
        stuck = await scenario.connect("stuck", buffer_bytes=0)
        stuck.stall()
        for _ in range(10):
            await stuck.start("session.info")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()

        async def connect_late() -> None:
            await trio.sleep_until(began + GOODBYE_SECONDS)  # when those who are left are ended
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await scenario.connect("late")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect_late)
            with trio.fail_after(30):
                await scenario.router.drain()
        await scenario.wait_until(lambda: not scenario.statistics().sessions)
        assert scenario.statistics().sessions == 0


async def test_a_drain_that_is_cancelled_leaves_the_router_draining(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("r")
        request = await owner.next("work")
        with trio.move_on_after(1):
            await scenario.router.drain()
        assert scenario.router.is_draining
        assert (await (await caller.start_call("r")).refusal()).data["reason"] == "draining"
        await owner.answer(request)
        await pending.result()
        assert (await owner.refused("resource.register", resource_ids=["s"])).data["reason"] == "draining"
        assert (await owner.ask("resource.release", resource_ids=["r"]))["success"]


async def test_what_was_answered_before_the_end_of_a_drain_arrives(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller", buffer_bytes=0)
        caller.read_slowly(0.1)
        pendings = [await caller.start_call("r") for _ in range(5)]
        requests = [await owner.next("work") for _ in pendings]
        scenario.start_soon(scenario.router.drain)
        await trio.testing.wait_all_tasks_blocked()
        for request in requests:
            await owner.answer(request, "done")
        assert [await pending.result() for pending in pendings] == ["done"] * 5
        assert (await caller.wait_ended()).code == 1001


async def test_sessions_are_told_different_times_to_come_back(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        parties = [await scenario.connect() for _ in range(20)]
        for party in parties:
            await party.ask("session.ping")
        scenario.start_soon(scenario.router.drain)
        notices = [await party.next("session.closing") for party in parties]
        times = [notice["params"]["reconnect_after_seconds"] for notice in notices]
        assert all(0.1 <= seconds <= 2 for seconds in times)
        assert len(set(times)) > 15


async def test_calls_in_line_are_delivered_and_answered_within_the_time_of_a_drain(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "r", max_concurrency=1)
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("r") for _ in range(3)]
        first = await owner.next("work")
        await trio.testing.wait_all_tasks_blocked()  # the router has read all three
        scenario.start_soon(scenario.router.drain)
        await owner.next("session.closing")
        await trio.sleep(1)
        await owner.answer(first, 0)
        for number in (1, 2):
            await owner.answer(await owner.next("work"), number)
        assert [await call.result() for call in calls] == [0, 1, 2]
        assert (await caller.wait_ended()).code == 1001
