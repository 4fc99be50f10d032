"""When things run out of time: dictionaries by tick, from which what is settled is removed in O(1).

A heap with an entry for each would hold every call of the last thirty seconds; this holds the calls in flight, and a heap of
the ticks that are in use.
"""

import heapq
import math
from itertools import chain, islice

TICK_SECONDS = 0.01
_FEW_TICKS = 64


class Deadlines[T]:
    """What is due at which tick. Pure: the caller tells the time, on any clock."""

    __slots__ = ("_queue", "_queued", "_ticks")

    def __init__(self) -> None:
        # tick -> {number: item}; no tick without an item
        self._ticks: dict[int, dict[int, T]] = {}
        # every tick in use, each once, and fewer than twice as many (and a few) that are not
        self._queue: list[int] = []
        self._queued: set[int] = set()

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
            if tick not in self._queued:
                heapq.heappush(self._queue, tick)
                self._queued.add(tick)
        due[number] = item
        return tick

    def remove(self, tick: int, number: int) -> None:
        """Forget an item that is there."""
        due = self._ticks[tick]
        del due[number]
        if not due:
            del self._ticks[tick]
            if len(self._queue) > 2 * len(self._ticks) + _FEW_TICKS:
                self._queue = sorted(self._ticks)
                self._queued = set(self._queue)

    def next_at(self) -> float:
        """When the first item is due; infinite without items."""
        while self._queue and self._queue[0] not in self._ticks:
            self._queued.remove(heapq.heappop(self._queue))
        return self._queue[0] * TICK_SECONDS if self._queue else math.inf

    def due(self, now: float, at_most: int | None = None) -> list[T]:
        """Everything that is due, or the first so many of it, in the order of the ticks. It stays until it is removed."""
        ticks: list[int] = []
        while self.next_at() <= now:
            ticks.append(heapq.heappop(self._queue))
        for tick in ticks:
            heapq.heappush(self._queue, tick)
        return list(islice(chain.from_iterable(self._ticks[tick].values() for tick in ticks), at_most))
