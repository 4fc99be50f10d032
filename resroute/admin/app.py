"""The HTTP application: what each path answers, and to whom."""

import re
from collections.abc import Mapping
from http import HTTPStatus

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, WebsocketScope
from quart import Request, Response, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from resroute.admin.access import Access
from resroute.admin.api import Api
from resroute.admin.asking import Asker
from resroute.admin.description import Description
from resroute.admin.exposition import Exposition
from resroute.admin.forms import see_other
from resroute.admin.pages.desk import Desk, LoginNeeded, link
from resroute.admin.pages.entrance import make_entrance
from resroute.admin.pages.instances import InstancePages
from resroute.admin.pages.overview import make_overview
from resroute.admin.pages.records import make_record_pages
from resroute.admin.pages.resource import ResourcePages
from resroute.admin.pages.resources import ResourceList
from resroute.admin.problems import Problem, trace_id_of_request
from resroute.admin.rendering import Templates
from resroute.admin.requests import AdminRequest, current_request
from resroute.admin.sampling import Sampler
from resroute.admin.sessions import AdminSessions
from resroute.admin.static_files import StaticFiles
from resroute.admin.view import Administrable
from resroute.errors import InternalError
from resroute.settings import is_loopback

_log = structlog.get_logger("resroute.admin")

_NOT_READY: Mapping[str, str] = {
    "starting": "The router does not listen yet",
    "draining": "The router is shutting down and takes nothing new",
}

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# The name before the port: an IPv6 address stands in brackets.
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:]*))(?::\d*)?")

_LAST_WORD_SECONDS = 5
_LINGER_SECONDS = 2
"""How long what is too large may go on to arrive, unread, so that the peer hears the answer."""


def make_app(
    router: Administrable,
    sessions: AdminSessions,
    access: Access,
    templates: Templates,
    description: Description,
    sampler: Sampler,
) -> QuartTrio:
    """The pages of one router.

    Args:
        router: whose pages they are.
        sessions: those of administrators with it.
        access: lets administrators in.
        templates: of what people see.
        description: of the API.
        sampler: of the last minutes.
    """
    app = _App("resroute.admin", static_folder=None)
    asker = Asker(sessions)
    app.config["MAX_CONTENT_LENGTH"] = router.settings.max_message_bytes
    app.config["BODY_TIMEOUT"] = router.settings.handshake_timeout_seconds
    app.url_map.merge_slashes = False  # names may have several in a row
    _guard(app, access, templates)
    _tell_errors(app, access, templates)
    _tell_health(app, router, access)

    app.register_blueprint(Api(router, access, asker, sessions).blueprint())
    app.register_blueprint(StaticFiles().blueprint())
    app.register_blueprint(make_entrance(access, templates))
    app.register_blueprint(description.blueprint())
    desk = Desk(router, access, asker, templates)
    for pages in (InstancePages(desk), ResourceList(desk), ResourcePages(desk)):
        app.register_blueprint(pages.blueprint())
    app.register_blueprint(make_record_pages(desk))
    app.register_blueprint(make_overview(desk, sampler))

    return app


def _guard(app: QuartTrio, access: Access, templates: Templates) -> None:
    """What comes before each request, and after it."""

    @app.before_request
    async def refuse_foreign_host() -> None:
        host = request.headers.get("Host", "")  # browsers always send one
        # a page in somebody's browser has had its own name point to this machine (DNS rebinding)
        if access.is_open and access.is_local and host and not _names_loopback(host):
            raise Problem(HTTPStatus.FORBIDDEN, "this address is for this machine only")

    @app.before_request
    async def wait_for_templates() -> None:
        if request.blueprint not in (None, "api", "static_files"):
            await templates.wait_prepared()

    @app.after_request
    async def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _tell_errors(app: QuartTrio, access: Access, templates: Templates) -> None:
    """How it is told what goes wrong: to programs as problems, on pages to people, and else as text."""

    @app.errorhandler(Problem)
    async def refuse(problem: Problem) -> Response:
        if problem.status == HTTPStatus.CONTENT_TOO_LARGE:
            with trio.move_on_after(_LINGER_SECONDS):
                await current_request().body.wait_arrived()
        if request.path.startswith("/api"):
            return problem.response()
        if "text/html" in request.headers.get("Accept", ""):
            page = templates.problem(access.find(request), problem)
            page.headers.update(problem.headers)
            return page
        text = f"{problem.status} {HTTPStatus(problem.status).phrase}: {problem.detail}\n"
        return _text(text, problem.status, problem.headers)

    @app.errorhandler(HTTPException)
    async def refuse_as_http_does(error: HTTPException) -> Response:
        return await refuse(_problem_of(error))

    @app.errorhandler(HTTPStatus.INTERNAL_SERVER_ERROR)
    async def internal_error(_: Exception) -> Response:
        trace_id = trace_id_of_request()
        _log.error("an admin request failed", path=request.path, trace_id=trace_id)
        if request.path.startswith("/api"):
            return Problem.of(InternalError(trace_id=trace_id)).response()
        members = {"trace_id": trace_id}
        return await refuse(Problem(500, "the log has the traceback", members=members))

    @app.errorhandler(LoginNeeded)
    async def go_to_login(_: LoginNeeded) -> Response:
        path = request.full_path.removesuffix("?") if request.method == "GET" else "/"
        return see_other(link("/login", next=None if path == "/" else path))


def _tell_health(app: QuartTrio, router: Administrable, access: Access) -> None:
    """What watches over the router asks for."""
    exposition = Exposition(router)

    @app.get("/healthz")
    async def healthz() -> Response:
        return _text("ok\n")

    @app.get("/readyz")
    async def readyz() -> tuple[dict[str, str], HTTPStatus]:
        state = router.state_name
        problem = router.trail.statistics().problem
        told = {"status": state, **({} if problem is None else {"audit": f"failing: {problem}"})}
        if state == "ready":
            return told, HTTPStatus.OK
        told["reason"] = _NOT_READY.get(state, f"The router is {state}")
        return told, HTTPStatus.SERVICE_UNAVAILABLE

    @app.get("/metrics")
    async def metrics() -> Response:
        if not access.is_open:
            access.admit(request)
        text, content_type = await exposition.write(request.headers.get("Accept", ""))
        return Response(text, content_type=content_type)


class _Connection(TrioASGIHTTPConnection):
    """Lets the last part of an answer through whole.

    While Hypercorn sends it, it reports that the exchange is over, and Quart-Trio then cancels the very task that
    is sending: a connection that the peer wanted closed would stay open until the peer gives up.
    """

    async def handle_request(self, nursery: trio.Nursery, request: Request, send: ASGISendCallable) -> None:  # type: ignore[override]
        async def send_whole(message: ASGISendEvent) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(_LAST_WORD_SECONDS, shield=last):
                await send(message)

        try:
            await super().handle_request(nursery, request, send_whole)
        finally:
            assert isinstance(request, AdminRequest)
            request.finish()


class _NoWebSocket:
    """Refuses each WebSocket: sessions are at the router's own port."""

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        pass

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send({"type": "websocket.close", "code": 1000, "reason": None})


class _App(QuartTrio):
    asgi_http_class = _Connection
    request_class = AdminRequest
    asgi_websocket_class = _NoWebSocket  # type: ignore[assignment]  # of Quart's own it needs only the call


def _problem_of(error: HTTPException) -> Problem:
    """What Quart refuses by itself."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers: dict[str, str] = {}
    detail = error.description or HTTPStatus(status).description
    match error:
        case NotFound():
            detail = f"there is no page {request.path}; / lists those there are"
        case MethodNotAllowed():
            headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
            detail = f"{request.method} is not for this page, but {headers['Allow']}"
    return Problem(status, detail, headers=headers)


def _text(text: str, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(text, status, dict(headers or {}), content_type="text/plain; charset=utf-8")


def _names_loopback(host: str) -> bool:
    """Whether a ``Host`` header names this machine by a name that nobody else can give it; with any port."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["ipv6"] or match["name"] or "")
