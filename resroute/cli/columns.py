"""What tables show of instances, resources and what has happened to them: each heading, and what stands below it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from resroute.cli.output import Table
from resroute.cli.showing import age, milliseconds, outcomes
from resroute.client import (
    Candidate,
    InstanceInfo,
    RankedResource,
    ResourceInfo,
    RouterStatistics,
    ServiceStatistics,
    Transition,
)

type Columns[T] = Mapping[str, Callable[[T], str]]


def rows[T](columns: Columns[T], things: Iterable[T]) -> Iterator[list[str]]:
    """One row for each thing."""
    return ([show(thing) for show in columns.values()] for thing in things)


def health(info: ResourceInfo) -> str:
    """Of the owner."""
    if info.suspended_until is not None:
        return "suspended"
    return "healthy" if info.is_healthy else "unresponsive"


RESOURCE_COLUMNS: Columns[ResourceInfo] = {
    "RESOURCE": lambda info: info.resource_id,
    "OWNER": lambda info: info.owner_instance_id,
    "SERVICE": lambda info: info.service_name,
    "STATUS": health,
    "AGE": lambda info: age(info.registered_at),
    "CALLS": lambda info: str(info.calls_total),
    "LAST CALL": lambda info: age(info.last_called_at),
}

_INSTANCE: Columns[InstanceInfo] = {
    "SERVICE": lambda info: info.service_name,
    "STATUS": lambda info: info.status,
    "AGE": lambda info: age(info.connected_at),
    "RESOURCES": lambda info: str(info.resources),
    "IN FLIGHT": lambda info: str(info.in_flight),
    "PRIORITY": lambda info: str(info.priority),
    "LATENCY": lambda info: milliseconds(info.latency_ms),
}

INSTANCE_COLUMNS: Columns[InstanceInfo] = {"INSTANCE": lambda info: info.instance_id, **_INSTANCE}

CANDIDATE_COLUMNS: Columns[Candidate] = {
    "CANDIDATE": lambda info: info.instance_id,
    **{heading: _INSTANCE[heading] for heading in ("SERVICE", "STATUS")},
    "TAKES CALLS": lambda info: "yes" if info.able else f"no: {info.reason}",
    **{heading: _INSTANCE[heading] for heading in ("PRIORITY", "IN FLIGHT", "LATENCY")},
}


@attrs.frozen(kw_only=True)
class Service(ServiceStatistics):
    """One service in numbers, and its name."""

    service_name: str


def services(statistics: RouterStatistics) -> list[Service]:
    """All of them, in the order of their names."""
    return [
        Service(service_name=name, **attrs.asdict(of_it, recurse=False))
        for name, of_it in sorted(statistics.services.items())
    ]


SERVICE_COLUMNS: Columns[Service] = {
    "SERVICE": lambda info: info.service_name,
    "INSTANCES": lambda info: str(info.instances),
    "RESOURCES": lambda info: str(info.resources),
    "IN FLIGHT": lambda info: str(info.in_flight),
    "CALLS": lambda info: str(info.calls_total),
    "ERRORS": lambda info: outcomes(info.errors_total),
    "P50": lambda info: milliseconds(info.p50_ms),
    "P99": lambda info: milliseconds(info.p99_ms),
}

RANKED_COLUMNS: Columns[RankedResource] = {
    "RESOURCE": lambda ranked: ranked.resource_id,
    "COUNT": lambda ranked: str(ranked.count),
    "LAST": lambda ranked: age(ranked.last_at),
}

_TRANSITION_COLUMNS: Columns[Transition] = {
    "WHEN": lambda change: f"{age(change.at)} ago",
    "EVENT": lambda change: change.event,
    "CAUSE": lambda change: change.cause,
    "INSTANCE": lambda change: change.instance_id or "-",
    "REVISION": lambda change: str(change.revision),
}


def changes(transitions: Sequence[Transition]) -> str:
    """A table of what has happened, the last change first."""
    return Table(tuple(_TRANSITION_COLUMNS)).lines(rows(_TRANSITION_COLUMNS, reversed(transitions)))
