"""What has arrived for somebody who takes it in their own time: partial results, notifications. No I/O.

The reader of the connection never waits for whoever takes it: everything else on the connection would wait with it,
Pings too. So what arrives is kept up to a bound, and who leaves more than that lying is told that they fell behind.
"""

from collections import deque

import trio

MAX_ARRIVALS_BYTES = 4 * 1024 * 1024
"""The most that is kept for one taker, as it was on the wire."""

_OVERHEAD_BYTES = 256
"""What a value costs however small it is."""


class Arrivals[T]:
    """Values in the order in which they arrived, for any number of tasks, each of which gets its own.

    Attributes:
        has_overflowed: there was no room for one. It and all that followed are lost.
    """

    def __init__(self) -> None:
        self.has_overflowed = False
        # values, and the bytes each of them counts
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._is_finished = False
        self._some = trio.Event()

    def put(self, value: T, size: int) -> bool:
        """Keep a value of ``size`` bytes. False: there is no room, and with that it is over."""
        if self._is_finished:
            return False
        if self._bytes >= MAX_ARRIVALS_BYTES:
            self.has_overflowed = True
            self.finish()
            return False
        counted = size + _OVERHEAD_BYTES
        self._waiting.append((value, counted))
        self._bytes += counted
        self._some.set()
        return True

    def finish(self) -> None:
        """Keep nothing more. What is here can still be taken."""
        self._is_finished = True
        self._some.set()

    async def receive(self) -> T:
        """Take the oldest value, or wait for it.

        What is here already is taken without letting other tasks run, so that who keeps pace with the reader is never
        behind it; there is a bound to how much that can be.

        Raises:
            trio.EndOfChannel: there is none, and none will come.
        """
        while not self._waiting and not self._is_finished:
            if self._some.is_set():
                self._some = trio.Event()
            await self._some.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._waiting:
            raise trio.EndOfChannel
        value, counted = self._waiting.popleft()
        self._bytes -= counted
        return value


class Listeners[T]:
    """Whoever wants to know of everything of some kind that arrives. Each gets all of it, until it falls behind."""

    def __init__(self) -> None:
        self._all: set[Arrivals[T]] = set()
        self._is_finished = False

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: Arrivals[T]) -> None:
        """Tell it from now on."""
        self._all.add(listener)
        if self._is_finished:
            listener.finish()

    def remove(self, listener: Arrivals[T]) -> None:
        """Tell it no more."""
        self._all.discard(listener)
        listener.finish()

    def finish(self) -> None:
        """There is nothing more to tell."""
        self._is_finished = True
        for listener in self._all:
            listener.finish()

    def tell(self, value: T, size: int) -> None:
        """Tell a value that had ``size`` bytes on the wire."""
        for listener in self._all:
            listener.put(value, size)
