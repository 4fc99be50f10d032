"""A router's numbers in the words of Prometheus, read when scraped. No label is a resource id."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from resroute.admin.view import RouterView
from resroute.telemetry.metrics import LATENCY_BOUNDS_SECONDS
from resroute.telemetry.sizes import MAX_SERVICES, SIZE_BOUNDS_BYTES


def make_registry(router: RouterView) -> CollectorRegistry:
    """A registry of its own for one router, with what is known about the process beside it."""
    registry = CollectorRegistry()
    registry.register(RouterCollector(router))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class RouterCollector(Collector):
    """Reads the router at each scrape, so that counting costs it nothing but additions."""

    def __init__(self, router: RouterView) -> None:
        self._router = router

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        yield from self._gauges()
        yield from self._counters()
        yield self._call_duration()
        yield self._metadata_sizes()

    def _gauges(self) -> Iterator[GaugeMetricFamily]:
        now = self._router.statistics()
        trail = self._router.trail.statistics()
        for name, text, value in (
            ("sessions", "Connections that are open.", now.sessions),
            ("instances", "Sessions that have registered as an instance of a service.", now.instances),
            ("resources", "Resources that have an owner.", now.resources),
            ("calls_in_flight", "Routed calls that have no answer yet.", now.calls_in_flight),
            ("waiters", "Registrations that wait for what others own.", now.waiters),
            ("watches", "Watches of all sessions.", now.watches),
            ("outbox_bytes", "Bytes that wait for the writers of all sessions.", now.outbox_bytes),
            ("audit_queued", "Audit records, or parts of them, that wait to be written.", trail.queued),
            ("audit_failing", "1 while the audit log cannot be written.", int(trail.problem is not None)),
        ):
            yield GaugeMetricFamily(f"resroute_{name}", text, value)

    def _counters(self) -> Iterator[CounterMetricFamily]:
        metrics = self._router.metrics

        calls = CounterMetricFamily(
            "resroute_calls",
            "Routed calls that have ended: ok, error (the callee's own), or the type of a router's error.",
            labels=["outcome"],
        )
        for outcome, count in metrics.calls().items():
            calls.add_metric([outcome], count)
        yield calls

        operations = CounterMetricFamily(
            "resroute_operations",
            "Requests that the router answered itself: ok, or the type of the error.",
            labels=["operation", "status"],
        )
        for key, count in metrics.operations.items():
            operations.add_metric(key, count)
        yield operations

        bulks = CounterMetricFamily(
            "resroute_resource_bulk_operations",
            "Registrations and releases in bulk that have ended: ok, partial, rolled_back, cancelled, or the type of the "
            "error.",
            labels=["operation", "status"],
        )
        for key, count in metrics.bulks.items():
            bulks.add_metric(key, count)
        yield bulks

        yield CounterMetricFamily(
            "resroute_dropped_answers",
            "Answers that belonged to no call in flight.",
            metrics.dropped_answers,
        )
        yield CounterMetricFamily(
            "resroute_dropped_progress",
            "Parts of results that belonged to no call in flight, or whose caller did not ask for any.",
            metrics.dropped_progress,
        )

        yield CounterMetricFamily(
            "resroute_watch_events", "Events that watches were told.", metrics.watch_events
        )
        yield CounterMetricFamily(
            "resroute_watches_lost",
            "Watches that ended because what they had to be told was forgotten.",
            metrics.watches_lost,
        )
        yield CounterMetricFamily(
            "resroute_flapping_reports",
            "Times that a resource was found to change its owner too often, at most one a minute for each.",
            metrics.flapping_reports,
        )
        trail = self._router.trail.statistics()
        yield CounterMetricFamily("resroute_audit_records", "Audit records that were made.", trail.recorded)
        yield CounterMetricFamily(
            "resroute_audit_dropped",
            "Audit records that are lost, because too many waited to be written.",
            trail.dropped,
        )

    def _call_duration(self) -> HistogramMetricFamily:
        metrics = self._router.metrics
        bounds = [*map(floatToGoString, LATENCY_BOUNDS_SECONDS), "+Inf"]
        return HistogramMetricFamily(
            "resroute_call_duration_seconds",
            "Time from a routed call's arrival to its answer.",
            buckets=list(zip(bounds, accumulate(metrics.latency_buckets()), strict=True)),
            sum_value=metrics.latency_sum_seconds,
        )

    def _metadata_sizes(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "resroute_resource_metadata_size_bytes",
            "Size of the metadata of a resource, as compact JSON, whenever some is given or changed. The first "
            f"{MAX_SERVICES} services are told apart; `service_name` is empty for all others together.",
            labels=["service_name"],
        )
        bounds = [*map(floatToGoString, SIZE_BOUNDS_BYTES), "+Inf"]
        for service_name, sizes in self._router.metrics.metadata_sizes.services():
            buckets = list(zip(bounds, accumulate(sizes.counts), strict=True))
            family.add_metric([service_name], buckets=buckets, sum_value=sizes.sum_bytes)
        return family
