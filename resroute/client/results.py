"""What the router's methods answer, as values. Members that a newer router adds are left out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

import attrs
import msgspec
from msgspec import Raw


@attrs.frozen(kw_only=True)
class Heartbeat:
    """When the router counts a silent session as gone."""

    interval_seconds: float
    timeout_seconds: float


@attrs.frozen(kw_only=True)
class SessionInstance:
    """Which instance a session is."""

    service_name: str
    instance_id: str


@attrs.frozen(kw_only=True)
class SessionInfo:
    """What the router says about this session.

    Attributes:
        protocol: the subprotocol in use.
        features: what the router has beyond version 1 of the protocol.
        instance: None until the session is one.
        limits: by the names in the protocol's table of limits.
    """

    session_id: str
    router_id: str
    protocol: str
    limits: Mapping[str, float]
    heartbeat: Heartbeat
    features: tuple[str, ...] = ()
    subject: str | None = None
    roles: tuple[str, ...] = ()
    instance: SessionInstance | None = None
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class Registered:
    """What became of a registration.

    Attributes:
        registered: the ids that this instance owns now, of those it asked for.
        conflicts: whom the others belong to; empty unless ``partial`` was given.
        epochs: the epoch of each registered id.
    """

    registered: tuple[str, ...]
    conflicts: Mapping[str, str]
    epochs: Mapping[str, int]
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class Released:
    """What became of a release.

    Attributes:
        released: the ids that nobody owns now.
        failed: the type of error for each of the others; empty unless ``partial`` was given.
    """

    released: tuple[str, ...]
    failed: Mapping[str, str]
    trace_id: str | None = None


class MetadataFields(TypedDict, total=False):
    """What you may say of a resource: any of these.

    ``attributes`` is for whatever JSON can say, nested up to 128 deep.
    """

    resource_type: str | None
    tags: Sequence[str]
    attributes: Mapping[str, Any]
    priority: int
    ttl_seconds: float | None


@attrs.frozen(kw_only=True)
class ResourceMetadata:
    """What is noted about a resource. ``version``, ``last_modified`` and ``created_by`` are the router's."""

    resource_type: str | None = None
    version: int | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    created_by: str | None = None
    last_modified: datetime | None = None
    ttl_seconds: float | None = None
    priority: int = 0


def fields_of(metadata: ResourceMetadata) -> MetadataFields:
    """What to say of a resource so that the same is noted about it again."""
    return {
        "resource_type": metadata.resource_type,
        "tags": metadata.tags,
        "attributes": metadata.attributes,
        "priority": metadata.priority,
        "ttl_seconds": metadata.ttl_seconds,
    }


@attrs.frozen(kw_only=True)
class ResourceInfo:
    """One resource that has an owner. ``is_healthy`` tells of the owner.

    Attributes:
        suspended_until: the owner was cut off, and may come back until then; None if not.
    """

    resource_id: str
    owner_instance_id: str
    service_name: str
    registered_at: datetime
    epoch: int
    is_healthy: bool
    calls_total: int = 0
    last_called_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: ResourceMetadata | None = None
    suspended_until: datetime | None = None


@attrs.frozen(kw_only=True)
class ResourceEvent:
    """Something that has become of a resource.

    Attributes:
        revision: where it stands in the router's history. What happened at once has the same.
        event: ``registered``, ``released``, ``transferred``, ``updated`` or ``expired``.
        resource: as it was after the event; for ``released`` and ``expired`` the last there was.
        cause: why: ``request``, ``session_ended``, ``forced`` and others, as the protocol says.
        previous_owner: who owned it before, if that has changed.
    """

    revision: int
    event: str
    resource: ResourceInfo
    cause: str
    previous_owner: str | None = None


@attrs.frozen(kw_only=True)
class Transferred:
    """What became of a transfer.

    Attributes:
        transferred: the ids that the new owner has now.
        failed: the type of error for each of the others; empty unless ``partial`` was given.
        epochs: the new epoch of each.
        transfer_id: both sides are told it.
    """

    transferred: tuple[str, ...]
    failed: Mapping[str, str]
    epochs: Mapping[str, int]
    transfer_id: str
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class Move:
    """One resource that goes from one instance to another."""

    resource_id: str
    from_instance_id: str
    to_instance_id: str


@attrs.frozen(kw_only=True)
class Rebalanced:
    """What was moved between the instances of a service, or would be.

    Attributes:
        moves: in order, those of the lowest priority first.
        transfer_ids: one for each pair of instances between which something was moved, which both are told; none of a dry
            run.
        has_more: it takes more moves than were allowed, or fit into an answer: ask again.
    """

    moves: tuple[Move, ...]
    transfer_ids: tuple[str, ...] = ()
    has_more: bool = False
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class Renewed:
    """What became of a renewal.

    Attributes:
        expires_at: when each of them expires, of those that do.
    """

    renewed: tuple[str, ...]
    expires_at: Mapping[str, datetime]
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class ResourcePage:
    """Some of the resources that match, ordered by id.

    Attributes:
        total_count: how many match in all.
        total_count_is_lower_bound: they were too many to count.
        next_cursor: where the next page begins; None on the last one.
        revision: the state of the router that this page shows.
    """

    resources: tuple[ResourceInfo, ...]
    total_count: int
    has_more: bool
    total_count_is_lower_bound: bool = False
    next_cursor: str | None = None
    revision: int | None = None
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class InstanceInfo:
    """One instance, connected or suspended. ``remote_address`` and ``metadata`` are for administrators.

    Attributes:
        status: ``healthy``, ``unresponsive``, ``draining`` or ``suspended``.
        resources: how many it owns.
        in_flight: how many calls it works on.
        latency_ms: of its last Ping; None before the first.
        suspended_until: it was cut off, and may come back until then; None if not.
    """

    instance_id: str
    service_name: str
    session_id: str
    connected_at: datetime
    status: str
    priority: int
    resources: int
    in_flight: int
    latency_ms: float | None = None
    remote_address: str | None = None
    metadata: Mapping[str, Any] | None = None
    suspended_until: datetime | None = None


@attrs.frozen(kw_only=True)
class InstancePage:
    """Some of the instances that match, ordered by id. ``total_count`` of them match in all."""

    instances: tuple[InstanceInfo, ...]
    total_count: int
    has_more: bool
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class ClientStatistics:
    """What a client holds right now, and what it has seen.

    Attributes:
        calls_in_flight: requests of this client, to instances or to the router, that have no answer yet.
        calls_serving: calls that its instance works on.
        outbox_messages: what waits to be sent.
        late_answers: answers that came after their call was cancelled, so far.
        unreadable_messages: what the router sent that could not be understood, so far.
        connections: how many there have been, with the present one.
        dropped_notifications: those that its instance had no room for beside what it has not worked off yet, so far.
    """

    calls_in_flight: int
    calls_serving: int
    outbox_messages: int
    late_answers: int
    unreadable_messages: int
    connections: int = 1
    dropped_notifications: int = 0


class _Updated(msgspec.Struct):
    resource: ResourceInfo


_read_updated = msgspec.json.Decoder(_Updated).decode


def read_updated(result: Raw) -> ResourceInfo:
    """The resource that an update answers with."""
    return _read_updated(result).resource


read_session_info = msgspec.json.Decoder(SessionInfo).decode
read_registered = msgspec.json.Decoder(Registered).decode
read_renewed = msgspec.json.Decoder(Renewed).decode
read_released = msgspec.json.Decoder(Released).decode
read_rebalanced = msgspec.json.Decoder(Rebalanced).decode
read_transferred = msgspec.json.Decoder(Transferred).decode
read_resource_page = msgspec.json.Decoder(ResourcePage).decode
read_instance_page = msgspec.json.Decoder(InstancePage).decode
