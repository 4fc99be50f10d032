"""What is wrong right now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import attrs
import msgspec

from resroute.admin.access import Visitor
from resroute.admin.formats import duration, grouped, many
from resroute.admin.pages.desk import Desk, link
from resroute.admin.sampling import Sampler
from resroute.admin.view import RouterView
from resroute.ids import ServiceName
from resroute.protocol import results as r
from resroute.router.queries import MAX_LIMIT, MAX_OFFSET

_NAMED = 3
_LAG_SECONDS = 0.25

Kind = Literal["bad", "warn"]

_STATUSES: Sequence[tuple[str, Kind, str, str]] = (
    ("unresponsive", "bad", "shows no sign of life", "show no sign of life"),
    ("suspended", "warn", "is away and may come back", "are away and may come back"),
    ("draining", "warn", "drains", "drain"),
)

# what is counted -> how bad that is, and what has become of one or many of it
_TROUBLES: Mapping[str, tuple[Kind, str, str]] = {
    "audit_dropped": ("bad", "record of the audit log was lost", "records of the audit log were lost"),
    "flapping": (
        "warn",
        "report of a resource that changes its owner too often",
        "reports of resources that change their owners too often",
    ),
    "watches_lost": ("warn", "watch ended because it fell behind", "watches ended because they fell behind"),
    "spans_lost": ("warn", "span of a trace could not be sent", "spans of traces could not be sent"),
}


class InstanceStatus(msgspec.Struct):
    """As much of an instance as it takes to say whether it is well."""

    instance_id: str
    service_name: str
    status: str


class _Instances(msgspec.Struct):
    instances: Sequence[InstanceStatus]
    has_more: bool


@attrs.frozen
class Finding:
    """Something that is wrong."""

    kind: Kind
    text: str
    path: str = ""
    more: str = ""


async def all_instances(desk: Desk, visitor: Visitor) -> Sequence[InstanceStatus]:
    """As many of them as can be asked for.

    Raises:
        Problem: they cannot.
    """
    instances: list[InstanceStatus] = []
    for offset in range(0, MAX_OFFSET + 1, MAX_LIMIT):
        page = await desk.ask(visitor, "instance.query", _Instances, limit=MAX_LIMIT, offset=offset)
        instances += page.instances
        if not page.has_more:
            break
    return instances


def findings(
    router: RouterView, statistics: r.Statistics, instances: Sequence[InstanceStatus], sampler: Sampler
) -> Sequence[Finding]:
    """What is wrong, the worst first."""
    found = [*_of_router(router), *_of_services(statistics.services, instances), *_lately(sampler)]
    return sorted(found, key=lambda it: it.kind != "bad")


def _of_router(router: RouterView) -> Iterator[Finding]:
    problem = router.trail.statistics().problem
    if problem is not None:
        yield Finding("bad", f"The audit log cannot be written: {problem}.", "/audit", "Audit log")
    if router.state_name != "ready":
        yield Finding("bad", f"The router is {router.state_name} and takes nothing new.")
    sizes = router.gauges.sizes()
    if sizes.sessions > 0.9 * sizes.max_sessions:
        text = f"{grouped(sizes.sessions)} of at most {many(sizes.max_sessions, 'session')} are open."
        yield Finding("warn", text)
    if sizes.memory_bytes > 0.8 * sizes.max_memory_bytes:
        share = sizes.memory_bytes / sizes.max_memory_bytes
        yield Finding("warn", f"What waits for sessions takes {share:.0%} of the memory that it may take.")


def _of_services(
    services: Mapping[ServiceName, r.ServiceStatistics], instances: Sequence[InstanceStatus]
) -> Iterator[Finding]:
    known = {it.service_name for it in instances}
    healthy = {it.service_name for it in instances if it.status == "healthy"}
    for name, numbers in services.items():
        if numbers.instances and name in known and name not in healthy:
            path = link("/services", service_name=name)
            yield Finding("bad", f"No instance of {name} is healthy.", path, "Its instances")
    for status, kind, one_does, many_do in _STATUSES:
        names = [it.instance_id for it in instances if it.status == status]
        if len(names) == 1:
            path = link("/instance", id=names[0])
            yield Finding(kind, f"{names[0]} {one_does}.", path, "The instance")
        elif names:
            shown = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
            text = f"{many(len(names), 'instance')} {many_do}: {shown}."
            yield Finding(kind, text, "/services", "Instances")


def _lately(sampler: Sampler) -> Iterator[Finding]:
    """What has happened in the last minute."""
    lately = sampler.lately()
    failed = [f"{grouped(count)} × {name}" for name, count in lately.errors.items() if name != "error"]
    if failed:
        yield Finding("warn", f"Calls that failed in the last minute: {', '.join(failed)}.")
    for what, (kind, one, several) in _TROUBLES.items():
        count = lately.troubles.get(what, 0)
        if count:
            yield Finding(kind, f"In the last minute: {many(count, one, several)}.")
    if lately.lag_seconds >= _LAG_SECONDS:
        yield Finding(
            "warn", f"The router is busy: it was more than {duration(lately.lag_seconds)} late at times."
        )
