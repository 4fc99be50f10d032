"""The log of a single router: everything has happened by the time submit returns."""

import pytest

from resroute.cluster.local import LocalLog
from resroute.core.facts import Applied, Outcome
from resroute.core.log_fault import LogFault
from resroute.ids import MAX_REVISION
from tests.cluster.journal import BASE, Journal
from tests.core.asking import become, ids, open_session, register


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def log(journal: Journal) -> LocalLog:
    return journal.make_log()


def test_it_begins_at_its_base(log: LocalLog, journal: Journal) -> None:
    assert log.state.revision == BASE
    assert journal.told() == []
    assert log.live()


def test_a_command_has_been_applied_and_answered_when_submit_returns(log: LocalLog, journal: Journal) -> None:
    log.submit(open_session("i"), journal.answer("opened"))
    assert log.state.session_count == 1
    assert journal.told() == ["opened"]


def test_of_two_who_submit_in_one_callback_the_first_is_first(log: LocalLog, journal: Journal) -> None:
    def race(_: Outcome) -> None:
        for name in "ji":
            log.submit(register(name, ids("a"), partial=True), journal.answer(name))
        assert log.state.resource_count == 0, "not in the middle of another command's callbacks"

    for name in "ij":
        log.submit(open_session(name))
        log.submit(become(name))
    log.submit(open_session("k"), race)
    [grant] = log.state.grants_after()
    assert grant.owner.instance_id == "j"


def test_a_follower_acts_between_two_commands_that_were_submitted_together(
    log: LocalLog, journal: Journal
) -> None:
    def note(applied: Applied) -> None:
        seen.append([grant.resource_id for grant in log.state.grants_after()])

    def submit_two(_: Outcome) -> None:
        log.submit(register("i", ids("a")))
        log.submit(register("i", ids("b")))

    seen: list[list[str]] = []
    log.submit(open_session("i"))
    log.submit(become("i"))
    journal.before = note
    log.submit(open_session("j"), submit_two)
    assert seen == [["a"], ["a", "b"]]


def test_a_chain_of_answers_needs_no_stack(log: LocalLog, journal: Journal) -> None:
    def go_on(outcome: Outcome) -> None:
        if outcome.revision < BASE + 20_000:
            log.submit(open_session(f"s{outcome.revision}"), go_on)

    log.submit(open_session("first"), go_on)
    assert log.state.session_count == 20_000
    assert journal.errors == []


def test_an_error_that_nobody_takes_does_not_stop_the_log() -> None:
    """``on_error`` should not raise; if it does, whoever submits hears of it, and the next who submits goes on."""
    journal = Journal()
    log = LocalLog(base=BASE, follower=journal, on_fault=journal.faults.append, on_error=throw)
    journal.state = log.state

    def go_wrong(_: Outcome) -> None:
        log.submit(open_session("j"), journal.answer("opened meanwhile"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.submit(open_session("i"), go_wrong)
    log.submit(open_session("k"), journal.answer("opened"))
    assert journal.told() == ["opened meanwhile", "opened"]


def throw(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("base", [0, -5, MAX_REVISION])
def test_a_base_that_is_no_revision_is_a_fault_at_once(base: int) -> None:
    journal = Journal()
    log = LocalLog(base=base, follower=journal, on_fault=journal.faults.append, on_error=throw)
    log.submit(open_session("i"), journal.answer("opened"))
    [fault] = journal.faults
    assert isinstance(fault, LogFault)
    assert journal.told() == []
