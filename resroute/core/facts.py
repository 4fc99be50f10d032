"""What follows from commands: facts about ownership, the results of commands, and their outcomes.

They are structs because a registration of a thousand ids makes a thousand of them: quick to make, and nothing that the
garbage collector has to look at (none can be part of a cycle).
"""

from collections.abc import Mapping, Sequence

import msgspec

from resroute.core.commands import Cause, MoveCause
from resroute.core.metadata import Metadata
from resroute.errors import RouterError
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

MAX_TOLD = 1000
"""How many resources are named to whoever takes the place of another."""


class Owner(msgspec.Struct, frozen=True, gc=False):
    """Which instance a fact is about."""

    session_id: SessionId
    instance_id: InstanceId
    service_name: ServiceName


class Details(msgspec.Struct, frozen=True, gc=False):
    """What is known of a resource beside its owner and epoch, at one moment. Facts of one command may share it.

    The last two are local to one router, as they are in a grant.
    """

    registered_at: float
    metadata: Metadata | None = None
    expires_at: float | None = None
    calls_total: int = 0
    last_called_at: float = 0.0


class ResourceRegistered(msgspec.Struct, frozen=True, gc=False):
    """A free resource has an owner now."""

    resource_id: ResourceId
    owner: Owner
    epoch: Epoch
    details: Details


class ResourceTransferred(msgspec.Struct, frozen=True, gc=False):
    """A resource went from one owner to another with no moment in between."""

    resource_id: ResourceId
    owner: Owner
    epoch: Epoch
    previous_owner: Owner
    previous_epoch: Epoch
    cause: Cause
    details: Details
    metadata_before: Metadata | None


class ResourceReleased(msgspec.Struct, frozen=True, gc=False):
    """A resource has no owner any more. After the end of a session, told when its grants are reclaimed.

    ``details`` are the last there were.
    """

    resource_id: ResourceId
    previous_owner: Owner
    epoch: Epoch
    cause: Cause
    details: Details


class ResourceUpdated(msgspec.Struct, frozen=True, gc=False):
    """The metadata of a resource has changed, and nothing else."""

    resource_id: ResourceId
    owner: Owner
    epoch: Epoch
    cause: Cause
    details: Details
    metadata_before: Metadata | None


class ResourcesMoved(msgspec.Struct, frozen=True, gc=False):
    """What one transfer took from one instance, all of it under one epoch. Beside a fact for each of the resources."""

    transfer_id: str
    reason: str
    cause: MoveCause
    previous_owner: Owner
    owner: Owner
    epoch: Epoch
    resource_ids: tuple[ResourceId, ...]
    state: Mapping[ResourceId, bytes]


class TtlChanged(msgspec.Struct, frozen=True, gc=False):
    """A grant ends in ``ttl_seconds`` from now, which is known as ``expires_at``; or does not end by itself: None."""

    resource_id: ResourceId
    epoch: Epoch
    ttl_seconds: float | None
    expires_at: float | None


class TtlKept(msgspec.Struct, frozen=True, gc=False):
    """A grant has followed one that expires, whose time runs on: ``seconds_left``, if nobody knows better."""

    resource_id: ResourceId
    epoch: Epoch
    seconds_left: float
    expires_at: float


class InstanceJoined(msgspec.Struct, frozen=True, gc=False):
    """A session has become an instance."""

    owner: Owner


class InstanceResumed(msgspec.Struct, frozen=True, gc=False):
    """One session of an instance has taken the place of another, which has ended. Beside a fact for each of its resources."""

    previous_owner: Owner
    owner: Owner
    resource_count: int


class InstanceSuspended(msgspec.Struct, frozen=True, gc=False):
    """The session of an instance has ended, and may be resumed: what it owns stays so for ``grace_seconds`` from now.

    That is known as ``suspended_until``, in wall-clock seconds.
    """

    owner: Owner
    resource_count: int
    cause: Cause
    grace_seconds: float
    suspended_until: float


class InstanceDrains(msgspec.Struct, frozen=True, gc=False):
    """An instance takes nothing more from here on."""

    owner: Owner


class SessionEnded(msgspec.Struct, frozen=True, gc=False):
    """A session has ended, or is not to be resumed any more. All it owned became free with this command."""

    session_id: SessionId
    owner: Owner | None
    resource_count: int
    cause: Cause
    was_suspended: bool = False


Fact = (
    ResourceRegistered
    | ResourceTransferred
    | ResourceReleased
    | ResourceUpdated
    | ResourcesMoved
    | TtlChanged
    | TtlKept
    | InstanceDrains
    | InstanceJoined
    | InstanceResumed
    | InstanceSuspended
    | SessionEnded
)


class Joined(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.RegisterInstance`: whose place it has taken, if anybody's, and what it owns.

    ``resumed`` are the first :data:`MAX_TOLD` of ``resumed_count``, and ``epoch`` that of all of them.
    """

    took_over: SessionId | None
    resumed: tuple[ResourceId, ...]
    resumed_count: int
    epoch: Epoch


class Registered(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.Register`. ``epochs`` is in the order asked for."""

    epochs: Mapping[ResourceId, Epoch]
    conflicts: Mapping[ResourceId, InstanceId]


class InLine(msgspec.Struct, frozen=True, gc=False):
    """Result of a :class:`~resroute.core.commands.Register` that waits, for what these own: see :class:`Answered`."""

    conflicts: Mapping[ResourceId, InstanceId]


class Released(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.Release`. ``failed`` says why some were not, with ``partial``."""

    released: tuple[ResourceId, ...]
    failed: Mapping[ResourceId, str]


class Transferred(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.Transfer`. ``failed`` says why some were not, with ``partial``."""

    transferred: tuple[ResourceId, ...]
    failed: Mapping[ResourceId, str]
    epoch: Epoch


class Renewed(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.Renew`. Wall-clock seconds, of those that expire."""

    expires_at: Mapping[ResourceId, float]


class ItemFailure(msgspec.Struct, frozen=True, gc=False):
    """Why one item of a bulk failed: the type of an error, and who is in the way. ``pending``: by a bulk of its own."""

    error_type: str
    owner: InstanceId | None = None
    pending: bool = False


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """Result of a step of a bulk. If something failed, and it is not in part, the bulk is no more.

    ``kept`` are the epochs of what the instance owned before, once it is committed; all else has the command's revision.
    """

    failed: Mapping[ResourceId, ItemFailure]
    committed: bool = False
    kept: Mapping[ResourceId, Epoch] = {}


class Reclaimed(msgspec.Struct, frozen=True, gc=False):
    """Result of :class:`~resroute.core.commands.Reclaim` and :class:`~resroute.core.commands.Tidy`.

    ``left`` grants of that session, or bulk, remain to be tidied.
    """

    left: int


Result = Joined | Registered | InLine | Released | Transferred | Renewed | Reserved | Reclaimed | None


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A registration that waited waits no more. ``wait`` is the revision of its command."""

    wait: Revision
    answer: Registered | RouterError


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The command changed the state as a whole (or had nothing to change)."""

    revision: Revision
    result: Result = None
    facts: Sequence[Fact] = ()
    answered: tuple[Answered, ...] = ()


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The command was refused and changed nothing but the revision."""

    revision: Revision
    error: RouterError


Outcome = Applied | Refused
