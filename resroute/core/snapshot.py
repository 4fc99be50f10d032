"""The whole state as bytes: MessagePack of a few plain structures, the same bytes for the same state."""

import msgspec

from resroute.core.bulks import Planned
from resroute.core.commands import Cause, Register
from resroute.core.facts import ItemFailure
from resroute.core.metadata import Metadata
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId


class OwnerSnapshot(msgspec.Struct, array_like=True):
    """An instance. ``resources`` are (id, epoch, registered at, metadata, expires at), in the order they were granted."""

    instance_id: InstanceId
    service_name: ServiceName
    registered_at: float
    priority: int
    max_concurrency: int | None
    plain: bool
    metadata: bytes | None
    cause: Cause
    is_draining: bool
    subject: str
    token: bytes | None
    made_with: bytes | None
    grace_seconds: float
    suspended_until: float | None
    resources: list[tuple[ResourceId, Epoch, float, Metadata | None, float | None]]


class SessionSnapshot(msgspec.Struct, array_like=True):
    """A session, and the instance it has become, if it has."""

    session_id: SessionId
    origin: str
    alive: bool
    owner: OwnerSnapshot | None


class LinesSnapshot(msgspec.Struct, array_like=True):
    """Who waits: (number, command, watched), in the order they came; and what is left to do about them."""

    waiters: list[tuple[Revision, Register, ResourceId | None]]
    turns: list[Revision]
    left: list[tuple[Revision, list[ResourceId]]]


class BulkSnapshot(msgspec.Struct, array_like=True):
    """A bulk. ``pending`` and ``leftover`` are (id, registered at, metadata) of grants that are not in force."""

    bulk_id: BulkId
    session_id: SessionId
    owner_id: SessionId
    is_partial: bool
    is_open: bool
    is_awaited: bool
    reserved_count: int
    pending: list[tuple[ResourceId, float, Metadata | None]]
    plans: list[tuple[ResourceId, Planned]]
    releasing: list[ResourceId]
    leftover: list[tuple[ResourceId, float, Metadata | None]]
    failed: list[tuple[ResourceId, ItemFailure]]


class Snapshot(msgspec.Struct, array_like=True):
    """Everything, with the orders that later outcomes or readers may depend on."""

    revision: Revision
    last: list[tuple[str, int]]
    sessions: list[SessionSnapshot]
    services: list[ServiceName]
    instances: list[InstanceId]
    dead: list[SessionId]
    lines: LinesSnapshot
    bulks: list[BulkSnapshot]
    untidy: list[BulkId]


encode_snapshot = msgspec.msgpack.Encoder(order="sorted").encode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
