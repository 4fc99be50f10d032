"""Counts of measured values by how large they were, to be read off by whoever exposes them."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

SIZE_BOUNDS_BYTES = (64, 256, 1024, 4096, 16_384, 65_536)
"""Where each bucket of sizes ends."""

DURATION_BOUNDS_SECONDS = tuple(2**index / 10_000 for index in range(0, 18, 2))
"""Where each bucket of the router's own operations ends: 0.1 ms, 0.4 ms, … 6.6 s."""

DELAY_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Where each bucket of what delays others ends."""

ROUND_TRIP_BOUNDS_SECONDS = tuple(2**index / 10_000 for index in range(0, 20, 2))
"""Where each bucket of a heartbeat's way there and back ends: 0.1 ms, 0.4 ms, … 26 s."""


class Histogram:
    """How often a value was in which bucket, and the sum of all values.

    Args:
        bounds: where each bucket ends, ascending. What is larger than the last is in one more bucket.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def absorb(self, others: Iterable["Histogram"]) -> None:
        """Add what others with the same bounds have counted."""
        for other in others:
            self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
            self.sum += other.sum
