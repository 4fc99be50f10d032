"""Whether the audit log holds whatever somebody was told to have lost to others, and what they were told about it."""

from collections import Counter
from collections.abc import Iterable, Iterator

from resroute.audit.memory import MemoryStore
from resroute.audit.records import Filters, Record
from resroute.router.router import Router
from tests.records import Word

_Loss = tuple[str, str, str | None]
"""The resource, the cause as the owner was told it, and the new owner."""

_CAUSES = {"admin": "released_by_admin"}


def find_unrecorded(words: Iterable[Word], router: Router) -> list[str]:
    """What was told of losses and is in no record, and what is wrong with those records."""
    store = getattr(router.trail, "store", None)
    assert isinstance(store, MemoryStore)
    records = list(_records(store))
    missing = Counter(_told(words)) - Counter(_recorded(store, records))
    faults = [f"{loss} was told {count} times more than it was recorded" for loss, count in missing.items()]
    for record in records:
        entry = record.entry
        if (entry.event, entry.actor is None) in (("transferred", True), ("expired", False)):
            faults.append(f"a record names the wrong actor: {entry}")
        if entry.resource_count != len(store.resources_of(record.id, limit=1000)):
            faults.append(f"a record has other resources than it says: {entry}")
    return faults


def _told(words: Iterable[Word]) -> Iterator[_Loss]:
    for word in words:
        if not word.is_said and word.method == "resource.lost":
            for resource_id in word.params["resource_ids"]:
                yield resource_id, word.params["cause"], word.params.get("new_owner")


def _recorded(store: MemoryStore, records: Iterable[Record]) -> Iterator[_Loss]:
    for record in records:
        entry = record.entry
        cause = _CAUSES.get(str(entry.cause), str(entry.cause))
        if entry.event == "transferred" and cause in ("drain", "rebalance"):
            cause = "transfer"  # as both sides are told it
        for touched in store.resources_of(record.id, limit=1000):
            if entry.event in ("transferred", "expired", "released"):
                yield touched.resource_id, cause, entry.instance_after


def _records(store: MemoryStore) -> Iterator[Record]:
    cursor = None
    while True:
        page = store.query(Filters(), limit=1000, cursor=cursor)
        yield from page.records
        cursor = page.next_cursor
        if cursor is None:
            return
