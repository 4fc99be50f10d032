"""The table of all grants: a dictionary that never stops the world to grow.

CPython moves a whole dictionary when it is full: 30 ms at a million entries, in the middle of somebody's registration. So
the table is many small ones, chosen by the hash that the string keeps anyway.
"""

from resroute.core.records import Grant
from resroute.ids import ResourceId

_SHARDS = 256  # a power of two


class GrantTable:
    """Resource -> grant."""

    __slots__ = ("_shards",)

    def __init__(self) -> None:
        self._shards: tuple[dict[ResourceId, Grant], ...] = tuple({} for _ in range(_SHARDS))

    def get(self, resource_id: ResourceId) -> Grant | None:
        """The grant, or None."""
        return self._shards[hash(resource_id) & (_SHARDS - 1)].get(resource_id)

    def __getitem__(self, resource_id: ResourceId) -> Grant:
        return self._shards[hash(resource_id) & (_SHARDS - 1)][resource_id]

    def __setitem__(self, resource_id: ResourceId, grant: Grant) -> None:
        self._shards[hash(resource_id) & (_SHARDS - 1)][resource_id] = grant

    def __delitem__(self, resource_id: ResourceId) -> None:
        del self._shards[hash(resource_id) & (_SHARDS - 1)][resource_id]

    def __len__(self) -> int:
        return sum(map(len, self._shards))
