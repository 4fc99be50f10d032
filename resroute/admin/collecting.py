"""A router's numbers in the words of Prometheus, read when scraped. No label is a resource id.

They are read bit by bit, so that many services and instances hold nobody up. What is read later may be newer; no counter
goes back between two scrapes.
"""

from collections.abc import Iterator
from importlib.metadata import version
from itertools import batched

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from resroute.admin.families import counted, counter, histogram, split, split_histograms
from resroute.admin.service_metrics import collect_services
from resroute.admin.view import RouterView
from resroute.telemetry.histograms import DELAY_BOUNDS_SECONDS, DURATION_BOUNDS_SECONDS

_SESSIONS_AT_A_TIME = 500


class RouterCollector:
    """Reads the router at each scrape, so that counting costs it nothing but additions."""

    def __init__(self, router: RouterView) -> None:
        self._router = router
        self._version = version("resroute")

    def collect(self) -> Iterator[Metric | None]:
        """Every family, a large one in several parts, one after the other. None: nothing yet, and time went by."""
        yield from self._gauges()
        yield from self._resource_counts()
        yield from collect_services(self._router.metrics)
        yield from self._operations()
        yield from self._single_counters()
        yield from self._loop()

    # --- what is there ----------------------------------------------------------------------------------------

    def _gauges(self) -> Iterator[Metric | None]:
        outbox_bytes = 0
        for some in batched(self._router.gauges.outbox_sizes(), _SESSIONS_AT_A_TIME, strict=False):
            outbox_bytes += sum(some)
            yield None
        now = self._router.gauges.sizes()
        trail = self._router.trail.statistics()
        for name, text, value in (
            (
                "ready",
                "1 while the router takes sessions, 0 before that and while it drains.",
                self._is_ready(),
            ),
            ("sessions", "Connections that are open.", now.sessions),
            ("max_sessions", "Connections that may be open at a time: `max_sessions`.", now.max_sessions),
            ("instances", "Sessions that have registered as an instance of a service.", now.instances),
            (
                "suspended_instances",
                "Instances that were cut off, and may come back.",
                now.suspended_instances,
            ),
            ("resources", "Resources that have an owner.", now.resources),
            ("calls_in_flight", "Routed calls that have no answer yet.", now.calls_in_flight),
            ("waiters", "Registrations that wait for what others own.", now.waiters),
            ("watches", "Watches of all sessions.", now.watches),
            ("outbox_bytes", "Bytes that wait for the writers of all sessions.", outbox_bytes),
            (
                "memory_bytes",
                "Bytes that all sessions take: what waits to be sent, calls in flight, messages that are not complete.",
                now.memory_bytes,
            ),
            ("max_memory_bytes", "Bytes that they may take: `max_outbox_total_bytes`.", now.max_memory_bytes),
            ("audit_queued", "Audit records, or parts of them, that wait to be written.", trail.queued),
            ("audit_failing", "1 while the audit log cannot be written.", int(trail.problem is not None)),
        ):
            yield GaugeMetricFamily(f"resroute_{name}", text, value)
        build = GaugeMetricFamily("resroute_build_info", "Always 1.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build

    def _is_ready(self) -> int:
        return int(self._router.state_name == "ready")

    def _resource_counts(self) -> Iterator[Metric | None]:
        yield from split(
            GaugeMetricFamily,
            "resroute_resources_per_instance",
            "Resources that each connected instance owns. The first 1000 instances are told apart, or as many as "
            "`metrics_max_instances` says; the others are one, `(other)`.",
            ["service_name", "instance_id"],
            (
                ((service, instance), count)
                for service, instance, count in self._router.gauges.resource_counts()
            ),
        )

    # --- the router's own methods -----------------------------------------------------------------------------

    def _operations(self) -> Iterator[Metric | None]:
        metrics = self._router.metrics
        yield from split(
            CounterMetricFamily,
            "resroute_operations",
            "Requests that the router answered itself: ok, or the type of the error.",
            ["operation", "status"],
            list(metrics.operations.items()),
        )
        yield from split_histograms(
            "resroute_resource_operation_duration_seconds",
            "Time from the arrival of a request that the router answers itself to its answer, waiting included.",
            ["operation"],
            DURATION_BOUNDS_SECONDS,
            (counted((method,), histogram) for method, histogram in list(metrics.durations.items())),
        )
        yield counter(
            "resroute_resource_bulk_operations",
            "Registrations and releases in bulk that have ended: ok, partial, rolled_back, cancelled, or the type of the "
            "error.",
            ["operation", "status"],
            metrics.bulks.items(),
        )
        yield histogram(
            "resroute_resource_bulk_batch_duration_seconds",
            "Time that each batch of a registration or a release in bulk took.",
            ["operation"],
            DURATION_BOUNDS_SECONDS,
            (counted((method,), histogram) for method, histogram in metrics.batches.items()),
        )

    # --- everything else --------------------------------------------------------------------------------------

    def _single_counters(self) -> Iterator[Metric]:
        metrics, trail = self._router.metrics, self._router.trail.statistics()
        for name, text, value in (
            ("dropped_answers", "Answers that belonged to no call in flight.", metrics.dropped_answers),
            (
                "dropped_progress",
                "Parts of results that belonged to no call in flight, or whose caller did not ask for any.",
                metrics.dropped_progress,
            ),
            ("watch_events", "Events that watches were told.", metrics.watch_events),
            (
                "watches_lost",
                "Watches that ended because what they had to be told was forgotten.",
                metrics.watches_lost,
            ),
            (
                "flapping_reports",
                "Times that a resource was found to change its owner too often, at most one a minute for each.",
                metrics.flapping_reports,
            ),
            ("audit_records", "Audit records that were made.", trail.recorded),
            (
                "audit_dropped",
                "Audit records that are lost, because too many waited to be written.",
                trail.dropped,
            ),
        ):
            yield CounterMetricFamily(f"resroute_{name}", text, value)

    def _loop(self) -> Iterator[Metric]:
        metrics = self._router.metrics
        yield counter(
            "resroute_spans",
            "Spans of traces: exported, failed (the receiver did not take them) or dropped (there were too many).",
            ["outcome"],
            (((outcome,), count) for outcome, count in metrics.spans.items()),
        )
        yield histogram(
            "resroute_heartbeat_round_trip_seconds",
            "Time from a Ping that the router sent to the Pong.",
            [],
            metrics.round_trips.bounds,
            [counted((), metrics.round_trips)],
        )
        yield histogram(
            "resroute_loop_lag_seconds",
            "By how much later than it wanted a task of the router's ran, measured twice a second.",
            [],
            metrics.loop_lag.bounds,
            [counted((), metrics.loop_lag)],
        )
        yield histogram(
            "resroute_garbage_collection_seconds",
            "Time for which each garbage collection held everything up.",
            ["generation"],
            DELAY_BOUNDS_SECONDS,
            (counted((str(generation),), times) for generation, times in metrics.garbage_collections.items()),
        )
