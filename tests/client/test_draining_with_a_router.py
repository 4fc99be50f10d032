"""Instances that leave and hand over what they own, with a real router in memory whose log answers at once, or late."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Client, DrainProgress, Instance, Releasing, Service
from resroute.settings import Settings
from tests.client.scripted import open_client_of
from tests.client.test_hooks_with_a_router import Counter, counting
from tests.scenario import Scenario, open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])

NAMES = [f"count:{number}" for number in range(12)]


@attrs.define
class Member:
    """One instance of the service, and what it counts."""

    client: Client
    instance: Instance
    counter: Counter


@attrs.define
class Team:
    """A service and who calls it."""

    scenario: Scenario
    caller: Client
    members: list[Member]

    @property
    def old(self) -> Member:
        return self.members[0]

    def owners(self) -> dict[str, str]:
        """Who owns what, by their own word."""
        return {
            name: member.instance.instance_id for member in self.members for name in member.instance.resources
        }


@asynccontextmanager
async def open_team(
    is_lagging: bool,
    *names: str,
    settings: Settings | None = None,
    hook_seconds: float = 30.0,
    has_hooks: bool = True,
) -> AsyncGenerator[Team]:
    async with open_scenario(settings, is_lagging=is_lagging) as scenario, AsyncExitStack() as stack:
        team = Team(scenario, await stack.enter_async_context(open_client_of(scenario.router)), [])
        for name in names:
            client = await stack.enter_async_context(open_client_of(scenario.router))
            counter = Counter()
            service = counting(counter, hook_seconds=hook_seconds) if has_hooks else counter
            instance = await stack.enter_async_context(
                client.open_instance("counters", service, instance_id=name)
            )
            team.members.append(Member(client, instance, counter))
        yield team


async def test_each_resource_goes_with_its_count_to_whoever_owns_least(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a", "b") as team:
        await team.old.instance.register(*NAMES)
        for name in NAMES:
            await team.caller.call("add", resource_id=name)
        told: list[DrainProgress] = []
        drained = await team.old.instance.drain(batch_size=4, on_progress=told.append)
        assert (drained.handed_over, drained.released, drained.in_flight) == (12, 0, 0)
        assert [progress.done for progress in told] == [2, 4, 6, 8, 10, 12]
        assert {(progress.total, progress.released) for progress in told} == {(12, 0)}
        assert sorted(team.owners().values()) == ["a"] * 6 + ["b"] * 6
        for name in NAMES:
            assert await team.caller.call("add", resource_id=name) == 2
        with pytest.raises(resroute.Unavailable):
            await team.old.instance.register("count:new")


async def test_no_call_fails_or_runs_twice_while_an_instance_leaves(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a", "b", "c") as team:
        await team.old.instance.register(*NAMES)
        counts = dict.fromkeys(NAMES, 0)

        async def call_again_and_again(name: str, stop: trio.Event) -> None:
            while not stop.is_set():
                counts[name] += 1
                assert await team.caller.call("add", resource_id=name) == counts[name]
                await trio.sleep(0.01)

        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(call_again_and_again, name, stop)
            await trio.sleep(1)
            await team.old.instance.drain()
            await trio.sleep(3)
            stop.set()
        assert min(counts.values()) > 100
        assert "old" not in team.owners().values()


async def test_a_resource_with_a_call_at_work_holds_up_no_other(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a") as team, trio.open_nursery() as nursery:
        await team.old.instance.register(*NAMES)
        nursery.start_soon(lambda: team.caller.call("slow", resource_id=NAMES[0]))
        await trio.sleep(1)
        nursery.start_soon(team.old.instance.drain)
        await trio.sleep(3)
        assert list(team.old.instance.resources) == NAMES[:1]
        assert await team.caller.call("add", resource_id=NAMES[1]) == 1
        team.old.counter.may_end.set()
        assert await team.caller.call("add", resource_id=NAMES[0]) == 2


async def test_what_a_bulk_has_set_aside_holds_up_no_other(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_team(is_lagging, "old", "new", settings=settings) as team:
        await team.old.instance.register(*NAMES)
        silent = await team.scenario.owner("silent", "theirs", service="others")
        boss = await team.scenario.instance("boss", "others")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [*({"resource_id": name, "force": True} for name in NAMES[:3]), {"resource_id": "theirs"}]
        bulk = await boss.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(team.old.instance.drain, batch_size=2))
            await trio.sleep(1.5)
            assert not bulk.is_settled, "the silent one is being asked"
            assert team.owners() == {name: "old" if name in NAMES[:3] else "new" for name in team.owners()}
            assert len(team.owners()) == len(NAMES)
        assert (await bulk.result())["total_registered"] == 4
        assert sorted(team.owners()) == sorted(NAMES[3:])


async def test_an_heir_that_is_silent_for_a_moment_gets_what_there_is_with_its_count(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old") as team:
        await team.old.instance.register(*NAMES)
        heir = await team.scenario.connect("heir")
        await heir.ask("instance.register", service_name="counters", instance_id="heir")
        heir.stall()
        await trio.sleep(13)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(team.old.instance.drain)
            await trio.sleep(1)
            heir.resume()
        told = [await heir.next("resource.acquired")]
        told += [notice for notice in heir.take_news() if notice["method"] == "resource.acquired"]
        acquired = [resource for notice in told for resource in notice["params"]["resources"]]
        assert [resource["resource_id"] for resource in acquired] == NAMES
        assert all("state" in resource for resource in acquired)


async def test_what_finds_nobody_is_saved_and_released(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with open_team(is_lagging, "old") as team:
        await team.old.instance.register("x", "y")
        team.old.counter.log.clear()
        drained = await team.old.instance.drain()
        assert (drained.handed_over, drained.released) == (0, 2)
        assert sorted(team.old.counter.log) == ["save x drain None", "save y drain None"]
        with pytest.raises(resroute.ResourceNotFound):
            await team.caller.call("add", resource_id="x")


async def test_draining_twice_at_once_or_one_after_the_other_moves_everything_once(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a") as team:
        await team.old.instance.register(*NAMES)
        for name in NAMES:
            await team.caller.call("add", resource_id=name)
        drained: list[int] = []

        async def drain() -> None:
            drained.append((await team.old.instance.drain(batch_size=3)).handed_over)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            nursery.start_soon(drain)
        await drain()
        assert (sum(drained), drained[2]) == (12, 0)
        for name in NAMES:
            assert await team.caller.call("add", resource_id=name) == 2


async def test_to_nobody_is_to_nobody_though_others_are_there(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a") as team:
        await team.old.instance.register("x")
        drained = await team.old.instance.drain(hand_over_to="nobody")
        assert (drained.handed_over, drained.released) == (0, 1)
        assert team.old.counter.log[-1] == "save x drain None"


async def test_who_has_no_room_gets_no_more(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with open_team(
        is_lagging, "old", "a", "b", settings=Settings(max_resources_per_instance=12)
    ) as team:
        await team.old.instance.register(*NAMES)
        await team.members[1].instance.register("own:1", "own:2", "own:3")
        await team.members[2].instance.register(*(f"own:{number}" for number in range(4, 14)))
        drained = await team.old.instance.drain()
        assert (drained.handed_over, drained.released) == (11, 1)
        assert {len(member.instance.resources) for member in team.members[1:]} == {12}


async def test_only_those_who_are_named_get_it_and_they_must_be_there(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a", "b") as team:
        await team.scenario.instance("stranger", "strangers")
        cut_off = await team.scenario.instance("cut-off", "counters", resume_grace_seconds=60)
        cut_off.drop()
        await team.scenario.wait_until(lambda: team.scenario.statistics().suspended == 1)
        await team.old.instance.register(*NAMES)
        for heir, error in (
            ("old", resroute.InvalidParams),
            ("nobody-knows", resroute.InstanceNotFound),
            ("stranger", resroute.InstanceNotFound),
            ("cut-off", resroute.InstanceNotFound),
        ):
            with pytest.raises(error):
                await team.old.instance.drain(hand_over_to=["b", heir])
        await team.old.instance.register("count:new")
        await team.old.instance.drain(hand_over_to=["b"])
        assert team.owners() == dict.fromkeys([*NAMES, "count:new"], "b")


async def test_two_that_leave_at_once_hand_nothing_to_each_other(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "also", "heir") as team, trio.open_nursery() as nursery:
        await team.old.instance.register(*NAMES[:6])
        await team.members[1].instance.register(*NAMES[6:])
        for name in NAMES:
            await team.caller.call("add", resource_id=name)
        for member in team.members[:2]:
            nursery.start_soon(partial(member.instance.drain, batch_size=2))
        await trio.sleep(20)
        assert team.owners() == dict.fromkeys(NAMES, "heir")
        for name in NAMES:
            assert await team.caller.call("add", resource_id=name) == 2


async def test_who_merely_leaves_is_given_nothing_any_more_by_others_that_leave(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "heir") as team, trio.open_nursery() as nursery:
        counter = Counter()
        async with open_client_of(team.scenario.router) as client:
            async with client.open_instance("counters", counting(counter), instance_id="brief") as brief:
                await brief.register("x")
                await team.old.instance.register(*NAMES)
                for name in NAMES:
                    await team.caller.call("add", resource_id=name)
                nursery.start_soon(partial(team.caller.call, "slow", resource_id="x"))
                await trio.sleep(1)
                nursery.start_soon(_drain_and_let_end, team.old.instance, counter.may_end)
        assert counter.log[-1] == "save x drain None"
        assert team.owners() == dict.fromkeys(NAMES, "heir")
        for name in NAMES:
            assert await team.caller.call("add", resource_id=name) == 2


async def _drain_and_let_end(instance: Instance, may_end: trio.Event) -> None:
    await trio.sleep(1)
    await instance.drain()
    may_end.set()


async def test_what_is_not_loaded_yet_when_time_is_up_is_not_waited_for(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    loaded: list[str] = []
    service = Service(Counter())
    service.before_release(lambda releasing: loaded.remove(releasing.resource_id))

    @service.after_acquire
    async def load(acquired: Acquired) -> None:
        await trio.sleep(20)
        loaded.append(acquired.resource_id)

    async with open_team(is_lagging, "a") as team, open_client_of(team.scenario.router) as client:
        async with client.open_instance("counters", service, instance_id="slow") as instance:
            await team.old.instance.register("x")
            await team.old.instance.transfer("x", to="slow", reason="moving")
            await trio.sleep(1)
            began = trio.current_time()
            drained = await instance.drain(deadline_seconds=3)
            assert trio.current_time() - began < 12
            assert (drained.handed_over, drained.released) == (1, 0)
            assert await team.caller.call("add", resource_id="x") == 1
        assert not loaded


async def test_what_is_too_late_goes_without_state(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_team(is_lagging, "old", "a") as team, trio.open_nursery() as nursery:
        await team.old.instance.register("x", "y")
        nursery.start_soon(lambda: team.caller.call("slow", resource_id="x"))
        await trio.sleep(1)
        began = trio.current_time()
        drained = await team.old.instance.drain(deadline_seconds=3)
        assert trio.current_time() - began < 10
        assert (drained.handed_over, drained.released, drained.in_flight) == (2, 0, 1)
        assert await team.caller.call("add", resource_id="x") == 1
        assert "load x transfer None" in team.members[1].counter.log
        assert any("before_release_failed" in record.message for record in caplog.records)
        team.old.counter.may_end.set()


async def test_a_lot_of_state_goes_in_several_messages_and_what_cannot_travel_is_told(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    states: dict[str, Any] = {f"big:{number}": "ä" * 100_000 for number in range(15)}
    states |= {"huge": "x" * 600_000, "strange": object(), "large number": 2**70, "none": None}
    loaded: dict[str, Any] = {}

    def answer(_: resroute.Call) -> None:
        """Nobody calls."""

    old, new = Service(answer), Service(answer)

    @old.before_release
    def save(releasing: Releasing) -> Any:
        return states[releasing.resource_id.replace("_", " ")]

    @new.after_acquire
    def load(acquired: Acquired) -> None:
        loaded[acquired.resource_id.replace("_", " ")] = acquired.state

    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as another,
        client.open_instance("s", old) as giver,
        another.open_instance("s", new) as heir,
    ):
        await giver.register(*(name.replace(" ", "_") for name in states))
        drained = await giver.drain()
        assert (drained.handed_over, drained.released) == (len(states), 0)
        await trio.sleep(1)
        assert len(heir.resources) == len(states)
        assert loaded == states | {"huge": None, "strange": None, "large number": None}
        lost = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert sorted(line.split("'")[1] for line in lost) == ["huge", "large_number", "strange"]


async def test_an_heir_that_leaves_meanwhile_is_passed_over(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old", "a") as team:
        party = await team.scenario.instance("brief", "counters")
        await team.old.instance.register(*NAMES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: team.old.instance.drain(batch_size=2))
            await party.next("resource.acquired")
            party.drop()
        assert set(team.owners().values()) == {"a"}
        assert len(team.owners()) >= 6


async def test_an_heir_that_was_named_and_has_left_leaves_the_rest_to_nobody(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_team(is_lagging, "old") as team:
        party = await team.scenario.instance("brief", "counters")
        await team.old.instance.register(*NAMES)
        drained: list[resroute.Drained] = []

        async def drain() -> None:
            drained.append(await team.old.instance.drain(hand_over_to=["brief"], batch_size=2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await party.next("resource.acquired")
            party.drop()
        assert drained[0].handed_over >= 2
        assert drained[0].released == 12 - drained[0].handed_over > 0


async def test_who_may_not_ask_who_is_there_leaves_it_to_the_router(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(anonymous_roles=("instance",))
    async with open_team(is_lagging, "old", "a", settings=settings) as team:
        await team.old.instance.register("x")
        drained = await team.old.instance.drain()
        assert (drained.handed_over, drained.released) == (1, 0)
        await trio.sleep(2)
        assert team.members[1].counter.log == ["load x transfer None"]
        assert team.old.counter.log[-1] == "save x drain None"
        assert any("may not ask" in record.message for record in caplog.records)


async def test_what_listens_to_progress_may_end_it_by_raising(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    def refuse(_: DrainProgress) -> None:
        raise ValueError("enough")

    for has_hooks in (True, False):
        async with open_team(is_lagging, "old", "a", has_hooks=has_hooks) as team:
            await team.old.instance.register(*NAMES)
            with pytest.raises(ValueError, match="enough"):
                await team.old.instance.drain(batch_size=2, on_progress=refuse)


async def test_without_hooks_the_router_moves_all_of_it(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with open_team(is_lagging, "old", "a", has_hooks=False) as team:
        await team.old.instance.register(*NAMES)
        told: list[DrainProgress] = []
        drained = await team.old.instance.drain(batch_size=5, on_progress=told.append, deadline_seconds=9999)
        assert (drained.handed_over, drained.released) == (12, 0)
        assert [progress.done for progress in told] == [5, 10, 12]
        assert team.owners() == dict.fromkeys(NAMES, "a")


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_stopping_waits_for_the_calls_at_work(is_lagging: bool, autojump_clock: MockClock) -> None:
    for has_hooks in (True, False):
        async with (
            open_team(is_lagging, "old", "a", has_hooks=has_hooks) as team,
            trio.open_nursery() as nursery,
        ):
            await team.old.instance.register("x")
            answers: list[int] = []

            async def call(team: Team = team, answers: list[int] = answers) -> None:
                answers.append(await team.caller.call("slow", resource_id="x"))

            nursery.start_soon(call)
            await trio.sleep(1)

            async def let_end(team: Team = team) -> None:
                await trio.sleep(5)
                team.old.counter.may_end.set()

            nursery.start_soon(let_end)
            stopped = await team.old.instance.stop()
            assert (stopped.handed_over, stopped.in_flight) == (1, 0)
            await trio.sleep(1)
            assert answers == [1]


async def test_calls_that_take_longer_than_stopping_may_are_cut_off(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    for has_hooks in (True, False):
        async with (
            open_team(is_lagging, "old", "a", has_hooks=has_hooks) as team,
            trio.open_nursery() as nursery,
        ):
            await team.old.instance.register("x", "y")

            async def call(team: Team = team) -> None:
                with pytest.raises(resroute.RemoteError, match="stopped serving"):
                    await team.caller.call("slow", resource_id="x")

            nursery.start_soon(call)
            await trio.sleep(1)
            began = trio.current_time()
            stopped = await team.old.instance.stop(drain_seconds=20)
            assert trio.current_time() - began == pytest.approx(20, abs=1)
            assert (stopped.handed_over, stopped.in_flight) == (2, 1)
            assert not team.old.instance.resources
