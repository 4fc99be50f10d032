"""What instances are told of resources that they have lost or been given: in one message, or as many as it takes."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.core.facts import ResourcesMoved
from resroute.core.records import Grant
from resroute.ids import Epoch, ResourceId
from resroute.protocol.envelope import notification_message
from resroute.protocol.results import ResourceMetadata, encode_result
from resroute.router.infos import metadata_of

_OVERHEAD_BYTES = 2048
"""The envelope, and all that is told beside the resources."""

_AROUND_ID_BYTES = len('"",')


class AcquiredResource(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A resource that an instance has been given. ``state`` is what its earlier owner has sent along."""

    resource_id: ResourceId
    epoch: Epoch
    metadata: ResourceMetadata | None
    state: Raw | UnsetType = UNSET


def lost_notices(
    resource_ids: Sequence[ResourceId], told: Mapping[str, object], max_message_bytes: int
) -> Iterator[bytes]:
    """``resource.lost``. Each message has all that is ``told`` beside its part of the ids."""
    room = max_message_bytes - _OVERHEAD_BYTES
    # an id is as long as JSON as it is, but for its quotation marks and the comma
    if sum(map(len, resource_ids)) + _AROUND_ID_BYTES * len(resource_ids) <= room:
        yield notification_message("resource.lost", {"resource_ids": resource_ids, **told})
        return
    items = [encode_result(resource_id) for resource_id in resource_ids]
    for part in _parts(items, max_message_bytes):
        yield notification_message("resource.lost", {"resource_ids": part, **told})


def acquired_notices(
    move: ResourcesMoved, grants: Sequence[Grant], max_message_bytes: int
) -> Iterator[bytes]:
    """``resource.acquired`` of what a transfer has brought; ``grants`` are what is in force now."""
    told = {
        "cause": "transfer",
        "from_instance_id": move.previous_owner.instance_id,
        "transfer_id": move.transfer_id,
    }
    state = move.state
    items = [
        # an id is as long as JSON as it is, and most resources say nothing of themselves
        b'{"resource_id":"%b","epoch":%d,"metadata":null}' % (grant.resource_id.encode(), grant.epoch)
        if grant.metadata is None and not state
        else _acquired(grant, state.get(grant.resource_id))
        for grant in grants
    ]
    for part in _parts(items, max_message_bytes):
        yield notification_message("resource.acquired", {"resources": part, **told})


def _acquired(grant: Grant, state: bytes | None) -> bytes:
    resource = AcquiredResource(
        resource_id=grant.resource_id,
        epoch=grant.epoch,
        metadata=None if grant.metadata is None else metadata_of(grant.metadata),
    )
    if state is not None:
        resource.state = Raw(state)
    return encode_result(resource)


def _parts(items: Sequence[bytes], max_message_bytes: int) -> Iterator[Raw]:
    """Encoded items in arrays, as many at a time as one message may carry, at least one."""
    room = max_message_bytes - _OVERHEAD_BYTES
    if sum(map(len, items)) + len(items) <= room:
        yield _array(items)
        return
    part: list[bytes] = []
    size = 0
    for item in items:
        if part and size + len(item) + 1 > room:
            yield _array(part)
            part, size = [], 0
        part.append(item)
        size += len(item) + 1
    yield _array(part)


def _array(items: Sequence[bytes]) -> Raw:
    return Raw(b"[%b]" % b",".join(items))
