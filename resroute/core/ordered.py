"""Ids in code-point order, for paging through them.

A sorted list cut into buckets, of which only the order *between* them is kept up to date: a bucket is sorted when somebody
reads it. Adding and removing cost a bisection and a dictionary operation, with no pause that grows with the number of ids.
As long as one bucket holds all of them it is all there is: there may be a great many small sets.

Buckets are dictionaries of strings on purpose: CPython's garbage collector does not track a dictionary whose keys and values
it need not track, so a full collection never walks the million ids held here. Lists of strings it would. Nor does it track
a set itself, which refers to nothing that could lead back to it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import msgspec

from resroute.ids import ResourceId

MAX_SORTED = 1024
"""How many ids are sorted in one go, at most: a tenth of a millisecond."""

_Bucket = dict[ResourceId, None]


class OrderedIds(msgspec.Struct, gc=False, eq=False):
    """A set of ids that can be read in order, from any place."""

    _few: _Bucket = msgspec.field(default_factory=dict)  # all of them, as long as one bucket holds them
    _many: "_Buckets | None" = None

    @classmethod
    def of(cls, resource_ids: Iterable[ResourceId]) -> Self:
        """A set of these, each of which comes once."""
        ids = cls()
        ids.add_all(tuple(resource_ids))
        return ids

    def __len__(self) -> int:
        return len(self._few) if self._many is None else self._many.count

    def add(self, resource_id: ResourceId) -> None:
        """Add an id that is not there."""
        if (many := self._many) is not None:
            many.add((resource_id,))
            return
        few = self._few
        few[resource_id] = None
        if len(few) > MAX_SORTED:
            self._many = _Buckets(sorted(few))
            self._few = {}

    def add_all(self, resource_ids: Sequence[ResourceId]) -> None:
        """Add ids that are not there, each of which comes once."""
        if self._many is not None:
            self._many.add(resource_ids)
        elif len(self._few) + len(resource_ids) <= MAX_SORTED:
            self._few.update(dict.fromkeys(resource_ids))
        else:
            self._many = _Buckets(sorted((*self._few, *resource_ids)))
            self._few = {}

    def remove(self, resource_id: ResourceId) -> None:
        """Remove an id that is there.

        Raises:
            KeyError: if it is not.
        """
        if (many := self._many) is None:
            del self._few[resource_id]
            return
        many.remove(resource_id)
        if len(many.buckets) == 1:
            self._few = many.buckets[0]
            self._many = None

    def after(self, resource_id: str = "") -> Iterator[ResourceId]:
        """All ids greater than ``resource_id``, in order. Do not change the set while reading."""
        for bucket in self._buckets_of(resource_id, None):
            for candidate in sorted(bucket):
                if candidate > resource_id:
                    yield candidate

    def next_after(self, resource_id: str = "", prefix: str = "") -> Sequence[ResourceId]:
        """The next ids greater than ``resource_id`` that begin with ``prefix``, in order; none only if there are no more.

        As many as one bucket holds: it takes a fraction of a millisecond. They stay as they are when the set changes.
        """
        for bucket in self._buckets_of(max(resource_id, prefix), _beyond(prefix)):
            found = [it for it in bucket if it > resource_id and it.startswith(prefix)]
            if found:
                found.sort()
                return found
        return ()

    def count(self, prefix: str = "") -> int:
        """How many ids begin with ``prefix``. Only two buckets are looked into, however many there are."""
        if not prefix:
            return len(self)
        buckets = self._buckets_of(prefix, _beyond(prefix))
        ends = buckets if len(buckets) < 3 else (buckets[0], buckets[-1])
        within = sum(map(len, buckets[1:-1]))
        return within + sum(it.startswith(prefix) for bucket in ends for it in bucket)

    def _buckets_of(self, lowest: str, beyond: str | None) -> Sequence[_Bucket]:
        """The buckets in which ids from ``lowest`` on may stand, and below ``beyond`` if that is given."""
        return (self._few,) if self._many is None else self._many.between(lowest, beyond)


class _Buckets:
    """Ids in more than one bucket."""

    __slots__ = ("buckets", "count", "floors")

    def __init__(self, ordered: Sequence[ResourceId]) -> None:
        size = MAX_SORTED // 2 + 1
        parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        self.count = len(ordered)
        # floors[n] is the lowest id that may stand in buckets[n]; ascending, and the first is ""
        self.floors: list[str] = ["", *(part[0] for part in parts[1:])]
        self.buckets = [dict.fromkeys(part) for part in parts]

    def add(self, resource_ids: Sequence[ResourceId]) -> None:
        floors, buckets = self.floors, self.buckets
        for resource_id in resource_ids:
            at = bisect_right(floors, resource_id) - 1
            bucket = buckets[at]
            bucket[resource_id] = None
            if len(bucket) > MAX_SORTED:
                self._split(at)
        self.count += len(resource_ids)

    def _split(self, at: int) -> None:
        ordered = sorted(self.buckets[at])
        middle = len(ordered) // 2
        self.buckets[at] = dict.fromkeys(ordered[:middle])
        self.buckets.insert(at + 1, dict.fromkeys(ordered[middle:]))
        self.floors.insert(at + 1, ordered[middle])

    def remove(self, resource_id: ResourceId) -> None:
        at = bisect_right(self.floors, resource_id) - 1
        bucket = self.buckets[at]
        del bucket[resource_id]
        self.count -= 1
        if not bucket:
            del self.buckets[at], self.floors[at]
            self.floors[0] = ""

    def between(self, lowest: str, beyond: str | None) -> Sequence[_Bucket]:
        first = bisect_right(self.floors, lowest) - 1
        last = len(self.floors) if beyond is None else bisect_left(self.floors, beyond, first + 1)
        return self.buckets[first:last]


def _beyond(prefix: str) -> str | None:
    """The lowest text above all that begin with ``prefix``, if there is one."""
    kept = prefix.rstrip(chr(0x10FFFF))
    return kept[:-1] + chr(ord(kept[-1]) + 1) if kept else None
