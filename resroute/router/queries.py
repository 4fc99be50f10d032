"""Answers to ``resource.query`` and ``instance.query``, read from the state."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
from msgspec import UNSET, Raw

from resroute.core.filters import Filter
from resroute.core.records import Grant, OwnerRecord
from resroute.core.state import State
from resroute.errors import InvalidParams
from resroute.ids import ResourceId, SessionId
from resroute.protocol.converting import JsonObject
from resroute.protocol.params import FilterParams, QueryInstancesParams, QueryResourcesParams
from resroute.protocol.results import (
    InstanceInfo,
    InstancePage,
    ResourceInfo,
    ResourcePage,
    encode_result,
)
from resroute.router.infos import info_of
from resroute.router.session import Session
from resroute.settings import Settings
from resroute.times import rfc3339

MAX_LIMIT = 1000
MAX_OFFSET = 10_000
_MAC_BYTES = 12
_ANSWER_OVERHEAD_BYTES = 1024  # envelope, trace id and meta around a page


class Cursors:
    """Opaque positions in a list: the last id seen, sealed together with the filters it belongs to."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, after: str, wanted: Filter) -> str:
        """The cursor that continues after ``after``."""
        return base64.urlsafe_b64encode(self._mac(after, wanted) + after.encode()).decode()

    def open(self, cursor: str, wanted: Filter) -> str:
        """The id to continue after.

        Raises:
            InvalidParams: the cursor is not from here, or of other filters.
        """
        try:
            sealed = base64.urlsafe_b64decode(cursor.encode())
            after = sealed[_MAC_BYTES:].decode()
        except (binascii.Error, ValueError):
            after, sealed = "", b""
        if not hmac.compare_digest(sealed[:_MAC_BYTES], self._mac(after, wanted)):
            raise InvalidParams.at(
                "cursor", "not a cursor of this router and these filters: query again without it"
            )
        return after

    def _mac(self, after: str, wanted: Filter) -> bytes:
        sealed = msgspec.json.encode([after, wanted])
        return hashlib.blake2b(sealed, key=self._key, digest_size=_MAC_BYTES).digest()


def page_of_resources(
    state: State,
    sessions: Mapping[SessionId, Session],
    params: QueryResourcesParams,
    *,
    cursors: Cursors,
    settings: Settings,
    wall_time_of: Callable[[float], float],
) -> ResourcePage:
    """One page of the resources that have an owner and match, in code-point order of their ids.

    Raises:
        InvalidParams: bounds, or a bad cursor.
    """
    _check_page(params.limit, params.offset)
    wanted = filter_of(params)
    after = ""
    if params.cursor is not None:
        if params.offset:
            raise InvalidParams.at("offset", "not together with a cursor")
        after = cursors.open(params.cursor, wanted)
    total, grants = _matching(state, wanted, after)
    page = list(islice(grants, params.offset, params.offset + params.limit + 1))
    infos = [
        resource_info(grant, sessions, wall_time_of, with_metadata=params.include_metadata)
        for grant in page[: params.limit]
    ]
    kept = fitting(infos, settings)
    has_more = len(page) > len(kept)
    answer = ResourcePage(resources=kept, total_count=total, has_more=has_more, revision=state.revision)
    if has_more:
        answer.next_cursor = cursors.seal(kept[-1].resource_id, wanted)
    return answer


def filter_of(params: FilterParams) -> Filter:
    """The filter that a request asks for.

    Raises:
        InvalidParams: a list of ids is empty, or names one of them twice.
    """
    if params.resource_ids is not None:
        check_ids(params.resource_ids)
    return Filter.of(
        service_name=params.service_name,
        instance_id=params.instance_id,
        resource_ids=params.resource_ids,
        resource_type=params.resource_type,
        tags=params.tags,
        prefix=params.prefix,
    )


def check_ids(resource_ids: Sequence[ResourceId]) -> None:
    """Refuse a list of ids that names none, or one of them twice.

    Raises:
        InvalidParams: saying which.
    """
    if not resource_ids:
        raise InvalidParams.at("resource_ids", "must not be empty")
    if len(set(resource_ids)) != len(resource_ids):
        seen: set[ResourceId] = set()
        for index, resource_id in enumerate(resource_ids):
            if resource_id in seen:
                raise InvalidParams.at(f"resource_ids.{index}", f"{resource_id!r} is there twice")
            seen.add(resource_id)


def _matching(state: State, wanted: Filter, after: str) -> tuple[int, Iterator[Grant]]:
    """How many grants match in all, and those of them that come after an id, in order."""
    grants = [
        grant
        for grant in state.grants_after(service_name=wanted.service_name)
        if wanted.matches(grant.resource_id, grant.owner.fact, grant.metadata)
    ]
    return len(grants), (grant for grant in grants if grant.resource_id > after)


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
    )


def page_of_instances(
    state: State,
    sessions: Mapping[SessionId, Session],
    params: QueryInstancesParams,
    *,
    is_admin: bool,
    settings: Settings,
) -> InstancePage:
    """One page of the connected instances that match, in code-point order of their ids.

    Raises:
        InvalidParams: bounds.
    """
    _check_page(params.limit, params.offset)
    candidates: Iterable[OwnerRecord]
    if params.instance_id is not None:
        instance = state.instance(params.instance_id)
        candidates = () if instance is None else (instance,)
    elif params.service_name is not None:
        service = state.service(params.service_name)
        candidates = () if service is None else service.instances.values()
    else:
        candidates = state.instances()
    matches = sorted(
        (owner for owner in candidates if params.service_name in (None, owner.service.name)),
        key=lambda owner: owner.instance_id,
    )
    page = matches[params.offset : params.offset + params.limit]
    kept = fitting(
        [instance_info(owner, sessions.get(owner.session_id), is_admin) for owner in page], settings
    )
    has_more = params.offset + len(kept) < len(matches)
    return InstancePage(instances=kept, total_count=len(matches), has_more=has_more)


def instance_info(owner: OwnerRecord, session: Session | None, is_admin: bool) -> InstanceInfo:
    """An instance as it is now; for administrators with all that is known of it."""
    info = InstanceInfo(
        instance_id=owner.instance_id,
        service_name=owner.service.name,
        session_id=owner.session_id,
        connected_at=rfc3339(session.opened_at if session is not None else owner.registered_at),
        status="healthy" if session is not None and session.is_responsive else "unresponsive",
        priority=owner.priority,
        resources=len(owner.resources),
        in_flight=len(session.delivered) if session is not None else 0,
        latency_ms=None,
    )
    if session is not None and session.latency_seconds is not None:
        info.latency_ms = round(session.latency_seconds * 1000, 3)
    if is_admin:
        info.metadata = JsonObject(Raw(owner.metadata)) if owner.metadata is not None else UNSET
        if session is not None:
            info.remote_address = session.transport.remote_address
    return info


def fitting[T](items: list[T], settings: Settings) -> list[T]:
    """As many of the first items as one message may carry, at least one."""
    room = settings.max_message_bytes - _ANSWER_OVERHEAD_BYTES
    if len(encode_result(items)) <= room:
        return items
    size = count = 0
    for item in items:
        size += len(encode_result(item)) + 1
        if count and size > room:
            break
        count += 1
    return items[:count]


def _check_page(limit: int, offset: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidParams.at("limit", f"must be from 1 to {MAX_LIMIT}")
    if not 0 <= offset <= MAX_OFFSET:
        raise InvalidParams.at("offset", f"must be from 0 to {MAX_OFFSET}; use next_cursor to go on")
