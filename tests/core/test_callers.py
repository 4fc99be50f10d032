"""Who called a resource last: what each grant remembers, against the plainest model."""

import gc
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.records import MAX_CALLERS, Grant
from resroute.ids import SessionId
from tests.core.asking import Asker, end, ids, register

SESSIONS = [SessionId(f"session-{number}") for number in range(3 * MAX_CALLERS)]


def call(grant: Grant, session_id: SessionId) -> None:
    """As the router notes a call."""
    grant.calls_total += 1
    if grant.last_caller is not session_id:
        grant.note_caller(session_id)


def owned() -> tuple[Asker, Grant]:
    """A resource that an instance owns."""
    asker = Asker()
    asker.join("i")
    asker.applied(register("i", ids("a")))
    [grant] = asker.state.grants_after()
    return asker, grant


@given(
    st.lists(
        st.one_of(st.integers(0, 3), st.integers(0, len(SESSIONS) - 1), st.just(-1)),
        max_size=500,
    )
)
@example(list(range(len(SESSIONS))) * 2)
@example([*range(len(SESSIONS)), *range(len(SESSIONS)), 3, 3, 3])
@example([0, 1, *range(MAX_CALLERS - 1, 0, -1), 0, MAX_CALLERS])
def test_the_last_callers_are_remembered_and_no_others(calls: list[int]) -> None:
    _, grant = owned()
    model: list[SessionId] = []
    for number in calls:
        # the last one stands for an id that is equal but not the same, as one from another process would be
        session_id = SESSIONS[number] if number >= 0 else SessionId("".join(["session", "-0"]))
        call(grant, session_id)
        model = [*(other for other in model if other != session_id), session_id][-MAX_CALLERS:]
    assert [session for session in SESSIONS if grant.was_called_by(session)] == sorted(
        model, key=SESSIONS.index
    )


def test_a_single_caller_takes_no_table() -> None:
    _, grant = owned()
    for _ in range(3):
        call(grant, SESSIONS[0])
    assert grant.callers is None
    assert grant.was_called_by(SESSIONS[0])
    assert not grant.was_called_by(SESSIONS[1])


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info >= (3, 14),
    reason="only CPython up to 3.13 leaves dictionaries of strings out of its collections",
)
def test_no_more_are_kept_than_it_takes() -> None:
    _, grant = owned()
    for session_id in SESSIONS * 3:
        call(grant, session_id)
        assert grant.callers is None or len(grant.callers) <= 2 * MAX_CALLERS


def test_callers_are_nothing_to_the_garbage_collector() -> None:
    _, grant = owned()
    for session_id in SESSIONS:
        call(grant, session_id)
    assert not gc.is_tracked(grant) and not gc.is_tracked(grant.callers)


def test_what_is_taken_from_a_live_owner_keeps_its_callers() -> None:
    asker, before = owned()
    for session_id in SESSIONS[:3]:
        call(before, session_id)
    before.last_called_at = 5.0
    asker.join("j")
    asker.applied(register("j", ids("a"), force=True))
    [grant] = asker.state.grants_after()
    assert grant.owner.instance_id == "j" and grant.epoch > before.epoch
    assert (grant.calls_total, grant.last_called_at) == (3, 5.0)
    assert all(map(grant.was_called_by, SESSIONS[:3]))


def test_what_was_free_in_between_begins_anew() -> None:
    asker, before = owned()
    call(before, SESSIONS[0])
    asker.applied(end("i"))
    asker.join("j")
    asker.applied(register("j", ids("a")))
    [grant] = asker.state.grants_after()
    assert grant.calls_total == 0
    assert not grant.was_called_by(SESSIONS[0])
