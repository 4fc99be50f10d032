"""What goes wrong, and to whom it is told how: to programs as problems, to people who look at pages as a page."""

from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from resroute.admin.access import Access
from resroute.admin.forms import is_local_path, see_other
from resroute.admin.pages.desk import LoginNeeded, link
from resroute.admin.problems import CONTENT_TYPE, Problem, trace_id_of_request
from resroute.admin.rendering import Templates
from resroute.admin.requests import current_request
from resroute.errors import InternalError

_log = structlog.get_logger("resroute.admin")

_FOR_PROGRAMS = ("/api", "/metrics", "/healthz", "/readyz", "/openapi.json", "/static")
"""Below these nobody looks at pages."""

_LINGER_SECONDS = 2
"""How long what is refused may go on to arrive, unread, so that the peer hears the answer."""


def tell_errors(app: QuartTrio, access: Access, templates: Templates) -> None:
    """Have an app answer what goes wrong."""

    @app.errorhandler(Problem)
    async def refuse(problem: Problem) -> Response:
        if problem.status != HTTPStatus.REQUEST_TIMEOUT:  # which says that it does not arrive
            with trio.move_on_after(_LINGER_SECONDS):
                await current_request().body.wait_arrived()
        if not _is_for_people():
            return problem.response()
        page = templates.problem(access.find(request), problem)
        page.headers.update(problem.headers)
        return page

    @app.errorhandler(HTTPException)
    async def refuse_as_http_does(error: HTTPException) -> Response:
        return await refuse(_problem_of(error))

    @app.errorhandler(HTTPStatus.INTERNAL_SERVER_ERROR)
    async def internal_error(_: Exception) -> Response:
        trace_id = trace_id_of_request()
        _log.error("an admin request failed", path=request.path, trace_id=trace_id)
        return await refuse(Problem.of(InternalError(trace_id=trace_id)))

    @app.errorhandler(LoginNeeded)
    async def go_to_login(_: LoginNeeded) -> Response:
        if request.method == "GET":
            path = request.full_path.removesuffix("?")
        else:  # where the form was, for there is nothing to be seen where it goes
            path = _path_on_the_same_host(request.headers.get("Referer", ""))
        is_undone = request.method != "GET" and request.path != "/logout"
        return see_other(
            link("/login", next=None if path == "/" else path, undone="yes" if is_undone else None)
        )


def _path_on_the_same_host(address: str) -> str:
    """The path of an address that a browser came from; that of the first page if it is somebody else's."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    is_ours = parts.netloc.lower() == request.headers.get("Host", "").lower() and is_local_path(path)
    return path if is_ours else "/"


def _is_for_people() -> bool:
    """Whether whoever asks would rather see a page than what programs read."""
    if any(request.path == path or request.path.startswith(f"{path}/") for path in _FOR_PROGRAMS):
        return False
    return request.accept_mimetypes.best_match((CONTENT_TYPE, "text/html"), CONTENT_TYPE) == "text/html"


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
