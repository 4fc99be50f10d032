"""The admin API of a router, as the methods that :class:`resroute.Client` has; and what is to be had there alone."""

import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import quote, urlencode

import attrs
import msgspec
import trio
from msgspec import UNSET, Raw, UnsetType

from resroute.cli.remote.address import parse_admin_url
from resroute.cli.remote.events import MAX_PROBLEM_BYTES, RemoteEvents
from resroute.cli.remote.http import Answer, Http, Request
from resroute.cli.remote.problems import error_of
from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.draining import Drained, DrainProgress, HandOverTo
from resroute.client.insight import (
    Explanation,
    Ranking,
    RouterStatistics,
    read_explanation,
    read_ranking,
    read_router_statistics,
)
from resroute.client.messages import DECODE_ERRORS, ErrorObject, encoded, read_payload
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
from resroute.errors import CallTimeout, ConnectionLost, InvalidParams, RemoteError

ANSWER_SECONDS = 30.0
"""How long an answer may take that the router has at once."""

WORK_SECONDS = 3600.0
"""How long one may take that the router has to work for, or to wait: it has bounds of its own, which are lower."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Above whatever a router answers, also one whose ``max_message_bytes`` was raised."""

_JSON = "application/json"

_PATHS: Mapping[str, tuple[Literal["GET", "POST", "PATCH"], str]] = {
    "resource.query": ("GET", "/resources"),
    "resource.update": ("PATCH", "/resources/{resource_id}"),
    "resource.release": ("POST", "/resources/release"),
    "resource.transfer": ("POST", "/resources/transfer"),
    "instance.query": ("GET", "/instances"),
    "instance.drain": ("POST", "/instances/{instance_id}/drain"),
    "session.end": ("POST", "/sessions/{session_id}/end"),
    "service.rebalance": ("POST", "/services/{service_name}/rebalance"),
    "route.call": ("POST", "/call"),
    "route.explain": ("GET", "/explain"),
    "router.top": ("GET", "/top"),
    "router.statistics": ("GET", "/statistics"),
}
"""Where each method is. Parameters that are not in the path are in the query of a GET, and in the body of all others."""

_LONG = ("instance.drain", "service.rebalance", "route.call")


@attrs.frozen(kw_only=True)
class RemoteSettings:
    """The settings that a router runs with.

    Attributes:
        settings: by their dotted paths; what is secret is masked.
        changeable: those that are read again at SIGHUP.
    """

    settings: Mapping[str, Any]
    changeable: tuple[str, ...] = ()


class _CallAnswer(msgspec.Struct):
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET


_read_call_answer = msgspec.json.Decoder(_CallAnswer).decode
_read_settings = msgspec.json.Decoder(RemoteSettings).decode


class AdminApi:
    """Asks a router at its admin API. Made by :func:`open_admin_api`; one request at a time.

    What a method takes and returns is what :class:`resroute.Client` says of its own; and so is what it raises, with these
    besides: :class:`TokenRefused`, :class:`TriesRefused` and :class:`Denied` of :mod:`resroute.cli.remote.refusals`.
    """

    def __init__(self, http: Http, when_away: Callable[[Exception], object]) -> None:
        self._http = http
        self._when_away = when_away

    # --- what a client of the wire has too ------------------------------------------------------------------------

    async def query_resources(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        resource_ids: Sequence[str] | None = None,
        resource_type: str | None = None,
        tags: Sequence[str] | None = None,
        prefix: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ResourcePage:
        """A page of the resources that match."""
        request = given(
            service_name=service_name,
            instance_id=instance_id,
            resource_ids=resource_ids,
            resource_type=resource_type,
            tags=tags,
            prefix=prefix,
            limit=limit,
            cursor=cursor,
        )
        return await self.request("resource.query", request, read_resource_page)

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
        return await self.request("instance.query", request, read_instance_page)

    async def explain(
        self, *, resource_id: str | None = None, service_name: str | None = None
    ) -> Explanation:
        """What a call would meet, and why."""
        request = given(resource_id=resource_id, service_name=service_name)
        return await self.request("route.explain", request, read_explanation)

    async def top(
        self, what: Literal["busiest", "unowned", "conflicts"], *, limit: int | None = None
    ) -> Ranking:
        """The resources that stand out."""
        return await self.request("router.top", given(what=what, limit=limit), read_ranking)

    async def router_statistics(self) -> RouterStatistics:
        """The router in numbers."""
        return await self.request("router.statistics", {}, read_router_statistics)

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
            return await self.request("route.call", request, _result_of_call)
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
        return await update(self, resource_id, metadata, merge=merge, expected_version=expected_version)

    async def release_resources(self, *resource_ids: str, partial: bool = False) -> Released:
        """Take resources away from whoever owns them."""
        request = {"resource_ids": resource_ids, "partial": partial}
        return await self.request("resource.release", request, read_released)

    async def transfer_resources(
        self, *resource_ids: str, to: str, reason: str, source: str | None = None, partial: bool = False
    ) -> Transferred:
        """Hand resources to an instance."""
        return await transfer(
            self,
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
        return await self.request("instance.drain", request, msgspec.json.Decoder(Drained).decode)

    async def end_session(self, session_id: str, *, reason: str) -> None:
        """End a session."""
        await self.request("session.end", {"session_id": session_id, "reason": reason}, ignore)

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
        return await self.request("service.rebalance", request, read_rebalanced)

    @asynccontextmanager
    async def open_watch(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        resource_ids: Sequence[str] | None = None,
        resource_type: str | None = None,
        tags: Sequence[str] | None = None,
        prefix: str | None = None,
        from_revision: int | None = None,
    ) -> AsyncGenerator[RemoteEvents]:
        """Follow what becomes of resources, over as many connections as that takes."""
        filters = given(
            service_name=service_name,
            instance_id=instance_id,
            resource_ids=resource_ids,
            resource_type=resource_type,
            tags=tags,
            prefix=prefix,
        )
        events = RemoteEvents(self._http, filters, from_revision, self._when_away)
        try:
            await events.begin()
            yield events
        finally:
            await events.aclose()

    # --- what is to be had here alone -----------------------------------------------------------------------------

    async def settings(self) -> RemoteSettings:
        """The settings in force."""
        return await self._ask(Request(verb="GET", target="/api/v1/settings", accept=_JSON), _read_settings)

    # --- requests -------------------------------------------------------------------------------------------------

    async def request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        unheard: Callable[[], None] | None = None,
    ) -> T:
        """Ask for what a method of the router's does. Cancelled, it hangs up; ``unheard`` has no use here.

        Raises:
            ResrouteError: the router refuses it, or cannot be asked.
            TypeError: the params are not JSON.
        """
        verb, template = _PATHS[method]
        seconds = WORK_SECONDS if method in _LONG else ANSWER_SECONDS
        return await self._ask(_request(verb, template, params), read, seconds)

    async def _ask[T](self, request: Request, read: Callable[[Raw], T], seconds: float = ANSWER_SECONDS) -> T:
        with trio.move_on_after(seconds):
            async with await self._http.ask(request) as answer:
                body = await self._body(answer, request)
            try:
                return read(Raw(body))
            except DECODE_ERRORS as error:
                raise NoAdminApi(
                    self._http.address.url,
                    f"its answer to {request.verb} {request.target} is none that this program understands: {error}",
                ) from error
        raise ConnectionLost(reason=f"no answer within {seconds:g} seconds")

    async def _body(self, answer: Answer, request: Request) -> bytes:
        if answer.status == 200 and answer.content_type == request.accept:
            return await answer.read(MAX_ANSWER_BYTES)
        body = await answer.read(MAX_PROBLEM_BYTES)
        raise error_of(answer, body, self._http, f"{request.verb} {request.target.partition('?')[0]}")


def _request(verb: str, template: str, params: Mapping[str, Any]) -> Request:
    rest = dict(params)
    path = "/api/v1"
    for part in template.split("/")[1:]:
        if part.startswith("{"):
            part = quote(_in_path(part[1:-1], rest.pop(part[1:-1])), safe="")
        path += f"/{part}"
    if verb != "GET":
        return Request(verb=verb, target=path, accept=_JSON, body=encoded(rest))
    query = urlencode(rest, doseq=True)
    return Request(verb=verb, target=f"{path}?{query}" if query else path, accept=_JSON)


def _in_path(name: str, value: str) -> str:
    """A name that can be a part of a path: these cannot, or mean another one."""
    if value in ("", ".", ".."):
        raise InvalidParams.at(name, f"{value!r} cannot be named over HTTP")
    return value


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
