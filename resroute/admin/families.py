"""Families of metrics as Prometheus has them, and large ones in parts, each written by itself."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, batched
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from resroute.telemetry.histograms import Histogram

_SAMPLES_AT_A_TIME = 25
_HISTOGRAMS_AT_A_TIME = 2

type Values = Iterable[tuple[tuple[str, ...], float]]


def split(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    labels: list[str],
    values: Values,
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


def counter(name: str, text: str, labels: list[str], values: Values) -> Metric:
    """A family of counters that is small."""
    family = CounterMetricFamily(name, text, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family


type Counted = tuple[tuple[str, ...], Sequence[int], float]
"""The values of the labels, how many were in each bucket, and the sum of all."""


def counted(labels: tuple[str, ...], kept: Histogram) -> Counted:
    """What a histogram of our own has counted."""
    return labels, kept.counts, kept.sum


def histogram(
    name: str, text: str, labels: list[str], bounds: Sequence[float], values: Iterable[Counted]
) -> Metric:
    """A family of histograms that is small, each with so many buckets and one more."""
    family = HistogramMetricFamily(name, text, labels=labels)
    words = [*map(floatToGoString, bounds), "+Inf"]
    for given, counts, total in values:
        buckets: list[Any] = list(zip(words, accumulate(counts), strict=True))
        family.add_metric(given, buckets=buckets, sum_value=total)
    return family


def split_histograms(
    name: str, text: str, labels: list[str], bounds: Sequence[float], values: Iterable[Counted]
) -> Iterator[Metric]:
    """A family in as many parts as it takes; at least one."""
    is_empty = True
    for some in batched(values, _HISTOGRAMS_AT_A_TIME, strict=False):
        is_empty = False
        yield histogram(name, text, labels, bounds, some)
    if is_empty:
        yield histogram(name, text, labels, bounds, ())
