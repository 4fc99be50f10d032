"""Who waits for what others own gets it in turn, and nobody else does before."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.commands import AnyCommand, Expire, Expiry, GiveUp, Register, Serve
from resroute.core.facts import (
    Answered,
    Applied,
    InLine,
    Registered,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    SessionEnded,
    TtlChanged,
)
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.errors import (
    InvalidParams,
    ResourceConflict,
    ResourceLimitExceeded,
    SessionNotFound,
    TooManyWaiters,
)
from resroute.ids import Epoch, ResourceId, Revision
from tests.core.asking import (
    AT,
    Asker,
    end,
    give_up,
    ids,
    many_ids,
    reclaim,
    register,
    release,
    update,
    wait_for,
)
from tests.core.effort import effort


@pytest.fixture
def asker() -> Asker:
    asker = Asker()
    for name in ("owner", "u", "v", "w"):
        asker.join(name)
    asker.applied(register("owner", ids("a", "b")))
    return asker


def waits_answered(outcome: Applied) -> list[Revision]:
    assert all(isinstance(answered.answer, Registered) for answered in outcome.answered)
    return [answered.wait for answered in outcome.answered]


# --- standing in line ------------------------------------------------------------------------------------------


def test_who_comes_first_is_granted_as_soon_as_the_owner_lets_go(asker: Asker) -> None:
    first, second = asker.waits(wait_for("u", ids("a"))), asker.waits(wait_for("v", ids("a")))
    assert (asker.state.waiter_count, asker.state.waiting_for(ResourceId("a"))) == (2, 2)
    outcome = asker.applied(release("owner", ids("a"), at=AT + 7))
    epoch = Epoch(outcome.revision)
    assert outcome.answered == (Answered(first, Registered({ResourceId("a"): epoch}, {})),)
    released, registered = outcome.facts
    assert isinstance(released, ResourceReleased) and isinstance(registered, ResourceRegistered)
    assert (registered.owner.instance_id, registered.epoch) == ("u", epoch)
    assert waits_answered(asker.applied(release("u", ids("a")))) == [second]
    assert (asker.owner_of("a"), asker.state.waiter_count) == ("v", 0)


def test_what_is_granted_later_begins_to_live_then(asker: Asker) -> None:
    asker.waits(wait_for("u", ids("a"), metadata={"a": MetadataChange(ttl_seconds=10.0)}, at=AT))
    outcome = asker.applied(release("owner", ids("a"), at=AT + 7))
    grant = asker.state.grant_of(ResourceId("a"))
    assert grant is not None and grant.registered_at == AT + 7
    assert outcome.facts[-1] == TtlChanged(ResourceId("a"), grant.epoch, 10.0, AT + 17)


def test_who_lacks_nothing_does_not_wait(asker: Asker) -> None:
    outcome = asker.applied(wait_for("u", ids("c", "d")))
    assert isinstance(outcome.result, Registered)
    assert asker.state.waiter_count == 0


def test_several_are_granted_at_once_or_not_at_all(asker: Asker) -> None:
    wait = asker.waits(wait_for("u", ids("a", "b", "c")))
    assert asker.applied(release("owner", ids("a"))).answered == ()
    assert (asker.owner_of("a"), asker.owner_of("c")) == (None, None)
    assert waits_answered(asker.applied(release("owner", ids("b")))) == [wait]
    assert [asker.owner_of(name) for name in "abc"] == ["u", "u", "u"]
    assert len({asker.epoch_of(name) for name in "abc"}) == 1


def test_what_one_owns_already_keeps_its_epoch(asker: Asker) -> None:
    asker.applied(register("u", ids("mine")))
    epoch = asker.epoch_of("mine")
    asker.waits(wait_for("u", ids("mine", "a")))
    assert asker.state.waiting_for(ResourceId("mine")) == 0
    [answered] = asker.applied(release("owner", ids("a"))).answered
    assert isinstance(answered.answer, Registered)
    assert answered.answer.epochs == {"mine": epoch, "a": asker.epoch_of("a")}


def test_what_one_lost_meanwhile_is_waited_for_as_well(asker: Asker) -> None:
    asker.applied(register("u", ids("mine")))
    wait = asker.waits(wait_for("u", ids("mine", "a")))
    asker.applied(register("v", ids("mine"), force=True))
    assert asker.applied(release("owner", ids("a"))).answered == ()
    assert waits_answered(asker.applied(release("v", ids("mine")))) == [wait]


# --- nobody barges, nothing lies idle --------------------------------------------------------------------------


def test_a_free_resource_that_is_wanted_only_by_who_is_blocked_elsewhere_may_be_taken_by_anyone(
    asker: Asker,
) -> None:
    wait = asker.waits(wait_for("u", ids("a", "c")))
    asker.applied(register("v", ids("c")))
    assert asker.applied(release("owner", ids("a"))).answered == ()
    asker.applied(register("w", ids("a")))
    assert asker.applied(release("v", ids("c"))).answered == ()
    assert waits_answered(asker.applied(release("w", ids("a")))) == [wait]


def test_who_lacks_more_may_be_passed_by_who_comes_later(asker: Asker) -> None:
    both, one = asker.waits(wait_for("u", ids("a", "b"))), asker.waits(wait_for("v", ids("a")))
    assert waits_answered(asker.applied(release("owner", ids("a")))) == [one]
    assert asker.applied(release("owner", ids("b"))).answered == ()
    assert waits_answered(asker.applied(release("v", ids("a")))) == [both]


def test_who_came_first_and_can_have_all_is_not_passed_by_who_wants_part_of_it(asker: Asker) -> None:
    both = asker.waits(wait_for("u", ids("b", "a")))
    asker.waits(wait_for("v", ids("a")))
    asker.waits(wait_for("w", ids("b")))
    assert waits_answered(asker.applied(release("owner", ids("a", "b")))) == [both]


def test_one_release_serves_all_it_can(asker: Asker) -> None:
    asker.applied(register("owner", ids("c")))
    waits = [asker.waits(wait_for(name, ids(one))) for name, one in zip("uvw", "bca", strict=True)]
    assert waits_answered(asker.applied(release("owner", ids("a", "b", "c")))) == waits


def test_force_ignores_the_line_and_whoever_had_it_by_force_is_next_waited_for(asker: Asker) -> None:
    wait = asker.waits(wait_for("u", ids("a")))
    assert asker.applied(register("v", ids("a"), force=True)).answered == ()
    assert waits_answered(asker.applied(release("v", ids("a")))) == [wait]


def test_who_takes_by_force_what_it_waits_for_has_waited_enough(asker: Asker) -> None:
    wait = asker.waits(wait_for("u", ids("a", "c")))
    outcome = asker.applied(register("u", ids("a"), force=True))
    assert waits_answered(outcome) == [wait]
    transferred, registered = outcome.facts
    assert isinstance(transferred, ResourceTransferred) and isinstance(registered, ResourceRegistered)
    assert asker.owned() == ["a", "b", "c"]


def test_an_expiry_frees_too(asker: Asker) -> None:
    asker.applied(register("owner", ids("t"), metadata={"t": MetadataChange(ttl_seconds=1.0)}))
    wait = asker.waits(wait_for("u", ids("t")))
    expiry = Expiry(ResourceId("t"), asker.epoch_of("t"), AT + 1)
    assert waits_answered(asker.applied(Expire((expiry,), AT + 1))) == [wait]


def test_what_a_dead_owner_left_goes_to_those_who_wait_before_it_is_reclaimed(asker: Asker) -> None:
    waits = [asker.waits(wait_for("u", ids("b"))), asker.waits(wait_for("v", ids("a")))]
    asker.applied(register("owner", ids("c")))
    outcome = asker.applied(end("owner"))
    assert waits_answered(outcome) == waits
    assert [type(fact) for fact in outcome.facts] == [
        SessionEnded,
        ResourceReleased,
        ResourceRegistered,
        ResourceReleased,
        ResourceRegistered,
    ]
    assert asker.state.unreclaimed_count == 1
    asker.applied(reclaim("owner", 10))
    assert asker.owned() == ["a", "b"]


def test_a_dead_owner_is_forgotten_with_the_last_that_others_waited_for(asker: Asker) -> None:
    asker.waits(wait_for("u", ids("a", "b")))
    asker.applied(end("owner"))
    assert (asker.state.next_dead(), asker.state.unreclaimed_count) == (None, 0)


# --- leaving the line ------------------------------------------------------------------------------------------


def test_who_gives_up_is_told_who_was_in_the_way_and_stands_in_no_line(asker: Asker) -> None:
    wait, next_one = asker.waits(wait_for("u", ids("a", "b"))), asker.waits(wait_for("v", ids("a")))
    [answered] = asker.applied(give_up(wait)).answered
    assert answered.wait == wait and isinstance(answered.answer, ResourceConflict)
    assert answered.answer.conflicts == {"a": "owner", "b": "owner"}
    assert asker.state.waiter_count == 1
    assert waits_answered(asker.applied(release("owner", ids("a", "b")))) == [next_one]
    assert asker.applied(give_up(wait)).answered == (), "it has been answered"
    assert asker.applied(give_up(next_one)).answered == ()


def test_who_ends_waits_no_more_and_gets_nothing(asker: Asker) -> None:
    waits = [asker.waits(wait_for("u", ids("a"))), asker.waits(wait_for("u", ids("b")))]
    outcome = asker.applied(end("u"))
    assert [answered.wait for answered in outcome.answered] == waits
    assert all(isinstance(answered.answer, SessionNotFound) for answered in outcome.answered)
    assert asker.applied(release("owner", ids("a", "b"))).answered == ()
    assert asker.owned() == []


def test_who_would_own_too_much_is_refused_at_its_turn_and_skipped(asker: Asker) -> None:
    asker.applied(register("u", ids("mine")))
    full, next_one = asker.waits(wait_for("u", ids("a"), limit=1)), asker.waits(wait_for("v", ids("a")))
    refused, granted = asker.applied(release("owner", ids("a"))).answered
    assert refused.wait == full and isinstance(refused.answer, ResourceLimitExceeded)
    assert (refused.answer.limit, refused.answer.current, refused.answer.requested) == (1, 1, 1)
    assert granted.wait == next_one
    assert (asker.owner_of("a"), asker.state.waiter_count) == ("v", 0)


def test_metadata_that_has_become_too_large_is_refused_at_its_turn(asker: Asker) -> None:
    asker.applied(register("u", ids("mine"), metadata={"mine": MetadataChange()}))
    given = {"mine": MetadataChange(resource_type="x" * 20)}
    asker.refused(wait_for("u", ids("mine", "a"), metadata=given, max_metadata_bytes=20), InvalidParams)
    wait = asker.waits(wait_for("u", ids("mine", "a"), metadata=given, max_metadata_bytes=45))
    asker.applied(update("u", "mine", MetadataChange(ttl_seconds=1.0)))
    [refused] = asker.applied(release("owner", ids("a"))).answered
    assert refused.wait == wait and isinstance(refused.answer, InvalidParams)
    assert asker.owner_of("a") is None


# --- limits ----------------------------------------------------------------------------------------------------


def test_so_many_wait_for_a_resource_and_no_more(asker: Asker) -> None:
    asker.waits(wait_for("u", ids("a"), per_resource=2))
    leaving = asker.waits(wait_for("v", ids("b", "a"), per_resource=2))
    assert asker.refused(wait_for("w", ids("a"), per_resource=2), TooManyWaiters).limit == 2
    assert asker.refused(wait_for("w", ids("c", "a", "b"), per_resource=2), TooManyWaiters).limit == 2
    asker.waits(wait_for("w", ids("b"), per_resource=2))
    asker.applied(give_up(leaving))
    asker.waits(wait_for("w", ids("a"), per_resource=2))


def test_so_many_requests_of_a_session_wait_and_no_more(asker: Asker) -> None:
    waits = [asker.waits(wait_for("u", ids("a"), per_session=2)) for _ in range(2)]
    assert asker.refused(wait_for("u", ids("b"), per_session=2), TooManyWaiters).limit == 2
    asker.waits(wait_for("v", ids("b"), per_session=2))
    asker.applied(give_up(waits[0]))
    asker.waits(wait_for("u", ids("b"), per_session=2))


def test_who_waits_twice_for_the_same_is_answered_twice_with_one_epoch(asker: Asker) -> None:
    waits = [asker.waits(wait_for("u", ids("a"))) for _ in range(2)]
    outcome = asker.applied(release("owner", ids("a")))
    assert waits_answered(outcome) == waits
    assert len({str(answered.answer) for answered in outcome.answered}) == 1
    assert len(outcome.facts) == 2


# --- a slice at a time -----------------------------------------------------------------------------------------


class InSlices(State):
    """It does so little in one command that hardly anybody gets its turn in it."""

    max_work = 2


@pytest.fixture
def slow() -> Asker:
    asker = Asker(InSlices.load(Asker().state.dump()), origin="router-2")
    for name in ("owner", "u", "v", "w"):
        asker.join(name)
    asker.applied(register("owner", ids("a", "b", "c")))
    return asker


def test_while_lines_are_served_what_is_promised_is_kept_from_others(slow: Asker) -> None:
    slow.waits(wait_for("u", ids("a")))
    slow.waits(wait_for("v", ids("b")))
    slow.applied(release("owner", ids("a", "b", "c")))
    assert slow.state.must_serve
    assert slow.owner_of("b") is None
    assert slow.refused(register("w", ids("b")), ResourceConflict).conflicts == {"b": "v"}
    result = slow.registered(register("w", ids("b", "c"), partial=True))
    assert (list(result.epochs), result.conflicts) == (["c"], {"b": "v"})
    slow.served()
    assert (slow.owner_of("a"), slow.owner_of("b"), slow.owner_of("c")) == ("u", "v", "w")


def test_who_joins_while_lines_are_served_comes_last(slow: Asker) -> None:
    slow.waits(wait_for("u", ids("a")))
    first = slow.waits(wait_for("v", ids("b")))
    slow.applied(release("owner", ids("a", "b", "c")))
    outcome = slow.applied(wait_for("w", ids("b")))
    assert isinstance(outcome.result, InLine) and outcome.result.conflicts == {"b": "v"}
    assert [answered.wait for answered in (*outcome.answered, *slow.served())] == [first]
    assert slow.owner_of("b") == "v"
    assert waits_answered(slow.applied(release("v", ids("b")))) == [outcome.revision]


def test_who_runs_out_of_time_while_it_could_be_granted_is_granted_unless_it_was_cancelled(
    slow: Asker,
) -> None:
    names = [f"n{number}" for number in range(4)]
    for name in names:
        slow.join(name)
    asked = many_ids(4)
    slow.applied(register("owner", asked))
    waits = [slow.waits(wait_for(name, (one,))) for name, one in zip(names, asked, strict=True)]
    slow.applied(release("owner", asked))
    granted = [name for name, one in zip(names, asked, strict=True) if slow.owner_of(one)]
    assert granted == names[:1]
    outcome = slow.applied(GiveUp(waits[3], AT, only_if_blocked=True))
    assert waits[3] in waits_answered(outcome)
    outcome = slow.applied(GiveUp(waits[2], AT))
    [refused] = [answered for answered in outcome.answered if answered.wait == waits[2]]
    assert isinstance(refused.answer, ResourceConflict)
    slow.served()
    assert slow.owner_of(asked[2]) is None


def test_who_left_with_their_session_are_crossed_out_by_and_by_and_count_no_more(slow: Asker) -> None:
    many = many_ids(50)
    slow.applied(register("owner", many))
    for _ in range(3):
        slow.waits(wait_for("u", many))
    slow.applied(end("u"))
    assert slow.state.must_serve
    assert (slow.state.waiter_count, slow.state.waiting_for(many[0])) == (0, 0)
    slow.waits(wait_for("v", many[:1], per_resource=1))
    slow.served()
    assert slow.state.digest() == State.load(slow.state.dump()).digest()
    slow.applied(release("owner", many))
    slow.served()
    assert slow.owned() == ["a", "b", "c", many[0]]


NAMES = ("p", "q", "r", "s", "t")
PLACES = ids("a", "b", "c", "d", "e")


def random_command(rng: random.Random, waits: list[Revision]) -> AnyCommand:
    name = rng.choice(NAMES)
    some = tuple(rng.sample(PLACES, rng.choice((1, 1, 2, 3))))
    match rng.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            return wait_for(name, some, limit=rng.choice((2, 1000)))
        case 5 | 6:
            return release(name, PLACES, partial=True)
        case 7 | 8:
            return release(name, some, partial=True)
        case 9 if waits:
            return GiveUp(rng.choice(waits), AT, rng.random() < 0.5)
        case 10:
            return register(name, some, force=rng.random() < 0.3, partial=rng.random() < 0.5)
        case _:
            return register(name, some)


def those_who_could_be_granted(state: State, waiting: dict[Revision, Register]) -> dict[ResourceId, str]:
    """What is free, and whose turn it is to have it: whoever came first of those who can have all that they ask for."""
    turns: dict[ResourceId, str] = {}
    for asked in waiting.values():
        grants = [(one, state.grant_of(one)) for one in asked.resource_ids]
        if all(
            turns.get(one, asked.session_id) == asked.session_id
            and (grant is None or grant.owner.session_id == asked.session_id)
            for one, grant in grants
        ):
            turns |= {one: asked.session_id for one, grant in grants if grant is None}
    return turns


def note_answers(waiting: dict[Revision, Register], answered: Iterable[Answered]) -> None:
    for answer in answered:
        del waiting[answer.wait]


@given(seed=st.integers(0, 2**32), max_work=st.sampled_from((1, 5, 20, 512)))
@example(seed=0, max_work=1)
@effort(150)
def test_nobody_barges_and_nothing_lies_idle_that_somebody_waits_for(seed: int, max_work: int) -> None:
    rng = random.Random(seed)
    asker = Asker()
    asker.state.max_work = max_work
    for name in NAMES:
        asker.join(name)
    waiting: dict[Revision, Register] = {}
    for step in range(120):
        turns = those_who_could_be_granted(asker.state, waiting)
        if not asker.state.must_serve:
            assert not turns, f"step {step}: free, and somebody waits for it"
            assert asker.state.waiter_count == len(waiting)
        if asker.state.must_serve and rng.random() < 0.6:
            command: AnyCommand = Serve(AT)
        elif step % 30 == 29:
            gone = rng.choice(NAMES)
            note_answers(waiting, asker.applied(end(gone)).answered)
            assert not [asked for asked in waiting.values() if asked.session_id == gone]
            note_answers(waiting, asker.served())
            asker.applied(reclaim(gone, len(PLACES)))
            asker.join(gone)
            continue
        else:
            command = random_command(rng, list(waiting))
        outcome = asker.ask(command)
        if not isinstance(outcome, Applied):
            continue
        if isinstance(outcome.result, InLine):
            assert isinstance(command, Register)
            waiting[outcome.revision] = command
        if isinstance(command, Register) and isinstance(outcome.result, Registered) and not command.force:
            for one, epoch in outcome.result.epochs.items():
                if epoch == Epoch(outcome.revision):
                    assert turns.get(one, command.session_id) == command.session_id, f"step {step}: barged"
        in_order = [answered.wait for answered in outcome.answered]
        assert in_order == sorted(in_order) or isinstance(command, GiveUp)
        note_answers(waiting, outcome.answered)
