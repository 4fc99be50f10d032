"""The indexes that resources are looked up by: all ids in order, and the ids of each service, owner, type and tag.

They hold the grants of dead owners too, until those are reclaimed, and those that bulks have set aside or left behind. What
says nothing of itself costs nothing in the indexes by type and tag.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from resroute.core.filters import Filter
from resroute.core.labels import LabelIndex
from resroute.core.metadata import Metadata
from resroute.core.ordered import MAX_SORTED, OrderedIds
from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import InstanceId, ResourceId, ServiceName

_NOTHING = OrderedIds()


class Indexes:
    """Finds the resources that may match a filter, in the index that names the fewest."""

    __slots__ = ("_by_tag", "_by_type", "_instances", "_services", "ids")

    def __init__(
        self, services: Mapping[ServiceName, ServiceRecord], instances: Mapping[InstanceId, OwnerRecord]
    ) -> None:
        self._services = services
        self._instances = instances
        self.ids = OrderedIds()
        self._by_type = LabelIndex()
        self._by_tag = LabelIndex()

    # --- keeping them in step ---------------------------------------------------------------------------------

    def add(self, grant: Grant) -> None:
        """Put a grant into every index."""
        grant.owner.add(grant.resource_id)
        self._add(grant)

    def add_pending(self, grant: Grant) -> None:
        """Put a grant that is not in force into every index. Its owner may come to own it: see :meth:`OwnerRecord.own`."""
        grant.owner.expect(grant.resource_id)
        self._add(grant)

    def _add(self, grant: Grant) -> None:
        resource_id = grant.resource_id
        grant.owner.service.ids.add(resource_id)
        self.ids.add(resource_id)
        if grant.metadata is not None:
            self._relabel(resource_id, None, grant.metadata)

    def remove(self, grant: Grant) -> None:
        """Take a grant out of every index."""
        grant.owner.remove(grant.resource_id)
        self._remove(grant)

    def remove_pending(self, grant: Grant) -> None:
        """Take a grant that is not in force out of every index."""
        grant.owner.expect_no_more(grant.resource_id)
        self._remove(grant)

    def _remove(self, grant: Grant) -> None:
        resource_id = grant.resource_id
        grant.owner.service.ids.remove(resource_id)
        self.ids.remove(resource_id)
        if grant.metadata is not None:
            self._relabel(resource_id, grant.metadata, None)

    def describe(self, grant: Grant, metadata: Metadata) -> None:
        """Have a grant that is in the indexes say this of itself from now on."""
        self._relabel(grant.resource_id, grant.metadata, metadata)
        grant.metadata = metadata

    def _relabel(self, resource_id: ResourceId, before: Metadata | None, after: Metadata | None) -> None:
        old_type = None if before is None else before.resource_type
        new_type = None if after is None else after.resource_type
        if old_type != new_type:
            if old_type is not None:
                self._by_type.remove(old_type, resource_id)
            if new_type is not None:
                self._by_type.add(new_type, resource_id)
        old_tags = () if before is None else before.tags
        new_tags = () if after is None else after.tags
        if old_tags != new_tags:
            old, new = dict.fromkeys(old_tags), dict.fromkeys(new_tags)
            for tag in old:
                if tag not in new:
                    self._by_tag.remove(tag, resource_id)
            for tag in new:
                if tag not in old:
                    self._by_tag.add(tag, resource_id)

    # --- reading ----------------------------------------------------------------------------------------------

    def candidates_after(self, wanted: Filter, resource_id: str) -> Sequence[ResourceId]:
        """The next ids greater than ``resource_id``, in order, of what may match; none only if nothing more can.

        A thousand at the most. They stay as they are when something changes.
        """
        index, size = self.ids, None
        for other in self._indexes_of(wanted):
            count = other.count(wanted.prefix)
            if size is None or count < size:
                index, size = other, count
        named = wanted.resource_ids
        if named is not None and (size is None or len(named) <= size):
            first = bisect_right(named, resource_id)
            return named[first : first + MAX_SORTED]
        return index.next_after(resource_id, wanted.prefix)

    def count(self, wanted: Filter) -> int | None:
        """How many grants match, those of dead owners among them; None if no index knows without looking at each."""
        indexes = list(islice(self._indexes_of(wanted), 2))
        if wanted.resource_ids is not None or len(indexes) > 1:
            return None
        return (indexes[0] if indexes else self.ids).count(wanted.prefix)

    def _indexes_of(self, wanted: Filter) -> Iterator[OrderedIds]:
        """One for each thing that is wanted, but for ids: all that matches is in each of them."""
        if wanted.instance_id is not None:
            owner = self._instances.get(wanted.instance_id)
            fits = owner is not None and wanted.service_name in (None, owner.service.name)
            yield owner.in_order if owner is not None and fits else _NOTHING
        elif wanted.service_name is not None:
            service = self._services.get(wanted.service_name)
            yield service.ids if service is not None else _NOTHING
        if wanted.resource_type is not None:
            yield self._by_type.ids_of(wanted.resource_type)
        for tag in wanted.tags:
            yield self._by_tag.ids_of(tag)
