"""What the router tells about calls and resources: why, how many, which most. As values, like those of `results`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec

from resroute.client.results import InstanceInfo, ResourceInfo


@attrs.frozen(kw_only=True)
class Candidate(InstanceInfo):
    """An instance that could get a call.

    Attributes:
        able: whether it would take one now.
        reason: why not, such as ``unresponsive``, ``max_concurrency``, ``outbox_full`` or ``left_alone``.
    """

    able: bool
    reason: str | None = None


@attrs.frozen(kw_only=True)
class Transition:
    """One change of the owner of a resource.

    Attributes:
        event: ``registered``, ``transferred`` or ``released``.
        cause: why, such as ``request``, ``session_ended`` or ``forced``.
        instance_id: who owns it from then on; of a release, who owned it until then.
    """

    revision: int
    event: str
    cause: str
    at: datetime
    instance_id: str | None = None


@attrs.frozen(kw_only=True)
class ErrorInfo:
    """An error as a call would be answered with it. ``data["type"]`` is its type."""

    code: int
    message: str
    data: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Would:
    """What a call would meet if it were made now: the instance that gets it, or an error."""

    deliver_to: str | None = None
    error: ErrorInfo | None = None


@attrs.frozen(kw_only=True)
class Explanation:
    """Why a call would go where it would go.

    Attributes:
        status: ``owned`` or ``unowned``; of a service, whether there is an instance of it.
        owner: of the resource.
        candidates: who could get the call, best first: the owner, or the instances of the service.
        waiters: how many calls and registrations wait for an owner, or for room at the candidates.
        transitions: the last of the resource, in order.
        recent_calls: how calls to the owner have ended: ``ok``, ``error`` (its own) or the type of the router's error.
        flapping: whether the resource has changed its owner too often in the last minute.
    """

    status: str
    candidates: tuple[Candidate, ...]
    waiters: int
    transitions: tuple[Transition, ...]
    recent_calls: Mapping[str, int]
    would: Would
    owner: ResourceInfo | None = None
    flapping: bool = False
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class RankedResource:
    """One resource in a ranking."""

    resource_id: str
    count: int
    last_at: datetime


@attrs.frozen(kw_only=True)
class Ranking:
    """The resources that stand out, the highest count first."""

    entries: tuple[RankedResource, ...]
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class ServiceStatistics:
    """One service in numbers. Times are of the last minute or so; None if there was no call.

    Attributes:
        in_flight: calls that its instances work on.
        calls_total: calls that have ended, since the router counts them.
        errors_total: those of them that ended without a result: ``error`` (its own) or the type of the router's error.
    """

    instances: int
    resources: int
    in_flight: int
    calls_total: int
    errors_total: Mapping[str, int]
    p50_ms: float | None = None
    p99_ms: float | None = None


@attrs.frozen(kw_only=True)
class RouterStatistics:
    """A router in numbers.

    Attributes:
        services: those with the most calls first.
        services_left_out: how many more there are than one message can tell of.
    """

    sessions: int
    resources: int
    calls_in_flight: int
    uptime_seconds: float
    services: Mapping[str, ServiceStatistics]
    services_left_out: int = 0
    trace_id: str | None = None


read_explanation = msgspec.json.Decoder(Explanation).decode
read_ranking = msgspec.json.Decoder(Ranking).decode
read_router_statistics = msgspec.json.Decoder(RouterStatistics).decode
