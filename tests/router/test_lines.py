"""The lines in which calls wait, held against the plainest models of them, and what very many calls leave behind."""

import gc
import itertools
import sys
from collections import deque

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from resroute.errors import TooManyWaiters, Unavailable
from resroute.ids import ResourceId
from resroute.protocol.deadlines import TICK_SECONDS, Deadlines
from resroute.router.calls import Call
from resroute.router.lines import FairLine, OwnerLines
from tests.router.test_tables import make_call, make_instance
from tests.scenario import open_scenario

MAX_CALLS = 5
CALLERS = 3

# --- a line for room ----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "come", "come", "next", "leave"]), st.integers(0, 9)), max_size=60
    )
)
def test_a_line_lets_callers_take_turns_and_crowds_out_whoever_has_most(
    steps: list[tuple[str, int]],
) -> None:
    callee = make_instance(0)
    callers = [make_instance(number) for number in range(CALLERS)]
    line = FairLine(callee, MAX_CALLS)
    turns: list[tuple[int, deque[Call]]] = []  # who waits with what, the next first
    numbers = itertools.count(1)

    def forget(call: Call) -> None:
        line.remove(call)
        for caller, calls in turns:
            if call in calls:
                calls.remove(call)
                if not calls:
                    turns.remove((caller, calls))
                return
        raise AssertionError("it was not there")

    for step, choice in steps:
        size = sum(len(calls) for _, calls in turns)
        if step == "come":
            who = choice % CALLERS
            call = make_call(callers[who], next(numbers), size_bytes=choice)
            own = next((calls for caller, calls in turns if caller == who), None)
            longest = max((calls for _, calls in turns), key=len, default=deque[Call]())
            if size == MAX_CALLS and len(longest) <= (len(own) if own else 0) + 1:
                with pytest.raises(Unavailable):
                    line.make_room_for(call.caller)
                continue
            crowded_out = line.make_room_for(call.caller)
            assert crowded_out is (longest[-1] if size == MAX_CALLS else None)
            if crowded_out is not None:
                forget(crowded_out)
            own = next((calls for caller, calls in turns if caller == who), None)
            if own is None:
                turns.append((who, own := deque()))
            own.append(call)
            line.add(call)
        elif step == "next" and turns:
            who, calls = turns.pop(0)
            turns.append((who, calls))
            call = line.next()
            assert call is calls[0]
            forget(call)
        elif step == "leave" and turns:
            waiting = [call for _, calls in turns for call in calls]
            forget(waiting[choice % len(waiting)])
        expected = [call for _, calls in turns for call in calls]
        assert list(line) == expected
        assert len(line) == len(expected) <= MAX_CALLS
        assert line.size_bytes == callee.kept_bytes == sum(call.size_bytes for call in expected)
        for number, caller in enumerate(callers):
            assert line.has_any_of(caller) == any(who == number for who, _ in turns)


# --- the lines for owners -----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["wait", "wait", "leave"]), st.integers(0, 2), st.integers(0, 99)),
        max_size=60,
    )
)
def test_calls_wait_for_an_owner_in_the_order_they_came_and_no_more_than_may(
    steps: list[tuple[str, int, int]],
) -> None:
    lines = OwnerLines(MAX_CALLS)
    caller = make_instance(0)
    resources = [ResourceId(f"doc:{number}") for number in range(3)]
    waiting: dict[ResourceId, list[Call]] = {resource_id: [] for resource_id in resources}
    numbers = itertools.count(1)
    for step, which, argument in steps:
        there = waiting[resource_id := resources[which]]
        if step == "leave" and there:
            lines.remove(there.pop(argument % len(there)))
        elif step == "wait" and len(there) == MAX_CALLS:
            with pytest.raises(TooManyWaiters):
                lines.check_room_for(resource_id)
        elif step == "wait":
            call = make_call(caller, next(numbers), size_bytes=argument)
            call.resource_id = resource_id
            lines.check_room_for(resource_id)
            lines.add(call)
            there.append(call)
        everything = [call for calls in waiting.values() for call in calls]
        assert all(lines.waiting_for(each) == calls for each, calls in waiting.items())
        assert all(lines.count(each) == len(calls) for each, calls in waiting.items())
        assert sorted(call.number for call in lines.all()) == sorted(call.number for call in everything)
        assert (len(lines), bool(lines)) == (len(everything), bool(everything))
        assert caller.kept_bytes == sum(call.size_bytes for call in everything)


# --- deadlines that move ------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "prolong", "settle", "look"]), st.integers(0, 9), st.floats(0, 3)),
        max_size=60,
    )
)
def test_a_deadline_that_moves_while_it_runs_is_due_at_the_later_time_and_once(
    steps: list[tuple[str, int, float]],
) -> None:
    """As calls are prolonged: the deadline itself stays where it is until it is due, and is then put where it belongs."""
    deadlines: Deadlines[int] = Deadlines()
    until: dict[int, float] = {}
    ticks: dict[int, int] = {}
    now = 0.0
    numbers = itertools.count()
    for step, choice, seconds in steps:
        chosen = sorted(until)[choice % len(until)] if until else None
        if step == "add":
            number = next(numbers)
            until[number] = now + seconds
            ticks[number] = deadlines.add(until[number], number, number)
        elif step == "prolong" and chosen is not None:
            until[chosen] = max(until[chosen], now + seconds)
        elif step == "settle" and chosen is not None:
            deadlines.remove(ticks.pop(chosen), chosen)
            del until[chosen]
        elif step == "look":
            now += seconds
            for number in deadlines.due(now):
                deadlines.remove(ticks.pop(number), number)
                if until[number] - now < TICK_SECONDS:
                    del until[number]
                else:
                    ticks[number] = deadlines.add(until[number], number, number)
            assert deadlines.due(now) == []
            assert all(at > now - TICK_SECONDS * 1.001 for at in until.values())
        assert (len(deadlines), bool(deadlines)) == (len(until), bool(until))


# --- what is left -------------------------------------------------------------------------------------------------

MANY_LEFT_BLOCKS = 2_000  # a tenth of a block for each call of the short run would be that
PACK = 50


async def count_blocks() -> int:
    """How many blocks of memory Python has handed out, once all is done and the garbage is gone."""
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize("calls", [4_000, pytest.param(50_000, marks=pytest.mark.slow)])
async def test_very_many_calls_leave_memory_where_it_was(autojump_clock: MockClock, calls: int) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", max_concurrency=7)
        caller = await scenario.connect("caller")
        numbers = itertools.count(1)

        async def make(count: int) -> None:
            """Most of them in line for a while, some taken back, some with a part of their result."""
            for _ in range(count // PACK):
                pack = [f"call-{next(numbers)}" for _ in range(PACK)]
                pending = [caller.expect(name) for name in pack]
                params = {"resource_id": "doc:7", "method": "m", "params": [1]}
                request = {"method": "route.call", "params": params, "meta": {"progress": True}}
                await caller.say(*({"id": name} | request for name in pack))
                await caller.cancel(pending[-1])
                for _ in pack[1:]:
                    asked = await owner.next("m")
                    await owner.notify("$/progress", token=asked["id"], value=1)
                    await owner.answer(asked)
                for each in pending:
                    await each.answer()
                caller.take_news()
                for party in (owner, caller):  # the test's own memory of what was said
                    party.record.forget()
                scenario.checker.words.clear()

        await make(5_000)
        baseline = scenario.statistics()
        before = await count_blocks()
        await make(calls)
        after = await count_blocks()
        assert scenario.statistics() == baseline
        assert after - before < MANY_LEFT_BLOCKS
