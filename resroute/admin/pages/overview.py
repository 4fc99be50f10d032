"""The first page: what is wrong right now, and the last minutes in charts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import attrs
import msgspec
from markupsafe import Markup
from quart import Blueprint, Response

from resroute.admin.charts import chart
from resroute.admin.pages.desk import Desk, link
from resroute.admin.sampling import Sample, Sampler
from resroute.ids import ServiceName
from resroute.protocol import results as r

_SHOWN_SERVICES = 20
_SHOWN_RANKED = 8
_LEAST_POINTS = 12
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


@attrs.frozen
class Figure:
    """One number, and how it came to that."""

    name: str
    now: str
    chart: Markup
    below: str = ""


def make_overview(desk: Desk, sampler: Sampler) -> Blueprint:
    """``/``."""
    pages = Blueprint("overview", __name__)

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
            figures=list(_figures(statistics, sampler.samples)),
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


def _figures(statistics: r.Statistics, samples: Sequence[Sample]) -> Iterator[Figure]:
    last = samples[-1] if samples else None

    def line(get: Callable[[Sample], float | None]) -> list[float | None]:
        return [get(sample) for sample in samples]

    def drawn(label: str, *series: list[float | None]) -> Markup:
        return chart(f"{label}, lately", *series, points=max(len(samples), _LEAST_POINTS))

    rate = line(lambda it: it.calls_per_second)
    errors = line(lambda it: it.errors_per_second)
    p50, p99 = line(lambda it: it.p50_ms), line(lambda it: it.p99_ms)
    shown = "–"
    if last is not None and last.p50_ms is not None and last.p99_ms is not None:
        shown = f"{_ms(last.p50_ms)} / {_ms(last.p99_ms)}"
    yield Figure("Calls per second", _number(rate), drawn("Calls per second", rate))
    yield Figure("p50 / p99 in ms", shown, drawn("Latency, p99 and p50", p99, p50))
    yield Figure("Errors per second", _number(errors), drawn("Errors per second", errors))
    yield Figure(
        "Calls in flight",
        str(statistics.calls_in_flight),
        drawn("Calls in flight", line(lambda it: it.calls_in_flight)),
    )
    hours, seconds = divmod(int(statistics.uptime_seconds), 3600)
    yield Figure(
        "Sessions",
        str(statistics.sessions),
        drawn("Sessions", line(lambda it: it.sessions)),
        below=f"The router is up for {hours} h {seconds // 60} min.",
    )
    yield Figure(
        "Resources",
        str(statistics.resources),
        drawn("Resources", line(lambda it: it.resources)),
    )


def _number(values: Sequence[float | None]) -> str:
    """The latest."""
    value = values[-1] if values else None
    if value is None:
        return "–"
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


def _ms(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
