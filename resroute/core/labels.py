"""Which resources have a label: a tag, or a type.

There may be a million labels of one resource each as well as one label of a million resources. The former cost an entry in
a dictionary each, the latter a set of ids in order.
"""

from collections.abc import Sequence

from resroute.core.ordered import OrderedIds
from resroute.ids import ResourceId

_SHARDS = 256  # a power of two; see :mod:`resroute.core.grants` for why
_NOBODY = OrderedIds()


class LabelIndex:
    """Label -> ids of the resources that have it."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        # the only id that has the label, or all of them
        self._shards: tuple[dict[str, ResourceId | OrderedIds], ...] = tuple({} for _ in range(_SHARDS))

    def add(self, label: str, resource_id: ResourceId) -> None:
        """Note that a resource has a label, which it had not before."""
        shard = self._shards[hash(label) & (_SHARDS - 1)]
        there = shard.get(label)
        if there is None:
            shard[label] = resource_id
        elif isinstance(there, str):
            shard[label] = OrderedIds.of((there, resource_id))
        else:
            there.add(resource_id)

    def add_all(self, label: str, resource_ids: Sequence[ResourceId]) -> None:
        """As :meth:`add`, of some resources, of which each comes once."""
        shard = self._shards[hash(label) & (_SHARDS - 1)]
        there = shard.get(label)
        if isinstance(there, OrderedIds):
            there.add_all(resource_ids)
        elif there is None and len(resource_ids) == 1:
            [shard[label]] = resource_ids
        else:
            shard[label] = OrderedIds.of(resource_ids if there is None else (there, *resource_ids))

    def remove(self, label: str, resource_id: ResourceId) -> None:
        """Note that a resource has a label no longer.

        Raises:
            KeyError: it had it not.
        """
        shard = self._shards[hash(label) & (_SHARDS - 1)]
        there = shard[label]
        if isinstance(there, str):
            if there != resource_id:
                raise KeyError(resource_id)
            del shard[label]
            return
        there.remove(resource_id)
        if len(there) == 1:
            [shard[label]] = there.after()

    def ids_of(self, label: str) -> OrderedIds:
        """The ids of the resources that have a label, to be read until something changes."""
        there = self._shards[hash(label) & (_SHARDS - 1)].get(label)
        if there is None:
            return _NOBODY
        return OrderedIds.of((there,)) if isinstance(there, str) else there

    def __len__(self) -> int:
        """How many labels there are."""
        return sum(map(len, self._shards))
