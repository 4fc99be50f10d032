"""Ids in code-point order, for paging through them.

A sorted list cut into buckets, of which only the order *between* them is kept up to date: a bucket is sorted when somebody
reads it. Adding and removing cost a bisection and a dictionary operation, with no pause that grows with the number of ids.

Buckets are dictionaries of strings on purpose: CPython's garbage collector does not track a dictionary whose keys and values
it need not track, so a full collection never walks the million ids held here. Lists of strings it would.
"""

from bisect import bisect_right
from collections.abc import Iterator

from resroute.ids import ResourceId

_MAX_BUCKET = 1024


class OrderedIds:
    """A set of ids that can be read in order, from any place."""

    __slots__ = ("_buckets", "_count", "_floors")

    def __init__(self) -> None:
        self._count = 0
        # _floors[n] is the lowest id that may stand in _buckets[n]; ascending, and the first is ""
        self._floors: list[str] = [""]
        self._buckets: list[dict[ResourceId, None]] = [{}]

    def __len__(self) -> int:
        return self._count

    def add(self, resource_id: ResourceId) -> None:
        """Add an id that is not there."""
        at = bisect_right(self._floors, resource_id) - 1
        bucket = self._buckets[at]
        bucket[resource_id] = None
        self._count += 1
        if len(bucket) > _MAX_BUCKET:
            ordered = sorted(bucket)
            middle = len(ordered) // 2
            self._buckets[at] = dict.fromkeys(ordered[:middle])
            self._buckets.insert(at + 1, dict.fromkeys(ordered[middle:]))
            self._floors.insert(at + 1, ordered[middle])

    def remove(self, resource_id: ResourceId) -> None:
        """Remove an id that is there.

        Raises:
            KeyError: if it is not.
        """
        at = bisect_right(self._floors, resource_id) - 1
        bucket = self._buckets[at]
        del bucket[resource_id]
        self._count -= 1
        if not bucket and len(self._buckets) > 1:
            del self._buckets[at], self._floors[at]
            self._floors[0] = ""

    def after(self, resource_id: str = "") -> Iterator[ResourceId]:
        """All ids greater than ``resource_id``, in order. Do not change the set while reading."""
        for at in range(bisect_right(self._floors, resource_id) - 1, len(self._buckets)):
            for candidate in sorted(self._buckets[at]):
                if candidate > resource_id:
                    yield candidate
