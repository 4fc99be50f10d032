"""The API of administrators over HTTP: each operation is a request of their session with the router."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import UNSET
from quart import Blueprint, Response, request

from resroute.admin.access import Access
from resroute.admin.params import read_params
from resroute.admin.problems import Problem
from resroute.admin.routes import API, ROUTES, Route, result_of
from resroute.admin.sessions import AdminSessions, NotReady, RequestTooLarge
from resroute.errors import RouterError


def make_api(access: Access, sessions: AdminSessions) -> Blueprint:
    """The operations of :data:`~resroute.admin.routes.ROUTES`."""
    api = Blueprint("api", __name__, url_prefix=API)
    for route in ROUTES:
        api.add_url_rule(
            path_rule(route.path), route.name, _view(route, access, sessions), methods=[route.verb]
        )
    return api


def path_rule(path: str) -> str:
    """A path of the table as Quart has it: names may have slashes in them."""
    return path.replace("{", "<path:").replace("}", ">")


def _view(route: Route, access: Access, sessions: AdminSessions) -> Callable[..., Awaitable[Response]]:
    async def view(**in_path: str) -> Response:
        visitor = access.admit(request)
        try:
            return await answer(route, in_path, sessions, visitor.subject)
        except RouterError as error:
            raise Problem.of(error) from None

    return view


async def answer(route: Route, in_path: Mapping[str, str], sessions: AdminSessions, subject: str) -> Response:
    """Do what a request asks for.

    Raises:
        Problem: it is refused.
        RouterError: likewise.
    """
    params = await read_params(route, in_path, request)
    try:
        session = sessions.of(subject)
        message = await session.request(
            route.method_name, params, traceparent=request.headers.get("traceparent")
        )
    except NotReady:
        raise Problem(503, "The router does not listen yet", headers={"Retry-After": "1"}) from None
    except RequestTooLarge:
        raise Problem(413, "The request does not fit into one message to the router") from None
    if message.error is not UNSET and message.is_refusal:
        raise Problem.of_answer(message.error)
    body = bytes(result_of(message)) if route.shape is None else route.shape(message, in_path)
    return Response(body, content_type="application/json")
