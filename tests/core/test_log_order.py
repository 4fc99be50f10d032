"""Each command takes effect once and in its place, or the state says that the log is broken."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.commands import Genesis, Open
from resroute.core.facts import Applied
from resroute.core.log_fault import LogFault
from resroute.core.state import State
from resroute.errors import RouterError
from resroute.ids import MAX_REVISION, SessionId
from tests.core.asking import BASE, Asker, ids, open_session, register
from tests.core.effort import effort
from tests.core.schedules import play, random_schedule

OPEN = Open(SessionId("s"))


def test_the_first_command_sets_the_revision_and_each_one_after_it_counts_one() -> None:
    asker = Asker()
    assert asker.state.revision == BASE
    assert asker.applied(open_session("i")).revision == BASE + 1
    asker.ask(register("nobody", ids("a")))
    assert asker.state.revision == BASE + 2


def test_a_command_that_comes_twice_is_dropped() -> None:
    asker = Asker()
    asker.join("i")
    before = asker.state.dump()
    for number in range(asker.number + 1):
        assert asker.state.apply(asker.origin, number, register("i", ids("a"))) is None
        assert asker.state.apply(asker.origin, number, Genesis(1)) is None
    assert asker.state.dump() == before


@given(seed=st.integers(0, 2**32))
@effort(15)
def test_a_log_that_stutters_leads_to_the_same_state(seed: int) -> None:
    schedule = random_schedule(seed, 300)
    straight, stuttering = State(), State()
    outcomes = play(straight, schedule)
    rng = random.Random(seed)
    for step, entry in enumerate(schedule):
        assert stuttering.apply(*entry) is not None
        for _ in range(rng.randrange(3)):
            assert stuttering.apply(*schedule[rng.randrange(step + 1)]) is None
    assert None not in outcomes
    assert stuttering.dump() == straight.dump()


def test_a_gap_in_the_commands_of_an_origin_is_a_fault() -> None:
    asker = Asker()
    with pytest.raises(LogFault, match="command 3 of origin 'router-1' follows its command 1"):
        asker.state.apply("router-1", 3, OPEN)
    with pytest.raises(LogFault, match="command 2 of origin 'router-2' follows its command 0"):
        asker.state.apply("router-2", 2, OPEN)


def test_each_origin_counts_its_own_commands() -> None:
    asker = Asker()
    assert isinstance(asker.state.apply("router-2", 1, OPEN), Applied)
    assert isinstance(asker.state.apply("router-1", 2, open_session("t")), Applied)
    assert isinstance(asker.state.apply("router-2", 2, open_session("u")), Applied)
    assert asker.state.session_count == 3


def test_a_log_that_does_not_begin_with_genesis_is_a_fault() -> None:
    with pytest.raises(LogFault, match="a Open at revision 0"):
        State().apply("router-1", 1, OPEN)


def test_a_second_genesis_is_a_fault_whoever_sends_it() -> None:
    for origin, number in (("router-1", 2), ("router-2", 1)):
        with pytest.raises(LogFault, match="genesis at revision 1000"):
            Asker().state.apply(origin, number, Genesis(BASE + 5))


@pytest.mark.parametrize("base", [-1, 0, MAX_REVISION, MAX_REVISION + 1])
def test_a_genesis_outside_the_revisions_is_a_fault(base: int) -> None:
    with pytest.raises(LogFault):
        State().apply("router-1", 1, Genesis(base))


def test_revisions_end_before_javascript_could_confuse_them() -> None:
    state = State()
    state.apply("router-1", 1, Genesis(MAX_REVISION - 2))
    state.apply("router-1", 2, OPEN)
    assert state.revision == MAX_REVISION - 1
    with pytest.raises(LogFault):
        state.apply("router-1", 3, open_session("t"))


def test_a_session_that_is_opened_twice_is_a_fault() -> None:
    asker = Asker()
    asker.applied(OPEN)
    with pytest.raises(LogFault, match="session 's' is opened twice"):
        asker.ask(OPEN)


def test_a_fault_is_no_refusal() -> None:
    assert not issubclass(LogFault, RouterError)
