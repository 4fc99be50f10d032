"""The audit log as people and programs like to see it: a line for each record, or one for each resource of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from resroute.audit.reading import AuditReader, CannotRead, open_reader
from resroute.audit.records import Filters, Record
from resroute.audit.rows import CSV_HEADING, csv_text, rows_of, set_members
from resroute.audit.store import NAME
from resroute.cli.exits import DONE, NO_AUDIT_LOG
from resroute.cli.output import Table, complain, note, to_json, write, write_text
from resroute.cli.remote.results import AuditActor, AuditFilters, AuditRecord, AuditResource
from resroute.ids import InstanceId, ResourceId
from resroute.times import read_time, rfc3339

Form = Literal["table", "json", "csv"]

_AT_A_TIME = 500


def show_audit_log(data_dir: str, filters: AuditFilters, *, limit: int | None, form: Form) -> int:
    """Print the records of a file that match, oldest first, and return the exit code.

    Args:
        limit: only so many, the newest.

    Raises:
        OutputLost: nobody reads it.
    """
    of_file = _filters(filters)
    try:
        with open_reader(Path(data_dir) / NAME) as reader:
            pages = _records(reader, of_file, limit)
            if form == "table":
                lister = Lister()
                for records in pages:
                    lister.print(map(_shown, records))
                lister.end()
            else:
                _print_rows(reader, pages, of_file, form)
    except CannotRead as why:
        complain(str(why))
        return NO_AUDIT_LOG
    return DONE


# --- from a file --------------------------------------------------------------------------------------------


def _filters(filters: AuditFilters) -> Filters:
    resource_id, instance_id = filters.resource_id, filters.instance_id
    return Filters(
        since=None if filters.since is None else read_time(filters.since),
        until=None if filters.until is None else read_time(filters.until),
        resource_id=None if resource_id is None else ResourceId(resource_id),
        instance_id=None if instance_id is None else InstanceId(instance_id),
        actor=filters.actor,
        event=filters.event,
        cause=filters.cause,
    )


def _records(reader: AuditReader, filters: Filters, limit: int | None) -> Iterator[Sequence[Record]]:
    cursor = None
    if limit is None:
        while True:
            page = reader.query(filters, limit=_AT_A_TIME, cursor=cursor)
            yield page.records
            cursor = page.next_cursor
            if cursor is None:
                return
    newest: list[Record] = []
    while len(newest) < limit:
        page = reader.query(
            filters, limit=min(_AT_A_TIME, limit - len(newest)), cursor=cursor, newest_first=True
        )
        newest += page.records
        cursor = page.next_cursor
        if cursor is None:
            break
    yield newest[::-1]


def _print_rows(reader: AuditReader, pages: Iterator[Sequence[Record]], filters: Filters, form: Form) -> None:
    if form == "csv":
        write_text(CSV_HEADING)
    for records in pages:
        for record in records:
            for rows in rows_of(reader, record, filters):
                if form == "csv":
                    write_text(csv_text(rows))
                else:
                    write("\n".join(to_json(set_members(row), pretty=False) for row in rows))


def _shown(record: Record) -> AuditRecord:
    """A record of the file as the API tells it."""
    entry, actor = record.entry, record.entry.actor
    return AuditRecord(
        id=record.id,
        at=rfc3339(entry.at),
        event=entry.event,
        cause=entry.cause,
        resources=tuple(AuditResource(resource_id=it.resource_id) for it in entry.resources),
        resource_count=entry.resource_count,
        actor=None
        if actor is None
        else AuditActor(subject=actor.subject, session_id=actor.session_id, instance_id=actor.instance_id),
        instance_before=entry.instance_before,
        instance_after=entry.instance_after,
        reason=entry.reason,
    )


# --- for people ---------------------------------------------------------------------------------------------


class Lister:
    """Prints records in a table, page by page."""

    def __init__(self) -> None:
        self._table = Table(tuple(_COLUMNS))
        self._count = 0

    def print(self, records: Iterable[AuditRecord]) -> None:
        """Print a page."""
        rows = [[show(record) for show in _COLUMNS.values()] for record in records]
        self._count += len(rows)
        if rows:
            write(self._table.lines(rows))

    def end(self) -> None:
        """Say so if there was nothing to print."""
        if not self._count:
            note("There are no records, or none that match.")


def _resources(record: AuditRecord) -> str:
    shown, count = record.resources, record.resource_count
    if not shown:
        return str(count) if count else "-"
    more = count - 1
    return shown[0].resource_id + (f" and {more} more" if more > 0 else "")


def _actor(record: AuditRecord) -> str:
    actor = record.actor
    if actor is None:
        return "the router"
    return f"{actor.subject} ({actor.instance_id or actor.session_id})"


_COLUMNS: Mapping[str, Callable[[AuditRecord], str]] = {
    "TIME": lambda record: record.at,
    "EVENT": lambda record: record.event,
    "CAUSE": lambda record: record.cause or "-",
    "RESOURCES": _resources,
    "FROM": lambda record: record.instance_before or "-",
    "TO": lambda record: record.instance_after or "-",
    "BY": _actor,
    "REASON": lambda record: record.reason or "-",
}
