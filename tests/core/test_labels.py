"""Which resources have a label, against plain sets: labels of one resource, of some, and of thousands."""

import gc
import random
import sys

import pytest

from resroute.core.labels import LabelIndex
from resroute.core.ordered import MAX_SORTED
from resroute.ids import ResourceId


@pytest.mark.parametrize("seed", range(4))
def test_labels_agree_with_plain_sets(seed: int) -> None:
    chance = random.Random(seed)
    index = LabelIndex()
    model: dict[str, set[ResourceId]] = {}
    for step in range(20_000):
        label = f"label-{int(chance.paretovariate(0.5)) % 50}"
        resource_id = ResourceId(f"r:{chance.randrange(3000)}")
        there = model.setdefault(label, set())
        if not step % 50:
            more = {
                ResourceId(f"r:{chance.randrange(3000)}") for _ in range(chance.choice((1, 2, 200)))
            } - there
            if more:
                there |= more
                index.add_all(label, sorted(more, key=lambda _: chance.random()))
        elif resource_id not in there:
            there.add(resource_id)
            index.add(label, resource_id)
        elif chance.random() < 0.8:
            there.remove(resource_id)
            index.remove(label, resource_id)
        if step % 2000 == 0:
            for name, ids in model.items():
                assert list(index.ids_of(name).after()) == sorted(ids)
    assert max(map(len, model.values())) > MAX_SORTED, "some label must have more than one bucket of ids"
    for label, ids in model.items():
        for resource_id in sorted(ids, key=lambda _: chance.random()):
            index.remove(label, resource_id)
        assert len(index.ids_of(label)) == 0
    assert len(index) == 0


def test_removing_what_is_not_there_says_so() -> None:
    index = LabelIndex()
    a, b = ResourceId("a"), ResourceId("b")
    with pytest.raises(KeyError):
        index.remove("tag", a)
    index.add("tag", a)
    with pytest.raises(KeyError):
        index.remove("tag", b)
    index.add("tag", b)
    with pytest.raises(KeyError):
        index.remove("tag", ResourceId("c"))
    assert list(index.ids_of("tag").after()) == [a, b]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="from 3.14 on every dictionary is tracked")
def test_the_collector_knows_nothing_of_labels_of_few_resources() -> None:
    index = LabelIndex()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(20_000):
        index.add(f"one:{number}", ResourceId(f"r:{number}"))
        index.add(f"two:{number // 2}", ResourceId(f"r:{number}"))
    gc.collect()
    assert len(gc.get_objects()) - before < 100


def test_a_label_of_one_resource_costs_little_more_than_its_name() -> None:
    index = LabelIndex()
    for number in range(50_000):
        index.add(f"one:{number}", ResourceId(f"r:{number}"))
    tables = sum(sys.getsizeof(shard) for shard in index._shards)
    assert tables / 50_000 < 60
