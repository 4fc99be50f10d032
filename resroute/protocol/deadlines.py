"""When calls run out of time: dictionaries by tick, from which a settled call is removed in O(1).

A heap with lazy deletion would hold an entry for every call of the last thirty seconds; this holds the calls in flight.
"""

import math

TICK_SECONDS = 0.01


class Deadlines[T]:
    """What is due at which tick. Pure: the caller tells the time, on any clock."""

    __slots__ = ("_ticks",)

    def __init__(self) -> None:
        # tick -> {number: item}; no tick without an item
        self._ticks: dict[int, dict[int, T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._ticks.values()))

    def __bool__(self) -> bool:
        return bool(self._ticks)

    def add(self, at: float, number: int, item: T) -> int:
        """Have ``item`` due at the first tick at or after ``at``. Returns the tick, which removing it needs."""
        tick = math.ceil(at / TICK_SECONDS)
        due = self._ticks.get(tick)
        if due is None:
            due = self._ticks[tick] = {}
        due[number] = item
        return tick

    def remove(self, tick: int, number: int) -> None:
        """Forget an item that is there."""
        due = self._ticks[tick]
        del due[number]
        if not due:
            del self._ticks[tick]

    def next_at(self) -> float:
        """When the first item is due; infinite without items. Looks at every tick in use."""
        return min(self._ticks, default=math.inf) * TICK_SECONDS

    def due(self, now: float) -> list[T]:
        """Everything that is due, in the order of the ticks. It stays until it is removed."""
        ticks = sorted(tick for tick in self._ticks if tick * TICK_SECONDS <= now)
        return [item for tick in ticks for item in self._ticks[tick].values()]
