"""The HTTP application: what each path answers, and to whom."""

import re
from collections.abc import Mapping
from http import HTTPStatus

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, WebsocketScope
from quart import Request, Response, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection

from resroute.admin.exposition import Exposition
from resroute.admin.view import RouterView
from resroute.settings import is_loopback

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

_INDEX = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>resroute</title>
</head>
<body>
<h1>resroute</h1>
<p>A router for calls to resources. This one has these pages:</p>
<ul>
<li><a href="/healthz">/healthz</a>: whether the process answers</li>
<li><a href="/readyz">/readyz</a>: whether it takes sessions, and why not</li>
<li><a href="/metrics">/metrics</a>: its numbers, for Prometheus</li>
</ul>
</body>
</html>
"""

# The name before the port: an IPv6 address stands in brackets.
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:]*))(?::\d*)?")

_MAX_BODY_BYTES = 64 * 1024
_LAST_WORD_SECONDS = 5


def make_app(router: RouterView, *, loopback_only: bool) -> QuartTrio:
    """The pages of one router.

    Args:
        router: whose pages they are.
        loopback_only: it listens on loopback only. A foreign ``Host`` then means that a page in somebody's
            browser had its own name point to this machine (DNS rebinding): refused with 403.
    """
    app = _App("resroute.admin", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    exposition = Exposition(router)

    @app.before_request
    async def refuse_foreign_host() -> Response | None:
        host = request.headers.get("Host", "")  # browsers always send one
        if loopback_only and host and not _names_loopback(host):
            return _text("403 Forbidden: this address is for this machine only\n", HTTPStatus.FORBIDDEN)
        return None

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    @app.errorhandler(HTTPStatus.NOT_FOUND)
    async def not_found(_: Exception) -> Response:
        return _text(f"404 Not Found: there is no page {request.path}; / lists those there are\n", 404)

    @app.errorhandler(HTTPStatus.METHOD_NOT_ALLOWED)
    async def method_not_allowed(_: Exception) -> Response:
        refusal = _text("405 Method Not Allowed: the pages are for reading only\n", 405)
        refusal.headers["Allow"] = "GET, HEAD, OPTIONS"
        return refusal

    @app.errorhandler(HTTPStatus.INTERNAL_SERVER_ERROR)
    async def internal_error(_: Exception) -> Response:
        return _text("500 Internal Server Error: the log has the traceback\n", 500)

    @app.get("/")
    async def index() -> Response:
        return Response(_INDEX, content_type="text/html; charset=utf-8")

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
        text, content_type = await exposition.write(request.headers.get("Accept", ""))
        return Response(text, content_type=content_type)

    return app


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

        await super().handle_request(nursery, request, send_whole)


class _NoWebSocket:
    """Refuses each WebSocket: sessions are at the router's own port."""

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        pass

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send({"type": "websocket.close", "code": 1000, "reason": None})


class _App(QuartTrio):
    asgi_http_class = _Connection
    asgi_websocket_class = _NoWebSocket  # type: ignore[assignment]  # of Quart's own it needs only the call


def _text(text: str, status: int = HTTPStatus.OK) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")


def _names_loopback(host: str) -> bool:
    """Whether a ``Host`` header names this machine by a name that nobody else can give it; with any port."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["ipv6"] or match["name"] or "")
