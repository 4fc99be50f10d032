"""The audit log as people and programs like to see it: a line for each record, or an object for each resource of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from resroute.audit.reading import AuditReader, CannotRead, open_reader
from resroute.audit.records import Filters, Record
from resroute.audit.rows import rows_of, set_members
from resroute.audit.store import NAME
from resroute.cli.exits import DONE, NO_AUDIT_LOG
from resroute.cli.output import Table, complain, note, to_json, write
from resroute.times import rfc3339

_AT_A_TIME = 500


def show_audit_log(data_dir: str, filters: Filters, *, limit: int | None, as_json: bool) -> int:
    """Print the records that match, oldest first, and return the exit code.

    Args:
        limit: only so many, the newest.

    Raises:
        OutputLost: nobody reads it.
    """
    try:
        with open_reader(Path(data_dir) / NAME) as reader:
            _print(reader, _records(reader, filters, limit), filters, as_json=as_json)
    except CannotRead as why:
        complain(str(why))
        return NO_AUDIT_LOG
    return DONE


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


def _print(
    reader: AuditReader, pages: Iterator[Sequence[Record]], filters: Filters, *, as_json: bool
) -> None:
    table = Table(tuple(_COLUMNS))
    count = 0
    for records in pages:
        count += len(records)
        if as_json:
            for record in records:
                for rows in rows_of(reader, record, filters):
                    write("\n".join(to_json(set_members(row), pretty=False) for row in rows))
        elif records:
            write(table.lines([show(record) for show in _COLUMNS.values()] for record in records))
    if not count and not as_json:
        note("There are no records, or none that match.")


# --- for people ---------------------------------------------------------------------------------------------


def _resources(record: Record) -> str:
    shown, count = record.entry.resources, record.entry.resource_count
    if not shown:
        return str(count) if count else "-"
    more = count - 1
    return shown[0].resource_id + (f" and {more} more" if more > 0 else "")


def _actor(record: Record) -> str:
    actor = record.entry.actor
    if actor is None:
        return "the router"
    return f"{actor.subject} ({actor.instance_id or actor.session_id})"


_COLUMNS: Mapping[str, Callable[[Record], str]] = {
    "TIME": lambda record: rfc3339(record.entry.at),
    "EVENT": lambda record: record.entry.event,
    "CAUSE": lambda record: record.entry.cause or "-",
    "RESOURCES": _resources,
    "FROM": lambda record: record.entry.instance_before or "-",
    "TO": lambda record: record.entry.instance_after or "-",
    "BY": _actor,
    "REASON": lambda record: record.entry.reason or "-",
}
