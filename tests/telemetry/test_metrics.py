"""Counting."""

import pytest

from resroute.telemetry.metrics import LATENCY_BOUNDS_SECONDS, LATENCY_BUCKETS, Metrics


def test_calls_and_operations_are_counted_by_how_they_ended() -> None:
    metrics = Metrics()
    for outcome in ("ok", "ok", "error"):
        metrics.count_call(outcome)
    metrics.count_operation("resource.register", "ok")
    assert metrics.calls == {"ok": 2, "error": 1}
    assert metrics.operations == {("resource.register", "ok"): 1}


@pytest.mark.parametrize(
    ("seconds", "index"),
    [
        (0.0, 0),
        (0.000_099, 0),
        (0.000_1, 1),
        (0.000_2, 2),
        (0.000_399, 2),
        (0.000_4, 3),
        (800.0, LATENCY_BUCKETS - 1),
        (839.0, LATENCY_BUCKETS),
        (1e9, LATENCY_BUCKETS),
    ],
)
def test_a_duration_lands_in_the_bucket_that_ends_above_it(seconds: float, index: int) -> None:
    metrics = Metrics()
    metrics.observe(seconds)
    assert metrics.latency_buckets.index(1) == index
    assert sum(metrics.latency_buckets) == 1
    if index < LATENCY_BUCKETS:
        assert seconds < LATENCY_BOUNDS_SECONDS[index]
    assert metrics.latency_sum_seconds == seconds


def test_bounds_double() -> None:
    assert LATENCY_BOUNDS_SECONDS[:3] == (0.0001, 0.0002, 0.0004)
    assert len(LATENCY_BOUNDS_SECONDS) == LATENCY_BUCKETS
