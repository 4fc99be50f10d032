"""What is counted of each service, its calls and what it owns, in the words of Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import batched

import attrs
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric

from resroute.admin.families import counted, counter, histogram, split, split_histograms
from resroute.telemetry.histograms import SIZE_BOUNDS_BYTES
from resroute.telemetry.metrics import LATENCY_BOUNDS_SECONDS, NONE, Metrics, coarse
from resroute.telemetry.ownership import Ownership
from resroute.telemetry.traffic import Traffic

SERVICE_LATENCY_BOUNDS_SECONDS = LATENCY_BOUNDS_SECONDS[::2]
"""Where each bucket of one service's latency ends: 0.1 ms, 0.4 ms, … 419 s."""

_SERVICES_AT_A_TIME = 25


def collect_services(metrics: Metrics) -> Iterator[Metric | None]:
    """Every family of theirs, a large one in several parts, one after the other. None: nothing yet, and time went by."""
    services: dict[str, Ownership] = {}
    yield from _calls(metrics, services)
    yield from _ownership(metrics, services)
    yield from _metadata_sizes(services)


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


# --- calls -----------------------------------------------------------------------------------------------------


def _calls(metrics: Metrics, services: dict[str, Ownership]) -> Iterator[Metric | None]:
    """Notes also where the ownership of each service is counted; that of all others together first."""
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
    yield from _all_calls(by_label.values())
    yield from _calls_by_service(metrics, by_label)


def _all_calls(parts: Iterable[_Calls]) -> Iterator[Metric]:
    outcomes: dict[str, int] = {}
    for calls in parts:
        for outcome, count in calls.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    yield counter(
        "resroute_calls",
        "Routed calls that have ended: ok, error (the callee's own), or the type of a router's error.",
        ["outcome"],
        (((outcome,), count) for outcome, count in outcomes.items()),
    )
    buckets = [sum(counts) for counts in zip(*(calls.buckets for calls in parts), strict=True)]
    yield histogram(
        "resroute_call_duration_seconds",
        "Time from a routed call's arrival to its answer.",
        [],
        LATENCY_BOUNDS_SECONDS,
        [((), coarse(buckets), sum(calls.seconds for calls in parts))],
    )


def _calls_by_service(metrics: Metrics, by_label: Mapping[str, _Calls]) -> Iterator[Metric | None]:
    yield from split(
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
    yield from split_histograms(
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
    yield from split(
        CounterMetricFamily,
        "resroute_resource_lookups",
        "How often the owner of a resource was looked up for a call or a notification. `service_name` is that of the "
        "owner; where nobody was found, the one that the call asked for, or `(none)`.",
        ["service_name", "found"],
        [
            *(((label, "true"), calls.lookups) for label, calls in by_label.items() if calls.lookups),
            *(((label, "false"), count) for label, count in metrics.lookups_in_vain.items()),
        ],
    )


# --- ownership -------------------------------------------------------------------------------------------------


def _ownership(metrics: Metrics, services: Mapping[str, Ownership]) -> Iterator[Metric | None]:
    yield from split(
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
    yield from split(
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
    yield from split(
        CounterMetricFamily,
        "resroute_resource_conflicts",
        "Resources that instances wanted to register while others owned them, by the service of who wanted them.",
        ["service_name"],
        (((label,), ownership.conflicts) for label, ownership in services.items() if ownership.conflicts),
    )
    yield from split(
        CounterMetricFamily,
        "resroute_resource_transfers",
        "Resources that went from one instance to another, or were to: ok, or the type of the error. `(none)`: there "
        "is no such instance.",
        ["from_service", "to_service", "status"],
        list(metrics.transfers.items()),
    )


def _metadata_sizes(services: Mapping[str, Ownership]) -> Iterator[Metric | None]:
    yield from split_histograms(
        "resroute_resource_metadata_size_bytes",
        "Size of the metadata of a resource, as compact JSON, whenever some is given or changed.",
        ["service_name"],
        SIZE_BOUNDS_BYTES,
        (
            counted((label,), ownership.metadata_sizes)
            for label, ownership in services.items()
            if ownership.metadata_sizes.sum
        ),
    )


def _pairwise(counts: list[int]) -> list[int]:
    """The same counts in half as many buckets: each ends where every second did, but for the last."""
    return [counts[0], *(sum(pair) for pair in batched(counts[1:], 2, strict=False))]
