"""What comes before each request, whatever it asks for, and after it."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from quart import Response, request
from quart_trio import QuartTrio

from resroute.admin.access import Access
from resroute.admin.problems import Problem
from resroute.admin.rendering import Templates
from resroute.settings import is_loopback
from resroute.transport.packing import is_utf8

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

_WITHOUT_BODY = ("GET", "HEAD", "DELETE", "OPTIONS")

# The name before the port: an IPv6 address stands in brackets.
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<name>[^:]*))(?::\d*)?")


def guard(app: QuartTrio, access: Access, templates: Templates) -> None:
    """Have an app refuse what is nothing for any of its paths, and say with each answer what browsers have to know."""

    @app.before_request
    async def refuse_foreign_host() -> None:
        host = request.headers.get("Host", "")  # browsers always send one
        # a page in somebody's browser has had its own name point to this machine (DNS rebinding)
        if access.is_open and access.is_local and host and not _names_loopback(host):
            raise Problem(HTTPStatus.FORBIDDEN, "this address is for this machine only")

    @app.before_request
    async def refuse_sessions() -> None:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            detail = "this is the port of the admin pages: sessions are on the router's own"
            raise Problem(HTTPStatus.BAD_REQUEST, detail)

    @app.before_request
    async def refuse_what_is_no_text() -> None:
        if not is_utf8(unquote_to_bytes(request.scope["raw_path"])) or not is_utf8(
            unquote_to_bytes(request.scope["query_string"])
        ):
            raise Problem(HTTPStatus.BAD_REQUEST, "what is percent-encoded in the address is not UTF-8")

    @app.before_request
    async def refuse_bodies_that_nobody_reads() -> None:
        if request.method in _WITHOUT_BODY and (
            request.content_length or ("Transfer-Encoding" in request.headers and await request.get_data())
        ):
            detail = f"a {request.method} request takes no body here: parameters are in the address"
            raise Problem(HTTPStatus.BAD_REQUEST, detail)

    @app.before_request
    async def wait_for_templates() -> None:
        if request.blueprint not in (None, "api", "static_files"):
            await templates.wait_prepared()

    @app.after_request
    async def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _names_loopback(host: str) -> bool:
    """Whether a ``Host`` header names this machine by a name that nobody else can give it; with any port."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["ipv6"] or match["name"] or "")
