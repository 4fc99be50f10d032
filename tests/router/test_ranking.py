"""The rankings of resources, held against counting everything."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId
from resroute.router.ranking import Busiest, Sketch

OWNER = OwnerRecord(
    SessionId("session"),
    ServiceRecord(ServiceName("service")),
    InstanceId("instance"),
    registered_at=0.0,
    priority=0,
    max_concurrency=None,
    plain=False,
    metadata=None,
)

IDS = [ResourceId(f"doc:{number:02d}") for number in range(12)]


class Grants:
    """Grants that are called, end, and are made again, as the router has them."""

    def __init__(self, max_ranked: int) -> None:
        self.in_force: dict[ResourceId, Grant] = {}
        self.busiest = Busiest(self.in_force.get, max_ranked)

    def call(self, resource_id: ResourceId) -> None:
        grant = self.in_force.get(resource_id)
        if grant is None:
            grant = self.in_force[resource_id] = Grant(resource_id, OWNER, Epoch(1), 0.0)
        grant.calls_total += 1
        if grant.calls_total == self.busiest.next_count:
            self.busiest.add(resource_id)

    def busy(self) -> set[ResourceId]:
        """Those of which none may be missing."""
        return {
            grant.resource_id
            for grant in self.in_force.values()
            if grant.calls_total > self.busiest.threshold
        }

    def found(self) -> dict[ResourceId, int]:
        return {ranked.resource_id: ranked.count for ranked in self.busiest.top(len(IDS))}

    def look_again(self) -> None:
        self.busiest.begin_again()
        for grant in list(self.in_force.values()):
            self.busiest.show(grant)


steps = st.lists(
    st.tuples(st.sampled_from(["call", "call", "call", "end"]), st.sampled_from(IDS)), max_size=200
)


@given(steps, st.integers(1, 4))
def test_no_grant_above_the_threshold_is_ever_missing(
    things: list[tuple[str, ResourceId]], max_ranked: int
) -> None:
    grants = Grants(max_ranked)
    for step, resource_id in things:
        if step == "call":
            grants.call(resource_id)
        else:
            grants.in_force.pop(resource_id, None)
        found = grants.found()
        assert grants.busy() <= set(found)
        assert all(count == grants.in_force[name].calls_total for name, count in found.items())
        assert len(grants.busiest) <= 2 * max_ranked


@given(steps, steps, st.integers(1, 4))
def test_a_look_at_all_grants_finds_what_is_missing_while_calls_go_on(
    before: list[tuple[str, ResourceId]], meanwhile: list[tuple[str, ResourceId]], max_ranked: int
) -> None:
    grants = Grants(max_ranked)

    def act(step: str, resource_id: ResourceId) -> None:
        if step == "call":
            grants.call(resource_id)
        else:
            grants.in_force.pop(resource_id, None)

    for step, resource_id in before:
        act(step, resource_id)
    pending = iter(meanwhile)
    grants.busiest.begin_again()
    for resource_id in IDS:  # in the order of their ids, as the router does
        grant = grants.in_force.get(resource_id)
        if grant is not None:
            grants.busiest.show(grant)
        if (happening := next(pending, None)) is not None:
            act(*happening)
    assert grants.busy() <= set(grants.found())
    exact = Counter({name: grant.calls_total for name, grant in grants.in_force.items()})
    most = [count for _, count in exact.most_common(max_ranked)]
    grants.look_again()
    assert [ranked.count for ranked in grants.busiest.top(max_ranked)] == most
    assert grants.busiest.has_enough(max_ranked)


def test_it_has_not_enough_once_most_of_the_busiest_have_gone() -> None:
    grants = Grants(max_ranked=4)
    for resource_id in IDS:
        grants.call(resource_id)
    assert grants.busiest.threshold == 1
    assert grants.busiest.has_enough(2)
    for resource_id in list(grants.found())[1:]:
        del grants.in_force[resource_id]
    assert not grants.busiest.has_enough(2)
    grants.look_again()
    assert grants.busiest.has_enough(2)
    assert len(grants.found()) >= 4
    assert set(grants.found()) <= set(grants.in_force)


@given(st.lists(st.sampled_from(IDS), max_size=300), st.integers(1, 4))
def test_a_sketch_is_bounded_and_never_counts_too_many(things: list[ResourceId], max_ranked: int) -> None:
    sketch, exact = Sketch(max_ranked), Counter[ResourceId]()
    for at, resource_id in enumerate(things):
        sketch.add(resource_id, at)
        exact[resource_id] += 1
        assert len(sketch) <= 2 * max_ranked
        top = sketch.top(len(IDS))
        assert resource_id in {ranked.resource_id for ranked in top} or len(sketch) == max_ranked
        assert all(ranked.count <= exact[ranked.resource_id] for ranked in top)
        assert [(ranked.count, ranked.last_at) for ranked in top] == sorted(
            ((ranked.count, ranked.last_at) for ranked in top), reverse=True
        )


@given(st.lists(st.sampled_from(IDS), max_size=300))
def test_a_sketch_with_room_for_all_counts_exactly(things: list[ResourceId]) -> None:
    sketch = Sketch(len(IDS))
    for at, resource_id in enumerate(things):
        sketch.add(resource_id, at)
    assert {ranked.resource_id: ranked.count for ranked in sketch.top(len(IDS))} == Counter(things)


@pytest.mark.parametrize("noise", [1000, 5000])
def test_what_comes_often_stays_whatever_else_comes(noise: int) -> None:
    sketch = Sketch(10)
    for number in range(noise):
        sketch.add(ResourceId(f"noise:{number}"), number)
        if not number % 5:
            sketch.add(ResourceId("doc:1"), number)
    [first] = sketch.top(1)
    assert (first.resource_id, first.count) == ("doc:1", noise // 5)
