"""The audit log for programs: a flat row for each resource of each record."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from resroute.audit.records import Filters, Record, Source, Touched
from resroute.times import rfc3339

RESOURCES_AT_A_TIME = 1000


def rows_of(source: Source, record: Record, filters: Filters) -> Iterator[Sequence[Mapping[str, Any]]]:
    """One row for each resource, so that each has at most one; one for a record without any. Some at a time."""
    shown = record.entry.resources
    if not shown:
        yield [row_of(record, None)]
    elif filters.resource_id is not None:
        yield [row_of(record, touched) for touched in shown]
    else:
        after = ""
        while resources := source.resources_of(record.id, limit=RESOURCES_AT_A_TIME, after=after):
            yield [row_of(record, touched) for touched in resources]
            after = resources[-1].resource_id


def row_of(record: Record, touched: Touched | None) -> dict[str, Any]:
    """A record, and one of its resources if it has some. Every row has the same members, some of them None."""
    entry = record.entry
    return {
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
        "actor": None if entry.actor is None else set_members(msgspec.to_builtins(entry.actor)),
        "transfer_id": entry.transfer_id,
        "trace_id": entry.trace_id,
        "reason": entry.reason,
    }


def set_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


# --- for spreadsheets ---------------------------------------------------------------------------------------

_COLUMNS = (
    "id",
    "at",
    "revision",
    "event",
    "cause",
    "resource_id",
    "service_name",
    "instance_before",
    "instance_after",
    "epoch_before",
    "epoch_after",
    "resource_count",
    "about_session_id",
    "actor_subject",
    "actor_session_id",
    "actor_instance_id",
    "transfer_id",
    "trace_id",
    "reason",
)


# What a spreadsheet may take for a formula, which white space before it need not prevent; in wide letters, too.
_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, in which a text that a spreadsheet would take for a formula has a ``'`` before it."""
    return _csv([[_cell(row, name) for name in _COLUMNS] for row in rows])


def _cell(row: Mapping[str, Any], name: str) -> Any:
    if name.startswith("actor_"):
        value = (row["actor"] or {}).get(name.removeprefix("actor_"))
    else:
        value = row[name]
    # peers choose some of these texts
    if isinstance(value, str) and _FORMULA.match(value):
        return "'" + value
    return value


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


CSV_HEADING = _csv([_COLUMNS])
"""The names of the columns, in the line above the first."""
