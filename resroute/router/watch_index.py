"""Which watches a change may be for: each watch stands under the narrowest thing that it asks for.

So a change is looked up a few times, however many watches there are, and only those are asked that may want it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from resroute.core.facts import ResourceReleased, ResourceTransferred, ResourceUpdated
from resroute.core.metadata import Metadata
from resroute.ids import ResourceId
from resroute.router.history import OwnershipFact

if TYPE_CHECKING:
    from resroute.router.watches import Watch

MAX_KEYS = 64
"""A watch of more ids than this stands under none of them, but with its set of them: it comes and goes at once."""

_WITH_BEFORE = (ResourceTransferred, ResourceUpdated)
_Table = dict[str, dict["Watch", None]]


class WatchIndex:
    """Watches, by what they ask for."""

    def __init__(self) -> None:
        # a watch stands in one of these, under all its keys there
        self._by_resource: _Table = {}
        self._by_instance: _Table = {}
        self._by_prefix: _Table = {}
        self._by_tag: _Table = {}
        self._by_type: _Table = {}
        self._by_service: _Table = {}
        # or here, with its ids
        self._with_many: dict[Watch, frozenset[ResourceId]] = {}
        # or here, if it asks for everything
        self._everything: dict[Watch, None] = {}
        # of prefixes, and how many of each
        self._lengths: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator["Watch"]:
        seen: dict[Watch, None] = dict(self._everything)
        seen.update(dict.fromkeys(self._with_many))
        for table in self._tables():
            for watches in table.values():
                seen.update(watches)
        return iter(seen)

    def _tables(self) -> tuple[_Table, ...]:
        return (
            self._by_resource,
            self._by_instance,
            self._by_prefix,
            self._by_tag,
            self._by_type,
            self._by_service,
        )

    def add(self, watch: "Watch") -> None:
        """Add a watch that is not there."""
        self._count += 1
        ids = watch.filter.resource_ids
        if ids is not None and len(ids) > MAX_KEYS:
            self._with_many[watch] = frozenset(ids)
            return
        table, keys = self._place(watch)
        if table is None:
            self._everything[watch] = None
            return
        for key in keys:
            table.setdefault(key, {})[watch] = None
        if table is self._by_prefix:
            length = len(watch.filter.prefix)
            self._lengths[length] = self._lengths.get(length, 0) + 1

    def remove(self, watch: "Watch") -> None:
        """Remove a watch that is there."""
        self._count -= 1
        if self._with_many.pop(watch, None) is not None:
            return
        table, keys = self._place(watch)
        if table is None:
            del self._everything[watch]
            return
        for key in keys:
            del table[key][watch]
            if not table[key]:
                del table[key]
        if table is self._by_prefix:
            length = len(watch.filter.prefix)
            self._lengths[length] -= 1
            if not self._lengths[length]:
                del self._lengths[length]

    def _place(self, watch: "Watch") -> tuple[_Table | None, tuple[str, ...]]:
        wanted = watch.filter
        if wanted.resource_ids is not None:
            return self._by_resource, wanted.resource_ids
        if wanted.instance_id is not None:
            return self._by_instance, (wanted.instance_id,)
        if wanted.prefix:
            return self._by_prefix, (wanted.prefix,)
        if wanted.tags:
            return self._by_tag, wanted.tags[:1]
        if wanted.resource_type is not None:
            return self._by_type, (wanted.resource_type,)
        if wanted.service_name is not None:
            return self._by_service, (wanted.service_name,)
        return None, ()

    @property
    def everything(self) -> Mapping["Watch", None]:
        """Those that are told everything."""
        return self._everything

    @property
    def is_choosy(self) -> bool:
        """Whether there are others."""
        return self._count > len(self._everything)

    def candidates(self, fact: OwnershipFact) -> list["Watch"]:
        """Those that may want a change, each once, beside those that are told everything."""
        found: list[Watch] = []
        resource_id = fact.resource_id
        if self._by_resource:
            found += self._by_resource.get(resource_id, ())
        for watch, ids in self._with_many.items():
            if resource_id in ids:
                found.append(watch)
        for length in self._lengths:
            if len(resource_id) >= length:
                found += self._by_prefix.get(resource_id[:length], ())
        if self._by_instance or self._by_service:
            self._add_by_owner(fact, found)
        if self._by_tag or self._by_type:
            self._add_by_metadata(fact, found)
        return found

    def _add_by_owner(self, fact: OwnershipFact, found: list["Watch"]) -> None:
        owners = [fact.previous_owner] if isinstance(fact, ResourceReleased) else [fact.owner]
        if isinstance(fact, ResourceTransferred):
            owners.append(fact.previous_owner)
        for instance_id in dict.fromkeys([owner.instance_id for owner in owners]):
            found += self._by_instance.get(instance_id, ())
        for service_name in dict.fromkeys([owner.service_name for owner in owners]):
            found += self._by_service.get(service_name, ())

    def _add_by_metadata(self, fact: OwnershipFact, found: list["Watch"]) -> None:
        said: list[Metadata] = [] if fact.details.metadata is None else [fact.details.metadata]
        if isinstance(fact, _WITH_BEFORE) and fact.metadata_before is not None:
            said.append(fact.metadata_before)
        for tag in dict.fromkeys([tag for metadata in said for tag in metadata.tags]):
            found += self._by_tag.get(tag, ())
        for resource_type in dict.fromkeys([metadata.resource_type for metadata in said]):
            if resource_type is not None:
                found += self._by_type.get(resource_type, ())
