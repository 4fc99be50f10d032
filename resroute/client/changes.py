"""Changes of what an instance owns that are not its own doing: what they say, and how they read on the wire."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.client.arrivals import Listeners
from resroute.client.feeds import Feed, Lasting, open_arrivals
from resroute.client.messages import read_payload
from resroute.client.results import ResourceMetadata


@attrs.frozen(kw_only=True)
class Acquired:
    """A resource was handed over to this instance. Calls under its epoch come after this.

    Attributes:
        metadata: what came along with it.
        cause: ``transfer``. A hook of a :class:`resroute.Service` is told of what it has otherwise, too.
        from_instance_id: who owned it before.
        transfer_id: the same for all that was handed over together, and for both sides.
        state: what the earlier owner sent along, None if it sent nothing.
    """

    resource_id: str
    epoch: int
    metadata: ResourceMetadata | None = None
    cause: str
    from_instance_id: str | None = None
    transfer_id: str | None = None
    state: Any = None


@attrs.frozen(kw_only=True)
class Lost:
    """A resource was taken away from this instance.

    Attributes:
        epoch: of the grant that is over. None for one that this instance never heard of, because its registration was
            cancelled.
        cause: ``transfer``, ``forced``, ``expired`` or ``released_by_admin``; ``session_ended``: it could not be had back
            after the connection had ended.
        new_owner: the instance that owns it now, if there is one.
        transfer_id: the same for all that was handed over together, and for both sides.
        reason: what whoever did it says.
    """

    resource_id: str
    epoch: int | None
    cause: str
    new_owner: str | None = None
    transfer_id: str | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True)
class Disconnected:
    """The connection has ended, and with it all ownership. The client connects again.

    Then each resource that this instance owned is told of, as :class:`Regained` or as :class:`Lost`. Until that, others
    may own it.
    """

    reason: str


@attrs.frozen(kw_only=True)
class Regained:
    """This instance owns a resource again that it owned before its connection ended. Others may have owned it meanwhile.

    Attributes:
        epoch: of the new grant.
        previous_epoch: of the one before. What was handed on with that is refused from now on.
    """

    resource_id: str
    epoch: int
    previous_epoch: int


Change = Acquired | Lost | Disconnected | Regained


class Changes(Feed[Change]):
    """Changes of what an instance owns, in the order in which they happened. See :meth:`resroute.Instance.open_changes`."""


@asynccontextmanager
async def open_changes(link: Lasting, listeners: Listeners[Change]) -> AsyncGenerator[Changes]:
    """Listen for as long as the block runs. See :meth:`resroute.Instance.open_changes`."""
    async with open_arrivals(link, listeners) as arrived:
        yield Changes(link, arrived)


class LostNotice(msgspec.Struct):
    """The params of ``resource.lost``."""

    resource_ids: list[str]
    cause: str
    new_owner: str | None = None
    transfer_id: str | None = None
    reason: str | None = None


class _Grant(msgspec.Struct):
    resource_id: str
    epoch: int
    metadata: ResourceMetadata | None = None
    state: Raw | UnsetType = UNSET


class _AcquiredNotice(msgspec.Struct):
    resources: list[_Grant]
    cause: str
    from_instance_id: str | None = None
    transfer_id: str | None = None


read_lost = msgspec.json.Decoder(LostNotice).decode
_read_acquired = msgspec.json.Decoder(_AcquiredNotice).decode


def read_acquired(params: Raw) -> list[Acquired]:
    """What ``resource.acquired`` says, one by one."""
    notice = _read_acquired(params)
    return [
        Acquired(
            resource_id=grant.resource_id,
            epoch=grant.epoch,
            metadata=grant.metadata,
            cause=notice.cause,
            from_instance_id=notice.from_instance_id,
            transfer_id=notice.transfer_id,
            state=None if grant.state is UNSET else read_payload(grant.state),
        )
        for grant in notice.resources
    ]
