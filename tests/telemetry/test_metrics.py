"""Counting."""

from collections import Counter

import pytest

from resroute.ids import ServiceName
from resroute.telemetry.histograms import Histogram
from resroute.telemetry.metrics import (
    LATENCY_BOUNDS_SECONDS,
    LATENCY_BUCKETS,
    MAX_GONE_SERVICES,
    MAX_PAIRS,
    NONE,
    OTHERS,
    Metrics,
    coarse,
)
from resroute.telemetry.traffic import BOUNDS_SECONDS, WINDOWS, Traffic, quantile_seconds

DOCUMENTS, IMAGES = ServiceName("documents"), ServiceName("images")


def outcomes(metrics: Metrics) -> dict[str, int]:
    """How all calls ended that were for a service."""
    counts: Counter[str] = Counter()
    for traffic in metrics.traffic():
        counts.update({"ok": traffic.ok} | traffic.errors)
    return {outcome: count for outcome, count in counts.items() if count}


def test_calls_and_operations_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    documents, images = metrics.instance_came(DOCUMENTS), metrics.instance_came(IMAGES)
    for traffic in (documents, documents, images):
        traffic.observe(0.001)
    images.count_error("error")
    images.count_error("call_timeout")
    metrics.count_call("call_timeout")
    metrics.count_call("resource_not_found")
    metrics.count_operation("resource.register", "ok", 0.5)
    assert outcomes(metrics) == {"ok": 2, "error": 1, "call_timeout": 1}
    assert metrics.unplaced == {"call_timeout": 1, "resource_not_found": 1}
    assert (documents.ok, documents.calls_total) == (2, 2)
    assert (images.ok, images.calls_total) == (0, 2)
    assert metrics.operations == {("resource.register", "ok"): 1}
    assert metrics.durations["resource.register"].sum == 0.5


@pytest.mark.parametrize(
    ("seconds", "index"),
    [
        (0.0, 0),
        (0.000_1, 0),
        (0.000_101, 1),
        (0.000_2, 1),
        (0.000_201, 2),
        (0.000_4, 2),
        (838.0, LATENCY_BUCKETS - 1),
        (839.0, LATENCY_BUCKETS),
        (1e9, LATENCY_BUCKETS),
    ],
)
def test_a_duration_lands_in_the_bucket_that_ends_at_or_above_it(seconds: float, index: int) -> None:
    traffic = Traffic(DOCUMENTS)
    traffic.observe(seconds)
    assert coarse(traffic.buckets).index(1) == index
    assert sum(coarse(traffic.buckets)) == 1
    if index < LATENCY_BUCKETS:
        assert seconds <= LATENCY_BOUNDS_SECONDS[index]
    assert traffic.seconds == seconds


def test_bounds_double() -> None:
    assert LATENCY_BOUNDS_SECONDS[:3] == (0.0001, 0.0002, 0.0004)
    assert len(LATENCY_BOUNDS_SECONDS) == LATENCY_BUCKETS


def test_every_bound_is_one_of_the_finer_ones() -> None:
    assert set(LATENCY_BOUNDS_SECONDS) <= set(BOUNDS_SECONDS)
    assert BOUNDS_SECONDS[-1] == LATENCY_BOUNDS_SECONDS[-1]


def test_numbers_never_go_back_when_services_are_forgotten() -> None:
    metrics = Metrics()
    for number in range(MAX_GONE_SERVICES + 10):
        traffic = metrics.instance_came(ServiceName(f"service-{number}"))
        traffic.observe(0.001)
        traffic.observe(0.002)
        traffic.count_error("error")
        metrics.instance_left(traffic)
    assert list(metrics.services) == [f"service-{number}" for number in range(10, MAX_GONE_SERVICES + 10)]
    assert outcomes(metrics) == {"ok": MAX_GONE_SERVICES + 10, "error": MAX_GONE_SERVICES + 10}
    assert sum(sum(traffic.buckets) for traffic in metrics.traffic()) == 2 * (MAX_GONE_SERVICES + 10)
    seconds = sum(traffic.seconds for traffic in metrics.traffic())
    assert seconds == pytest.approx(0.003 * (MAX_GONE_SERVICES + 10))


def test_a_service_that_comes_back_is_counted_on() -> None:
    metrics = Metrics()
    first = metrics.instance_came(DOCUMENTS)
    second = metrics.instance_came(DOCUMENTS)
    assert first is second
    first.observe(0.001)
    metrics.instance_left(first)
    metrics.instance_left(second)
    again = metrics.instance_came(DOCUMENTS)
    for number in range(MAX_GONE_SERVICES + 1):
        metrics.instance_left(metrics.instance_came(ServiceName(f"service-{number}")))
    assert again is first
    assert metrics.services[DOCUMENTS].ok == 1


@pytest.mark.parametrize("seconds", [0.000_02, 0.000_5, 0.0123, 1.0, 7.7, 100.0])
def test_a_time_that_all_calls_took_is_told_within_a_tenth(seconds: float) -> None:
    traffic = Traffic(DOCUMENTS)
    for _ in range(100):
        traffic.observe(seconds)
    for quantile in (0.5, 0.99):
        assert quantile_seconds(traffic.lately(), quantile) == pytest.approx(seconds, rel=0.1)


def test_of_a_hundred_calls_the_slowest_but_one_is_the_99th_percentile() -> None:
    traffic = Traffic(DOCUMENTS)
    for seconds in [0.001] * 98 + [0.5, 30.0]:
        traffic.observe(seconds)
    assert quantile_seconds(traffic.lately(), 0.98) == pytest.approx(0.001, rel=0.1)
    assert quantile_seconds(traffic.lately(), 0.99) == pytest.approx(0.5, rel=0.1)
    assert quantile_seconds(traffic.lately(), 1) == pytest.approx(30.0, rel=0.1)


def test_what_took_longer_than_can_be_measured_took_at_least_that() -> None:
    traffic = Traffic(DOCUMENTS)
    traffic.observe(1e6)
    assert quantile_seconds(traffic.lately(), 0.5) == BOUNDS_SECONDS[-1]


def test_without_calls_there_is_no_percentile() -> None:
    assert quantile_seconds(Traffic(DOCUMENTS).lately(), 0.99) is None


def test_calls_are_forgotten_after_as_many_windows_but_not_in_the_totals() -> None:
    traffic = Traffic(DOCUMENTS)
    traffic.observe(1.0)
    for _ in range(WINDOWS - 1):
        traffic.rotate()
        assert sum(traffic.lately()) == 1
    traffic.observe(0.001)
    traffic.rotate()
    assert quantile_seconds(traffic.lately(), 1) == pytest.approx(0.001, rel=0.1)
    for _ in range(WINDOWS):
        traffic.rotate()
    assert sum(traffic.lately()) == 0
    assert traffic.calls_total == 2


# --- what is told apart -------------------------------------------------------------------------------------------


def registered(metrics: Metrics) -> dict[str, int]:
    """How many registrations succeeded, by what metrics show as the service."""
    found = {traffic.label: traffic.ownership for traffic in metrics.traffic()}
    return {label: counts.registrations["ok"] for label, counts in found.items() if counts.registrations}


def test_the_first_services_have_names_of_their_own_and_all_others_are_one() -> None:
    metrics = Metrics(max_services=2)
    for number in range(5):
        name = ServiceName(f"s{number}")
        metrics.instance_came(name)
        metrics.ownership_of(name).count_registrations("ok", 1)
    assert registered(metrics) == {"s0": 1, "s1": 1, OTHERS: 3}
    assert [metrics.label_of(ServiceName(f"s{number}")) for number in (0, 1, 2)] == ["s0", "s1", OTHERS]
    assert metrics.label_of(ServiceName("never-seen")) == metrics.label_of(None) == NONE


def test_a_forgotten_service_is_counted_among_the_others_and_leaves_its_name_to_another() -> None:
    metrics = Metrics(max_services=1)
    gone = metrics.instance_came(DOCUMENTS)
    gone.ownership.count_registrations("ok", 7)
    gone.ownership.count_release("request")
    gone.ownership.conflicts += 2
    gone.ownership.metadata_sizes.observe(10)
    metrics.instance_left(gone)
    for number in range(MAX_GONE_SERVICES):
        metrics.instance_left(metrics.instance_came(ServiceName(f"s{number}")))
    assert registered(metrics) == {OTHERS: 7}
    others = metrics.ownership_of(DOCUMENTS)
    assert (others.releases, others.conflicts, others.metadata_sizes.sum) == ({"request": 1}, 2, 10)
    metrics.instance_came(IMAGES)
    assert metrics.label_of(IMAGES) == IMAGES


def test_a_service_that_is_forgotten_while_all_are_read_is_read_once() -> None:
    metrics = Metrics()
    for number in range(MAX_GONE_SERVICES):
        traffic = metrics.instance_came(ServiceName(f"s{number}"))
        traffic.observe(0.001)
        metrics.instance_left(traffic)
    reading = metrics.traffic()
    read = [next(reading)]
    metrics.instance_left(metrics.instance_came(DOCUMENTS))  # the first is forgotten
    read += reading
    assert sum(traffic.ok for traffic in read) == MAX_GONE_SERVICES
    assert outcomes(metrics) == {"ok": MAX_GONE_SERVICES}


def test_pairs_of_services_between_which_resources_go_have_a_bound() -> None:
    metrics = Metrics(max_services=MAX_PAIRS + 5)
    names = [ServiceName(f"s{number}") for number in range(MAX_PAIRS + 5)]
    for name in names:
        metrics.instance_came(name)
        metrics.count_transfers(name, DOCUMENTS, "ok", 2)
    metrics.count_transfers(names[0], DOCUMENTS, "ok", 1)
    assert metrics.transfers["s0", NONE, "ok"] == 3
    assert metrics.transfers[OTHERS, OTHERS, "ok"] == 10
    assert len(metrics.transfers) == MAX_PAIRS + 1


def test_of_no_transfers_nothing_is_counted() -> None:
    metrics = Metrics()
    metrics.count_transfers(DOCUMENTS, IMAGES, "ok", 0)
    assert not metrics.transfers


def test_a_histogram_counts_a_value_where_its_bucket_ends() -> None:
    histogram = Histogram((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 1], 7.5)
