"""What one service was called for: how its calls ended, and how long they took, in all and lately.

One list of counters for each service is all that a call changes. What is shown of it is worked out when somebody asks.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from resroute.ids import ServiceName
from resroute.telemetry.ownership import Ownership

STEPS_PER_OCTAVE = 4
_FIRST_SECONDS = 1 / 80_000
_OCTAVES = 26

BOUNDS_SECONDS = tuple(
    2 ** (step / STEPS_PER_OCTAVE) * _FIRST_SECONDS for step in range(STEPS_PER_OCTAVE * _OCTAVES + 1)
)
"""Where each bucket ends: four to the octave, so that a time read off them is wrong by 9 % at most. What took longer than the
last, 839 s, is in one more bucket."""

WINDOW_SECONDS = 10.0
"""How often :meth:`Traffic.rotate` is to be called."""

WINDOWS = 6
"""“Lately” is the last so many windows, the current one among them: about a minute."""

_NOTHING = (0,) * (len(BOUNDS_SECONDS) + 1)
_HALF_A_STEP = 2 ** (1 / STEPS_PER_OCTAVE / 2)


class Traffic:
    """The calls of one service that have ended.

    Args:
        label: under what metrics show it.
        ownership: where what is not about calls is counted. Services may share one.
    """

    __slots__ = (
        "_before",
        "buckets",
        "errors",
        "instances",
        "label",
        "lookups",
        "ownership",
        "seconds",
        "service_name",
    )

    def __init__(
        self, service_name: ServiceName, label: str | None = None, ownership: Ownership | None = None
    ) -> None:
        self.service_name = service_name
        self.label = service_name if label is None else label
        self.ownership = Ownership() if ownership is None else ownership
        # calls for a resource that were found to be one of its instances'
        self.lookups = 0
        # sessions that are instances of it
        self.instances = 0
        # calls that were answered, by how long that took; see BOUNDS_SECONDS
        self.buckets = list(_NOTHING)
        self.seconds = 0.0
        # "error" (the callee's own, which is an answer too) or the type of a router's error -> calls that ended so
        self.errors: dict[str, int] = {}
        # what the buckets were at the end of each window, oldest first
        self._before: deque[tuple[int, ...]] = deque([_NOTHING], maxlen=WINDOWS)

    def observe(self, seconds: float) -> None:
        """A call was answered after ``seconds``."""
        self.buckets[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.seconds += seconds

    def count_error(self, outcome: str) -> None:
        """A call has ended without a result: ``error`` if the callee said so, or the type of the router's error."""
        self.errors[outcome] = self.errors.get(outcome, 0) + 1

    @property
    def ok(self) -> int:
        """Calls that ended with a result."""
        return sum(self.buckets) - self.errors.get("error", 0)

    @property
    def calls_total(self) -> int:
        """Calls that have ended."""
        return self.ok + sum(self.errors.values())

    def rotate(self) -> None:
        """One more window is over."""
        buckets, last = tuple(self.buckets), self._before[-1]
        self._before.append(last if buckets == last else buckets)

    def lately(self) -> list[int]:
        """Calls that were answered in the last minute or so, by how long that took."""
        return [now - before for now, before in zip(self.buckets, self._before[0], strict=True)]

    def absorb(self, other: "Traffic") -> None:
        """Add what another has counted of calls."""
        self.lookups += other.lookups
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds
        for outcome, count in other.errors.items():
            self.errors[outcome] = self.errors.get(outcome, 0) + count


def quantile_seconds(buckets: Sequence[int], quantile: float) -> float | None:
    """The time that so large a part of the calls took at most; None without calls."""
    rank = max(1, math.ceil(sum(buckets) * quantile))
    seen = 0
    for index, count in enumerate(buckets):
        seen += count
        if seen >= rank:
            if index == len(BOUNDS_SECONDS):
                return BOUNDS_SECONDS[-1]
            return BOUNDS_SECONDS[index] / _HALF_A_STEP
    return None
