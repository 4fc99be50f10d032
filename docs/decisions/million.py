"""The figures of 0003-million-resources-and-the-garbage-collector.md. Run it in the project's environment:

    python docs/decisions/million.py

Each case runs in a process of its own. Times are CPU of the thread, so that other work on the machine counts little.
"""

import gc
import random
import subprocess
import sys
import time
from bisect import insort
from collections.abc import Callable, Iterator

import msgspec

from resroute.core.grants import GrantTable
from resroute.core.ordered import OrderedIds
from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId

COUNT = 1_000_000
OWNER = OwnerRecord(
    SessionId("s"),
    ServiceRecord(ServiceName("bench")),
    InstanceId("i"),
    registered_at=0.0,
    priority=0,
    max_concurrency=None,
    plain=False,
    metadata=None,
)


class TrackedGrant(msgspec.Struct):
    """A grant as anyone would write it."""

    resource_id: ResourceId
    owner: OwnerRecord
    epoch: Epoch
    registered_at: float
    calls_total: int = 0
    last_called_at: float = 0.0


class ListBuckets:
    """Ids in order, in buckets that are sorted lists."""

    def __init__(self) -> None:
        self._buckets: list[list[str]] = [[]]
        self._floors = [""]

    def add(self, resource_id: str) -> None:
        """Add an id."""
        low, high = 0, len(self._floors)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if resource_id < self._floors[middle] else (middle + 1, high)
        bucket = self._buckets[low - 1]
        insort(bucket, resource_id)
        if len(bucket) > 1024:
            self._buckets.insert(low, bucket[512:])
            self._floors.insert(low, bucket[512])
            del bucket[512:]


def ids() -> Iterator[ResourceId]:
    """A million ids, each a string of its own, in no order."""
    chance = random.Random(1)
    numbers = list(range(COUNT))
    chance.shuffle(numbers)
    return (ResourceId(f"user:{number:08d}") for number in numbers)


def longest(step: Callable[[ResourceId], None]) -> str:
    """The step that took longest, and the mean; the clock itself is in both."""
    gc.disable()
    times = []
    for resource_id in ids():
        began = time.thread_time()
        step(resource_id)
        times.append(time.thread_time() - began)
    return f"longest {max(times) * 1e3:.2f} ms, mean {sum(times) / len(times) * 1e6:.2f} us"


def full_collection(fill: Callable[[], object]) -> str:
    """How long a full collection takes once something is filled."""
    gc.collect()
    before = _least_of_collections()
    gc.disable()
    kept = fill()
    gc.enable()
    took = _least_of_collections() - before
    assert kept is not None
    return f"{max(took, 0.0) * 1e3:.1f} ms"


def _least_of_collections() -> float:
    times = []
    for _ in range(5):
        began = time.thread_time()
        gc.collect()
        times.append(time.thread_time() - began)
    return min(times)


def grow_one_dictionary() -> str:
    """One dictionary for all grants."""
    table: dict[ResourceId, Grant] = {}

    def add(resource_id: ResourceId) -> None:
        table[resource_id] = Grant(resource_id, OWNER, Epoch(1), 0.0)

    return longest(add)


def grow_shards() -> str:
    """As it is: 256 dictionaries."""
    table = GrantTable()

    def add(resource_id: ResourceId) -> None:
        table[resource_id] = Grant(resource_id, OWNER, Epoch(1), 0.0)

    return longest(add)


def grow_one_sorted_list() -> str:
    """One sorted list for the order."""
    ordered: list[str] = []
    return longest(lambda resource_id: insort(ordered, resource_id))


def grow_list_buckets() -> str:
    """Buckets that are sorted lists."""
    return longest(ListBuckets().add)


def grow_dictionary_buckets() -> str:
    """As it is: buckets that are dictionaries, sorted when somebody reads them."""
    return longest(OrderedIds().add)


def collect_tracked_grants() -> str:
    """Grants that the collector tracks, in one dictionary."""
    return full_collection(
        lambda: {resource_id: TrackedGrant(resource_id, OWNER, Epoch(1), 0.0) for resource_id in ids()}
    )


def collect_untracked_grants() -> str:
    """As it is: untracked grants, 256 dictionaries."""

    def fill() -> GrantTable:
        table = GrantTable()
        for resource_id in ids():
            table[resource_id] = Grant(resource_id, OWNER, Epoch(1), 0.0)
        return table

    return full_collection(fill)


def collect_list_buckets() -> str:
    """Buckets that are sorted lists."""

    def fill() -> ListBuckets:
        ordered = ListBuckets()
        for resource_id in ids():
            ordered.add(resource_id)
        return ordered

    return full_collection(fill)


def collect_dictionary_buckets() -> str:
    """As it is: buckets that are dictionaries."""

    def fill() -> OrderedIds:
        ordered = OrderedIds()
        for resource_id in ids():
            ordered.add(resource_id)
        return ordered

    return full_collection(fill)


CASES = {
    "adding a million, grants": (grow_one_dictionary, grow_shards),
    "adding a million, order": (grow_one_sorted_list, grow_list_buckets, grow_dictionary_buckets),
    "what a million add to a full collection": (
        collect_tracked_grants,
        collect_untracked_grants,
        collect_list_buckets,
        collect_dictionary_buckets,
    ),
}


def main() -> None:
    """Run every case, or the one that is named."""
    cases = {case.__name__: case for group in CASES.values() for case in group}
    if len(sys.argv) > 1:
        print(cases[sys.argv[1]]())
        return
    for title, group in CASES.items():
        print(title)
        for case in group:
            done = subprocess.run(
                [sys.executable, __file__, case.__name__], capture_output=True, text=True, check=True
            )
            print(f"  {case.__doc__:80} {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
