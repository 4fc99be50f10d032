"""The audit log of a router that keeps nothing on disk: the last records, as far as they fit."""

from collections.abc import Sequence
from heapq import nsmallest

import msgspec

from resroute.audit.records import (
    MAX_RESOURCES_SHOWN,
    Entry,
    Filters,
    Freed,
    Page,
    Record,
    Touched,
)
from resroute.ids import ResourceId, Revision

MAX_RECORDS = 10_000
MAX_RESOURCES = 100_000
"""Of all records together."""

MAX_LOOKED = 1000
"""Records that one query looks at: what it takes holds up everything else."""


class _Kept:
    __slots__ = ("_first", "entry", "id", "resources")

    def __init__(self, record_id: int, entry: Entry) -> None:
        self.id = record_id
        self.entry = entry
        self.resources: dict[ResourceId, Touched] = {it.resource_id: it for it in entry.resources}
        self._first: tuple[int, Sequence[Touched]] | None = None  # of so many

    def first(self) -> Sequence[Touched]:
        """The resources that the record shows by itself. Found once: it can have very many."""
        if self._first is None or self._first[0] != len(self.resources):
            names = nsmallest(MAX_RESOURCES_SHOWN, self.resources)
            self._first = len(self.resources), [self.resources[name] for name in names]
        return self._first[1]


class MemoryStore:
    """The last records. See :class:`resroute.audit.records.Source` for reading them."""

    def __init__(self, *, max_records: int = MAX_RECORDS, max_resources: int = MAX_RESOURCES) -> None:
        self._max_records = max_records
        self._max_resources = max_resources
        # by id, oldest first
        self._records: dict[int, _Kept] = {}
        # revision -> the id of the first record made at it
        self._by_revision: dict[Revision, int] = {}
        self._next_id = 1
        self._resource_count = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def resource_count(self) -> int:
        """Resources of all records together."""
        return self._resource_count

    def write(self, item: Entry | Freed) -> None:
        """Keep one more, and forget the oldest if it takes too much."""
        if isinstance(item, Entry):
            kept = self._records[self._next_id] = _Kept(self._next_id, item)
            self._by_revision.setdefault(item.revision, kept.id)
            self._next_id += 1
            self._resource_count += len(kept.resources)
        else:
            found = self._records.get(self._by_revision.get(item.revision, 0))
            if found is None:
                return
            before = len(found.resources)
            more = item.resources[
                : self._max_resources - before
            ]  # one that is larger by itself keeps its first
            found.resources.update({it.resource_id: it for it in more})
            self._resource_count += len(found.resources) - before
        while len(self._records) > self._max_records or self._is_too_large():
            self._forget_oldest()

    def _is_too_large(self) -> bool:
        return self._resource_count > self._max_resources and len(self._records) > 1

    def _forget_oldest(self) -> None:
        oldest = self._records.pop(next(iter(self._records)))
        self._resource_count -= len(oldest.resources)
        if self._by_revision.get(oldest.entry.revision) == oldest.id:
            del self._by_revision[oldest.entry.revision]

    # --- reading ----------------------------------------------------------------------------------------------

    def query(
        self, filters: Filters, *, limit: int, cursor: int | None = None, newest_first: bool = False
    ) -> Page:
        """See :meth:`resroute.audit.records.Source.query`."""
        first = next(iter(self._records), self._next_id)
        ids = range(first, self._next_id)  # without gaps
        if cursor is not None and newest_first:
            ids = range(first, min(cursor, self._next_id))
        elif cursor is not None:
            ids = range(max(first, cursor + 1), self._next_id)
        found: list[_Kept] = []
        looked: int | None = None
        for count, record_id in enumerate(reversed(ids) if newest_first else ids):
            if len(found) == limit or count == MAX_LOOKED:
                break
            looked = record_id
            if _matches(kept := self._records[record_id], filters):
                found.append(kept)
        else:
            looked = None
        return Page(records=[_record(it, filters.resource_id) for it in found], next_cursor=looked)

    def resources_of(self, record_id: int, *, limit: int, after: str = "") -> Sequence[Touched]:
        """See :meth:`resroute.audit.records.Source.resources_of`."""
        kept = self._records.get(record_id)
        if kept is None:
            return ()
        return [kept.resources[name] for name in sorted(kept.resources) if name > after][:limit]


def _matches(kept: _Kept, filters: Filters) -> bool:
    entry, actor = kept.entry, kept.entry.actor
    actors = (None, None, None) if actor is None else (actor.subject, actor.session_id, actor.instance_id)
    return (
        (filters.since is None or entry.at >= filters.since)
        and (filters.until is None or entry.at < filters.until)
        and (filters.resource_id is None or filters.resource_id in kept.resources)
        and filters.instance_id in (None, entry.instance_before, entry.instance_after, actors[2])
        and filters.actor in (None, *actors)
        and filters.event in (None, entry.event)
        and filters.cause in (None, entry.cause)
    )


def _record(kept: _Kept, resource_id: ResourceId | None) -> Record:
    shown: Sequence[Touched]
    if resource_id is not None:
        shown = [kept.resources[resource_id]]
    else:
        shown = kept.first()
    return Record(id=kept.id, entry=msgspec.structs.replace(kept.entry, resources=shown))
