"""What has happened to resources lately: one bounded ring for the whole router, filled once for each command.

Whoever reads it holds a position, which stays good while the ring moves on: what the ring has lost meanwhile is simply not
there any more.
"""

from bisect import bisect_right
from collections.abc import Container, Sequence
from typing import cast

import msgspec

from resroute.core.facts import (
    Fact,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.lots import NOT_OF_OWNERSHIP, Lot, joined, parts_of
from resroute.ids import ResourceId, Revision

OwnershipFact = ResourceRegistered | ResourceTransferred | ResourceReleased | ResourceUpdated
# to ask structs what they are takes much longer than to look at their types
_OWNERSHIP = (ResourceRegistered, ResourceTransferred, ResourceReleased, ResourceUpdated)
_WITH_BEFORE = (ResourceTransferred, ResourceUpdated)

_ENTRY_BYTES = 180  # the entry, its tuple, its revision and time, and its place in the ring
_FACT_BYTES = 280  # a fact, its details and the string of its id, but for the characters


class Entry(msgspec.Struct, gc=False):
    """What one command did to ownership. ``at`` is wall-clock seconds."""

    revision: Revision
    at: float
    facts: Sequence[OwnershipFact]
    size_bytes: int

    def about(self, resource_ids: Container[ResourceId]) -> Sequence[OwnershipFact]:
        """Those of the facts that are about some resources."""
        found: list[OwnershipFact] = []
        for part in parts_of(self.facts):
            if isinstance(part, Lot):
                wanted = enumerate(part.resource_ids)
                found += [part[place] for place, resource_id in wanted if resource_id in resource_ids]
            else:
                found += [fact for fact in part if fact.resource_id in resource_ids]
        return found


def _metadata_bytes(fact: OwnershipFact) -> int:
    """About what the metadata of a fact takes, now and before, as if it were nowhere else: it may outlive its grant."""
    metadata = fact.details.metadata
    size_bytes = 0 if metadata is None else metadata.memory_bytes
    if isinstance(fact, _WITH_BEFORE) and (before := fact.metadata_before) is not None:
        size_bytes += 0 if before is metadata else before.memory_bytes
    return size_bytes


def _bytes_of(facts: Sequence[OwnershipFact]) -> int:
    """About what facts take beside their places."""
    # who has no metadata now had none before
    metadata = sum([_metadata_bytes(fact) for fact in facts if fact.details.metadata is not None])
    return metadata + sum([len(fact.resource_id) for fact in facts])


def _changes_in(part: Sequence[Fact]) -> Sequence[OwnershipFact]:
    """What of a lot, or of facts between lots, is about ownership."""
    if type(part) is not tuple and isinstance(part, Lot):
        return () if isinstance(part, NOT_OF_OWNERSHIP) else part
    return cast("list[OwnershipFact]", [fact for fact in part if type(fact) in _OWNERSHIP])


_GONE = Entry(Revision(0), 0.0, (), 0)


class History:
    """The last changes of ownership, at most so many and so large.

    Args:
        revision: where it begins: what was before is not in it.
        max_facts: changes to keep.
        max_bytes: memory to take, as estimated.
    """

    def __init__(self, revision: Revision, *, max_facts: int, max_bytes: int) -> None:
        self.oldest_revision = revision
        """Every change after this revision is here."""
        self._max_facts = max_facts
        self._max_bytes = max_bytes
        # entries in order; the first few may be gone, and are cut off when they are half of the list
        self._entries: list[Entry] = []
        self._gone = 0
        self._first_position = 0
        self.fact_count = 0
        self.size_bytes = 0

    def append(self, revision: Revision, at: float, facts: Sequence[Fact]) -> Entry | None:
        """A command was applied. One that did nothing to ownership leaves no entry.

        What the facts of lots take beside their places is to be added by :meth:`weigh`, by and by.
        """
        changes: Sequence[OwnershipFact]
        if type(facts) is tuple:
            changes = tuple(_changes_in(facts))
        else:
            changes = joined(*map(_changes_in, parts_of(facts)))
        if not changes:
            return None
        size_bytes = _ENTRY_BYTES + _FACT_BYTES * len(changes)
        size_bytes += sum([_bytes_of(part) for part in parts_of(changes) if type(part) is tuple])
        entry = Entry(revision, at, changes, size_bytes)
        self._entries.append(entry)
        self.fact_count += len(changes)
        self.size_bytes += size_bytes
        self._drop_what_is_too_much()
        return entry

    def weigh(self, entry: Entry, facts: Sequence[OwnershipFact]) -> None:
        """These are some of the facts of lots in an entry, which may be gone."""
        if entry.revision > self.oldest_revision:
            size_bytes = _bytes_of(facts)
            entry.size_bytes += size_bytes
            self.size_bytes += size_bytes
            self._drop_what_is_too_much()

    def _drop_what_is_too_much(self) -> None:
        while self.fact_count > self._max_facts or self.size_bytes > self._max_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        entry = self._entries[self._gone]
        self._entries[self._gone] = _GONE
        self._gone += 1
        self.oldest_revision = entry.revision
        self.fact_count -= len(entry.facts)
        self.size_bytes -= entry.size_bytes
        if self._gone > len(self._entries) // 2:
            del self._entries[: self._gone]
            self._first_position += self._gone
            self._gone = 0

    @property
    def start(self) -> int:
        """The position of the oldest entry."""
        return self._first_position + self._gone

    @property
    def end(self) -> int:
        """The position that the next entry will have."""
        return self._first_position + len(self._entries)

    def entry_at(self, position: int) -> Entry | None:
        """The entry at a position, unless it is gone or not there yet."""
        return self._entries[position - self._first_position] if self.start <= position < self.end else None

    def position_after(self, revision: Revision) -> int:
        """The position of the first entry there is, or will be, after a revision."""
        at = bisect_right(self._entries, revision, lo=self._gone, key=lambda entry: entry.revision)
        return self._first_position + at

    def entries_before(self, position: int, at_most: int) -> Sequence[Entry]:
        """Up to so many entries before a position, the last one first. None, once the rest is gone."""
        end = position - self._first_position
        return self._entries[max(self._gone, end - at_most) : max(self._gone, end)][::-1]
