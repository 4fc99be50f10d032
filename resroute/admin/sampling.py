"""The last minutes in numbers, for charts."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio
import trio.lowlevel

from resroute.admin.view import RouterView
from resroute.telemetry.histograms import DELAY_BOUNDS_SECONDS
from resroute.telemetry.traffic import BOUNDS_SECONDS, quantile_seconds

SAMPLE_SECONDS = 2.0
SAMPLES_LATELY = 30

_SAMPLES_OF_A_LATENCY = 5
"""What is measured in one alone is too little to tell how long calls take."""

MAX_SAMPLES = 151
"""Five minutes, and the one before."""


@attrs.frozen(kw_only=True)
class Totals:
    """What was counted up to a moment."""

    at: float
    calls: int
    errors: int
    buckets: Sequence[int]
    errors_by_type: Mapping[str, int]
    troubles: Mapping[str, int]
    """What else should not happen, by its name."""
    delays: Sequence[int]
    """Of the loop, by how long they were."""


@attrs.frozen(kw_only=True)
class Lately:
    """What should not happen, and did in the last minute or so."""

    errors: Mapping[str, int]
    """Calls that have failed, by the type of the error, most of them first."""
    troubles: Mapping[str, int]
    lag_seconds: float
    """The most that the loop was late, as far as a bucket tells."""


@attrs.frozen(kw_only=True)
class Sample:
    """How it was in the last few seconds before a moment."""

    calls_per_second: float
    errors_per_second: float
    p50_ms: float | None
    """Of the last ten seconds, as the 99th percentile."""
    p99_ms: float | None
    sessions: int
    resources: int
    calls_in_flight: int


class Sampler:
    """Looks at the router every few seconds.

    Args:
        router: at which.
        clock: seconds on any clock.
    """

    def __init__(self, router: RouterView, clock: Callable[[], float] = trio.current_time) -> None:
        self._router = router
        self._clock = clock
        self.samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self.count = 0
        """How many there were in all."""
        self._next = trio.Event()
        # what was counted at the end of each of the last samples, oldest first
        self._totals: deque[Totals] = deque(maxlen=SAMPLES_LATELY + 1)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await trio.sleep(SAMPLE_SECONDS)

    async def look(self) -> None:
        """One more sample, once there is something to compare with."""
        now = await self._count()
        before = self._totals[-1] if self._totals else None
        self._totals.append(now)
        if before is None:
            return
        seconds = max(now.at - before.at, 0.001)
        first = self._totals[max(0, len(self._totals) - 1 - _SAMPLES_OF_A_LATENCY)]
        calls = [later - earlier for later, earlier in zip(now.buckets, first.buckets, strict=True)]
        sizes = self._router.gauges.sizes()
        self.samples.append(
            Sample(
                calls_per_second=max(0, now.calls - before.calls) / seconds,
                errors_per_second=max(0, now.errors - before.errors) / seconds,
                p50_ms=_milliseconds(quantile_seconds(calls, 0.5)),
                p99_ms=_milliseconds(quantile_seconds(calls, 0.99)),
                sessions=sizes.sessions,
                resources=sizes.resources,
                calls_in_flight=sizes.calls_in_flight,
            )
        )
        self.count += 1
        self._next.set()
        self._next = trio.Event()

    async def wait_beyond(self, count: int | None) -> None:
        """Wait until there were more samples than that, or not as many; None: do not wait. Safe to cancel."""
        while self.count == count:
            await self._next.wait()

    async def _count(self) -> Totals:
        """All services together, one after the other, so that many of them hold nobody up."""
        metrics = self._router.metrics
        by_type = Counter(metrics.unplaced)
        calls = by_type.total()
        buckets = [0] * (len(BOUNDS_SECONDS) + 1)
        for number, traffic in enumerate(metrics.traffic()):
            buckets = [mine + its for mine, its in zip(buckets, traffic.buckets, strict=True)]
            calls += traffic.calls_total
            by_type.update(traffic.errors)
            if number % 20 == 19:
                await trio.lowlevel.checkpoint()
        return Totals(
            at=self._clock(),
            calls=calls,
            errors=by_type.total(),
            buckets=buckets,
            errors_by_type=by_type,
            troubles={
                "audit_dropped": self._router.trail.statistics().dropped,
                "flapping": metrics.flapping_reports,
                "watches_lost": metrics.watches_lost,
                "spans_lost": metrics.spans["failed"] + metrics.spans["dropped"],
            },
            delays=tuple(metrics.loop_lag.counts),
        )

    def lately(self) -> Lately:
        """What should not have happened."""
        if not self._totals:
            return Lately(errors={}, troubles={}, lag_seconds=0.0)
        before, now = self._totals[0], self._totals[-1]
        delays = [late - early for late, early in zip(now.delays, before.delays, strict=True)]
        bounds = (0.0, *DELAY_BOUNDS_SECONDS)  # at least so long
        return Lately(
            errors=_more(now.errors_by_type, before.errors_by_type),
            troubles=_more(now.troubles, before.troubles),
            lag_seconds=max(
                (bound for bound, count in zip(bounds, delays, strict=True) if count), default=0.0
            ),
        )


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> Mapping[str, int]:
    """What was counted in between, most of it first."""
    counted = Counter(now)
    counted.subtract(before)
    return {name: count for name, count in counted.most_common() if count > 0}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
