"""What follows from commands: facts about ownership, the results of commands, and their outcomes."""

from collections.abc import Mapping
from typing import Literal

import attrs

from resroute.core.commands import Cause
from resroute.errors import RouterError
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId


@attrs.frozen
class Owner:
    """Which instance a fact is about."""

    session_id: SessionId
    instance_id: InstanceId
    service_name: ServiceName


@attrs.frozen
class ResourceRegistered:
    """A free resource has an owner now."""

    resource_id: ResourceId
    owner: Owner
    epoch: Epoch


@attrs.frozen
class ResourceTransferred:
    """A resource went from one owner to another with no moment in between."""

    resource_id: ResourceId
    owner: Owner
    epoch: Epoch
    previous_owner: Owner
    cause: Cause


@attrs.frozen
class ResourceReleased:
    """A resource has no owner any more. After the end of a session, told when its grants are reclaimed."""

    resource_id: ResourceId
    previous_owner: Owner
    epoch: Epoch
    cause: Cause


@attrs.frozen
class InstanceJoined:
    """A session has become an instance."""

    owner: Owner


@attrs.frozen
class SessionEnded:
    """A session has ended. All it owned became free with this command."""

    session_id: SessionId
    owner: Owner | None
    resource_count: int
    cause: Cause


Fact = ResourceRegistered | ResourceTransferred | ResourceReleased | InstanceJoined | SessionEnded


@attrs.frozen
class Registered:
    """Result of :class:`~resroute.core.commands.Register`. ``epochs`` is in the order asked for."""

    epochs: Mapping[ResourceId, Epoch]
    conflicts: Mapping[ResourceId, InstanceId]


@attrs.frozen
class Released:
    """Result of :class:`~resroute.core.commands.Release`. ``failed`` says why some were not, with ``partial``."""

    released: tuple[ResourceId, ...]
    failed: Mapping[ResourceId, Literal["resource_not_found", "not_owner"]]


@attrs.frozen
class Reclaimed:
    """Result of :class:`~resroute.core.commands.Reclaim`. ``left`` grants of that session remain to be tidied."""

    left: int


Result = Registered | Released | Reclaimed | None


@attrs.frozen
class Applied:
    """The command changed the state as a whole (or had nothing to change)."""

    revision: Revision
    result: Result = None
    facts: tuple[Fact, ...] = ()


@attrs.frozen
class Refused:
    """The command was refused and changed nothing but the revision."""

    revision: Revision
    error: RouterError


Outcome = Applied | Refused
