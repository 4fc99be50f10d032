"""Where what happens is recorded. Nobody who records ever waits."""

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from resroute.audit.memory import MemoryStore
from resroute.audit.records import Entry, Freed, Source


@attrs.frozen
class Retention:
    """What is kept."""

    days: float
    max_bytes: int


@attrs.frozen(kw_only=True)
class TrailStatistics:
    """How recording goes."""

    recorded: int
    """Records since the router began, with those that wait to be written."""
    dropped: int
    """Of these, the ones that are lost."""
    queued: int
    """What waits to be written."""
    problem: str | None
    """Why nothing can be written now."""


class Trail(Protocol):
    """Where what happens is recorded."""

    def add(self, item: Entry | Freed) -> None:
        """Record something. Never waits, never raises."""
        ...

    def statistics(self) -> TrailStatistics: ...

    async def read[T](self, look: Callable[[Source], T]) -> T:
        """What ``look`` finds in what is written. It must not take long, and keep nothing of the source.

        Raises:
            CannotRead: nothing can be read.
        """
        ...

    async def run(self, retention: Callable[[], Retention]) -> None:
        """Write what is recorded, until :meth:`finish`. Cancelling it does nothing."""
        ...

    def finish(self) -> None:
        """Nothing more is recorded: :meth:`run` returns once all is written, or it takes too long."""
        ...


class MemoryTrail:
    """Keeps the last records in memory, and nothing on disk.

    Attributes:
        store: where they are read.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self._recorded = 0
        self._finished = trio.Event()

    def add(self, item: Entry | Freed) -> None:
        """See :meth:`Trail.add`."""
        self._recorded += isinstance(item, Entry)
        self.store.write(item)

    def statistics(self) -> TrailStatistics:
        """See :meth:`Trail.statistics`."""
        return TrailStatistics(recorded=self._recorded, dropped=0, queued=0, problem=None)

    async def read[T](self, look: Callable[[Source], T]) -> T:
        """See :meth:`Trail.read`."""
        await trio.lowlevel.checkpoint()
        return look(self.store)

    async def run(self, retention: Callable[[], Retention]) -> None:
        """See :meth:`Trail.run`."""
        with trio.CancelScope(shield=True):
            await self._finished.wait()

    def finish(self) -> None:
        """See :meth:`Trail.finish`."""
        self._finished.set()
