"""Who gets a resource, who does not, and what everybody is told about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.commands import AnyCommand
from resroute.core.facts import (
    Applied,
    InstanceJoined,
    Owner,
    Registered,
    Released,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
)
from resroute.errors import (
    AlreadyRegistered,
    Forbidden,
    InstanceConflict,
    NotOwner,
    ResourceConflict,
    ResourceLimitExceeded,
    ResourceNotFound,
    SessionNotFound,
)
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId
from tests.core.asking import BARE, Asker, become, end, ids, many_ids, open_session, register, release
from tests.core.effort import effort


@pytest.fixture
def asker() -> Asker:
    return Asker()


# --- becoming an instance --------------------------------------------------------------------------------------


def test_a_session_becomes_an_instance(asker: Asker) -> None:
    asker.applied(open_session("s"))
    outcome = asker.applied(become("s", "i", service="mail"))
    owner = Owner(SessionId("s"), InstanceId("i"), ServiceName("mail"))
    assert outcome.facts == (InstanceJoined(owner),)
    record = asker.state.instance(InstanceId("i"))
    assert record is not None
    assert record is asker.state.instance_of(SessionId("s"))
    assert record.fact == owner


def test_an_instance_id_is_taken_while_its_session_lives(asker: Asker) -> None:
    asker.join("i")
    asker.applied(open_session("other"))
    assert asker.refused(become("other", "i"), InstanceConflict).instance_id == "i"
    assert asker.refused(become("other", "i", service="mail"), InstanceConflict).instance_id == "i"
    asker.applied(end("i"))
    asker.applied(become("other", "i"))


def test_an_instance_id_is_free_again_before_its_resources_are_reclaimed(asker: Asker) -> None:
    asker.join("i")
    asker.applied(register("i", ids("a")))
    asker.applied(end("i"))
    asker.applied(open_session("next life"))
    asker.applied(become("next life", "i"))
    assert asker.owner_of("a") is None
    asker.applied(register("next life", ids("a")))
    assert asker.owner_of("a") == "i"


def test_a_session_becomes_an_instance_only_once(asker: Asker) -> None:
    asker.join("i")
    assert asker.refused(become("i", "another"), AlreadyRegistered).instance_id == "i"
    assert asker.refused(become("i", "i"), AlreadyRegistered).instance_id == "i"


def test_a_session_that_is_no_instance_owns_nothing(asker: Asker) -> None:
    asker.applied(open_session("caller"))
    assert asker.refused(register("caller", ids("a")), Forbidden).required == "instance.register"
    assert asker.refused(release("caller", ids("a")), Forbidden).required == "instance.register"


@pytest.mark.parametrize(
    "command", [become("gone"), register("gone", ids("a")), release("gone", ids("a")), end("gone")]
)
def test_nothing_is_granted_to_a_session_that_has_ended(asker: Asker, command: AnyCommand) -> None:
    assert asker.refused(command, SessionNotFound).session_id == "gone"
    asker.join("gone")
    asker.applied(register("gone", ids("a", "b")))
    asker.applied(end("gone"))
    assert asker.refused(command, SessionNotFound).session_id == "gone"


# --- one owner at a time ---------------------------------------------------------------------------------------


def test_a_grant_carries_the_revision_that_made_it_as_its_epoch(asker: Asker) -> None:
    owner = asker.join("i")
    outcome = asker.applied(register("i", ids("b", "a")))
    epoch = Epoch(outcome.revision)
    assert outcome == Applied(
        outcome.revision,
        Registered({ResourceId("b"): epoch, ResourceId("a"): epoch}, {}),
        (
            ResourceRegistered(ResourceId("b"), owner, epoch, BARE),
            ResourceRegistered(ResourceId("a"), owner, epoch, BARE),
        ),
    )


@given(
    order=st.permutations([f"i{n}" for n in range(6)]), joining=st.permutations([f"i{n}" for n in range(6)])
)
@effort(30)
def test_whoever_asks_first_gets_it_and_all_others_hear_who_that_was(
    order: list[str], joining: list[str]
) -> None:
    asker = Asker()
    for name in joining:
        asker.join(name)
    first, *others = order
    asker.applied(register(first, ids("a")))
    for name in others:
        assert asker.refused(register(name, ids("a")), ResourceConflict).conflicts == {"a": first}
    assert asker.owner_of("a") == first


def test_registering_what_one_owns_changes_nothing_and_keeps_the_epoch(asker: Asker) -> None:
    asker.join("i")
    asker.applied(register("i", ids("a", "b")))
    epoch = asker.epoch_of("a")
    again = asker.applied(register("i", ids("c", "a")))
    assert isinstance(again.result, Registered)
    assert again.result.epochs == {"c": again.revision, "a": epoch}
    assert [fact.resource_id for fact in again.facts if isinstance(fact, ResourceRegistered)] == ["c"]
    assert asker.applied(register("i", ids("a", "b", "c"))).facts == ()
    assert asker.applied(register("i", ids("a"), force=True)).facts == ()
    assert asker.epoch_of("a") == epoch


def test_one_conflict_refuses_the_whole_of_it_and_names_every_conflict(asker: Asker) -> None:
    for name in ("i", "j", "k"):
        asker.join(name)
    asker.applied(register("i", ids("a")))
    asker.applied(register("j", ids("b")))
    error = asker.refused(register("k", ids("free", "b", "a")), ResourceConflict)
    assert dict(error.conflicts) == {"b": "j", "a": "i"}
    assert asker.owner_of("free") is None


def test_a_partial_registration_takes_what_nobody_else_owns(asker: Asker) -> None:
    asker.join("i")
    asker.join("j")
    asker.applied(register("i", ids("a", "c")))
    asker.applied(register("j", ids("own")))
    result = asker.registered(register("j", ids("d", "c", "own", "b", "a"), partial=True))
    assert list(result.epochs) == ["d", "own", "b"]
    assert list(result.conflicts.items()) == [("c", "i"), ("a", "i")]
    assert [asker.owner_of(name) for name in "abcd"] == ["i", "j", "i", "j"]


def test_an_id_that_is_asked_for_twice_is_granted_and_counted_once(asker: Asker) -> None:
    asker.join("i")
    outcome = asker.applied(register("i", ids("a", "a"), limit=1))
    assert len(outcome.facts) == 1
    assert asker.owned() == ["a"]
    asker.join("j")
    outcome = asker.applied(register("j", ids("a", "a"), limit=1, force=True))
    assert len(outcome.facts) == 1
    assert asker.owner_of("a") == "j"
    assert asker.released(release("j", ids("a", "a"))) == Released(ids("a"), {})


def test_asking_for_nothing_is_granted(asker: Asker) -> None:
    asker.join("i")
    assert asker.applied(register("i", ())).facts == ()
    assert asker.applied(release("i", ())).facts == ()


# --- the limit -------------------------------------------------------------------------------------------------


def test_nobody_owns_more_than_the_limit(asker: Asker) -> None:
    asker.join("i")
    asker.applied(register("i", ids("a", "b"), limit=3))
    error = asker.refused(register("i", ids("c", "d"), limit=3), ResourceLimitExceeded)
    assert (error.limit, error.current, error.requested) == (3, 2, 2)
    asker.applied(register("i", ids("c"), limit=3))
    asker.refused(register("i", ids("d"), limit=3), ResourceLimitExceeded)
    asker.applied(register("i", ids("a", "b", "c"), limit=3))
    asker.applied(release("i", ids("b")))
    asker.applied(register("i", ids("d"), limit=3))


def test_over_the_limit_a_partial_registration_is_refused_as_a_whole(asker: Asker) -> None:
    asker.join("i")
    asker.refused(register("i", ids("a", "b"), limit=1, partial=True), ResourceLimitExceeded)
    assert asker.owned() == []


def test_what_others_own_does_not_count_against_the_limit(asker: Asker) -> None:
    asker.join("i")
    asker.join("j")
    asker.applied(register("i", ids("a", "b")))
    asker.applied(register("j", ids("a", "b", "c"), limit=1, partial=True))
    error = asker.refused(register("j", ids("a", "c"), limit=1, force=True), ResourceLimitExceeded)
    assert (error.limit, error.current, error.requested) == (1, 1, 1)


# --- force -----------------------------------------------------------------------------------------------------


def test_force_takes_a_resource_from_its_owner_with_no_moment_in_between(asker: Asker) -> None:
    before = asker.join("i", service="mail")
    after = asker.join("j", service="store")
    earlier = Epoch(asker.applied(register("i", ids("a", "kept"))).revision)
    outcome = asker.applied(register("j", ids("new", "a"), force=True))
    epoch = Epoch(outcome.revision)
    assert outcome.facts == (
        ResourceRegistered(ResourceId("new"), after, epoch, BARE),
        ResourceTransferred(ResourceId("a"), after, epoch, before, earlier, "forced", BARE, None),
    )
    assert asker.owned("mail") == ["kept"]
    assert asker.owned("store") == ["a", "new"]
    assert asker.refused(release("i", ids("a")), NotOwner).owner_instance_id == "j"


def test_an_epoch_only_grows_however_often_a_resource_changes_hands(asker: Asker) -> None:
    epochs = []
    for n in range(5):
        asker.join(f"i{n}")
        asker.applied(register(f"i{n}", ids("a"), force=n % 2 == 0))
        epochs.append(asker.epoch_of("a"))
        if n % 2 == 0:
            asker.applied(release(f"i{n}", ids("a")))
    assert epochs == sorted(set(epochs))


# --- releasing -------------------------------------------------------------------------------------------------


def test_a_released_resource_has_no_owner(asker: Asker) -> None:
    owner = asker.join("i")
    asker.applied(register("i", ids("a", "b", "c")))
    epoch = asker.epoch_of("a")
    outcome = asker.applied(release("i", ids("c", "a")))
    assert outcome.result == Released(ids("c", "a"), {})
    assert outcome.facts == (
        ResourceReleased(ResourceId("c"), owner, epoch, "request", BARE),
        ResourceReleased(ResourceId("a"), owner, epoch, "request", BARE),
    )
    assert asker.owned() == ["b"]


def test_only_the_owner_releases_and_the_first_that_fails_gives_the_error(asker: Asker) -> None:
    asker.join("i")
    asker.join("j")
    asker.applied(register("i", ids("a")))
    asker.applied(register("j", ids("b")))
    error = asker.refused(release("j", ids("b", "a", "nobody's")), NotOwner)
    assert (error.resource_id, error.owner_instance_id) == ("a", "i")
    assert asker.refused(release("j", ids("b", "nobody's", "a")), ResourceNotFound).resource_id == "nobody's"
    assert asker.owned() == ["a", "b"]


def test_an_administrator_releases_what_anybody_owns(asker: Asker) -> None:
    one, two = asker.join("one"), asker.join("two")
    asker.applied(register("one", ids("a", "b")))
    asker.applied(register("two", ids("c", "d")))
    asker.applied(open_session("admin"))
    asker.refused(release("admin", ids("a", "nobody's"), as_admin=True), ResourceNotFound)
    outcome = asker.applied(release("admin", ids("a", "c"), as_admin=True))
    assert [(fact.previous_owner, fact.cause) for fact in _released(outcome)] == [
        (one, "admin"),
        (two, "admin"),
    ]
    outcome = asker.applied(release("two", ids("b", "d", "nobody's"), partial=True, as_admin=True))
    assert [(fact.previous_owner, fact.cause) for fact in _released(outcome)] == [
        (one, "admin"),
        (two, "request"),
    ]
    assert outcome.result == Released(ids("b", "d"), {ResourceId("nobody's"): "resource_not_found"})
    assert asker.owned() == asker.owned("store") == []


def _released(outcome: Applied) -> list[ResourceReleased]:
    return [fact for fact in outcome.facts if isinstance(fact, ResourceReleased)]


def test_a_partial_release_gives_up_what_it_owns_and_says_why_not_the_rest(asker: Asker) -> None:
    asker.join("i")
    asker.join("j")
    asker.applied(register("i", ids("a")))
    asker.applied(register("j", ids("b", "c")))
    result = asker.released(release("j", ids("c", "a", "nobody's", "b"), partial=True))
    assert result.released == ("c", "b")
    assert dict(result.failed) == {"a": "not_owner", "nobody's": "resource_not_found"}
    assert asker.owned() == ["a"]


# --- paging ----------------------------------------------------------------------------------------------------


def test_thousands_of_resources_are_paged_through_in_code_point_order(asker: Asker) -> None:
    asker.join("odd", service="odd")
    asker.join("even", service="even")
    everything = many_ids(5000)
    asker.applied(register("odd", everything[::-2]))
    asker.applied(register("even", everything[::2]))
    pages, place = [], ""
    while page := asker.owned(after=place)[:700]:
        pages += page
        place = page[-1]
    assert pages == sorted(everything)
    assert asker.owned("even", after="r:004990") == list(ids("r:004992", "r:004994", "r:004996", "r:004998"))
