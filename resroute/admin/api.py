"""The API of administrators over HTTP."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from quart import Blueprint, Response, request

from resroute.admin.access import Access, Visitor
from resroute.admin.asking import Asker, not_ready
from resroute.admin.audit_api import audit_page, export_response, page_text
from resroute.admin.events import open_event_stream
from resroute.admin.params import read_params
from resroute.admin.problems import Problem, trace_id_of_request
from resroute.admin.requests import current_request
from resroute.admin.routes import API, ROUTES, Route, result_of
from resroute.admin.sessions import AdminSessions, NotReady
from resroute.admin.shapes import (
    MAX_REVISION,
    AuditParams,
    CallsOfInstance,
    CallsParams,
    EventParams,
    ExportParams,
    SettingsInForce,
)
from resroute.admin.streams import Streams, event_response
from resroute.admin.view import Administrable
from resroute.errors import InstanceNotFound, InvalidParams, RouterError
from resroute.protocol.params import Params
from resroute.protocol.structure import structure_params
from resroute.router.queries import check_page
from resroute.router.router import CHANGEABLE
from resroute.settings import Secret, Settings, flatten
from resroute.transport.interface import TransportEnded

_encode = msgspec.json.Encoder().encode

View = Callable[[Visitor, Params], Awaitable[Response]]


class Api:
    """The operations of :data:`~resroute.admin.routes.ROUTES`.

    Args:
        router: what they are about.
        access: lets administrators in.
        asker: makes requests of the router.
        sessions: those of administrators with it, for streams of events.
        streams: that are open.
    """

    def __init__(
        self,
        router: Administrable,
        access: Access,
        asker: Asker,
        sessions: AdminSessions,
        streams: Streams,
    ) -> None:
        self._router = router
        self._access = access
        self._asker = asker
        self._sessions = sessions
        self._streams = streams
        # operations that are no methods of the router's
        self._own: Mapping[str, Callable[..., Awaitable[Response]]] = {
            "follow_events": self._follow_events,
            "list_audit_records": self._list_audit_records,
            "export_audit_records": self._export_audit_records,
            "get_settings": self._get_settings,
            "list_calls": self._list_calls,
        }

    def blueprint(self) -> Blueprint:
        """Where they are served."""
        api = Blueprint("api", __name__, url_prefix=API)
        for route in ROUTES:
            view = self._view(route)
            api.add_url_rule(path_rule(route.path), route.name, view, methods=[route.verb])
        return api

    def _view(self, route: Route) -> Callable[..., Awaitable[Response]]:
        async def view(**in_path: str) -> Response:
            visitor = self._access.admit(request)
            try:
                params = await read_params(route, in_path, request)
                if route.method_name is None:
                    own = structure_params(Raw(params), route.params)
                    return await self._own[route.name](visitor, own)
                answer = await self._asker.ask(visitor, route.method_name, params)
                body = bytes(result_of(answer)) if route.shape is None else route.shape(answer, in_path)
            except RouterError as error:
                raise Problem.of(error) from None
            return Response(body, content_type="application/json")

        return view

    # --- what is no method of the router's ------------------------------------------------------------------------

    async def _follow_events(self, visitor: Visitor, params: EventParams) -> Response:
        given = {
            name: value
            for name, value in ((name, getattr(params, name)) for name in _FILTERS)
            if value is not None
        }
        try:
            stream = open_event_stream(self._sessions, self._streams, visitor.subject, given)
        except NotReady:
            raise not_ready() from None
        current_request().when_done(stream.close)
        current_request().when_done(self._access.when_out(visitor, stream.close))
        try:
            await stream.begin(_last_event_id(params))
        except TransportEnded:
            raise Problem(503, "The router is shutting down", headers={"Retry-After": "1"}) from None
        if request.method == "HEAD":
            return Response(b"", content_type="text/event-stream")
        return event_response(stream)

    async def _list_audit_records(self, _: Visitor, params: AuditParams) -> Response:
        body = await page_text(await audit_page(self._router.trail, params))
        return Response(body, content_type="application/json")

    async def _export_audit_records(self, _: Visitor, params: ExportParams) -> Response:
        response = export_response(self._router.trail, params)
        if request.method == "HEAD":
            return Response(b"", 200, response.headers)
        return response

    async def _list_calls(self, _: Visitor, params: CallsParams) -> Response:
        check_page(params.limit, params.offset)
        found = await self._router.calls.of(params.instance_id, limit=params.limit, offset=params.offset)
        if found is None:
            raise InstanceNotFound(params.instance_id)
        trace_id = params.trace_id or trace_id_of_request()
        return _json(CallsOfInstance(**msgspec.structs.asdict(found), trace_id=trace_id))

    async def _get_settings(self, _: Visitor, params: Params) -> Response:
        settings = settings_in_force(self._router.settings)
        told = SettingsInForce(
            settings=settings, changeable=CHANGEABLE, trace_id=params.trace_id or trace_id_of_request()
        )
        return _json(told)


_FILTERS = ("service_name", "instance_id", "resource_ids", "resource_type", "tags", "prefix", "trace_id")


def settings_in_force(settings: Settings) -> Mapping[str, Any]:
    """Every setting by its dotted path, as it may be shown."""
    return {
        name: list(map(_shown, value)) if isinstance(value, tuple) else _shown(value)
        for name, value in flatten(settings).items()
    }


def _shown(value: Any) -> Any:
    return str(value) if isinstance(value, Secret) else value


def path_rule(path: str) -> str:
    """A path of the table as Quart has it: names may have slashes in them."""
    return path.replace("{", "<path:").replace("}", ">")


def _json(told: msgspec.Struct) -> Response:
    return Response(_encode(told), content_type="application/json")


def _last_event_id(params: EventParams) -> int | None:
    """Where a stream goes on: a browser that connects again says so in a header, under the same address."""
    header = request.headers.get("Last-Event-ID")
    if header is None:
        if params.from_revision is not None and not 0 <= params.from_revision <= MAX_REVISION:
            raise InvalidParams.at("from_revision", f"must be from 0 to {MAX_REVISION}")
        return params.from_revision
    if not (header.isascii() and header.isdigit() and len(header) <= 16):
        raise InvalidParams.at("Last-Event-ID", "is a revision")
    return int(header)
