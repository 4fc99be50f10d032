"""Which watches a change may be for: never one too few, and each once."""

from typing import NamedTuple, cast

from hypothesis import given
from hypothesis import strategies as st

from resroute.core.facts import (
    Details,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.filters import Filter
from resroute.core.metadata import Metadata
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId
from resroute.router.history import OwnershipFact
from resroute.router.telling import concerns
from resroute.router.watch_index import MAX_KEYS, WatchIndex
from resroute.router.watches import Watch


class Stand(NamedTuple):
    """As much of a watch as the index looks at."""

    number: int
    filter: Filter


ids = st.sampled_from([ResourceId(name) for name in ("doc:1", "doc:12", "img:1", "d")])
owners = st.builds(
    Owner,
    st.just(SessionId("s")),
    st.sampled_from([InstanceId("one"), InstanceId("two")]),
    st.sampled_from([ServiceName("red"), ServiceName("blue")]),
)
metadata = st.none() | st.builds(
    Metadata,
    st.just(1),
    st.just(InstanceId("one")),
    st.just(0.0),
    st.sampled_from((None, "note", "list")),
    st.lists(st.sampled_from("ab"), unique=True).map(tuple),
)
details = st.builds(Details, st.just(0.0), metadata)
epochs, cause = st.just(Epoch(1)), st.just("request")
facts: st.SearchStrategy[OwnershipFact] = st.one_of(
    st.builds(ResourceRegistered, ids, owners, epochs, details),
    st.builds(ResourceReleased, ids, owners, epochs, cause, details),
    st.builds(ResourceTransferred, ids, owners, epochs, owners, epochs, cause, details, metadata),
    st.builds(ResourceUpdated, ids, owners, epochs, cause, details, metadata),
)
many = tuple(ResourceId(f"no:{n:03}") for n in range(MAX_KEYS + 1))
filters = st.builds(
    Filter.of,
    service_name=st.sampled_from((None, ServiceName("red"), ServiceName("none"))),
    instance_id=st.sampled_from((None, None, InstanceId("one"), InstanceId("nobody"))),
    resource_ids=st.sampled_from(
        (None, None, (ResourceId("doc:1"), ResourceId("x")), (ResourceId("img:1"), *many))
    ),
    resource_type=st.sampled_from((None, None, "note")),
    tags=st.sampled_from(((), (), ("a",), ("a", "b"))),
    prefix=st.sampled_from((None, None, "doc:", "doc:1", "d")),
)


@given(st.lists(filters, max_size=12), st.sets(st.integers(0, 11)), st.lists(facts, max_size=8))
def test_whom_a_change_concerns_is_found_and_each_once(
    wanted: list[Filter], gone: set[int], changes: list[OwnershipFact]
) -> None:
    index = WatchIndex()
    watches = [cast(Watch, Stand(number, each)) for number, each in enumerate(wanted)]
    for watch in watches:
        index.add(watch)
    for number in sorted(gone):
        if number < len(watches):
            index.remove(watches[number])
    there = [watch for number, watch in enumerate(watches) if number not in gone]
    assert set(index) == set(there) and len(index) == len(there)
    assert bool(index) == bool(there)
    assert index.is_choosy == any(watch.filter != Filter() for watch in there)
    for fact in changes:
        found = [*index.everything, *index.candidates(fact)]
        assert len(found) == len(set(found)), "each once"
        concerned = {watch for watch in there if concerns(watch.filter, fact)}
        assert concerned <= set(found)


def test_an_index_that_everybody_has_left_is_empty() -> None:
    index = WatchIndex()
    wanted = (
        Filter(),
        Filter(prefix="doc:"),
        Filter(tags=("a",)),
        Filter(resource_ids=(ResourceId("a"),)),
        Filter(resource_ids=many),
        Filter(service_name=ServiceName("red")),
    )
    watches = [cast(Watch, Stand(number, each)) for number, each in enumerate(wanted)]
    for watch in watches:
        index.add(watch)
    for watch in watches:
        index.remove(watch)
    assert not index and not list(index)
    assert vars(index) == vars(WatchIndex())
