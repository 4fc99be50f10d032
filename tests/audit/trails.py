"""Audit trails of a test, and what is found in their files."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from resroute.audit.file_trail import FileTrail
from resroute.audit.reading import open_reader
from resroute.audit.records import Entry, Filters, Freed, Record, Touched
from resroute.audit.store import NAME
from resroute.audit.trail import Retention
from resroute.ids import Epoch, InstanceId, ResourceId, Revision

NOW = 1_800_000_000.0
PLENTY = Retention(days=30, max_bytes=64 * 1024 * 1024)


def expired(number: int, *, at: float = NOW, count: int = 1) -> Entry:
    """That resources of its own have expired; their names tell the number."""
    resources = [Touched(ResourceId(f"r:{number:06}:{n}"), Epoch(number + 1)) for n in range(count)]
    return Entry(
        at=at,
        revision=Revision(number),
        event="expired",
        cause="expired",
        instance_before=InstanceId("i"),
        resources=resources,
        resource_count=count,
    )


def freed(number: int, count: int) -> Freed:
    """More resources of what was recorded under a number."""
    return Freed(
        Revision(number), [Touched(ResourceId(f"r:{number:06}:{n}"), Epoch(1)) for n in range(count)]
    )


def recorded(folder: Path, filters: Filters | None = None) -> list[Record]:
    """All that the file holds, up to a thousand records."""
    with open_reader(folder / NAME) as reader:
        return list(reader.query(filters or Filters(), limit=1000).records)


def numbers(folder: Path) -> list[int]:
    """The numbers of what was recorded."""
    return [record.entry.revision for record in recorded(folder)]


def size_in_pages(folder: Path) -> int:
    """How large the file is, with what has yet to be moved there from the one beside it."""
    connection = sqlite3.connect(f"{(folder / NAME).as_uri()}?mode=ro", uri=True)
    try:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [page_size] = connection.execute("PRAGMA page_size").fetchone()
        return int(pages * page_size)
    finally:
        connection.close()


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with the whole file."""
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    finally:
        connection.close()


@asynccontextmanager
async def open_trail(
    folder: Path,
    *,
    retention: Callable[[], Retention] = lambda: PLENTY,
    max_queued_bytes: int = 1_000_000,
) -> AsyncGenerator[FileTrail]:
    """A trail that is written for the length of a block."""
    trail = FileTrail(str(folder), lambda: NOW, max_queued_bytes=max_queued_bytes)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trail.run, retention)
            try:
                yield trail
            finally:
                trail.finish()


async def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with trio.fail_after(30):
        while not is_so():  # noqa: ASYNC110  # it is about a file
            await trio.sleep(0.02)
