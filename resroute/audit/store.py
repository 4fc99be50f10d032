"""The audit log in a file: how it is made, written, and kept in its bounds. SQLite, in WAL mode; not for the event loop.

Whatever ends the process, the next one opens the file: what was committed is there, what was not is not.
"""

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from resroute.ids import Revision

NAME = "audit.db"
DAMAGED_NAME = "audit.damaged.db"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x72736175  # "rsau"

_BUSY_SECONDS = 2.0
_CHECKED_BYTES = 64 * 1024 * 1024  # a file up to this is looked through when it is opened
_RESOURCES_AT_A_TIME = 5000  # that one transaction deletes
_RECORDS_AT_A_TIME = 500
_PAGES_AT_A_TIME = 2000  # that go back to the file system
_ROOM = 0.9  # of what it may take remains in use once it has taken more
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SCHEMA = """
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    revision INTEGER NOT NULL,
    event TEXT NOT NULL,
    cause TEXT,
    subject TEXT,
    session_id TEXT,
    instance_id TEXT,
    service_name TEXT,
    instance_before TEXT,
    instance_after TEXT,
    about_session_id TEXT,
    resource_count INTEGER NOT NULL,
    transfer_id TEXT,
    trace_id TEXT,
    reason TEXT
) STRICT;
CREATE INDEX records_by_at ON records (at);
CREATE INDEX records_by_revision ON records (revision);
CREATE TABLE resources (
    record_id INTEGER NOT NULL,
    resource_id TEXT NOT NULL,
    epoch_before INTEGER,
    epoch_after INTEGER,
    PRIMARY KEY (record_id, resource_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX resources_by_id ON resources (resource_id, record_id);
"""

_LAST_ID = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records'"
_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# of all records in one statement, during which SQLite needs the interpreter for nothing
_INSERT_RESOURCES = """
INSERT OR IGNORE INTO resources
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)
"""
_OF_REVISION = "SELECT min(id) FROM records WHERE revision = ?"
_TOO_OLD = "SELECT id, resource_count FROM records WHERE at < ? ORDER BY at LIMIT ?"
_OLDEST = "SELECT id, resource_count FROM records ORDER BY id LIMIT ?"
_DELETE_RESOURCES = """
DELETE FROM resources WHERE (record_id, resource_id) IN (
    SELECT record_id, resource_id FROM resources WHERE record_id = ? LIMIT ?
)
"""

Row = tuple[float | int | str | None, ...]
"""The columns of a record, without its id."""


class Write(NamedTuple):
    """Something to write: a record with its resources, or without a row more resources of the record of a revision."""

    row: Row | None
    revision: Revision
    resources: bytes
    """JSON: a list of ``[resource_id, epoch_before, epoch_after]``."""


class NotOurs(Exception):
    """The file is a database, and not an audit log that this version can write. It is left as it is."""


class AuditStore:
    """The file, open for writing. One thread at a time.

    Args:
        path: made if it is missing, with its folder, for the router's user alone.

    Attributes:
        moved_aside: where a damaged file went that was found in its place.

    Raises:
        NotOurs: there is another database in its place.
        sqlite3.Error, OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved_aside: Path | None = None
        self._is_shrinking = False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.moved_aside = move_aside(path)
            self._connection = self._open()
        self._inode = path.stat().st_ino

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with suppress(PermissionError):
            self.path.chmod(0o600)
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = _number(connection, "PRAGMA user_version")
        is_empty = not _number(connection, "SELECT count(*) FROM sqlite_schema")
        if not is_empty and _number(connection, "PRAGMA application_id") != APPLICATION_ID:
            raise NotOurs(f"{self.path} is a database of something else: move it away")
        if version > SCHEMA_VERSION:
            raise NotOurs(f"{self.path} is of a newer version of resroute: move it away")
        if is_empty:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 8388608")
        if is_empty:
            connection.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA} "
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        elif self.path.stat().st_size > _CHECKED_BYTES:
            pass  # that would take seconds, in which nothing is written: damage shows when it is met
        elif (found := connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            damage = sqlite3.DatabaseError(str(found[0]) if found else "damaged")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage

    def close(self) -> None:
        """Close the file. Never raises; closing twice does no harm."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @property
    def is_in_place(self) -> bool:
        """Whether what is open is still what others find under the path."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    # --- writing ----------------------------------------------------------------------------------------------

    def write(self, writes: Iterable[Write]) -> None:
        """Write all of it durably, or nothing.

        Raises:
            sqlite3.Error: it could not be done.
        """
        with _Transaction(self._connection) as execute:
            [last_id] = execute(_LAST_ID).fetchone()
            rows: list[Row] = []
            ids: dict[Revision, int | None] = {}
            resources_of: list[bytes] = []
            for row, revision, resources in writes:
                if row is not None:
                    last_id += 1
                    rows.append((last_id, *row))
                    ids.setdefault(revision, last_id)
                    record_id = last_id
                else:
                    if revision not in ids:
                        [ids[revision]] = execute(_OF_REVISION, (revision,)).fetchone()
                    record_id = ids[revision]
                if record_id is not None and resources:
                    resources_of.append(_with_record(record_id, resources))
            self._connection.executemany(_INSERT, rows)
            if resources_of:
                execute(_INSERT_RESOURCES, (f"[{b','.join(resources_of).decode()}]",))

    # --- bounds -----------------------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """What the records take of the file."""
        pages = _number(self._connection, "PRAGMA page_count")
        free = _number(self._connection, "PRAGMA freelist_count")
        return (pages - free) * _number(self._connection, "PRAGMA page_size")

    def prune(self, *, before: float, max_bytes: int) -> bool:
        """Delete some of what was recorded before a time, and of the oldest while they take more than ``max_bytes``.

        Returns whether there is more to delete.

        Raises:
            sqlite3.Error: it could not be done.
        """
        used = self.used_bytes
        self._is_shrinking = used > max_bytes or (self._is_shrinking and used > max_bytes * _ROOM)
        with _Transaction(self._connection) as execute:
            victims = execute(_TOO_OLD, (before, _RECORDS_AT_A_TIME)).fetchall()
            if not victims and self._is_shrinking:
                victims = execute(_OLDEST, (_RECORDS_AT_A_TIME,)).fetchall()
            self._delete(execute, victims)
        if _number(self._connection, "PRAGMA page_count") * self._page_size > max_bytes:
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_A_TIME})").fetchall()
        return bool(victims)

    @property
    def _page_size(self) -> int:
        return _number(self._connection, "PRAGMA page_size")

    @staticmethod
    def _delete(execute: "_Execute", victims: Iterable[tuple[int, int]]) -> None:
        left = _RESOURCES_AT_A_TIME
        for record_id, _ in victims:
            deleted = execute(_DELETE_RESOURCES, (record_id, left)).rowcount
            left -= deleted
            if left <= 0:
                return  # there may be more of this record's
            execute("DELETE FROM records WHERE id = ?", (record_id,))


class _Execute:
    """What runs one statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, statement: str, values: Row = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


class _Transaction:
    """All of a block, or nothing of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> _Execute:
        self._connection.execute("BEGIN IMMEDIATE")
        return _Execute(self._connection)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # some SQLite has rolled back by itself
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")


def _with_record(record_id: int, resources: bytes) -> bytes:
    """The items of a list of resources, each with the id of its record before it. No id of a resource has a bracket in it."""
    return resources[1:-1].replace(b'["', b'[%d,"' % record_id)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no sound database."""
    code = getattr(error, "sqlite_errorcode", 0)  # the module's own errors have none
    return (code & 0xFF) in _DAMAGED


def move_aside(path: Path) -> Path:
    """Give a damaged file another name, in place of one that was moved there before. Returns where it is."""
    aside = path.with_name(DAMAGED_NAME)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    path.replace(aside)
    return aside


def _number(connection: sqlite3.Connection, statement: str) -> int:
    [value] = connection.execute(statement).fetchone()
    return int(value)
