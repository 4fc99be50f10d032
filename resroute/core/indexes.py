"""The indexes that resources are looked up by: all ids in order, and the ids of each service, owner, type and tag.

They hold the grants of dead owners too, until those are reclaimed, and those that bulks have set aside or left behind. What
says nothing of itself costs nothing in the indexes by type and tag. What has more tags than anybody gives by hand is in none
of the sets of its tags, so that thousands of them cost a registration no time: it is in a set of its own, through which each
look for a tag has to go as well.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from resroute.core.filters import MAX_SCANNED, Filter
from resroute.core.labels import LabelIndex
from resroute.core.metadata import Metadata
from resroute.core.ordered import MAX_SORTED, OrderedIds
from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import InstanceId, ResourceId, ServiceName

_TAGS_LOOKED_UP = 8
_NOTHING = OrderedIds()


class Indexes:
    """Finds the resources that may match a filter, in the index that names the fewest."""

    __slots__ = ("_by_tag", "_by_type", "_instances", "_services", "_with_many_tags", "ids")

    def __init__(
        self, services: Mapping[ServiceName, ServiceRecord], instances: Mapping[InstanceId, OwnerRecord]
    ) -> None:
        self._services = services
        self._instances = instances
        self.ids = OrderedIds()
        self._by_type = LabelIndex()
        self._by_tag = LabelIndex()
        self._with_many_tags = OrderedIds()

    # --- keeping them in step ---------------------------------------------------------------------------------

    def add(self, grant: Grant) -> None:
        """Put a grant into every index."""
        resource_id = grant.resource_id
        grant.owner.add(resource_id)
        grant.owner.service.ids.add(resource_id)
        self.ids.add(resource_id)
        if grant.metadata is not None:
            self._relabel(resource_id, None, grant.metadata)

    def add_pending(self, owner: OwnerRecord, grants: Mapping[ResourceId, Grant]) -> None:
        """Put grants that are not in force into every index. Their owner may come to own them: :meth:`OwnerRecord.own`."""
        resource_ids = tuple(grants)
        owner.expect(resource_ids)
        owner.service.ids.add_all(resource_ids)
        self.ids.add_all(resource_ids)
        self._label_all([(it.resource_id, it.metadata) for it in grants.values() if it.metadata is not None])

    def _label_all(self, said: Sequence[tuple[ResourceId, Metadata]]) -> None:
        """As :meth:`_relabel`, of resources of which nothing was said, each of which comes once."""
        types: dict[str, list[ResourceId]] = {}
        tags: dict[str, list[ResourceId]] = {}
        for resource_id, metadata in said:
            if metadata.resource_type is not None:
                types.setdefault(metadata.resource_type, []).append(resource_id)
            if len(metadata.tags) > MAX_SCANNED:
                self._with_many_tags.add(resource_id)
            else:
                for tag in dict.fromkeys(metadata.tags):
                    tags.setdefault(tag, []).append(resource_id)
        for label, labelled in types.items():
            self._by_type.add_all(label, labelled)
        for label, labelled in tags.items():
            self._by_tag.add_all(label, labelled)

    def remove(self, grant: Grant) -> None:
        """Take a grant out of every index."""
        grant.owner.remove(grant.resource_id)
        self._remove(grant)

    def pass_on(self, before: Grant, grant: Grant) -> None:
        """Have a grant stand in the place of another that says the same of the same resource."""
        resource_id, loser, owner = grant.resource_id, before.owner, grant.owner
        loser.remove(resource_id)
        owner.add(resource_id)
        if loser.service is not owner.service:
            loser.service.ids.remove(resource_id)
            owner.service.ids.add(resource_id)

    def pass_all_on(
        self, resources: Mapping[ResourceId, object], loser: OwnerRecord, owner: OwnerRecord
    ) -> None:
        """Have resources of one owner be another's."""
        resource_ids = tuple(resources)
        loser.lose(resource_ids)
        owner.expect(resource_ids)
        owner.own(resources)  # what is a dictionary already is taken more quickly
        if loser.service is not owner.service:
            for resource_id in resource_ids:
                loser.service.ids.remove(resource_id)
            owner.service.ids.add_all(resource_ids)

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

    def describe_all(self, changes: Sequence[tuple[Grant, Metadata]]) -> None:
        """The same of some grants, each of which comes once."""
        new: list[tuple[ResourceId, Metadata]] = []
        for grant, after in changes:
            before, grant.metadata = grant.metadata, after
            if before is None:
                new.append((grant.resource_id, after))
            elif before.tags != after.tags or before.resource_type != after.resource_type:
                self._relabel(grant.resource_id, before, after)
        self._label_all(new)

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
            self._retag(resource_id, old_tags, new_tags)

    def _retag(self, resource_id: ResourceId, old_tags: tuple[str, ...], new_tags: tuple[str, ...]) -> None:
        had_many, has_many = len(old_tags) > MAX_SCANNED, len(new_tags) > MAX_SCANNED
        if had_many and not has_many:
            self._with_many_tags.remove(resource_id)
        elif has_many and not had_many:
            self._with_many_tags.add(resource_id)
        old = dict.fromkeys(() if had_many else old_tags)
        new = dict.fromkeys(() if has_many else new_tags)
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
        sets: tuple[OrderedIds, ...] = (self.ids,)
        size: int | None = None
        for others in self._sets_of(wanted):
            count = sum(ids.count(wanted.prefix) for ids in others)
            if size is None or count < size:
                sets, size = others, count
        named = wanted.resource_ids
        if named is not None and (size is None or len(named) <= size):
            first = bisect_right(named, resource_id)
            return named[first : first + MAX_SORTED]
        return _next_of(sets, resource_id, wanted.prefix)

    def count(self, wanted: Filter) -> int | None:
        """How many grants match, those of dead owners among them; None if no index knows without looking at each."""
        found = list(islice(self._sets_of(wanted), 2))
        if wanted.resource_ids is not None or len(found) > 1:
            return None
        sets = found[0] if found else (self.ids,)
        return sets[0].count(wanted.prefix) if len(sets) == 1 else None

    def _sets_of(self, wanted: Filter) -> Iterator[tuple[OrderedIds, ...]]:
        """For each thing that is wanted, but for ids, the sets that have all that match between them, each once.

        Of very many tags the first are enough.
        """
        if wanted.instance_id is not None:
            owner = self._instances.get(wanted.instance_id)
            fits = owner is not None and wanted.service_name in (None, owner.service.name)
            yield (owner.in_order if owner is not None and fits else _NOTHING,)
        elif wanted.service_name is not None:
            service = self._services.get(wanted.service_name)
            yield (service.ids if service is not None else _NOTHING,)
        if wanted.resource_type is not None:
            yield (self._by_type.ids_of(wanted.resource_type),)
        for tag in wanted.tags[:_TAGS_LOOKED_UP]:
            ids = self._by_tag.ids_of(tag)
            yield (ids, self._with_many_tags) if self._with_many_tags else (ids,)


def _next_of(sets: Sequence[OrderedIds], resource_id: str, prefix: str) -> Sequence[ResourceId]:
    """As :meth:`OrderedIds.next_after`, of sets that have nothing in common."""
    runs = [run for ids in sets if (run := ids.next_after(resource_id, prefix))]
    if len(runs) < 2:
        return runs[0] if runs else ()
    last = min(run[-1] for run in runs)  # up to there each of them has all there is
    return sorted(found for run in runs for found in run if found <= last)
