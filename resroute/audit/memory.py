"""The audit log of a router that keeps nothing on disk: the last records, as far as they fit."""

from collections.abc import Sequence
from itertools import islice

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


class _Kept:
    __slots__ = ("entry", "id", "resources")

    def __init__(self, record_id: int, entry: Entry) -> None:
        self.id = record_id
        self.entry = entry
        self.resources: dict[ResourceId, Touched] = {it.resource_id: it for it in entry.resources}


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
        kept = reversed(self._records.values()) if newest_first else iter(self._records.values())
        if cursor is not None:
            kept = (it for it in kept if (it.id < cursor if newest_first else it.id > cursor))
        found = list(islice((it for it in kept if _matches(it, filters)), limit + 1))
        page = found[:limit]
        return Page(
            records=[_record(it, filters.resource_id) for it in page],
            next_cursor=page[-1].id if len(found) > limit else None,
        )

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
    if resource_id is not None:
        shown = [kept.resources[resource_id]]
    else:
        shown = [kept.resources[name] for name in sorted(kept.resources)[:MAX_RESOURCES_SHOWN]]
    return Record(id=kept.id, entry=msgspec.structs.replace(kept.entry, resources=shown))
