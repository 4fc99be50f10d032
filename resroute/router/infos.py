"""Resources as clients are told of them."""

from collections.abc import Callable

from msgspec import Raw

from resroute.core.facts import Details, Owner
from resroute.core.metadata import Metadata
from resroute.ids import Epoch, ResourceId
from resroute.protocol.converting import JsonObject
from resroute.protocol.results import ResourceInfo, ResourceMetadata
from resroute.router.session import Session
from resroute.times import rfc3339


def info_of(
    resource_id: ResourceId,
    owner: Owner,
    epoch: Epoch,
    details: Details,
    session: Session | None,
    wall_time_of: Callable[[float], float],
    *,
    with_metadata: bool = True,
    suspended_until: float | None = None,
    time: Callable[[float], str] = rfc3339,
) -> ResourceInfo:
    """A resource as it was at some moment. ``session`` is its owner's, if that is still there."""
    info = ResourceInfo(
        resource_id=resource_id,
        owner_instance_id=owner.instance_id,
        service_name=owner.service_name,
        registered_at=time(details.registered_at),
        epoch=epoch,
        is_healthy=session is not None and session.is_responsive,
        calls_total=details.calls_total,
    )
    if details.calls_total:
        info.last_called_at = rfc3339(wall_time_of(details.last_called_at))
    if with_metadata and details.metadata is not None:
        info.metadata = metadata_of(details.metadata)
    if suspended_until is not None:
        info.suspended_until = time(suspended_until)
    if details.expires_at is not None:
        info.expires_at = rfc3339(details.expires_at)
    return info


def metadata_of(metadata: Metadata) -> ResourceMetadata:
    """What a resource says of itself, as clients are told."""
    return ResourceMetadata(
        version=metadata.version,
        created_by=metadata.created_by,
        last_modified=rfc3339(metadata.last_modified),
        resource_type=metadata.resource_type,
        tags=metadata.tags,
        attributes=JsonObject(Raw(metadata.attributes)),
        priority=metadata.priority,
        ttl_seconds=metadata.ttl_seconds,
    )
