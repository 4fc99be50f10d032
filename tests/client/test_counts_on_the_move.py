"""Counts that go from one instance to another again and again while they are counted: none is lost, and none counts twice."""

import itertools
import random

import pytest
import trio
from trio.testing import MockClock

import resroute
from tests.client.test_draining_with_a_router import NAMES, Team, open_team

CALLERS = 3
CALLS = 30
MOVERS = 3


async def keep_moving(team: Team, rng: random.Random) -> None:
    """Have one resource after the other handed to somebody else, with its count."""
    while True:
        name = rng.choice(NAMES)
        owners = [member for member in team.members if name in member.instance.resources]
        to = rng.choice(team.members).instance
        if owners and owners[0].instance is not to:
            try:
                await owners[0].instance.transfer(name, to=to.instance_id, reason="why not")
            except (resroute.NotOwner, resroute.ResourceNotFound):
                pass  # another was quicker
        await trio.sleep(rng.choice((0, 0.001, 0.1)))


async def call(team: Team, name: str, told: list[int], rng: random.Random) -> None:
    """Count so often, and note what one is told."""
    for _ in range(CALLS):
        told.append(await team.caller.call("add", resource_id=name))
        await trio.sleep(rng.choice((0, 0.001, 0.5)))


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])
async def test_each_call_counts_once_wherever_the_count_is(
    is_lagging: bool, seed: int, autojump_clock: MockClock
) -> None:
    rng = random.Random(seed)
    async with open_team(is_lagging, "a", "b", "c", "d") as team:
        for number, name in enumerate(NAMES):
            await team.members[number % 4].instance.register(name)
        told: dict[str, list[list[int]]] = {name: [[] for _ in range(CALLERS)] for name in NAMES}
        async with trio.open_nursery() as movers:
            for _ in range(MOVERS):
                movers.start_soon(keep_moving, team, rng)
            async with trio.open_nursery() as callers:
                for name, of_callers in told.items():
                    for counts in of_callers:
                        callers.start_soon(call, team, name, counts, rng)
            movers.cancel_scope.cancel()
        for of_callers in told.values():
            assert sorted(itertools.chain(*of_callers)) == list(range(1, CALLERS * CALLS + 1))
            assert all(counts == sorted(counts) for counts in of_callers)
        moves = sum(line.startswith("load") for member in team.members for line in member.counter.log)
        assert moves > 5 * len(NAMES)
