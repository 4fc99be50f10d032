"""A full garbage collection must not walk through every resource that is held."""

import gc
import sys
from collections.abc import Iterator

import pytest

from resroute.core.facts import Owner
from resroute.core.lots import Registrations
from resroute.core.metadata import MetadataChange
from resroute.core.ordered import OrderedIds
from resroute.core.state import State
from resroute.ids import Epoch, InstanceId, ServiceName, SessionId
from tests.core.asking import Asker, end, many_ids, reclaim, register, release, update

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info >= (3, 14),
    reason="only CPython up to 3.13 leaves dictionaries of strings out of its collections",
)


@pytest.fixture
def asker() -> Asker:
    """Two instances of one service with 5000 resources, after some coming and going."""
    asker = Asker()
    everything = many_ids(7000)
    asker.join("i")
    asker.join("j")
    asker.join("dead")
    asker.applied(register("i", everything[:3000]))
    asker.applied(register("dead", everything[3000:5000]))
    asker.applied(end("dead"))
    asker.applied(reclaim("dead", 500))
    asker.applied(register("j", everything[2000:6000], force=True))
    said: dict[str, MetadataChange] = {
        r: MetadataChange(f"type-{n % 2}", ("all", f"tag-{n % 50}", r))
        for n, r in enumerate(everything[6000:])
    }
    asker.applied(register("i", everything[6000:], metadata=said))
    for resource_id in everything[4000:4500]:
        asker.applied(update("j", resource_id, MetadataChange(None, ("all",)), merge=True))
    asker.applied(release("i", everything[:1000]))
    assert asker.state.resource_count == 6000
    return asker


def tables(state: State) -> Iterator[object]:
    """Everything that grows with the number of resources."""
    indexes = state._indexes
    sets = [indexes.ids]
    for service in state.services():
        sets.append(service.ids)
    for owner in state.instances():
        sets.append(owner.in_order)
        yield owner.resources
    for index in (indexes._by_type, indexes._by_tag):
        assert len(index) > 1
        for shard in index._shards:
            yield shard
            sets += [ids for ids in shard.values() if isinstance(ids, OrderedIds)]
    for ids in sets:
        assert ids._many is None or len(ids._many.buckets) > 1
        yield ids
        yield ids._few
        yield from ids._many.buckets if ids._many is not None else ()
    assert sum(ids._many is not None for ids in sets) >= 5, "some sets must have more than one bucket"
    yield from state._grants._shards
    yield from state.grants_after()


def test_no_table_of_resources_is_walked_through(asker: Asker) -> None:
    assert [table for table in tables(asker.state) if gc.is_tracked(table)] == []


def test_no_table_of_resources_is_walked_through_in_a_state_that_was_loaded(asker: Asker) -> None:
    loaded = State.load(asker.state.dump())
    assert [table for table in tables(loaded) if gc.is_tracked(table)] == []


def test_what_the_collector_knows_does_not_grow_with_the_resources() -> None:
    asker = Asker()
    asker.join("i")
    gc.collect()
    before = len(gc.get_objects())
    asker.applied(register("i", many_ids(50_000)))
    gc.collect()
    assert len(gc.get_objects()) - before < 200


def test_what_is_told_of_many_is_not_walked_through_either() -> None:
    owner = Owner(SessionId("i"), InstanceId("i"), ServiceName("store"))
    lot = Registrations(many_ids(500), owner, Epoch(1), 0.0, [None] * 500)
    kept = [*gc.get_referents(lot), *gc.get_referents(lot.resource_ids)]
    assert [it for it in kept if gc.is_tracked(it) and isinstance(it, (tuple, list, dict))] == []
    assert [fact.resource_id for fact in lot] == list(many_ids(500))
    assert lot[499].resource_id == many_ids(500)[499]
