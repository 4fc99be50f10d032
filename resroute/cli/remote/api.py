"""The admin API of a router, as the methods that :class:`resroute.Client` has; and what is to be had there alone."""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Unpack

import attrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.cli.filters import ResourceFilters
from resroute.cli.remote.address import parse_admin_url
from resroute.cli.remote.asking import Asking
from resroute.cli.remote.events import RemoteEvents
from resroute.cli.remote.http import Http
from resroute.cli.remote.lines import Lines
from resroute.cli.remote.results import (
    AuditFilters,
    AuditPage,
    InstanceCalls,
    RemoteSettings,
    read_audit_page,
    read_instance_calls,
    read_settings,
)
from resroute.client.draining import Drained, DrainProgress, HandOverTo, read_drained
from resroute.client.insight import (
    Explanation,
    Ranking,
    RouterStatistics,
    read_explanation,
    read_ranking,
    read_router_statistics,
)
from resroute.client.messages import ErrorObject, read_payload
from resroute.client.requests import Params, given, ignore, take_time, transfer, update, wait_own_deadline
from resroute.client.results import (
    InstancePage,
    MetadataFields,
    Rebalanced,
    Released,
    ResourceInfo,
    ResourcePage,
    Transferred,
    read_instance_page,
    read_rebalanced,
    read_released,
    read_resource_page,
)
from resroute.errors import CallTimeout, RemoteError


class _CallAnswer(msgspec.Struct):
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET


_read_call_answer = msgspec.json.Decoder(_CallAnswer).decode


class AdminApi:
    """Asks a router at its admin API. Made by :func:`open_admin_api`; one request at a time.

    What a method takes and returns is what :class:`resroute.Client` says of its own; and so is what it raises, with these
    besides: :class:`TokenRefused`, :class:`TriesRefused` and :class:`Denied` of :mod:`resroute.cli.remote.refusals`.
    """

    def __init__(self, http: Http, when_away: Callable[[Exception], object]) -> None:
        self._asking = Asking(http)
        self._http = http
        self._when_away = when_away

    # --- what a client of the wire has too ------------------------------------------------------------------------

    async def query_resources(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[ResourceFilters],
    ) -> ResourcePage:
        """A page of the resources that match."""
        request = given(**filters, limit=limit, cursor=cursor)
        return await self._asking.request("resource.query", request, read_resource_page)

    async def query_instances(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> InstancePage:
        """A page of the instances that match."""
        request = given(service_name=service_name, instance_id=instance_id, limit=limit, offset=offset)
        return await self._asking.request("instance.query", request, read_instance_page)

    async def explain(
        self, *, resource_id: str | None = None, service_name: str | None = None
    ) -> Explanation:
        """What a call would meet, and why."""
        request = given(resource_id=resource_id, service_name=service_name)
        return await self._asking.request("route.explain", request, read_explanation)

    async def top(
        self, what: Literal["busiest", "unowned", "conflicts"], *, limit: int | None = None
    ) -> Ranking:
        """The resources that stand out."""
        return await self._asking.request("router.top", given(what=what, limit=limit), read_ranking)

    async def router_statistics(self) -> RouterStatistics:
        """The router in numbers."""
        return await self._asking.request("router.statistics", {}, read_router_statistics)

    async def call(
        self,
        method: str,
        params: Params | None = None,
        *,
        resource_id: str | None = None,
        service_name: str | None = None,
    ) -> Any:
        """Call whoever owns a resource, or an instance of a service. Cancelled, it hangs up, which cancels the call."""
        request = given(method=method, params=params, resource_id=resource_id, service_name=service_name)
        deadline = await take_time(request, math.inf)
        try:
            return await self._asking.request("route.call", request, _result_of_call)
        except CallTimeout as error:
            timeout = error
        await wait_own_deadline(deadline)
        raise timeout

    async def update_resource(
        self,
        resource_id: str,
        metadata: MetadataFields,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> ResourceInfo:
        """Say something else of a resource."""
        return await update(
            self._asking, resource_id, metadata, merge=merge, expected_version=expected_version
        )

    async def release_resources(self, *resource_ids: str, partial: bool = False) -> Released:
        """Take resources away from whoever owns them."""
        request = {"resource_ids": resource_ids, "partial": partial}
        return await self._asking.request("resource.release", request, read_released)

    async def transfer_resources(
        self, *resource_ids: str, to: str, reason: str, source: str | None = None, partial: bool = False
    ) -> Transferred:
        """Hand resources to an instance."""
        return await transfer(
            self._asking,
            resource_ids,
            source=source or to,
            to=to,
            reason=reason,
            state=None,
            partial=partial,
            verify_ownership=source is not None,
        )

    async def drain_instance(
        self,
        instance_id: str,
        *,
        hand_over_to: HandOverTo = "service",
        deadline_seconds: float | None = None,
        batch_size: int | None = None,
        on_progress: Callable[[DrainProgress], object] | None = None,
    ) -> Drained:
        """Have an instance leave. HTTP tells nothing on the way: ``on_progress`` is not called."""
        request = given(
            instance_id=instance_id,
            hand_over_to=hand_over_to if isinstance(hand_over_to, str) else list(hand_over_to),
            deadline_seconds=deadline_seconds,
            batch_size=batch_size,
        )
        return await self._asking.request("instance.drain", request, read_drained)

    async def end_session(self, session_id: str, *, reason: str) -> None:
        """End a session."""
        await self._asking.request("session.end", {"session_id": session_id, "reason": reason}, ignore)

    async def rebalance_service(
        self,
        service_name: str,
        *,
        by: Literal["count", "calls"] = "count",
        max_moves: int | None = None,
        dry_run: bool = False,
    ) -> Rebalanced:
        """Have the instances of a service share what they own."""
        request = given(service_name=service_name, by=by, max_moves=max_moves, dry_run=dry_run or None)
        return await self._asking.request("service.rebalance", request, read_rebalanced)

    @asynccontextmanager
    async def open_watch(
        self, *, from_revision: int | None = None, **filters: Unpack[ResourceFilters]
    ) -> AsyncGenerator[RemoteEvents]:
        """Follow what becomes of resources, over as many connections as that takes."""
        events = RemoteEvents(self._http, given(**filters), from_revision, self._when_away)
        try:
            await events.begin()
            yield events
        finally:
            await events.aclose()

    # --- what is to be had here alone -----------------------------------------------------------------------------

    async def settings(self) -> RemoteSettings:
        """The settings in force."""
        return await self._asking.get("/settings", {}, read_settings)

    async def calls(self, instance_id: str, *, limit: int, offset: int = 0) -> InstanceCalls:
        """Calls that an instance has not answered yet, and how long it takes to answer.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        return await self._asking.get(
            "/calls", {"instance_id": instance_id, "limit": limit, "offset": offset}, read_instance_calls
        )

    async def audit(
        self, filters: AuditFilters, *, limit: int, cursor: int | None = None, newest_first: bool = False
    ) -> AuditPage:
        """A page of the audit log.

        Args:
            limit: at most so many records, from 1 to 1000.
            cursor: ``next_cursor`` of the page before, with the same filters and the same order.
        """
        given_members = given(**attrs.asdict(filters), limit=limit, cursor=cursor)
        return await self._asking.get(
            "/audit", {**given_members, "newest_first": newest_first}, read_audit_page
        )

    @asynccontextmanager
    async def open_audit_export(
        self, filters: AuditFilters, *, format: Literal["jsonl", "csv"], limit: int | None
    ) -> AsyncGenerator[Lines]:
        """All records that match, oldest first, a line for each resource of each.

        Args:
            limit: only so many records, the newest.
        """
        query = {**given(**attrs.asdict(filters), limit=limit), "format": format}
        kind = "application/x-ndjson" if format == "jsonl" else "text/csv"
        async with await self._asking.begin("/audit/export", query, accept=kind) as answer:
            yield Lines(answer, self._http.address.url)


def _result_of_call(body: Raw) -> Any:
    answer = _read_call_answer(body)
    if answer.error is not UNSET:
        error = answer.error
        raise RemoteError(
            error.code, error.message, None if error.data is UNSET else read_payload(error.data)
        )
    if answer.result is UNSET:
        raise msgspec.ValidationError("neither a result nor an error")
    return read_payload(answer.result)


@asynccontextmanager
async def open_admin_api(
    url: str, *, token: str | None = None, when_away: Callable[[Exception], object]
) -> AsyncGenerator[AdminApi]:
    """Connect to the admin API of a router, for as long as the block runs.

    Args:
        when_away: called when a stream of events is lost, and tried to be had again.

    Raises:
        ConnectionFailed: nobody is there.
        ValueError: the URL cannot be one.
    """
    http = Http(parse_admin_url(url), token)
    try:
        await http.connect()
        yield AdminApi(http, when_away)
    finally:
        await http.aclose()
