"""The first page: what is wrong right now, and the last minutes in charts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import attrs
import msgspec
from quart import Blueprint, Response, request

from resroute.admin.figure_stream import FigureStream
from resroute.admin.pages.desk import Desk, LoginNeeded, link
from resroute.admin.pages.figures import MINUTES, Figures
from resroute.admin.problems import Problem
from resroute.admin.sampling import Sampler
from resroute.admin.streams import Streams, event_response
from resroute.ids import ServiceName
from resroute.protocol import results as r

_SHOWN_SERVICES = 20
_SHOWN_RANKED = 8
_NAMED = 3

_RANKINGS = (
    ("unowned", "Called in vain", "Called most while nobody owned them."),
    ("conflicts", "Wanted by others", "Others wanted most to register what somebody owned."),
    ("busiest", "Busiest", "The most calls."),
)


class InstanceStatus(msgspec.Struct):
    """As much of an instance as it takes to say whether it is well."""

    instance_id: str
    service_name: str
    status: str


class _Instances(msgspec.Struct):
    instances: Sequence[InstanceStatus]


@attrs.frozen
class Finding:
    """Something that is wrong."""

    kind: Literal["warn", "bad"]
    text: str
    path: str = ""
    more: str = ""


def make_overview(desk: Desk, sampler: Sampler, streams: Streams) -> Blueprint:
    """``/``, and ``/figures``, by which a page that is open hears of its figures."""
    pages = Blueprint("overview", __name__)
    figures = Figures(desk, sampler)

    @pages.get("/figures")
    async def follow_figures() -> Response:
        try:
            visitor = desk.visitor()
        except LoginNeeded:  # a script asks, which is not to be sent to another page
            raise Problem(401, "who followed this is logged in no longer") from None
        stream = FigureStream(sampler, figures.text, streams.take_place())
        desk.end_with(visitor, stream.close)
        if request.method == "HEAD":
            return Response(b"", content_type="text/event-stream")
        return event_response(stream)

    @pages.get("/")
    async def overview() -> Response:
        visitor = desk.visitor()
        statistics = await desk.ask(visitor, "router.statistics", r.Statistics)
        found = await desk.ask(visitor, "instance.query", _Instances, limit=1000)
        rankings = []
        for what, title, text in _RANKINGS:
            ranking = await desk.ask(visitor, "router.top", r.Ranking, what=what, limit=_SHOWN_RANKED)
            rankings.append((title, text, ranking.entries))
        return desk.page(
            "overview.html",
            visitor,
            here="/",
            findings=list(findings(desk, statistics, found.instances, sampler.errors_lately())),
            figures=figures.all(),
            minutes=MINUTES,
            uptime_seconds=statistics.uptime_seconds,
            services=list(statistics.services.items())[:_SHOWN_SERVICES],
            rankings=rankings,
            link=link,
        )

    return pages


def findings(
    desk: Desk,
    statistics: r.Statistics,
    instances: Sequence[InstanceStatus],
    errors: Mapping[str, int],
) -> Iterator[Finding]:
    """What is wrong, the worst first."""
    problem = desk.router.trail.statistics().problem
    if problem is not None:
        yield Finding("bad", f"The audit log cannot be written: {problem}.", "/audit", "Audit log")
    if desk.router.state_name != "ready":
        yield Finding("bad", f"The router is {desk.router.state_name} and takes nothing new.")
    yield from _of_services(statistics.services, instances)
    failed = [f"{count} × {name}" for name, count in errors.items() if name != "error"]
    if failed:
        yield Finding("warn", f"Calls that failed in the last minute: {', '.join(failed)}.")
    sizes = desk.router.gauges.sizes()
    if sizes.sessions > 0.9 * sizes.max_sessions:
        yield Finding("warn", f"{sizes.sessions} of at most {sizes.max_sessions} sessions are open.")
    if sizes.memory_bytes > 0.8 * sizes.max_memory_bytes:
        share = sizes.memory_bytes / sizes.max_memory_bytes
        yield Finding("warn", f"What waits for sessions takes {share:.0%} of the memory that it may take.")


def _of_services(
    services: Mapping[ServiceName, r.ServiceStatistics], instances: Sequence[InstanceStatus]
) -> Iterator[Finding]:
    healthy = {it.service_name for it in instances if it.status == "healthy"}
    for name, numbers in services.items():
        if numbers.instances and name not in healthy and len(instances) < 1000:
            path = link("/services", service_name=name)
            yield Finding("bad", f"No instance of {name} is healthy.", path, "Its instances")
    for status, kind, verb in (
        ("unresponsive", "bad", "shows no sign of life"),
        ("suspended", "warn", "is away and may come back"),
        ("draining", "warn", "drains"),
    ):
        names = [it.instance_id for it in instances if it.status == status]
        if len(names) == 1:
            yield Finding(kind, f"{names[0]} {verb}.", link("/instance", id=names[0]), "The instance")  # type: ignore[arg-type]
        elif names:
            shown = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
            yield Finding(kind, f"{len(names)} instances are {status}: {shown}.", "/services", "Instances")  # type: ignore[arg-type]
