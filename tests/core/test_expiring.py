"""When a grant ends by itself, and what puts that off."""

import pytest

from resroute.core.commands import Expire, Expiry
from resroute.core.facts import Renewed, ResourceReleased, ResourceUpdated, TtlChanged
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.errors import Forbidden, NotOwner, ResourceNotFound
from resroute.ids import ResourceId
from tests.core.asking import AT, Asker, end, ids, open_session, register, release, renew, update

TEN = MetadataChange(ttl_seconds=10.0)


@pytest.fixture
def asker() -> Asker:
    asker = Asker()
    asker.join("i")
    asker.join("rival")
    asker.applied(register("i", ids("a", "b"), metadata={"a": TEN}))
    return asker


def expiry_of(asker: Asker, name: str) -> Expiry:
    expires_at = asker.expires_at(name)
    assert expires_at is not None
    return Expiry(ResourceId(name), asker.epoch_of(name), expires_at)


def test_a_time_to_live_begins_with_the_registration_and_with_each_that_follows(asker: Asker) -> None:
    assert (asker.expires_at("a"), asker.expires_at("b")) == (AT + 10, None)
    [fact] = asker.applied(register("i", ids("a", "b"), at=AT + 3)).facts
    assert fact == TtlChanged(ResourceId("a"), asker.epoch_of("a"), 10.0, AT + 13)
    assert asker.expires_at("a") == AT + 13


def test_a_grant_ends_when_its_time_has_come(asker: Asker) -> None:
    expiry = expiry_of(asker, "a")
    [fact] = asker.applied(Expire((expiry,), AT)).facts
    assert isinstance(fact, ResourceReleased)
    assert (fact.resource_id, fact.epoch, fact.cause) == ("a", expiry.epoch, "expired")
    assert (asker.owner_of("a"), asker.owner_of("b"), asker.state.resource_count) == (None, "i", 1)
    asker.applied(register("rival", ids("a")))
    assert asker.metadata_of("a") is None


def test_who_loses_the_race_with_an_expiry_or_wins_it_changes_nothing_twice(asker: Asker) -> None:
    early = expiry_of(asker, "a")
    asker.applied(renew("i", ids("a"), at=AT + 1))
    assert asker.applied(Expire((early,), AT)).facts == ()
    late = expiry_of(asker, "a")
    asker.applied(release("i", ids("a")))
    assert asker.applied(Expire((late,), AT)).facts == ()
    asker.applied(register("i", ids("a"), metadata={"a": TEN}, at=AT + 1))
    assert asker.expires_at("a") == late.expires_at
    assert asker.applied(Expire((late,), AT)).facts == (), "another epoch"
    asker.applied(Expire((expiry_of(asker, "a"),), AT))
    asker.refused(renew("i", ids("a")), ResourceNotFound)


def test_a_renewal_is_for_all_or_none_and_changes_no_metadata(asker: Asker) -> None:
    before = asker.metadata_of("a")
    outcome = asker.applied(renew("i", ids("b", "a"), at=AT + 5))
    assert outcome.result == Renewed({ResourceId("a"): AT + 15})
    asker.applied(renew("i", ids("a"), ttl_seconds=100.0, at=AT + 5))
    assert asker.expires_at("a") == AT + 105
    asker.applied(renew("i", ids("a"), at=AT + 6))
    assert asker.expires_at("a") == AT + 16, "the other time was for once"
    assert asker.metadata_of("a") == before
    asker.applied(register("rival", ids("c")))
    assert asker.refused(renew("i", ids("a", "c")), NotOwner).resource_id == "c"
    assert asker.refused(renew("i", ids("a", "d")), ResourceNotFound).resource_id == "d"
    asker.applied(open_session("caller"))
    asker.refused(renew("caller", ids("a")), Forbidden)
    assert asker.expires_at("a") == AT + 16


def test_an_update_begins_a_time_to_live_only_if_it_mentions_one(asker: Asker) -> None:
    [fact] = asker.applied(update("i", "a", MetadataChange(priority=1), at=AT + 2)).facts
    assert isinstance(fact, ResourceUpdated)
    metadata = asker.metadata_of("a")
    assert metadata is not None and metadata.ttl_seconds == 10.0
    assert asker.expires_at("a") == AT + 10
    asker.applied(update("i", "a", MetadataChange(ttl_seconds=20.0), merge=True, at=AT + 2))
    assert asker.expires_at("a") == AT + 22
    _, changed = asker.applied(update("i", "a", MetadataChange(ttl_seconds=None))).facts
    assert changed == TtlChanged(ResourceId("a"), asker.epoch_of("a"), None, None)
    assert asker.expires_at("a") is None
    assert asker.applied(renew("i", ids("a"), ttl_seconds=5.0)).result == Renewed({})


def test_what_is_taken_by_force_begins_to_live_anew(asker: Asker) -> None:
    early = expiry_of(asker, "a")
    asker.applied(register("rival", ids("a"), force=True, at=AT + 4))
    assert asker.expires_at("a") == AT + 14
    assert asker.applied(Expire((early,), AT)).facts == ()


def test_nothing_expires_that_a_dead_owner_left(asker: Asker) -> None:
    expiry = expiry_of(asker, "a")
    asker.applied(end("i"))
    assert asker.applied(Expire((expiry,), AT)).facts == ()


def test_expiry_is_there_on_the_machine_that_the_state_moves_to(asker: Asker) -> None:
    moved = Asker(State.load(asker.state.dump()))
    assert moved.expires_at("a") == AT + 10
    asker.applied(renew("i", ids("a"), at=AT + 1))
    assert moved.state.digest() != asker.state.digest()
