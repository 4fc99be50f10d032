"""Ordered ids against a plain set, with many more ids than one bucket holds."""

import random
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resroute.core.ordered import MAX_SORTED, OrderedIds
from resroute.ids import ResourceId
from tests.core.effort import effort

Way = Literal["up", "down", "mixed"]

ways = st.sampled_from(("up", "down", "mixed"))
prefixes = st.sampled_from(("", "user:", "zebra/", "~"))
places = st.integers(0, 4000)
counts = st.integers(1, 2500)
seeds = st.integers(0, 2**16)


def run_of(prefix: str, first: int, count: int) -> list[ResourceId]:
    return [ResourceId(f"{prefix}{n:05}") for n in range(first, first + count)]


def put_in_order(ids: Sequence[ResourceId], way: Way, seed: int) -> list[ResourceId]:
    if way == "mixed":
        mixed = list(ids)
        random.Random(seed).shuffle(mixed)
        return mixed
    return sorted(ids, reverse=way == "down")


class Ordered(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ids = OrderedIds()
        self.model: set[ResourceId] = set()

    def add(self, ids: Sequence[ResourceId]) -> None:
        for resource_id in ids:
            self.ids.add(resource_id)
        self.model.update(ids)

    def remove(self, ids: Sequence[ResourceId]) -> None:
        for resource_id in ids:
            self.ids.remove(resource_id)
        self.model.difference_update(ids)

    @rule(prefix=prefixes, first=places, count=counts, way=ways, seed=seeds)
    def add_a_run(self, prefix: str, first: int, count: int, way: Way, seed: int) -> None:
        new = [r for r in run_of(prefix, first, count) if r not in self.model]
        self.add(put_in_order(new, way, seed))

    @rule(prefix=prefixes, first=places, count=counts, way=ways, seed=seeds)
    def remove_a_run(self, prefix: str, first: int, count: int, way: Way, seed: int) -> None:
        here = [r for r in run_of(prefix, first, count) if r in self.model]
        self.remove(put_in_order(here, way, seed))

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0.1, 1.0), way=ways, seed=seeds)
    def remove_a_share(self, share: float, way: Way, seed: int) -> None:
        some = random.Random(seed).sample(sorted(self.model), int(len(self.model) * share))
        self.remove(put_in_order(some, way, seed))

    @rule(prefix=prefixes, place=places)
    def removing_what_is_not_there_says_so(self, prefix: str, place: int) -> None:
        stranger = ResourceId(f"{prefix}{place:05}?")
        with pytest.raises(KeyError):
            self.ids.remove(stranger)

    @rule(prefix=prefixes, place=places)
    def reads_on_from_any_place(self, prefix: str, place: int) -> None:
        for after in (f"{prefix}{place:05}", f"{prefix}{place:05}?", prefix):
            assert list(self.ids.after(after)) == sorted(r for r in self.model if r > after)

    @rule(prefix=prefixes, place=places)
    def reads_on_in_runs(self, prefix: str, place: int) -> None:
        for start in ("", "user:", "user:0", "zz", "~~", chr(0x10FFFF)):
            wanted = sorted(r for r in self.model if r.startswith(start))
            assert self.ids.count(start) == len(wanted)
            after = f"{prefix}{place:05}"
            found: list[ResourceId] = []
            while run := self.ids.next_after(found[-1] if found else after, start):
                found += run
            assert found == [r for r in wanted if r > after]

    @invariant()
    def reads_all_in_order(self) -> None:
        assert list(self.ids.after()) == sorted(self.model)
        assert len(self.ids) == len(self.model)

    @invariant()
    def no_bucket_is_large_or_useless(self) -> None:
        assert len(self.ids._few) <= MAX_SORTED
        if (many := self.ids._many) is not None:
            sizes = [len(bucket) for bucket in many.buckets]
            assert len(sizes) == len(many.floors) > 1
            assert 0 < min(sizes) <= max(sizes) <= MAX_SORTED
            assert not self.ids._few


def test_ordered_ids_agree_with_a_set() -> None:
    run_state_machine_as_test(Ordered, settings=effort(40, steps=15))


@pytest.mark.slow
def test_ordered_ids_agree_with_a_set_in_many_long_runs() -> None:
    run_state_machine_as_test(Ordered, settings=effort(120, steps=40))


@pytest.mark.parametrize("adding", ["up", "down", "mixed"])
@pytest.mark.parametrize("removing", ["up", "down", "mixed"])
def test_ten_thousand_ids_come_and_go(adding: Way, removing: Way) -> None:
    everything = run_of("r:", 0, 10_000)
    ids = OrderedIds()
    for resource_id in put_in_order(everything, adding, 1):
        ids.add(resource_id)
    assert list(ids.after()) == everything
    assert list(ids.after("r:05000")) == everything[5001:]
    for resource_id in put_in_order(everything, removing, 2):
        ids.remove(resource_id)
    assert list(ids.after()) == []
    assert len(ids) == 0
    ids.add(ResourceId("again"))
    assert list(ids.after()) == ["again"]


def test_the_order_is_that_of_code_points() -> None:
    ids = OrderedIds()
    for text in ("a", "B", "b", "A", "a:10", "a:9", "~", "é", "a/", "-"):
        ids.add(ResourceId(text))
    assert list(ids.after()) == ["-", "A", "B", "a", "a/", "a:10", "a:9", "b", "~", "é"]
