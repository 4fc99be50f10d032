"""Reading the audit log from its file, whether a router writes it at the time or not."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from resroute.audit.records import MAX_RESOURCES_SHOWN, Entry, Filters, Page, Record, Touched
from resroute.audit.store import APPLICATION_ID, SCHEMA_VERSION

_BUSY_SECONDS = 5.0

_COLUMNS = (
    "id, at, revision, event, cause, subject, session_id, instance_id, service_name, instance_before, "
    "instance_after, about_session_id, resource_count, transfer_id, trace_id, reason"
)
_CONDITIONS = {
    "since": "at >= :since",
    "until": "at < :until",
    "resource_id": "id IN (SELECT record_id FROM resources WHERE resources.resource_id = :resource_id)",
    "instance_id": ":instance_id IN (instance_id, instance_before, instance_after)",
    "actor": ":actor IN (subject, session_id, instance_id)",
    "event": "event = :event",
    "cause": "cause = :cause",
}
_SHOWN = """
SELECT resource_id, epoch_before, epoch_after FROM resources
WHERE record_id = ? AND resource_id > ? ORDER BY resource_id LIMIT ?
"""
_ONE = "SELECT resource_id, epoch_before, epoch_after FROM resources WHERE record_id = ? AND resource_id = ?"


class CannotRead(Exception):
    """There is no audit log, or it cannot be read; the text is one line for people."""


class NotYetMade(CannotRead):
    """Its writer has not made the file yet, or not put anything into it."""


class AuditReader:
    """Reads records. Each method is one short transaction, so that the router's writer is never held up for long."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(
        self, filters: Filters, *, limit: int, cursor: int | None = None, newest_first: bool = False
    ) -> Page:
        """See :meth:`resroute.audit.records.Source.query`.

        Raises:
            CannotRead: the file is damaged, or somebody keeps it locked.
        """
        given: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(filters).items() if value is not None
        }
        conditions = [_CONDITIONS[name] for name in given]
        if cursor is not None:
            conditions.append("id < :cursor" if newest_first else "id > :cursor")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "DESC" if newest_first else "ASC"
        statement = f"SELECT {_COLUMNS} FROM records {where} ORDER BY id {order} LIMIT :limit"
        with _told():
            rows = self._connection.execute(
                statement, {**given, "limit": limit + 1, "cursor": cursor}
            ).fetchall()
            page = rows[:limit]
            return Page(
                records=[self._record(row, filters.resource_id) for row in page],
                next_cursor=page[-1][0] if len(rows) > limit else None,
            )

    def resources_of(self, record_id: int, *, limit: int, after: str = "") -> Sequence[Touched]:
        """See :meth:`resroute.audit.records.Source.resources_of`.

        Raises:
            CannotRead: the file is damaged, or somebody keeps it locked.
        """
        with _told():
            return [
                Touched(*row)
                for row in self._connection.execute(_SHOWN, (record_id, after, limit)).fetchall()
            ]

    def _record(self, row: Sequence[Any], resource_id: str | None) -> Record:
        record_id, at, revision, event, cause, subject, session_id, instance_id, *rest = row
        service_name, instance_before, instance_after, about_session_id, resource_count, *why = rest
        transfer_id, trace_id, reason = why
        if resource_id is None:
            shown = self.resources_of(record_id, limit=MAX_RESOURCES_SHOWN)
        else:
            found = self._connection.execute(_ONE, (record_id, resource_id)).fetchall()
            shown = [Touched(*it) for it in found]
        actor = None
        if subject is not None:
            actor = {"subject": subject, "session_id": session_id, "instance_id": instance_id}
        entry = {
            "at": at,
            "revision": revision,
            "event": event,
            "cause": cause,
            "actor": actor,
            "service_name": service_name,
            "instance_before": instance_before,
            "instance_after": instance_after,
            "about_session_id": about_session_id,
            "resources": shown,
            "resource_count": resource_count,
            "transfer_id": transfer_id,
            "trace_id": trace_id,
            "reason": reason,
        }
        return Record(id=record_id, entry=msgspec.convert(entry, Entry))


@contextmanager
def open_reader(path: Path) -> Iterator[AuditReader]:
    """Open the file for reading. It is not changed, and need not be writable.

    Raises:
        CannotRead: there is none, or it cannot be read, or it is no audit log of this version.
    """
    if not path.exists():
        raise NotYetMade(f"there is no audit log at {path}")
    connection = _connect(path)
    try:
        with _told():
            [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if not tables:
                raise NotYetMade(f"there is nothing at {path} yet")
            [version] = connection.execute("PRAGMA user_version").fetchone()
            [application] = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise CannotRead(f"{path} is no audit log")
        if version > SCHEMA_VERSION:
            raise CannotRead(f"{path} is of a newer version of resroute")
        yield AuditReader(connection)
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    # A file that nobody writes and that lies where one may not write can be read as what never changes.
    is_at_rest = not path.with_name(path.name + "-wal").exists()
    problem: sqlite3.Error | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1") if is_at_rest else ("mode=ro",):
        connection = None
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            problem = error
            if connection is not None:
                connection.close()
        else:
            return connection
    raise CannotRead(f"cannot read {path}: {problem}")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CannotRead(f"cannot read the audit log: {error}") from error
    except msgspec.ValidationError as error:
        raise CannotRead(f"the audit log holds what it cannot hold: {error}") from error
