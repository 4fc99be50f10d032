"""The audit log over HTTP: pages of records, and all of it as CSV or JSON lines."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import orjson
import trio
from msgspec import UNSET, Raw
from quart import Response
from quart.wrappers.response import ResponseBody

from resroute.admin.problems import Problem, trace_id_of_request
from resroute.admin.shapes import (
    MAX_RECORD_ID,
    AuditActor,
    AuditFilterParams,
    AuditPage,
    AuditParams,
    AuditRecord,
    AuditResource,
    ExportParams,
)
from resroute.admin.view import ReadableTrail
from resroute.audit.reading import CannotRead
from resroute.audit.records import Filters, Page, Record, Source
from resroute.audit.rows import CSV_HEADING, RESOURCES_AT_A_TIME, csv_text, row_of, set_members
from resroute.errors import InvalidParams
from resroute.times import read_time, rfc3339

MAX_LIMIT = 1000
RECORDS_AT_A_TIME = 50
_ROWS_AT_A_TIME = 200

_encode = msgspec.json.Encoder().encode

Format = Literal["jsonl", "csv"]


async def audit_page(trail: ReadableTrail, params: AuditParams) -> AuditPage:
    """A page of records.

    Raises:
        InvalidParams: a parameter cannot be.
        Problem: the audit log cannot be read.
    """
    if not 1 <= params.limit <= MAX_LIMIT:
        raise InvalidParams.at("limit", f"must be from 1 to {MAX_LIMIT}")
    if params.cursor is not None and not 0 <= params.cursor <= MAX_RECORD_ID:
        raise InvalidParams.at("cursor", "is none of this log's")
    filters = filters_of(params)
    records: list[AuditRecord] = []
    cursor = params.cursor
    while True:
        wanted = min(params.limit - len(records), RECORDS_AT_A_TIME)
        page = await read_page(trail, filters, wanted, cursor, newest_first=params.newest_first)
        records += map(shown, page.records)
        cursor = page.next_cursor
        if cursor is None or len(records) == params.limit:
            break
    told = AuditPage(records=records, trace_id=trace_id_of_request())
    if cursor is not None:
        told.next_cursor = cursor
    return told


async def page_text(page: AuditPage) -> bytes:
    """A page as JSON. Others get their turn between some records and the next."""
    texts: list[Raw] = []
    for number, record in enumerate(page.records):
        texts.append(Raw(_encode(record)))
        if number % RECORDS_AT_A_TIME == RECORDS_AT_A_TIME - 1:
            await trio.lowlevel.checkpoint()
    told = {"records": texts, "trace_id": page.trace_id}
    return _encode(told if page.next_cursor is UNSET else told | {"next_cursor": page.next_cursor})


async def read_page(
    trail: ReadableTrail, filters: Filters, limit: int, cursor: int | None, *, newest_first: bool
) -> Page:
    """What comes after a cursor, which may be less than there is.

    Raises:
        Problem: the audit log cannot be read.
    """

    def look(source: Source) -> Page:
        return source.query(filters, limit=limit, cursor=cursor, newest_first=newest_first)

    return await _read(trail, look)


async def _read[T](trail: ReadableTrail, look: Callable[[Source], T]) -> T:
    try:
        return await trail.read(look)
    except CannotRead as why:
        raise Problem(503, str(why)) from None


def filters_of(params: AuditFilterParams) -> Filters:
    """Which records are meant.

    Raises:
        InvalidParams: a time is none.
    """
    return Filters(
        since=_time(params.since, "since"),
        until=_time(params.until, "until"),
        resource_id=params.resource_id,
        instance_id=params.instance_id,
        actor=params.actor,
        event=params.event,
        cause=params.cause,
    )


def _time(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        return read_time(text)
    except (ValueError, OverflowError) as error:
        raise InvalidParams.at(name, str(error)[:200]) from None


def shown(record: Record) -> AuditRecord:
    """A record as it is told."""
    entry, actor = record.entry, record.entry.actor
    return AuditRecord(
        id=record.id,
        at=rfc3339(entry.at),
        revision=entry.revision,
        event=entry.event,
        cause=entry.cause,
        actor=None
        if actor is None
        else AuditActor(subject=actor.subject, session_id=actor.session_id, instance_id=actor.instance_id),
        service_name=entry.service_name,
        instance_before=entry.instance_before,
        instance_after=entry.instance_after,
        about_session_id=entry.about_session_id,
        resources=[
            AuditResource(
                resource_id=it.resource_id, epoch_before=it.epoch_before, epoch_after=it.epoch_after
            )
            for it in entry.resources
        ],
        resource_count=entry.resource_count,
        transfer_id=entry.transfer_id,
        trace_id=entry.trace_id,
        reason=entry.reason,
    )


# --- all of it --------------------------------------------------------------------------------------------


def export_response(trail: ReadableTrail, params: ExportParams) -> Response:
    """All records that match, a piece at a time; or the newest of them.

    Raises:
        InvalidParams: a parameter cannot be.
    """
    if params.limit is not None and not 1 <= params.limit <= MAX_RECORD_ID:
        raise InvalidParams.at("limit", "must be at least 1")
    kind = "text/csv; charset=utf-8" if params.format == "csv" else "application/x-ndjson"
    headers = {"Content-Disposition": f'attachment; filename="audit.{params.format}"'}
    response = Response(
        Export(trail, filters_of(params), params.format, params.limit), 200, headers, content_type=kind
    )
    response.timeout = None
    return response


class Export(ResponseBody):
    """The rows of all records that match, as text. With a ``limit`` those of the newest."""

    def __init__(
        self, trail: ReadableTrail, filters: Filters, format: Format, limit: int | None = None
    ) -> None:
        self._trail = trail
        self._filters = filters
        self._limit = limit
        self._write = _csv_lines if format == "csv" else _json_lines
        self._pieces = self._make(format)

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def __aexit__(self, *_: object) -> None:
        await self._pieces.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _make(self, format: Format) -> AsyncIterator[bytes]:
        if format == "csv":
            yield CSV_HEADING.encode()
        cursor = None if self._limit is None else await self._before_the_newest(self._limit)
        count = 0
        while True:
            wanted = RECORDS_AT_A_TIME if self._limit is None else min(RECORDS_AT_A_TIME, self._limit - count)
            page = await read_page(self._trail, self._filters, wanted, cursor, newest_first=False)
            count += len(page.records)
            for record in page.records:
                async for rows in self._rows(record):
                    yield self._write(rows)
            cursor = page.next_cursor
            if cursor is None or count == self._limit:
                return

    async def _before_the_newest(self, limit: int) -> int | None:
        """The cursor after which so many records follow; None: there are no more at all."""
        cursor: int | None = None
        count = 0
        while True:
            wanted = min(RECORDS_AT_A_TIME, limit - count)
            page = await read_page(self._trail, self._filters, wanted, cursor, newest_first=True)
            count += len(page.records)
            cursor = page.next_cursor
            if cursor is None:
                return None
            if count == limit:
                return page.records[-1].id - 1

    async def _rows(self, record: Record) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        shown = record.entry.resources
        if not shown:
            yield [row_of(record, None)]
            return
        if self._filters.resource_id is not None or len(shown) == record.entry.resource_count:
            yield [row_of(record, touched) for touched in shown]
            return
        after = ""
        while True:

            def look(source: Source, after: str = after) -> Sequence[Any]:
                return source.resources_of(record.id, limit=RESOURCES_AT_A_TIME, after=after)

            resources = await _read(self._trail, look)
            if not resources:
                return
            for first in range(0, len(resources), _ROWS_AT_A_TIME):
                await trio.lowlevel.checkpoint()
                yield [row_of(record, it) for it in resources[first : first + _ROWS_AT_A_TIME]]
            after = resources[-1].resource_id


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(set_members(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _csv_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return csv_text(rows).encode()
