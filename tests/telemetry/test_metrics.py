"""Counting."""

import pytest

from resroute.ids import ServiceName
from resroute.telemetry.metrics import LATENCY_BOUNDS_SECONDS, LATENCY_BUCKETS, MAX_GONE_SERVICES, Metrics
from resroute.telemetry.sizes import MAX_SERVICES, OTHERS, MetadataSizes
from resroute.telemetry.traffic import BOUNDS_SECONDS, WINDOWS, Traffic, quantile_seconds

DOCUMENTS, IMAGES = ServiceName("documents"), ServiceName("images")


def test_calls_and_operations_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    documents, images = metrics.instance_came(DOCUMENTS), metrics.instance_came(IMAGES)
    for traffic in (documents, documents, images):
        traffic.observe(0.001)
    images.count_error("error")
    images.count_error("call_timeout")
    metrics.count_call("call_timeout")
    metrics.count_call("resource_not_found")
    metrics.count_operation("resource.register", "ok")
    assert metrics.calls() == {"ok": 2, "error": 1, "call_timeout": 2, "resource_not_found": 1}
    assert (documents.ok, documents.calls_total) == (2, 2)
    assert (images.ok, images.calls_total) == (0, 2)
    assert metrics.operations == {("resource.register", "ok"): 1}


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
    metrics = Metrics()
    metrics.instance_came(DOCUMENTS).observe(seconds)
    assert metrics.latency_buckets().index(1) == index
    assert sum(metrics.latency_buckets()) == 1
    if index < LATENCY_BUCKETS:
        assert seconds <= LATENCY_BOUNDS_SECONDS[index]
    assert metrics.latency_sum_seconds == seconds


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
    assert metrics.calls() == {"ok": MAX_GONE_SERVICES + 10, "error": MAX_GONE_SERVICES + 10}
    assert sum(metrics.latency_buckets()) == 2 * (MAX_GONE_SERVICES + 10)
    assert metrics.latency_sum_seconds == pytest.approx(0.003 * (MAX_GONE_SERVICES + 10))


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


def test_sizes_are_told_apart_for_a_bounded_number_of_services() -> None:
    sizes = MetadataSizes()
    for number in range(MAX_SERVICES + 3):
        sizes.observe(ServiceName(f"s{number}"), 10)
    sizes.observe(ServiceName("s0"), 10)
    counted = {name: sum(service.counts) for name, service in sizes.services()}
    assert len(counted) == MAX_SERVICES + 1
    assert (counted[ServiceName("s0")], counted[OTHERS]) == (2, 3)
