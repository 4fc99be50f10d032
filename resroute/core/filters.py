"""Which resources somebody asks for: the filters of a query or a watch."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from resroute.core.facts import Owner
from resroute.core.metadata import Metadata
from resroute.ids import InstanceId, ResourceId, ServiceName

MAX_SCANNED = 64
"""Up to so many tags of a resource are looked through. More take their time: thousands fit into its metadata."""


class Filter(msgspec.Struct, frozen=True):
    """What a resource must be to match: all of what is given. Without anything every resource matches."""

    service_name: ServiceName | None = None
    instance_id: InstanceId | None = None
    resource_ids: tuple[ResourceId, ...] | None = None
    """One of these: in code-point order, none of them twice. See :meth:`of`."""
    resource_type: str | None = None
    tags: tuple[str, ...] = ()
    """All of these must be among its own. In order, none of them twice."""
    prefix: str = ""

    @classmethod
    def of(
        cls,
        *,
        service_name: ServiceName | None = None,
        instance_id: InstanceId | None = None,
        resource_ids: Iterable[ResourceId] | None = None,
        resource_type: str | None = None,
        tags: Iterable[str] | None = None,
        prefix: str | None = None,
    ) -> "Filter":
        """The filter that somebody means, whatever order they said it in: the same filters are equal."""
        return cls(
            service_name,
            instance_id,
            None if resource_ids is None else tuple(sorted(set(resource_ids))),
            resource_type,
            tuple(sorted(set(tags or ()))),
            prefix or "",
        )

    def matches(self, resource_id: ResourceId, owner: Owner, metadata: Metadata | None) -> bool:
        """Whether a resource matches that has this owner and says this of itself."""
        if self.prefix and not resource_id.startswith(self.prefix):
            return False
        if self.instance_id is not None and self.instance_id != owner.instance_id:
            return False
        if self.service_name is not None and self.service_name != owner.service_name:
            return False
        if self.resource_type is not None and (
            metadata is None or metadata.resource_type != self.resource_type
        ):
            return False
        if self.tags and (metadata is None or not self._are_among(metadata.tags)):
            return False
        return self.resource_ids is None or self._names(self.resource_ids, resource_id)

    def _are_among(self, tags: tuple[str, ...]) -> bool:
        wanted = self.tags
        if len(wanted) > len(tags):
            return False
        if len(tags) > MAX_SCANNED:
            return set(tags).issuperset(wanted)
        return all(tag in tags for tag in wanted)

    @staticmethod
    def _names(resource_ids: tuple[ResourceId, ...], resource_id: ResourceId) -> bool:
        at = bisect_left(resource_ids, resource_id)
        return at < len(resource_ids) and resource_ids[at] == resource_id
