"""Reading the audit log: memory and file give the same answers as a plain list that is searched from end to end."""

import itertools
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resroute.audit.file_trail import write_of
from resroute.audit.memory import MemoryStore
from resroute.audit.reading import AuditReader, open_reader
from resroute.audit.records import (
    MAX_RESOURCES_SHOWN,
    Actor,
    Entry,
    Event,
    Filters,
    Freed,
    Record,
    Source,
    Touched,
)
from resroute.audit.store import NAME, AuditStore
from resroute.core.commands import Cause
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from tests.core.effort import effort

RESOURCES = [ResourceId(name) for name in ("a", "B", "a/1", "a:10", "a:9", "~")]
EVENTS: tuple[Event, ...] = get_args(Event)
CAUSES: tuple[Cause, ...] = ("forced", "admin", "expired", "session_ended")

instances = st.sampled_from([InstanceId(name) for name in ("i1", "i2", "i3")])
epochs = st.none() | st.integers(1, 2**52).map(Epoch)
touched = st.lists(
    st.builds(Touched, st.sampled_from(RESOURCES), epochs, epochs),
    max_size=4,
    unique_by=lambda it: it.resource_id,
)
actors = st.builds(
    Actor,
    st.sampled_from(["ada", "anonymous"]),
    st.sampled_from([SessionId("s1"), SessionId("s2")]),
    st.none() | instances,
)
times = st.sampled_from([1.0, 1.5, 2.0, 3.25])
entries = st.builds(
    Entry,
    at=times,
    revision=st.just(Revision(0)),
    event=st.sampled_from(EVENTS),
    cause=st.none() | st.sampled_from(CAUSES),
    actor=st.none() | actors,
    service_name=st.none() | st.just(ServiceName("store")),
    instance_before=st.none() | instances,
    instance_after=st.none() | instances,
    about_session_id=st.none() | st.just(SessionId("s9")),
    resources=touched,
    resource_count=st.integers(0, 100_000),
    transfer_id=st.none() | st.just("transfer-1"),
    trace_id=st.none() | st.just("t-1"),
    reason=st.none() | st.text(max_size=10, alphabet=st.characters(exclude_categories=["Cs"])),
)
filters = st.builds(
    Filters,
    since=st.none() | times,
    until=st.none() | times,
    resource_id=st.none() | st.sampled_from(RESOURCES),
    instance_id=st.none() | instances,
    actor=st.none() | st.sampled_from(["ada", "s1", "i1"]),
    event=st.none() | st.sampled_from(EVENTS),
    cause=st.none() | st.sampled_from(CAUSES),
)


def matches(entry: Entry, wanted: Filters) -> bool:
    actor = entry.actor
    who = set() if actor is None else {actor.subject, actor.session_id, actor.instance_id}
    whose = {entry.instance_before, entry.instance_after, None if actor is None else actor.instance_id}
    return all(
        (
            wanted.since is None or wanted.since <= entry.at,
            wanted.until is None or entry.at < wanted.until,
            wanted.resource_id is None or wanted.resource_id in [it.resource_id for it in entry.resources],
            wanted.instance_id is None or wanted.instance_id in whose,
            wanted.actor is None or wanted.actor in who,
            wanted.event is None or wanted.event == entry.event,
            wanted.cause is None or wanted.cause == entry.cause,
        )
    )


def shown(entry: Entry, wanted: Filters) -> Entry:
    of = [it for it in entry.resources if wanted.resource_id in (None, it.resource_id)]
    return msgspec.structs.replace(entry, resources=sorted(of, key=lambda it: it.resource_id))


def read_all(source: Source, wanted: Filters, limit: int, *, newest_first: bool) -> list[Record]:
    records: list[Record] = []
    cursor = None
    while True:
        page = source.query(wanted, limit=limit, cursor=cursor, newest_first=newest_first)
        assert len(page.records) <= limit
        records += page.records
        cursor = page.next_cursor
        if cursor is None:
            return records


def keep_in_memory(items: Sequence[Entry | Freed]) -> MemoryStore:
    store = MemoryStore()
    for item in items:
        store.write(item)
    return store


def keep_in_file(items: Sequence[Entry | Freed], folder: Path, stack: ExitStack) -> AuditReader:
    store = AuditStore(folder / NAME)
    stack.callback(store.close)
    store.write([write_of(item) for item in items])
    return stack.enter_context(open_reader(folder / NAME))


@given(
    made=st.lists(entries, max_size=8),
    wanted=filters,
    limit=st.integers(1, 4),
    newest_first=st.booleans(),
)
@effort(60)
def test_both_sources_find_what_a_plain_list_holds(
    made: list[Entry], wanted: Filters, limit: int, newest_first: bool
) -> None:
    found = [shown(entry, wanted) for entry in made if matches(entry, wanted)]
    expected = found[::-1] if newest_first else found
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for source in (keep_in_memory(made), keep_in_file(made, Path(folder), stack)):
            records = read_all(source, wanted, limit, newest_first=newest_first)
            assert [record.entry for record in records] == expected
            ids = [record.id for record in records]
            assert ids == sorted(ids, reverse=newest_first)


def test_resources_that_are_told_later_belong_to_the_record_of_their_revision(tmp_path: Path) -> None:
    ended = Entry(at=1.0, revision=Revision(7), event="released", cause="heartbeat_lost", resource_count=45)
    names = [ResourceId(f"r:{n:02}") for n in range(45)]
    parts = [Freed(Revision(7), [Touched(name, Epoch(3)) for name in names[n::3]]) for n in range(3)]
    other = Entry(at=1.0, revision=Revision(8), event="expired", cause="expired")
    stranger = Freed(Revision(6), [Touched(ResourceId("lost"), Epoch(3))])  # its record was dropped
    with ExitStack() as stack:
        items: list[Entry | Freed] = [ended, parts[0], other, stranger, *parts[1:]]
        for source in (keep_in_memory(items), keep_in_file(items, tmp_path, stack)):
            record, second = source.query(Filters(), limit=10).records
            assert [it.resource_id for it in record.entry.resources] == names[:MAX_RESOURCES_SHOWN]
            assert second.entry.resources == []
            [found] = source.query(Filters(resource_id=names[44]), limit=10).records
            assert found.id == record.id and found.entry.resources == [Touched(names[44], Epoch(3))]
            assert not source.query(Filters(resource_id=ResourceId("lost")), limit=10).records
            pages = list(all_resources(source, record.id))
            assert [it.resource_id for page in pages for it in page] == names
            assert not source.resources_of(99, limit=10)


def all_resources(source: Source, record_id: int) -> "itertools.chain[Sequence[Touched]]":
    pages: list[Sequence[Touched]] = []
    after = ""
    while page := source.resources_of(record_id, limit=10, after=after):
        pages.append(page)
        after = page[-1].resource_id
    return itertools.chain(pages)


def test_memory_keeps_the_last_of_it() -> None:
    store = MemoryStore(max_records=3, max_resources=10)
    for n in range(5):
        store.write(Entry(at=float(n), revision=Revision(n), event="expired"))
    assert [record.entry.at for record in store.query(Filters(), limit=10).records] == [2.0, 3.0, 4.0]
    store.write(Freed(Revision(0), [Touched(RESOURCES[0])]))
    assert (len(store), store.resource_count) == (3, 0)


@pytest.mark.parametrize("others", [0, 1])
def test_memory_is_bounded_for_one_record_as_for_many(others: int) -> None:
    store = MemoryStore(max_records=5, max_resources=10)
    for n in range(others):
        store.write(
            Entry(at=0.0, revision=Revision(n + 1), event="expired", resources=[Touched(RESOURCES[0])])
        )
    store.write(Entry(at=1.0, revision=Revision(9), event="released", resource_count=100))
    for n in range(20):
        more = [Touched(ResourceId(f"r:{n}:{m}")) for m in range(5)]
        store.write(Freed(Revision(9), more))
    assert store.resource_count == 10
    assert [record.entry.at for record in store.query(Filters(), limit=10).records] == [1.0]
