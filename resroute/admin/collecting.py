"""A router's numbers in the words of Prometheus, read when scraped. No label is a resource id.

They are read bit by bit, so that many services and instances hold nobody up. What is read later may be newer; no counter
goes back between two scrapes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate, batched
from typing import Any

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from resroute.admin.view import RouterView
from resroute.telemetry.histograms import (
    DELAY_BOUNDS_SECONDS,
    DURATION_BOUNDS_SECONDS,
    SIZE_BOUNDS_BYTES,
    Histogram,
)
from resroute.telemetry.metrics import LATENCY_BOUNDS_SECONDS, NONE, coarse
from resroute.telemetry.ownership import Ownership
from resroute.telemetry.traffic import Traffic

SERVICE_LATENCY_BOUNDS_SECONDS = LATENCY_BOUNDS_SECONDS[::2]
"""Where each bucket of one service's latency ends: 0.1 ms, 0.4 ms, … 419 s."""

_SAMPLES_AT_A_TIME = 25
_HISTOGRAMS_AT_A_TIME = 2
_SERVICES_AT_A_TIME = 25
_SESSIONS_AT_A_TIME = 500


@attrs.define
class _Calls:
    """What was counted of the calls of all services with one label."""

    buckets: list[int]
    outcomes: dict[str, int]
    seconds: float = 0.0
    lookups: int = 0

    def add(self, traffic: Traffic) -> None:
        errors = traffic.errors
        answered = sum(traffic.buckets)
        if answered:
            self.buckets = [mine + its for mine, its in zip(self.buckets, traffic.buckets, strict=True)]
            self.seconds += traffic.seconds
            if ok := answered - errors.get("error", 0):
                self.outcomes["ok"] = self.outcomes.get("ok", 0) + ok
        for outcome, count in errors.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.lookups += traffic.lookups


class RouterCollector:
    """Reads the router at each scrape, so that counting costs it nothing but additions."""

    def __init__(self, router: RouterView) -> None:
        self._router = router
        self._version = version("resroute")

    def collect(self) -> Iterator[Metric | None]:
        """Every family, a large one in several parts, one after the other. None: nothing yet, and time went by."""
        yield from self._gauges()
        yield from self._resource_counts()
        services: dict[str, Ownership] = {}
        yield from self._calls(services)
        yield from self._ownership(services)
        yield from self._metadata_sizes(services)
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
        yield from _split(
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

    # --- calls ------------------------------------------------------------------------------------------------

    def _calls(self, services: dict[str, Ownership]) -> Iterator[Metric | None]:
        """Notes also where the ownership of each service is counted; that of all others together first."""
        metrics = self._router.metrics
        by_label: dict[str, _Calls] = {}
        for number, traffic in enumerate(metrics.traffic()):
            calls = by_label.get(traffic.label)
            if calls is None:
                calls = by_label[traffic.label] = _Calls([0] * len(traffic.buckets), {})
                services[traffic.label] = traffic.ownership
            calls.add(traffic)
            if not number % _SERVICES_AT_A_TIME:
                yield None
        unplaced = by_label[NONE] = _Calls([0] * len(next(iter(by_label.values())).buckets), {})
        unplaced.outcomes.update(metrics.unplaced)
        yield from self._all_calls(by_label.values())
        yield from self._calls_by_service(by_label)

    def _all_calls(self, parts: Iterable[_Calls]) -> Iterator[Metric]:
        outcomes: dict[str, int] = {}
        for calls in parts:
            for outcome, count in calls.outcomes.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + count
        yield _counter(
            "resroute_calls",
            "Routed calls that have ended: ok, error (the callee's own), or the type of a router's error.",
            ["outcome"],
            (((outcome,), count) for outcome, count in outcomes.items()),
        )
        buckets = [sum(counts) for counts in zip(*(calls.buckets for calls in parts), strict=True)]
        yield _histogram(
            "resroute_call_duration_seconds",
            "Time from a routed call's arrival to its answer.",
            [],
            LATENCY_BOUNDS_SECONDS,
            [((), coarse(buckets), sum(calls.seconds for calls in parts))],
        )

    def _calls_by_service(self, by_label: Mapping[str, _Calls]) -> Iterator[Metric | None]:
        yield from _split(
            CounterMetricFamily,
            "resroute_service_calls",
            "The same by service, as far as it was clear which: else it is `(none)`. The first 200 services are told "
            "apart, or as many as `metrics_max_services` says; the others are one, `(other)`.",
            ["service_name", "outcome"],
            (
                ((label, outcome), count)
                for label, calls in by_label.items()
                for outcome, count in calls.outcomes.items()
            ),
        )
        yield from _split_histograms(
            "resroute_service_call_duration_seconds",
            "The same by service, more coarsely.",
            ["service_name"],
            SERVICE_LATENCY_BOUNDS_SECONDS,
            (
                ((label,), _pairwise(coarse(calls.buckets)), calls.seconds)
                for label, calls in by_label.items()
                if any(calls.buckets)
            ),
        )
        in_vain = self._router.metrics.lookups_in_vain
        yield from _split(
            CounterMetricFamily,
            "resroute_resource_lookups",
            "How often the owner of a resource was looked up for a call or a notification. `service_name` is that of the "
            "owner; where nobody was found, the one that the call asked for, or `(none)`.",
            ["service_name", "found"],
            [
                *(((label, "true"), calls.lookups) for label, calls in by_label.items() if calls.lookups),
                *(((label, "false"), count) for label, count in in_vain.items()),
            ],
        )

    # --- ownership --------------------------------------------------------------------------------------------

    def _ownership(self, services: Mapping[str, Ownership]) -> Iterator[Metric | None]:
        yield from _split(
            CounterMetricFamily,
            "resroute_resource_registrations",
            "Resources that instances wanted to register, by what has become of that: ok, the type of the error "
            "(`call_cancelled` of what may have run, too, where nobody waited for it any more), or rolled_back of what was "
            "undone because others in the same request failed.",
            ["service_name", "status"],
            (
                ((label, status), count)
                for label, ownership in services.items()
                for status, count in list(ownership.registrations.items())
            ),
        )
        yield from _split(
            CounterMetricFamily,
            "resroute_resource_releases",
            "Resources that have left their owners other than by a transfer, by the cause: request, session_ended, "
            "heartbeat_lost, expired, forced, admin or drain.",
            ["service_name", "reason"],
            (
                ((label, cause), count)
                for label, ownership in services.items()
                for cause, count in list(ownership.releases.items())
            ),
        )
        yield from _split(
            CounterMetricFamily,
            "resroute_resource_conflicts",
            "Resources that instances wanted to register while others owned them, by the service of who wanted them.",
            ["service_name"],
            (((label,), ownership.conflicts) for label, ownership in services.items() if ownership.conflicts),
        )
        yield from _split(
            CounterMetricFamily,
            "resroute_resource_transfers",
            "Resources that went from one instance to another, or were to: ok, or the type of the error. `(none)`: there "
            "is no such instance.",
            ["from_service", "to_service", "status"],
            list(self._router.metrics.transfers.items()),
        )

    def _metadata_sizes(self, services: Mapping[str, Ownership]) -> Iterator[Metric | None]:
        yield from _split_histograms(
            "resroute_resource_metadata_size_bytes",
            "Size of the metadata of a resource, as compact JSON, whenever some is given or changed.",
            ["service_name"],
            SIZE_BOUNDS_BYTES,
            (
                _counted((label,), ownership.metadata_sizes)
                for label, ownership in services.items()
                if ownership.metadata_sizes.sum
            ),
        )

    # --- the router's own methods -----------------------------------------------------------------------------

    def _operations(self) -> Iterator[Metric | None]:
        metrics = self._router.metrics
        yield from _split(
            CounterMetricFamily,
            "resroute_operations",
            "Requests that the router answered itself: ok, or the type of the error.",
            ["operation", "status"],
            list(metrics.operations.items()),
        )
        yield from _split_histograms(
            "resroute_resource_operation_duration_seconds",
            "Time from the arrival of a request that the router answers itself to its answer, waiting included.",
            ["operation"],
            DURATION_BOUNDS_SECONDS,
            (_counted((method,), histogram) for method, histogram in list(metrics.durations.items())),
        )
        yield _counter(
            "resroute_resource_bulk_operations",
            "Registrations and releases in bulk that have ended: ok, partial, rolled_back, cancelled, or the type of the "
            "error.",
            ["operation", "status"],
            metrics.bulks.items(),
        )
        yield _histogram(
            "resroute_resource_bulk_batch_duration_seconds",
            "Time that each batch of a registration or a release in bulk took.",
            ["operation"],
            DURATION_BOUNDS_SECONDS,
            (_counted((method,), histogram) for method, histogram in metrics.batches.items()),
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
        yield _counter(
            "resroute_spans",
            "Spans of traces: exported, failed (the receiver did not take them) or dropped (there were too many).",
            ["outcome"],
            (((outcome,), count) for outcome, count in metrics.spans.items()),
        )
        yield _histogram(
            "resroute_heartbeat_round_trip_seconds",
            "Time from a Ping that the router sent to the Pong.",
            [],
            metrics.round_trips.bounds,
            [_counted((), metrics.round_trips)],
        )
        yield _histogram(
            "resroute_loop_lag_seconds",
            "By how much later than it wanted a task of the router's ran, measured twice a second.",
            [],
            metrics.loop_lag.bounds,
            [_counted((), metrics.loop_lag)],
        )
        yield _histogram(
            "resroute_garbage_collection_seconds",
            "Time for which each garbage collection held everything up.",
            ["generation"],
            DELAY_BOUNDS_SECONDS,
            (
                _counted((str(generation),), times)
                for generation, times in metrics.garbage_collections.items()
            ),
        )


def _pairwise(counts: list[int]) -> list[int]:
    """The same counts in half as many buckets: each ends where every second did, but for the last."""
    return [counts[0], *(sum(pair) for pair in batched(counts[1:], 2, strict=False))]


type _Values = Iterable[tuple[tuple[str, ...], float]]


def _split(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    labels: list[str],
    values: _Values,
) -> Iterator[Metric]:
    """A family in as many parts as it takes; at least one."""
    is_empty = True
    for some in batched(values, _SAMPLES_AT_A_TIME, strict=False):
        is_empty = False
        family = kind(name, text, labels=labels)
        for given, value in some:
            family.add_metric(given, value)
        yield family
    if is_empty:
        yield kind(name, text, labels=labels)


def _counter(name: str, text: str, labels: list[str], values: _Values) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family


type _Counted = tuple[tuple[str, ...], Sequence[int], float]
"""The values of the labels, how many were in each bucket, and the sum of all."""


def _counted(labels: tuple[str, ...], histogram: Histogram) -> _Counted:
    return labels, histogram.counts, histogram.sum


def _histogram(
    name: str, text: str, labels: list[str], bounds: Sequence[float], counted: Iterable[_Counted]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    words = [*map(floatToGoString, bounds), "+Inf"]
    for given, counts, total in counted:
        buckets: list[Any] = list(zip(words, accumulate(counts), strict=True))
        family.add_metric(given, buckets=buckets, sum_value=total)
    return family


def _split_histograms(
    name: str, text: str, labels: list[str], bounds: Sequence[float], counted: Iterable[_Counted]
) -> Iterator[Metric]:
    """A family in as many parts as it takes; at least one."""
    is_empty = True
    for some in batched(counted, _HISTOGRAMS_AT_A_TIME, strict=False):
        is_empty = False
        yield _histogram(name, text, labels, bounds, some)
    if is_empty:
        yield _histogram(name, text, labels, bounds, ())
