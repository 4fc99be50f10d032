"""What every log promises, over the local one and over one that answers late.

Each test asks for ``autojump_clock`` itself: a clock that only a fixture asks for is not the one that Trio runs with.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from resroute.cluster.log import Log
from resroute.core.commands import Genesis
from resroute.core.facts import Applied, Outcome, Refused
from resroute.core.log_fault import LogFault
from resroute.core.state import State
from resroute.errors import SessionNotFound
from tests.cluster.journal import BASE, Journal
from tests.core.asking import become, end, ids, open_session, register, release
from tests.core.effort import effort
from tests.core.model import same_outcome
from tests.core.schedules import random_schedule
from tests.lagging_log import LaggingLog

OpenLog = Callable[[Journal], AbstractAsyncContextManager[Log]]
"""Opens a log; leaving it waits until everything that was submitted has been answered."""


@asynccontextmanager
async def open_local_log(journal: Journal) -> AsyncIterator[Log]:
    yield journal.make_log()


@asynccontextmanager
async def open_lagging_log(journal: Journal, *, seed: int) -> AsyncIterator[Log]:
    async with trio.open_nursery() as nursery:
        yield LaggingLog(journal.make_log, random.Random(seed), nursery)


@pytest.fixture(
    params=["local", 1, 2, 3], ids=lambda seed: seed if seed == "local" else f"lagging with seed {seed}"
)
def open_log(request: pytest.FixtureRequest) -> OpenLog:
    return open_local_log if request.param == "local" else partial(open_lagging_log, seed=request.param)


@pytest.fixture
def journal() -> Journal:
    return Journal()


# --- order -----------------------------------------------------------------------------------------------------


async def test_every_answer_comes_once_and_in_the_order_of_asking(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        for n in range(100):
            log.submit(open_session(f"s{n}"), journal.answer(f"opened {n}"))
            if n % 7 == 0:
                await trio.sleep(0.01)
    assert journal.entries == [(f"opened {n}", BASE + 1 + n) for n in range(100)]


async def test_several_tasks_are_answered_in_the_order_in_which_they_asked(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    asked = []

    async def ask(log: Log, name: str) -> None:
        for n in range(20):
            asked.append(f"{name} {n}")
            log.submit(open_session(asked[-1]), journal.answer(asked[-1]))
            await trio.sleep(random.Random(f"{name} {n}").uniform(0, 0.1))

    async with open_log(journal) as log, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(ask, log, name)
    assert journal.told() == asked


async def test_losers_are_told_before_the_answer_and_what_it_allows_starts_after_it(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        log.submit(open_session("i"), journal.answer("opened"))
        log.submit(become("i"), journal.answer("joined"))
        log.submit(register("i", ids("a")), journal.answer("registered"))
    assert journal.told() == ["opened", "before", "joined", "after", "before", "registered", "after"]
    assert journal.entries[-3:] == [("before", BASE + 3), ("registered", BASE + 3), ("after", BASE + 3)]


async def test_followers_hear_of_what_nobody_waits_for_and_not_of_what_changed_nothing(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        log.submit(open_session("i"))
        log.submit(become("i"))
        log.submit(register("i", ids("a")))
        log.submit(register("i", ids("a")), journal.answer("had it already"))
        log.submit(register("nobody", ids("a")), journal.answer("refused"))
        log.submit(release("i", ids("b"), partial=True), journal.answer("nothing to release"))
    assert journal.told() == [
        *("before", "after") * 2,
        "had it already",
        "refused",
        "nothing to release",
    ]


async def test_what_a_callback_submits_comes_after_all_that_the_current_command_calls(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:

        def give_up(outcome: Outcome) -> None:
            log.submit(release("i", ids("a")), journal.answer("released"))
            assert journal.told()[-1] == "registered"

        def on_before(applied: Applied) -> None:
            if applied.revision == BASE + 3:
                log.submit(open_session("from before"), journal.answer("opened from before"))

        def on_after(applied: Applied) -> None:
            if applied.revision == BASE + 3:
                log.submit(open_session("from after"), journal.answer("opened from after"))

        journal.before, journal.after = on_before, on_after
        log.submit(open_session("i"))
        log.submit(become("i"))
        log.submit(register("i", ids("a")), journal.answer("registered", give_up))
    assert journal.told() == [
        *("before", "after"),
        *("before", "registered", "after"),
        "opened from before",
        *("before", "released", "after"),
        "opened from after",
    ]


async def test_a_chain_of_answers_that_submit_may_be_long(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:

        def go_on(outcome: Outcome) -> None:
            if outcome.revision < BASE + 3000:
                log.submit(open_session(f"s{outcome.revision}"), journal.answer("opened", go_on))

        log.submit(open_session("first"), journal.answer("opened", go_on))
    assert [entry.revision for entry in journal.entries] == list(range(BASE + 1, BASE + 3001))


# --- the state -------------------------------------------------------------------------------------------------


async def test_behind_a_barrier_everything_submitted_before_it_is_in_the_state(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        for n in range(1, 30):
            log.submit(open_session(f"s{n}"))
            if n % 3 == 0:
                await log.barrier()
                assert log.state.session_count == n


async def test_a_barrier_with_nothing_before_it_ends(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        await log.barrier()
        assert log.state.revision == BASE


async def test_waiting_at_a_barrier_can_be_cancelled(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        for n in range(10):
            log.submit(open_session(f"s{n}"))
            with trio.move_on_after(0):
                await log.barrier()
        await log.barrier()
        assert log.state.session_count == 10


async def test_a_session_may_have_ended_by_the_time_of_the_answer(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        log.submit(open_session("i"))
        log.submit(end("i"))
        log.submit(become("i"), journal.answer("refused"))
    [refused] = journal.outcomes
    assert isinstance(refused, Refused) and isinstance(refused.error, SessionNotFound)


async def test_this_router_may_act_for_the_owners_in_its_state(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        assert log.live()
        assert log.origin


# --- errors and faults -----------------------------------------------------------------------------------------


async def test_an_error_in_one_callback_costs_nobody_else_anything(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    wrongs = [ValueError("before"), KeyError("answer"), OSError("after")]

    def fail(wrong: Exception, _: Outcome) -> None:
        raise wrong

    journal.before, journal.after = partial(fail, wrongs[0]), partial(fail, wrongs[2])
    async with open_log(journal) as log:
        log.submit(open_session("i"))
        log.submit(become("i"), journal.answer("joined", partial(fail, wrongs[1])))
        log.submit(open_session("j"), journal.answer("opened"))
    assert journal.told() == ["before", "joined", "after", "opened"]
    assert journal.errors == wrongs
    assert journal.faults == []


async def test_after_a_fault_nothing_is_applied_and_nobody_is_answered(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:

        def go_wrong(_: Outcome) -> None:
            log.submit(open_session("twice"), journal.answer("opened twice"))
            log.submit(open_session("after"), journal.answer("opened after the fault"))

        log.submit(open_session("twice"), journal.answer("opened", go_wrong))
        await log.barrier()
        log.submit(open_session("later"), journal.answer("opened later"))
        log.submit(Genesis(BASE + 100), journal.answer("begun again"))
    assert journal.told() == ["opened"]
    [fault] = journal.faults
    assert isinstance(fault, LogFault)
    assert journal.errors == []


async def test_after_a_fault_a_barrier_still_ends(
    open_log: OpenLog, journal: Journal, autojump_clock: MockClock
) -> None:
    async with open_log(journal) as log:
        for _ in range(2):
            log.submit(open_session("twice"))
        with trio.fail_after(10):
            await log.barrier()
    assert len(journal.faults) == 1


# --- whatever is submitted -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32))
@example(seed=0)
@effort(15)
def test_the_same_commands_have_the_same_outcomes_however_late_they_come(seed: int) -> None:
    commands = [command for _, _, command in random_schedule(seed, 200)[1:]]
    expected, state = [], State()
    state.apply("local", 1, Genesis(BASE))
    for number, command in enumerate(commands, start=2):
        expected.append(state.apply("local", number, command))

    async def submit_all(journal: Journal) -> None:
        pause = random.Random(seed)
        async with open_lagging_log(journal, seed=seed) as log:
            for command in commands:
                log.submit(command, journal.answer(type(command).__name__))
                if pause.random() < 0.2:
                    await trio.sleep(pause.uniform(0, 0.2))
        assert log.state.digest() == state.digest()

    journal = Journal()
    trio.run(submit_all, journal, clock=MockClock(autojump_threshold=0))
    assert all(map(same_outcome, journal.outcomes, expected))
    assert len(journal.outcomes) == len(expected)


# --- lagging alone ---------------------------------------------------------------------------------------------


async def test_over_a_lagging_log_nothing_has_happened_yet_when_submit_returns(
    journal: Journal, autojump_clock: MockClock
) -> None:
    for seed in range(20):
        async with open_lagging_log(journal, seed=seed) as log:
            log.submit(open_session("i"), journal.answer(f"opened {seed}"))
            assert log.state.session_count == 0
        assert log.state.session_count == 1
    assert journal.told() == [f"opened {seed}" for seed in range(20)]


async def test_a_lagging_log_lags_the_same_for_the_same_seed(autojump_clock: MockClock) -> None:
    async def answered_at(seed: int) -> list[float]:
        journal, times = Journal(), []
        started = trio.current_time()
        async with open_lagging_log(journal, seed=seed) as log:
            for n in range(50):
                log.submit(
                    open_session(f"s{n}"), lambda _: times.append(round(trio.current_time() - started, 9))
                )
        return times

    one, again, other = await answered_at(1), await answered_at(1), await answered_at(2)
    assert one == again != other
    assert len(set(one)) > 2, "some come together, and not all do"
    assert len(set(one)) < 50
