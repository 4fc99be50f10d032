"""Recording to a file: what happens on the event loop, and the one task that has it written."""

import sqlite3
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec
import structlog
import trio

from resroute.audit.memory import MemoryStore
from resroute.audit.reading import NotYetMade, open_reader
from resroute.audit.records import MAX_REASON_CHARACTERS, Entry, Freed, Source
from resroute.audit.store import NAME, AuditStore, NotOurs, Row, Write, is_damage, move_aside
from resroute.audit.trail import Retention, TrailStatistics
from resroute.ids import Revision

FLUSH_SECONDS = 0.25
"""How long what happened may wait for more to be written together with it."""

MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""What may wait to be written. Above that records are dropped, and counted."""

LAST_SECONDS = 5.0
"""How long the last of it may take to be written when the router stops."""

_ENTRY_BYTES = 600  # what an entry takes in the queue beside its resources, about
_BATCH_BYTES = 2 * 1024 * 1024  # of one transaction
_MAX_READERS = 4
_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 0.1  # when the router stops, and there are not many more
_PRUNE_SECONDS = 600.0  # without anything to write

_DAY_SECONDS = 24 * 3600

_log = structlog.get_logger("resroute.audit")
_encode = msgspec.json.Encoder().encode


class FileTrail:
    """Has records written to a file by one task, in batches, in a thread.

    While they cannot be written they wait, up to ``max_queued_bytes``, and then are dropped and counted; nothing else is
    held up. Once it works again a record tells how many are missing.

    Args:
        data_dir: the folder of the file, which nobody else writes.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        data_dir: str,
        wall_clock: Callable[[], float],
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self.path = Path(data_dir) / NAME
        self._wall_clock = wall_clock
        self._max_queued_bytes = max_queued_bytes
        # what waits to be written
        self._queue: deque[Write] = deque()
        self._queued_bytes = 0
        self._recorded = 0
        self._dropped = 0
        self._untold = 0  # of those that were dropped, the ones that no record tells of
        self._problem: str | None = None
        self._store: AuditStore | None = None
        self._lot = trio.lowlevel.ParkingLot()
        self._readers = trio.CapacityLimiter(_MAX_READERS)
        self._finishing = False
        self._is_damaged = False
        self._is_in_thread = False
        self._failed_by_bug = False
        self._scope: trio.CancelScope | None = None  # there while it runs

    # --- recording --------------------------------------------------------------------------------------------

    def add(self, item: Entry | Freed) -> None:
        """See :meth:`Trail.add`."""
        write = write_of(item)
        is_entry = write.row is not None
        self._recorded += is_entry
        size = len(write.resources) + _ENTRY_BYTES
        if self._queued_bytes + size > self._max_queued_bytes:
            self._drop(is_entry)
            return
        self._queue.append(write)
        self._queued_bytes += size
        self._lot.unpark()

    def _drop(self, is_entry: bool) -> None:
        if not self._untold:
            _log.error("audit records are dropped: too many wait to be written", problem=self._problem)
        # resources that are missing from a record are a loss like one
        self._dropped += is_entry
        self._untold += 1

    def statistics(self) -> TrailStatistics:
        """See :meth:`Trail.statistics`."""
        return TrailStatistics(
            recorded=self._recorded, dropped=self._dropped, queued=len(self._queue), problem=self._problem
        )

    async def read[T](self, look: Callable[[Source], T]) -> T:
        """See :meth:`Trail.read`. Happens in a thread; what waits to be written is not there yet."""

        def read() -> T:
            try:
                with open_reader(self.path) as reader:
                    return look(reader)
            except NotYetMade:
                return look(MemoryStore())

        return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._readers)

    def finish(self) -> None:
        """See :meth:`Trail.finish`."""
        self._finishing = True
        if self._scope is not None:
            self._scope.deadline = trio.current_time() + LAST_SECONDS
        self._lot.unpark()

    # --- writing ----------------------------------------------------------------------------------------------

    async def run(self, retention: Callable[[], Retention]) -> None:
        """See :meth:`Trail.run`."""
        with trio.CancelScope(shield=True) as self._scope:
            if self._finishing:
                self._scope.deadline = trio.current_time() + LAST_SECONDS
            is_pruned = not await self._works(self._opened)
            while self._queue or not self._finishing:
                if not self._queue and is_pruned:
                    with trio.move_on_after(_PRUNE_SECONDS):
                        await self._lot.park()
                    await self._pause(FLUSH_SECONDS)
                works = await self._write_batch()
                is_pruned = not works or self._finishing or await self._prune(retention())
                if not works and self._finishing:
                    await trio.sleep(_LAST_RETRY_SECONDS)
                elif not works:
                    await self._pause(_RETRY_SECONDS)
        if self._queue:
            _log.error("audit records are lost: they could not be written in time", records=len(self._queue))
        if self._store is not None and not self._is_in_thread:  # which may be stuck, and would have this wait
            self._store.close()

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is about to end."""
        with trio.move_on_after(seconds):
            while not self._finishing:
                await self._lot.park()

    async def _write_batch(self) -> bool:
        """Write what waits, or the first of it. Returns whether that can be done."""
        batch = self._next_batch()
        count, untold = len(batch), self._untold
        if untold:
            batch.append(write_of(self._gap()))
        if not batch:
            return True
        if await self._works(lambda: self._opened().write(batch)):
            self._untold -= untold
        elif self._failed_by_bug:  # then these records are lost, and no others
            self._dropped += count
        else:
            return False
        for _ in range(count):
            self._queued_bytes -= len(self._queue.popleft().resources) + _ENTRY_BYTES
        return True

    def _next_batch(self) -> list[Write]:
        size = 0
        count = 0
        for write in self._queue:
            size += len(write.resources) + _ENTRY_BYTES
            if count and size > _BATCH_BYTES:
                break
            count += 1
        return list(islice(self._queue, count))

    def _gap(self) -> Entry:
        told = f"{self._untold} records, or parts of them, are missing here"
        return Entry(
            at=self._wall_clock(),
            revision=Revision(0),
            event="records_dropped",
            reason=f"{told}: too many waited to be written",
        )

    async def _prune(self, retention: Retention) -> bool:
        """Delete some of what is too old or too much. Returns whether there is nothing more to be done about it now."""
        before = self._wall_clock() - retention.days * _DAY_SECONDS
        more = False

        def prune() -> None:
            nonlocal more
            more = self._opened().prune(before=before, max_bytes=retention.max_bytes)

        return not (await self._works(prune) and more)

    # --- in a thread ------------------------------------------------------------------------------------------

    async def _works(self, act: Callable[[], object]) -> bool:
        """Do something with the store, and tell when a problem begins or ends. Returns whether it could be done."""
        self._is_in_thread = True
        self._failed_by_bug = False
        problem: str | None = None
        try:
            await trio.to_thread.run_sync(act, abandon_on_cancel=True)
        except (sqlite3.OperationalError, OSError, NotOurs) as error:
            problem = str(error) or type(error).__name__
        except Exception as error:
            problem = str(error)
            if isinstance(error, sqlite3.Error) and is_damage(error):
                self._is_damaged = True
            else:
                self._failed_by_bug = True
                _log.exception("writing the audit log failed")
        self._is_in_thread = False
        self._note_problem(problem)
        return problem is None

    def _opened(self) -> AuditStore:
        """The store, of a file that is in place and not known to be damaged. Called in the thread."""
        store = self._store
        if store is not None and self._is_damaged:
            store.close()
            self._store = None
            self._tell_moved(move_aside(self.path))
        elif store is not None and not store.is_in_place:
            _log.error("the audit log was moved or deleted: a new one begins", path=str(self.path))
            store.close()
            self._store = None
        self._is_damaged = False
        if self._store is None:
            self._store = AuditStore(self.path)
            if self._store.moved_aside is not None:
                self._tell_moved(self._store.moved_aside)
        return self._store

    def _tell_moved(self, aside: Path) -> None:
        _log.error("the audit log was damaged: a new one begins", path=str(self.path), moved_to=str(aside))

    def _note_problem(self, problem: str | None) -> None:
        if problem is not None and self._problem is None:
            _log.error("the audit log cannot be written", reason=problem, path=str(self.path))
        elif problem is None and self._problem is not None:
            _log.info("the audit log is written again", dropped=self._untold)
        self._problem = problem


def write_of(item: Entry | Freed) -> Write:
    """What is to be written of it. Costs as much as its resources take to be put as JSON."""
    row = _row(item) if isinstance(item, Entry) else None
    return Write(row, item.revision, _encode(item.resources) if item.resources else b"")


def _row(entry: Entry) -> Row:
    actor = entry.actor
    subject, session_id, instance_id = (
        (None, None, None) if actor is None else (actor.subject, actor.session_id, actor.instance_id)
    )
    return (
        entry.at,
        entry.revision,
        entry.event,
        entry.cause,
        subject,
        session_id,
        instance_id,
        entry.service_name,
        entry.instance_before,
        entry.instance_after,
        entry.about_session_id,
        entry.resource_count,
        entry.transfer_id,
        entry.trace_id,
        None if entry.reason is None else entry.reason[:MAX_REASON_CHARACTERS],
    )
