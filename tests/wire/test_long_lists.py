"""Requests about thousands of resources: each takes effect in one step, and meanwhile others have their turn."""

import itertools
from typing import Any

import pytest
from trio.testing import MockClock

from resroute.router.setting_aside import LONG
from resroute.settings import Settings
from tests.scenario import Json, Scenario, open_scenario
from tests.watching import start_watch, wait_told

MANY = Settings(max_resources_per_instance=3 * LONG)
IDS = [f"doc:{number:05}" for number in range(LONG + 10)]


def open_busy(settings: Settings = MANY) -> Any:
    """A scenario in which every step takes longer than a turn."""
    ticks = itertools.count()
    return open_scenario(settings, turn_clock=lambda: next(ticks) / 1000)


async def all_are_tidied(scenario: Scenario) -> None:
    """Nothing is set aside any more, or left behind."""
    state = scenario.router.log.state
    await scenario.wait_until(lambda: not state.leftover_count and not scenario.statistics().bulks)
    assert not state.leftover_count and not scenario.statistics().bulks


@pytest.mark.parametrize(
    "said", [{}, {"metadata": {name: {"tags": ["a"], "ttl_seconds": 600} for name in IDS[:600]}}]
)
async def test_a_long_registration_takes_effect_in_one_step(autojump_clock: MockClock, said: Json) -> None:
    async with open_busy() as scenario:
        watcher = await scenario.connect("watcher")
        told = await start_watch(watcher)
        owner = await scenario.owner("owner", IDS[7])
        long = await owner.start("resource.register", {"resource_ids": IDS, **said})
        call = await owner.start_call(IDS[-1], wait_for_owner_seconds=60)
        seen = []
        for _ in range(40):
            await watcher.ask("session.ping")
            seen.append(scenario.router.log.state.resource_count)
        answer = await long.result()
        assert answer["registered"] == IDS
        assert len(set(answer["epochs"].values())) == 2
        assert seen.count(1) > 3 and {*seen} <= {1, len(IDS)}
        await owner.answer(await owner.next("work"))
        await call.result()
        await wait_told(watcher, told, len(IDS) + (1 if said else 0))
        registered = [name for event, name, _ in told.brief if event == "registered"]
        assert registered == [IDS[7], *IDS[:7], *IDS[8:]]
        assert (await owner.ask("resource.query", tags=["a"], limit=1))["total_count"] == (600 if said else 0)
        await all_are_tidied(scenario)


async def test_a_long_registration_names_all_who_are_in_its_way_and_takes_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_busy() as scenario:
        other = await scenario.owner("other", IDS[5], IDS[-5])
        asks = await scenario.instance("asks")
        refused = await asks.refused("resource.register", resource_ids=IDS)
        assert refused.data["conflicts"] == {IDS[5]: "other", IDS[-5]: "other"}
        assert "pending" not in refused.data
        assert (await other.ask("resource.register", resource_ids=IDS[:20]))["success"]
        in_part = await asks.ask("resource.register", resource_ids=IDS, partial=True)
        assert in_part["registered"] == [name for name in IDS[20:] if name != IDS[-5]]
        assert in_part["conflicts"].keys() == {*IDS[:20], IDS[-5]}
        await all_are_tidied(scenario)


async def test_a_long_registration_over_the_limit_takes_nothing(autojump_clock: MockClock) -> None:
    async with open_busy(Settings(max_resources_per_instance=LONG)) as scenario:
        owner = await scenario.owner("owner", "one")
        refused = await owner.refused("resource.register", resource_ids=IDS)
        assert refused.type == "resource_limit_exceeded"
        assert (refused.data["current"], refused.data["requested"]) == (1, len(IDS))
        assert (await owner.ask("resource.register", resource_ids=IDS[: LONG - 1]))["success"]
        await all_are_tidied(scenario)


@pytest.mark.parametrize("backwards", [False, True])
async def test_of_two_who_ask_for_the_same_long_list_one_gets_it(
    autojump_clock: MockClock, backwards: bool
) -> None:
    async with open_busy() as scenario:
        rivals = [await scenario.instance(name) for name in ("one", "two")]
        lists = IDS, IDS[::-1] if backwards else IDS
        pendings = [
            await rival.start("resource.register", {"resource_ids": asked})
            for rival, asked in zip(rivals, lists, strict=True)
        ]
        answers = [await pending.answer() for pending in pendings]
        assert sorted("result" in answer for answer in answers) == [False, True]
        await all_are_tidied(scenario)


async def test_who_leaves_in_the_middle_of_a_long_registration_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    async with open_busy() as scenario:
        leaves, other = await scenario.instance("leaves"), await scenario.instance("other")
        await leaves.start("resource.register", {"resource_ids": IDS})
        await scenario.wait_bulk()
        leaves.drop()
        await leaves.wait_ended()
        await all_are_tidied(scenario)
        assert (await other.ask("resource.register", resource_ids=IDS))["success"]
        assert (await other.ask("resource.release", resource_ids=IDS))["released"] == IDS
