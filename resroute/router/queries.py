"""Resources and instances as queries tell of them, and pages of instances."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import UNSET, Raw

from resroute.core.records import Grant, OwnerRecord
from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import InstanceId, ResourceId, SessionId
from resroute.protocol.converting import JsonObject
from resroute.protocol.params import QueryInstancesParams
from resroute.protocol.results import (
    InstanceInfo,
    InstancePage,
    ResourceInfo,
    encode_result,
)
from resroute.router.infos import info_of
from resroute.router.session import Session
from resroute.settings import Settings
from resroute.times import rfc3339

MAX_LIMIT = 1000
MAX_OFFSET = 10_000
_MADE_IN_A_STEP = 2
_ANSWER_OVERHEAD_BYTES = 1024  # envelope, trace id and meta around a page


def check_ids(ids: Sequence[ResourceId | InstanceId], path: str = "resource_ids") -> None:
    """Refuse a list of ids that names none, or one of them twice.

    Raises:
        InvalidParams: saying which.
    """
    if not ids:
        raise InvalidParams.at(path, "must not be empty")
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        for index, name in enumerate(ids):
            if name in seen:
                raise InvalidParams.at(f"{path}.{index}", f"{name!r} is there twice")
            seen.add(name)


def resource_info(
    grant: Grant,
    sessions: Mapping[SessionId, Session],
    wall_time_of: Callable[[float], float],
    *,
    with_metadata: bool = True,
) -> ResourceInfo:
    """A resource and its owner, as they are now. ``wall_time_of`` is of times on Trio's clock."""
    return info_of(
        grant.resource_id,
        grant.owner.fact,
        grant.epoch,
        grant.details(),
        sessions.get(grant.owner.session_id),
        wall_time_of,
        with_metadata=with_metadata,
        suspended_until=grant.owner.suspended_until,
    )


def page_of_instances(
    state: State,
    sessions: Mapping[SessionId, Session],
    params: QueryInstancesParams,
    *,
    is_admin: bool,
    settings: Settings,
) -> Generator[None, None, InstancePage]:
    """One page of the instances that match, in code-point order of their ids. In steps, as pages of resources.

    Raises:
        InvalidParams: bounds.
    """
    check_page(params.limit, params.offset)
    candidates: Iterable[OwnerRecord]
    if params.instance_id is not None:
        instance = state.instance(params.instance_id)
        candidates = () if instance is None else (instance,)
    elif params.service_name is not None:
        service = state.service(params.service_name)
        candidates = () if service is None else service.instances.values()
    else:
        candidates = state.instances()
    ids = sorted(
        owner.instance_id for owner in candidates if params.service_name in (None, owner.service.name)
    )
    named = map(state.instance, ids[params.offset : params.offset + params.limit])
    owners = [owner for owner in named if owner is not None]
    yield

    def info(owner: OwnerRecord) -> InstanceInfo:
        return instance_info(owner, sessions.get(owner.session_id), is_admin)

    infos = yield from fitting_in_steps(owners, info, settings)
    has_more = params.offset + len(infos) < len(ids)
    return InstancePage(instances=infos, total_count=len(ids), has_more=has_more)


def instance_info(owner: OwnerRecord, session: Session | None, is_admin: bool) -> InstanceInfo:
    """An instance as it is now; for administrators with all that is known of it."""
    info = InstanceInfo(
        instance_id=owner.instance_id,
        service_name=owner.service.name,
        session_id=owner.session_id,
        connected_at=rfc3339(session.opened_at if session is not None else owner.registered_at),
        status=_status(owner, session),
        priority=owner.priority,
        resources=len(owner.resources),
        in_flight=len(session.delivered) if session is not None else 0,
        latency_ms=None,
    )
    if owner.suspended_until is not None:
        info.suspended_until = rfc3339(owner.suspended_until)
    if session is not None and session.latency_seconds is not None:
        info.latency_ms = round(session.latency_seconds * 1000, 3)
    if is_admin:
        info.metadata = JsonObject(Raw(owner.metadata)) if owner.metadata is not None else UNSET
        if session is not None:
            info.remote_address = session.transport.remote_address
    return info


def _status(
    owner: OwnerRecord, session: Session | None
) -> Literal["healthy", "unresponsive", "draining", "suspended"]:
    if owner.suspended_until is not None:
        return "suspended"
    if session is None or not session.is_responsive:
        return "unresponsive"
    return "draining" if owner.is_draining else "healthy"


def fitting[T](items: list[T], settings: Settings) -> list[T]:
    """As many of the first items as one message may carry, at least one."""
    room = room_for_items(settings)
    if len(encode_result(items)) <= room:
        return items
    size = count = 0
    for item in items:
        size += len(encode_result(item)) + 1
        if count and size > room:
            break
        count += 1
    return items[:count]


def fitting_in_steps[T, Item](
    things: Sequence[T], make: Callable[[T], Item], settings: Settings
) -> Generator[None, None, list[Item]]:
    """What is made of as many of the first things as one message may carry, at least one; some in each step."""
    room = room_for_items(settings)
    made: list[Item] = []
    for count, thing in enumerate(things, 1):
        item = make(thing)
        room -= len(encode_result(item)) + 1
        if made and room < 0:
            break
        made.append(item)
        if not count % _MADE_IN_A_STEP:
            yield
    return made


def room_for_items(settings: Settings) -> int:
    """How many bytes the items of a list may take in one answer."""
    return settings.max_message_bytes - _ANSWER_OVERHEAD_BYTES


def check_page(limit: int, offset: int) -> None:
    """Refuse to answer with a page that is too large or begins too far behind.

    Raises:
        InvalidParams: saying which.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidParams.at("limit", f"must be from 1 to {MAX_LIMIT}")
    if not 0 <= offset <= MAX_OFFSET:
        raise InvalidParams.at("offset", f"must be from 0 to {MAX_OFFSET}; use next_cursor to go on")
