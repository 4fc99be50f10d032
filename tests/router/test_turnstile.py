"""However many come, register or leave at once, the calls of the others go on in between."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, assert_no_checkpoints, memory_stream_pair, wait_all_tasks_blocked

from resroute.router.turnstile import PASSES, SHORT_SECONDS, Turnstile
from tests.router.test_accepting import Listener
from tests.scenario import Party, Scenario, open_scenario

MANY = 200


class Passes(trio.abc.Instrument):
    """Counts the passes of the loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@asynccontextmanager
async def open_turnstile(turn_seconds: float = 1.0) -> AsyncIterator[tuple[Turnstile, trio.Nursery]]:
    """A turnstile that is kept, of turns that take so long, and a nursery that is cancelled at the end."""
    turnstile = Turnstile(partial(next, itertools.count(0.0, turn_seconds)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turnstile.run)
        await wait_all_tasks_blocked()
        yield turnstile, nursery
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("turn_seconds", "passes_in_between"), [(1.0, PASSES), (SHORT_SECONDS / 2, PASSES - 1), (0.0, PASSES - 1)]
)
async def test_of_many_one_gets_on_every_few_passes_in_their_order(
    turn_seconds: float, passes_in_between: int
) -> None:
    async with open_turnstile(turn_seconds) as (turnstile, _):
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        came: list[int] = []
        got_on: list[tuple[int, int]] = []

        async def come(number: int) -> None:
            came.append(number)
            await turnstile.wait_turn()
            got_on.append((passes.count, number))

        async with trio.open_nursery() as coming:
            for number in range(MANY):
                coming.start_soon(come, number)
        assert [number for _, number in got_on] == came
        gaps = [after - before for (before, _), (after, _) in itertools.pairwise(got_on)]
        assert gaps[0] <= PASSES  # the first did not wait, so nobody kept the order before
        assert set(gaps[1:]) == {passes_in_between}


async def test_more_are_let_in_when_nobody_who_is_in_waits() -> None:
    async with open_turnstile() as (turnstile, _):
        got_on: list[str] = []

        async def come(name: str, *, behind_all: bool = False) -> None:
            await turnstile.wait_turn(behind_all=behind_all)
            got_on.append(name)

        async with trio.open_nursery() as coming:
            for _ in range(2):  # the first does not wait
                coming.start_soon(come, "is in")
            await trio.lowlevel.checkpoint()
            coming.start_soon(partial(come, "lets others in", behind_all=True))
            for _ in range(MANY - 2):
                coming.start_soon(come, "is in")
                await trio.lowlevel.checkpoint()
        assert got_on == ["is in"] * MANY + ["lets others in"]


async def test_who_is_alone_does_not_wait() -> None:
    async with open_turnstile() as (turnstile, _):
        for _ in range(3):
            with assert_no_checkpoints():
                await turnstile.wait_turn()
            await wait_all_tasks_blocked()


async def test_who_gives_up_takes_no_turn_from_the_next() -> None:
    async with open_turnstile() as (turnstile, _):
        await turnstile.wait_turn()
        with trio.CancelScope() as gives_up:
            gives_up.cancel()
            await turnstile.wait_turn()
        assert gives_up.cancelled_caught
        with trio.fail_after(5):
            await turnstile.wait_turn()
        assert not len(turnstile)


@pytest.mark.parametrize("how", ["opened", "not kept any more"])
async def test_once_it_is_open_nobody_waits(how: str) -> None:
    async with open_turnstile() as (turnstile, nursery), trio.open_nursery() as coming:
        for _ in range(MANY):
            coming.start_soon(turnstile.wait_turn)
        await trio.lowlevel.checkpoint()
        if how == "opened":
            turnstile.open()
        else:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
        assert not len(turnstile)
        for _ in range(3):
            with assert_no_checkpoints():
                await turnstile.wait_turn()


# --- what that means for sessions -----------------------------------------------------------------------------


class Bystander:
    """A caller and a callee that have nothing to do with the crowd."""

    def __init__(self, callee: Party, caller: Party) -> None:
        self._callee = callee
        self._caller = caller

    async def make_calls(self) -> None:
        """Three calls, one after the other."""
        for _ in range(3):
            pending = await self._caller.start_call("r")
            await self._callee.answer(await self._callee.next("work"))
            await pending.result()


async def bystander_in(scenario: Scenario) -> Bystander:
    """A bystander whose sessions have said their first words."""
    bystander = Bystander(await scenario.owner("callee", "r"), await scenario.connect("caller"))
    await bystander.make_calls()
    return bystander


async def test_a_crowd_that_leaves_at_once_leaves_the_loop_to_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        bystander = await bystander_in(scenario)
        crowd = [await scenario.owner(f"crowd-{number}", f"c{number}") for number in range(MANY)]
        for party in crowd:
            party.drop()
        await bystander.make_calls()
        assert scenario.statistics().sessions > MANY / 2
        await scenario.wait_until(lambda: scenario.statistics().sessions == 2)


async def test_what_a_crowd_owned_that_has_left_is_nobody_elses_conflict(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await bystander_in(scenario)
        heir = await scenario.instance("heir")
        crowd = [await scenario.owner(f"crowd-{number}", f"c{number}") for number in range(MANY)]
        for party in crowd:
            party.drop()
        sessions = scenario.router._sessions
        while sum(each.ending is None for each in sessions.values()) > 3:  # noqa: ASYNC110  # no event says so
            await trio.lowlevel.checkpoint()
        await heir.ask("resource.register", resource_ids=[f"c{MANY - 1}", f"c{MANY // 2}"])


async def test_a_crowd_that_registers_at_once_leaves_the_loop_to_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        bystander = await bystander_in(scenario)
        crowd = [await scenario.connect(f"crowd-{number}") for number in range(MANY)]
        async with trio.open_nursery() as nursery:
            for party in crowd:
                nursery.start_soon(partial(party.ask, "instance.register", service_name="crowd"))
            await bystander.make_calls()
            assert scenario.statistics().instances < MANY / 2
        assert scenario.statistics().instances == MANY + 1


async def test_a_crowd_that_connects_at_once_leaves_the_loop_to_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        bystander = await bystander_in(scenario)
        ours, theirs = zip(*(memory_stream_pair() for _ in range(MANY)), strict=True)
        listener = Listener(*theirs)
        scenario.start_soon(scenario.router.serve_listener, listener)
        await bystander.make_calls()
        assert listener.still_coming > MANY / 2
        for stream in ours:
            await stream.aclose()
        await scenario.wait_until(lambda: not listener.still_coming)


async def test_a_router_that_stops_lets_all_sessions_go_at_once(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        crowd = [await scenario.owner(f"crowd-{number}", f"c{number}") for number in range(MANY)]
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await scenario.router.drain()
        assert passes.count < MANY
        for party in crowd:
            assert (await party.wait_ended()).code == 1001
