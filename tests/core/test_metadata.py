"""What a resource says of itself, who may change that, and how two who change it do not overwrite each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.facts import (
    Details,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.metadata import Metadata, MetadataChange
from resroute.core.state import State
from resroute.errors import (
    Forbidden,
    InvalidParams,
    NotOwner,
    ResourceNotFound,
    SessionNotFound,
    VersionConflict,
)
from resroute.ids import InstanceId
from tests.core.asking import AT, Asker, end, ids, open_session, register, release, update

DRAFT = MetadataChange("document", ("draft",), b'{"pages":3,"by":{"x":1}}', 2)


@pytest.fixture
def asker() -> Asker:
    asker = Asker()
    asker.join("i")
    asker.join("rival")
    return asker


def test_metadata_begins_with_version_1_and_counts_its_changes(asker: Asker) -> None:
    asker.applied(register("i", ids("a"), metadata={"a": DRAFT}))
    first = Metadata(1, InstanceId("i"), AT, "document", ("draft",), b'{"pages":3,"by":{"x":1}}', 2)
    assert asker.metadata_of("a") == first
    asker.applied(update("i", "a", MetadataChange(tags=("final",)), at=AT + 5))
    assert asker.metadata_of("a") == Metadata(2, InstanceId("i"), AT + 5, tags=("final",))


def test_a_merge_leaves_what_it_does_not_mention(asker: Asker) -> None:
    asker.applied(register("i", ids("a"), metadata={"a": DRAFT}))
    asker.applied(update("i", "a", MetadataChange(attributes=b'{"pages":null,"by":{"y":2}}'), merge=True))
    metadata = asker.metadata_of("a")
    assert metadata is not None
    assert (metadata.version, metadata.resource_type, metadata.tags) == (2, "document", ("draft",))
    assert (metadata.attributes, metadata.priority) == (b'{"by":{"y":2}}', 2)
    asker.applied(update("i", "a", MetadataChange(resource_type=None), merge=True))
    metadata = asker.metadata_of("a")
    assert metadata is not None and (metadata.version, metadata.resource_type) == (3, None)


def test_registering_again_replaces_metadata_only_if_some_is_given(asker: Asker) -> None:
    asker.applied(register("i", ids("a"), metadata={"a": DRAFT}))
    assert asker.applied(register("i", ids("a"))).facts == ()
    outcome = asker.applied(register("i", ids("a", "b"), metadata={"a": MetadataChange(priority=1)}))
    registered, updated = outcome.facts
    assert isinstance(registered, ResourceRegistered) and registered.resource_id == "b"
    assert isinstance(updated, ResourceUpdated)
    assert (updated.resource_id, updated.epoch, updated.cause) == ("a", asker.epoch_of("a"), "request")
    assert asker.metadata_of("a") == Metadata(2, InstanceId("i"), AT, priority=1)
    assert asker.metadata_of("b") is None


def test_what_is_taken_by_force_keeps_its_metadata(asker: Asker) -> None:
    asker.applied(register("i", ids("a", "b"), metadata={"a": DRAFT, "b": DRAFT}))
    before = asker.metadata_of("a")
    new = {"b": MetadataChange(tags=("mine",))}
    outcome = asker.applied(register("rival", ids("a", "b"), force=True, metadata=new))
    assert [type(fact) for fact in outcome.facts] == [ResourceTransferred] * 2
    assert asker.metadata_of("a") == before
    assert asker.metadata_of("b") == Metadata(2, InstanceId("i"), AT, tags=("mine",))


def test_each_fact_tells_the_metadata_after_it_and_before(asker: Asker) -> None:
    at_first, later = MetadataChange(tags=("first",), ttl_seconds=60), MetadataChange(tags=("later",))
    [registered, _] = asker.applied(register("i", ids("a"), metadata={"a": at_first})).facts
    first = asker.metadata_of("a")
    assert isinstance(registered, ResourceRegistered) and registered.details == Details(AT, first, AT + 60)
    [updated] = asker.applied(update("i", "a", later, at=AT + 5)).facts
    second = asker.metadata_of("a")
    assert isinstance(updated, ResourceUpdated) and first != second
    assert (updated.metadata_before, updated.details) == (first, Details(AT, second, AT + 60))
    again = register("rival", ids("a"), force=True, metadata={"a": at_first}, at=AT + 9)
    [transferred, _] = asker.applied(again).facts
    third = asker.metadata_of("a")
    assert isinstance(transferred, ResourceTransferred) and second != third
    assert (transferred.metadata_before, transferred.details) == (second, Details(AT + 9, third, AT + 69))
    [released] = asker.applied(release("rival", ids("a"))).facts
    assert isinstance(released, ResourceReleased) and released.details == transferred.details


def test_facts_tell_of_calls_what_the_grant_knew(asker: Asker) -> None:
    asker.applied(register("i", ids("a")))
    grant = asker.state.grant_of(ids("a")[0])
    assert grant is not None
    grant.calls_total, grant.last_called_at = 3, 7.5
    [transferred] = asker.applied(register("rival", ids("a"), force=True, at=AT + 1)).facts
    assert isinstance(transferred, ResourceTransferred)
    assert transferred.details == Details(AT + 1, calls_total=3, last_called_at=7.5)


def test_metadata_ends_with_the_ownership(asker: Asker) -> None:
    asker.applied(register("i", ids("a", "b"), metadata={"a": DRAFT, "b": DRAFT}))
    asker.applied(release("i", ids("a")))
    asker.applied(end("i"))
    asker.applied(register("rival", ids("a", "b")))
    assert asker.metadata_of("a") is None
    assert asker.metadata_of("b") is None


def test_metadata_of_what_is_not_granted_is_not_looked_at(asker: Asker) -> None:
    asker.applied(register("i", ids("a"), metadata={"a": DRAFT}))
    large = MetadataChange(tags=("x" * 2000,))
    asker.registered(register("rival", ids("a", "b"), partial=True, metadata={"a": large}))
    metadata = asker.metadata_of("a")
    assert metadata is not None and metadata.version == 1


def test_an_update_expects_a_version_and_that_of_no_metadata_is_0(asker: Asker) -> None:
    asker.applied(register("i", ids("a")))
    asker.applied(update("i", "a", DRAFT, expected_version=0))
    refused = asker.refused(update("i", "a", DRAFT, expected_version=0), VersionConflict)
    assert (refused.resource_id, refused.expected_version, refused.current_version) == ("a", 0, 1)
    asker.applied(update("i", "a", DRAFT, expected_version=1))
    asker.refused(update("i", "a", DRAFT, expected_version=1), VersionConflict)


def test_nobody_but_the_owner_and_administrators_update(asker: Asker) -> None:
    asker.applied(register("i", ids("a")))
    asker.applied(open_session("caller"))
    assert asker.refused(update("rival", "a", DRAFT), NotOwner).owner_instance_id == "i"
    assert asker.refused(update("caller", "a", DRAFT), Forbidden).required == "instance.register"
    asker.refused(update("i", "b", DRAFT), ResourceNotFound)
    asker.refused(update("nobody", "a", DRAFT), SessionNotFound)
    [fact] = asker.applied(update("caller", "a", DRAFT, as_admin=True)).facts
    assert isinstance(fact, ResourceUpdated) and fact.cause == "admin"
    metadata = asker.metadata_of("a")
    assert metadata is not None and metadata.created_by == "i"
    [fact] = asker.applied(update("i", "a", DRAFT, as_admin=True)).facts
    assert isinstance(fact, ResourceUpdated) and fact.cause == "request"


@pytest.mark.parametrize(
    ("change", "size_bytes"),
    [
        (MetadataChange(), len("{}")),
        (MetadataChange(None, (), b"{}", 0), len("{}")),
        (
            MetadataChange("é", ("a", "b"), b'{"x":[1,2]}', -7),
            len('{"resource_type":"é","tags":["a","b"],"attributes":{"x":[1,2]},"priority":-7}'.encode()),
        ),
    ],
)
def test_metadata_has_the_size_of_its_compact_json(
    asker: Asker, change: MetadataChange, size_bytes: int
) -> None:
    asker.applied(register("i", ids("a")))
    too_small = update("i", "a", change, max_metadata_bytes=size_bytes - 1)
    assert [error["path"] for error in asker.refused(too_small, InvalidParams).errors] == ["metadata"]
    asker.applied(update("i", "a", change, max_metadata_bytes=size_bytes))


def test_all_resources_are_refused_if_the_metadata_of_one_is_too_large(asker: Asker) -> None:
    metadata = {"a": DRAFT, "b": MetadataChange(tags=("x" * 100,))}
    refused = asker.refused(
        register("i", ids("a", "b"), metadata=metadata, max_metadata_bytes=100), InvalidParams
    )
    assert [error["path"] for error in refused.errors] == ["metadata.b"]


def test_a_merge_that_adds_up_to_too_much_changes_nothing(asker: Asker) -> None:
    asker.applied(register("i", ids("a"), metadata={"a": MetadataChange(attributes=b'{"x":"12345678"}')}))
    more = MetadataChange(attributes=b'{"y":"12345678"}')
    asker.refused(update("i", "a", more, merge=True, max_metadata_bytes=40), InvalidParams)
    asker.applied(update("i", "a", more, merge=True, max_metadata_bytes=50))


def test_metadata_is_there_on_the_machine_that_the_state_moves_to(asker: Asker) -> None:
    asker.applied(register("i", ids("a", "b"), metadata={"a": DRAFT}))
    moved = Asker(State.load(asker.state.dump()))
    assert moved.metadata_of("a") == asker.metadata_of("a")
    assert moved.metadata_of("b") is None
    assert moved.state.digest() == asker.state.digest()
    asker.applied(update("i", "a", MetadataChange(priority=3), merge=True))
    assert moved.state.digest() != asker.state.digest()


@given(
    st.builds(
        Metadata,
        st.just(1),
        st.just(InstanceId("i")),
        st.just(AT),
        st.none() | st.text(),
        st.lists(st.text()).map(tuple),
        st.sampled_from([b"{}", b'{"pages":3}']),
        st.integers(-(2**63), 2**64 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.integers(-10, 400),
)
def test_what_fits_is_what_takes_no_more_as_compact_json(metadata: Metadata, more: int) -> None:
    for max_bytes in (metadata.size_bytes, metadata.size_bytes + more, 300):
        assert metadata.fits(max_bytes) == (metadata.size_bytes <= max_bytes)
