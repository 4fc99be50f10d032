"""A bug in telling a watch costs the session that watches, and neither the others that watch nor the router."""

from typing import override

from trio.testing import MockClock, wait_all_tasks_blocked

from resroute.core.facts import Owner
from resroute.core.filters import Filter
from resroute.core.metadata import Metadata
from resroute.ids import ResourceId, Revision
from tests.scenario import Party, Scenario, open_scenario
from tests.watching import start_watch, wait_told


class BrokenFilter(Filter, frozen=True):
    """A filter that fails for some resources."""

    @override
    def matches(self, resource_id: ResourceId, owner: Owner, metadata: Metadata | None) -> bool:
        if resource_id.startswith("broken"):
            raise ZeroDivisionError("a bug")
        return super().matches(resource_id, owner, metadata)


async def watch_with_a_bug(scenario: Scenario, party: Party, after: int) -> None:
    """Have it watch, from a revision on, with a filter that fails."""
    await wait_all_tasks_blocked()  # until the router knows it
    sessions = scenario.router._sessions.values()
    [session] = [session for session in sessions if session.transport is party.transport]
    broken = BrokenFilter(prefix="broken")
    scenario.router._parts.watching.watches.add(session, broken, Revision(after))


async def test_a_bug_in_telling_a_change_costs_the_session_that_it_was_for(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("watch failed")
        unlucky = await scenario.connect("unlucky")
        lucky = [await scenario.connect(name) for name in ("all", "some")]
        tolds = [await start_watch(lucky[0]), await start_watch(lucky[1], prefix="b")]
        await watch_with_a_bug(scenario, unlucky, scenario.revision)
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["before", "broken", "behind"])
        assert (await unlucky.wait_ended()).code == 1011
        await owner.ask("resource.register", resource_ids=["best", "broken:2"])
        for party, told in zip(lucky, tolds, strict=True):
            await wait_told(party, told, 5)
        assert scenario.statistics().watches == 2


async def test_a_bug_in_catching_up_costs_the_session_that_was_to_catch_up(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("watch failed")
        revision = scenario.revision
        owner = await scenario.owner("owner", "before", "broken", "behind")
        lucky = await scenario.connect("lucky")
        told = await start_watch(lucky, from_revision=revision)
        unlucky = await scenario.connect("unlucky")
        await watch_with_a_bug(scenario, unlucky, revision)
        assert (await unlucky.wait_ended()).code == 1011
        await owner.ask("resource.register", resource_ids=["best"])
        await wait_told(lucky, told, 4)
        assert scenario.statistics().watches == 1


class FaultyClock:
    """A clock that fails once when it is told to."""

    def __init__(self) -> None:
        self.fails_next = False

    def __call__(self) -> float:
        if self.fails_next:
            self.fails_next = False
            raise ZeroDivisionError("a bug")
        return 0.0


async def test_a_bug_that_concerns_no_single_watch_costs_those_who_watch(autojump_clock: MockClock) -> None:
    clock = FaultyClock()
    async with open_scenario(turn_clock=clock) as scenario:
        scenario.forgives.add("watch failed")
        watcher = await scenario.connect("watcher")
        await start_watch(watcher)
        owner = await scenario.owner("owner", "before")
        clock.fails_next = True
        await owner.ask("resource.register", resource_ids=["then"])
        assert (await watcher.wait_ended()).code == 1011
        assert not clock.fails_next
        watcher = await scenario.connect("watcher again")
        told = await start_watch(watcher)
        await owner.ask("resource.register", resource_ids=["after"])
        await wait_told(watcher, told, 1)
