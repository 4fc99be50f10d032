"""What can be asked of the state machine.

Commands are small frozen values that mean the same on every machine: whatever a decision depends on beside the state
(limits, switches, times, minted ids) travels in the command. They are tagged, so that a log can carry them as bytes.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from resroute.core.metadata import MetadataChange
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

Cause = Literal[
    "request",
    "session_ended",
    "heartbeat_lost",
    "forced",
    "transfer",
    "resume",
    "expired",
    "admin",
    "drain",
    "rebalance",
]
"""Why an ownership changed, as events and notices tell it."""

MoveCause = Literal["transfer", "drain", "rebalance"]
"""Why a resource was handed from one live instance to another."""


class Command(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of all commands."""


class Genesis(Command, frozen=True):
    """The first command: sets the revision, which must lie above every revision of earlier runs."""

    base: int


class Open(Command, frozen=True):
    """A session has begun."""

    session_id: SessionId


class End(Command, frozen=True):
    """A session has ended. All it owned is free at once; see :class:`Reclaim` for the tidying-up.

    If it is ``unclean``, and the instance has asked for a grace period and does not drain, it is suspended instead: it keeps
    what it owned, until it is resumed or :class:`EndGrace` says so.

    ``at`` is wall-clock seconds, kept as data only, here and in all that frees resources: when others get them.
    """

    session_id: SessionId
    cause: Cause
    at: float
    unclean: bool = False


class RegisterInstance(Command, frozen=True):
    """A session becomes an instance of a service.

    If there is one of that id already, it takes the place of that one: with what the token ``resumes`` by which it is known,
    and for the same ``subject`` and service. That session ends, and all that it owned goes over in this one step.

    ``at`` is wall-clock seconds and ``metadata`` compact JSON of an object: both are kept as data only. Tokens are told by
    their fingerprints; ``token`` is that of this session, which may be shown later to take its place.
    """

    session_id: SessionId
    service_name: ServiceName
    instance_id: InstanceId
    at: float
    priority: int = 0
    max_concurrency: int | None = None
    plain: bool = False
    metadata: bytes | None = None
    subject: str = ""
    token: bytes | None = None
    resumes: bytes | None = None
    grace_seconds: float = 0.0


class Confirm(Command, frozen=True):
    """A session that has taken the place of another knows that it has: from here on it is known by its own token alone."""

    session_id: SessionId


class EndGrace(Command, frozen=True):
    """All that a suspended instance owns is free at once. It counts only if that is suspended until then, or if that is None.

    With a ``cause`` for that reason, and otherwise for the one for which its session has ended.
    """

    session_id: SessionId
    suspended_until: float | None
    at: float
    cause: Cause | None = None


class WaitLimits(msgspec.Struct, frozen=True, gc=False):
    """How many registrations may wait."""

    per_resource: int
    per_session: int


class Register(Command, frozen=True):
    """An instance takes resources: all or nothing, or with ``partial`` what nobody else owns.

    If others own some of them and ``wait`` is given it waits, under the revision of this command, until it is granted as a
    whole or :class:`GiveUp` says so.

    With ``force`` it takes them from whoever owns them. ``limit`` is how many it may own in all, ``max_metadata_bytes`` what
    the metadata of one may take; ``at`` is wall-clock seconds, kept as data only. The time to live of each begins anew.

    What a bulk named ``bulk_id`` has set aside for the same instance is not in its way, and what is said of that is what was
    said then. Unless this is refused, that bulk is over.
    """

    session_id: SessionId
    resource_ids: tuple[ResourceId, ...]
    at: float
    limit: int
    partial: bool = False
    force: bool = False
    metadata: Mapping[ResourceId, MetadataChange] | None = None
    max_metadata_bytes: int = 0
    wait: WaitLimits | None = None
    bulk_id: BulkId | None = None


class GiveUp(Command, frozen=True):
    """A registration waits no longer: it is refused. If it is granted already, nothing happens.

    With ``only_if_blocked`` it is granted instead if it can be at this very moment.
    """

    wait: Revision
    at: float
    only_if_blocked: bool = False


class Serve(Command, frozen=True):
    """Go on to grant what is free to those who wait, where a command before had too many of them for itself."""

    at: float


class Update(Command, frozen=True):
    """The metadata of a resource changes: as a whole, or with ``merge`` what the change mentions.

    By its owner, or by anybody ``as_admin``. With an ``expected_version`` only if that is the current one; that of no
    metadata is 0. The time to live begins anew if the change mentions it.
    """

    session_id: SessionId
    resource_id: ResourceId
    change: MetadataChange
    at: float
    max_metadata_bytes: int
    merge: bool = False
    expected_version: int | None = None
    as_admin: bool = False


class Renew(Command, frozen=True):
    """The time to live of resources of an instance begins anew, or is ``ttl_seconds`` this once. All or none.

    Those that do not expire are left as they are.
    """

    session_id: SessionId
    resource_ids: tuple[ResourceId, ...]
    at: float
    ttl_seconds: float | None = None


class Expiry(msgspec.Struct, frozen=True, gc=False):
    """That the time of a grant has come. It counts only if that still ends at ``expires_at``."""

    resource_id: ResourceId
    epoch: Epoch
    expires_at: float


class Expire(Command, frozen=True):
    """Grants end whose time has come. Those that were renewed meanwhile, or are no more, are passed over."""

    expiries: tuple[Expiry, ...]
    at: float


class Release(Command, frozen=True):
    """An instance gives resources up: all or nothing, or with ``partial`` what it owns of them.

    ``as_admin`` anybody gives up whatever is owned. With ``drains`` it does so because it is about to leave.
    """

    session_id: SessionId
    resource_ids: tuple[ResourceId, ...]
    at: float
    partial: bool = False
    as_admin: bool = False
    drains: bool = False


class Transfer(Command, frozen=True):
    """Resources go from one instance to another, with no moment in between: all or nothing, or with ``partial`` what can.

    By the instance that owns them, or by anybody ``as_admin``, who may also leave open whose they are: then they may belong
    to several, and ``verify_ownership`` is false. What the metadata says stays, and a time to live runs on. ``limit`` is how
    many the new owner may own in all; ``at`` is wall-clock seconds, kept as data only, and so are ``transfer_id``, ``reason``
    and ``state``, which the new owner is told.
    """

    session_id: SessionId
    resource_ids: tuple[ResourceId, ...]
    from_instance_id: InstanceId
    to_instance_id: InstanceId
    at: float
    limit: int
    transfer_id: str
    reason: str
    service_name: ServiceName | None = None
    partial: bool = False
    as_admin: bool = False
    verify_ownership: bool = True
    across_services: bool = False
    cause: MoveCause = "transfer"
    state: Mapping[ResourceId, bytes] | None = None


class Drain(Command, frozen=True):
    """An instance takes nothing more: no resource, and no call but for what it owns. For as long as its session lives.

    It waits for nothing any more either. If it is suspended, that ends, and all it owned is free. ``at`` is wall-clock
    seconds, for those who come after it in line.
    """

    session_id: SessionId
    at: float


class Reclaim(Command, frozen=True):
    """Tidy up to ``count`` grants of a session that has ended. Nobody's ownership changes by it."""

    session_id: SessionId
    count: int


class BulkItem(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One resource of a registration in bulk: what is said of it, and whether it is taken from whoever owns it."""

    resource_id: ResourceId
    change: MetadataChange | None = None
    force: bool = False


class Reserve(Command, frozen=True):
    """Resources are set aside for an instance, until their bulk is committed or abandoned. Nobody sees anything of it.

    ``session_id`` asks, and ``owner_id`` is the session of the instance: the same, or an administrator asks for another.
    The first command under a ``bulk_id`` begins the bulk. One item that fails ends it, and nothing is set aside any more;
    with ``partial`` the others stay. With ``commit`` all that the bulk has set aside is registered in the same step, and the
    time to live of each begins anew. One that ``goes_on`` begins no bulk: if there is none of that id, nothing happens.
    """

    session_id: SessionId
    bulk_id: BulkId
    owner_id: SessionId
    items: tuple[BulkItem, ...]
    at: float
    limit: int
    max_metadata_bytes: int
    partial: bool = False
    commit: bool = False
    goes_on: bool = False


class ReserveRelease(Command, frozen=True):
    """As :class:`Reserve`, of resources that an instance is to give up. What nobody owns counts as given up."""

    session_id: SessionId
    bulk_id: BulkId
    owner_id: SessionId
    resource_ids: tuple[ResourceId, ...]
    at: float
    partial: bool = False
    commit: bool = False


class Abandon(Command, frozen=True):
    """Nothing is set aside for a bulk any more, if there is one of that id."""

    session_id: SessionId
    bulk_id: BulkId
    at: float


class Tidy(Command, frozen=True):
    """Tidy up to ``count`` grants that a bulk has left behind. Nobody's ownership changes by it."""

    bulk_id: BulkId
    count: int


AnyCommand = (
    Genesis
    | Open
    | End
    | RegisterInstance
    | Confirm
    | EndGrace
    | Register
    | GiveUp
    | Serve
    | Update
    | Renew
    | Expire
    | Release
    | Transfer
    | Drain
    | Reclaim
    | Reserve
    | ReserveRelease
    | Abandon
    | Tidy
)
