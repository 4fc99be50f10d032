"""What is known of a resource that has an owner, with values as a reader of JSON has them."""

import json
from typing import Any, NamedTuple

from msgspec import UNSET

from resroute.core.commands import Cause
from resroute.core.facts import Details, Owner, ResourceReleased, ResourceUpdated
from resroute.core.metadata import Metadata, MetadataChange
from resroute.ids import Epoch, InstanceId, ResourceId


class Said(NamedTuple):
    """The metadata of a resource, with values as a reader of JSON has them."""

    version: int
    created_by: str
    last_modified: float
    resource_type: str | None
    tags: tuple[str, ...]
    attributes: dict[str, Any]
    priority: int
    ttl_seconds: float | None = None

    @classmethod
    def of(cls, metadata: Metadata | None) -> "Said | None":
        if metadata is None:
            return None
        return cls(
            metadata.version,
            metadata.created_by,
            metadata.last_modified,
            metadata.resource_type,
            metadata.tags,
            json.loads(metadata.attributes),
            metadata.priority,
            metadata.ttl_seconds,
        )

    def metadata(self) -> Metadata:
        """Its like in the state machine, but for how the same JSON is written there."""
        return Metadata(
            self.version,
            InstanceId(self.created_by),
            self.last_modified,
            self.resource_type,
            self.tags,
            json.dumps(self.attributes).encode(),
            self.priority,
            self.ttl_seconds,
        )

    def then(self, change: MetadataChange, at: float, *, merge: bool) -> "Said":
        before = self if merge else Said(0, "", 0.0, None, (), {}, 0)
        given = {} if change.attributes is UNSET else json.loads(change.attributes)
        if merge:
            given = {
                n: v for n, v in {**before.attributes, **given}.items() if n not in given or v is not None
            }
        return Said(
            self.version + 1,
            self.created_by,
            at,
            before.resource_type if change.resource_type is UNSET else change.resource_type,
            before.tags if change.tags is UNSET else change.tags,
            given,
            before.priority if change.priority is UNSET else change.priority,
            self.ttl_seconds if change.ttl_seconds is UNSET else change.ttl_seconds,
        )

    @property
    def size_bytes(self) -> int:
        members = {
            name: value
            for name, value in (
                ("resource_type", self.resource_type),
                ("tags", self.tags),
                ("attributes", self.attributes),
                ("priority", self.priority),
                ("ttl_seconds", self.ttl_seconds),
            )
            if value
        }
        return len(json.dumps(members, separators=(",", ":")))


class Held(NamedTuple):
    """A resource that has an owner, or had one that ended and is not reclaimed."""

    owner: Owner
    epoch: Epoch
    at: float
    said: Said | None = None
    expires_at: float | None = None

    def details(self) -> Details:
        return Details(self.at, None if self.said is None else self.said.metadata(), self.expires_at)

    def released(self, resource_id: ResourceId, cause: Cause) -> ResourceReleased:
        return ResourceReleased(resource_id, self.owner, self.epoch, cause, self.details())

    def updated(self, resource_id: ResourceId, cause: Cause, before: "Held") -> ResourceUpdated:
        return ResourceUpdated(
            resource_id, self.owner, self.epoch, cause, self.details(), before.details().metadata
        )
