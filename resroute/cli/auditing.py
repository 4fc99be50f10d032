"""The audit log as people and programs like to see it: a line for each record, or an object for each resource of each."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from resroute.audit.reading import AuditReader, CannotRead, open_reader
from resroute.audit.records import Filters, Record, Touched
from resroute.audit.store import NAME
from resroute.cli.exits import DONE, NO_AUDIT_LOG
from resroute.cli.output import Table, complain, note, to_json, write
from resroute.times import rfc3339

_AT_A_TIME = 500
_RESOURCES_AT_A_TIME = 1000

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_time(text: str) -> float:
    """Seconds since 1970 for a time in RFC 3339, for a day, or for so long ago: ``90s``, ``15m``, ``1h``, ``2d``, ``1w``.

    Raises:
        ValueError: it is none of these.
    """
    if (match := _DURATION.fullmatch(text)) is not None:
        return time.time() - int(match[1]) * _UNIT_SECONDS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time such as 2026-11-26T09:30:00Z nor a span such as 1h or 2d"
        ) from None
    if at.tzinfo is None:
        if len(text) > len("2026-11-26"):
            raise ValueError(f"{text!r} lacks its time zone, as in 2026-11-26T09:30:00Z")
        at = at.replace(tzinfo=UTC)
    return at.timestamp()


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
                for lines in _json_lines(reader, record, filters):
                    write("\n".join(lines))
        elif records:
            write(table.lines([show(record) for show in _COLUMNS.values()] for record in records))
    if not count and not as_json:
        note("There are no records, or none that match.")


# --- for programs -------------------------------------------------------------------------------------------


def _json_lines(reader: AuditReader, record: Record, filters: Filters) -> Iterator[Sequence[str]]:
    """One line for each resource, so that each line has at most one; one line for a record without any."""
    shown = record.entry.resources
    if not shown:
        yield [_line(record, None)]
    elif filters.resource_id is not None:
        yield [_line(record, touched) for touched in shown]
    else:
        after = ""
        while resources := reader.resources_of(record.id, limit=_RESOURCES_AT_A_TIME, after=after):
            yield [_line(record, touched) for touched in resources]
            after = resources[-1].resource_id


def _line(record: Record, touched: Touched | None) -> str:
    entry = record.entry
    members: dict[str, Any] = {
        "id": record.id,
        "at": rfc3339(entry.at),
        "revision": entry.revision,
        "event": entry.event,
        "cause": entry.cause,
        "resource_id": None if touched is None else touched.resource_id,
        "service_name": entry.service_name,
        "instance_before": entry.instance_before,
        "instance_after": entry.instance_after,
        "epoch_before": None if touched is None else touched.epoch_before,
        "epoch_after": None if touched is None else touched.epoch_after,
        "resource_count": entry.resource_count,
        "about_session_id": entry.about_session_id,
        "actor": None if entry.actor is None else _set(msgspec.to_builtins(entry.actor)),
        "transfer_id": entry.transfer_id,
        "trace_id": entry.trace_id,
        "reason": entry.reason,
    }
    return to_json(_set(members), pretty=False)


def _set(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


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
