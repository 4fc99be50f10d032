"""The HTTP application: what each path answers, and to whom."""

from collections.abc import Mapping
from http import HTTPStatus

import trio
from hypercorn.typing import ASGISendCallable, ASGISendEvent
from quart import Request, Response, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from resroute.admin.access import Access
from resroute.admin.api import Api
from resroute.admin.asking import Asker
from resroute.admin.description import Description
from resroute.admin.exposition import Exposition
from resroute.admin.guarding import guard
from resroute.admin.pages.desk import Desk
from resroute.admin.pages.entrance import make_entrance
from resroute.admin.pages.instances import InstancePages
from resroute.admin.pages.overview import make_overview
from resroute.admin.pages.records import make_record_pages
from resroute.admin.pages.resource import ResourcePages
from resroute.admin.pages.resources import ResourceList
from resroute.admin.refusing import tell_errors
from resroute.admin.rendering import Templates
from resroute.admin.requests import AdminRequest
from resroute.admin.sampling import Sampler
from resroute.admin.sessions import AdminSessions
from resroute.admin.static_files import StaticFiles
from resroute.admin.streams import Streams
from resroute.admin.view import Administrable

_NOT_READY: Mapping[str, str] = {
    "starting": "The router does not listen yet",
    "draining": "The router is shutting down and takes nothing new",
}

_LAST_WORD_SECONDS = 5


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
    streams = Streams()
    app.config["MAX_CONTENT_LENGTH"] = router.settings.max_message_bytes
    app.config["BODY_TIMEOUT"] = router.settings.handshake_timeout_seconds
    app.url_map.merge_slashes = False  # names may have several in a row
    guard(app, access, templates)
    tell_errors(app, access, templates)
    _tell_health(app, router, access)

    app.register_blueprint(Api(router, access, asker, sessions, streams).blueprint())
    app.register_blueprint(StaticFiles().blueprint())
    app.register_blueprint(make_entrance(access, templates))
    app.register_blueprint(description.blueprint())
    desk = Desk(router, access, asker, templates)
    for pages in (InstancePages(desk), ResourceList(desk), ResourcePages(desk)):
        app.register_blueprint(pages.blueprint())
    app.register_blueprint(make_record_pages(desk))
    app.register_blueprint(make_overview(desk, sampler, streams))

    return app


def _tell_health(app: QuartTrio, router: Administrable, access: Access) -> None:
    """What watches over the router asks for."""
    exposition = Exposition(router)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n", content_type="text/plain; charset=utf-8")

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


class _App(QuartTrio):
    asgi_http_class = _Connection
    request_class = AdminRequest
