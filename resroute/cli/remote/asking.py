"""Requests of an admin API for what the router's methods do: where each of them is, and what is made of the answer."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn
from urllib.parse import quote, urlencode

import trio
from msgspec import Raw

from resroute.cli.remote.connection import Request
from resroute.cli.remote.http import Answer, Http
from resroute.cli.remote.problems import MAX_PROBLEM_BYTES, error_of
from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.messages import DECODE_ERRORS, encoded
from resroute.errors import ConnectionLost, InvalidParams

ANSWER_SECONDS = 30.0
"""How long an answer may take that the router has at once."""

WORK_SECONDS = 3600.0
"""How long one may take that the router has to work for, or to wait: it has bounds of its own, which are lower."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Above whatever a router answers, also one whose ``max_message_bytes`` was raised."""

_API = "/api/v1"
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


class Asking:
    """Asks for things at one place."""

    def __init__(self, http: Http) -> None:
        self._http = http

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

    async def get[T](self, path: str, params: Mapping[str, Any], read: Callable[[Raw], T]) -> T:
        """Ask for what is no method of the router's.

        Raises:
            ResrouteError: the router refuses it, or cannot be asked.
        """
        return await self._ask(_request("GET", path, params), read, ANSWER_SECONDS)

    async def begin(self, path: str, params: Mapping[str, Any], *, accept: str) -> Answer:
        """The beginning of an answer that may go on for long, which is to be closed.

        Raises:
            ResrouteError: the router refuses it, or cannot be asked.
        """
        request = _request("GET", path, params, accept=accept)
        with trio.move_on_after(ANSWER_SECONDS):
            answer = await self._http.ask(request)
            if not _is_what_was_asked_for(answer, request):
                async with answer:
                    await self._refuse(answer, request)
            return answer
        raise _no_answer(ANSWER_SECONDS)

    async def _ask[T](self, request: Request, read: Callable[[Raw], T], seconds: float) -> T:
        with trio.move_on_after(seconds):
            async with await self._http.ask(request) as answer:
                if not _is_what_was_asked_for(answer, request):
                    await self._refuse(answer, request)
                body = await answer.read(MAX_ANSWER_BYTES)
            try:
                return read(Raw(body))
            except DECODE_ERRORS as error:
                raise NoAdminApi(
                    self._http.address.url,
                    f"its answer to {_told(request)} is none that this program understands: {error}",
                ) from error
        raise _no_answer(seconds)

    async def _refuse(self, answer: Answer, request: Request) -> NoReturn:
        """Raise what an answer says that is not what was asked for."""
        body = await answer.read(MAX_PROBLEM_BYTES)
        raise error_of(answer, body, self._http, _told(request))


def _no_answer(seconds: float) -> ConnectionLost:
    return ConnectionLost(reason=f"no answer within {seconds:g} seconds")


def _told(request: Request) -> str:
    return f"{request.verb} {request.target.partition('?')[0]}"


def _is_what_was_asked_for(answer: Answer, request: Request) -> bool:
    return answer.status == 200 and answer.content_type == request.accept


def _request(verb: str, template: str, params: Mapping[str, Any], *, accept: str = _JSON) -> Request:
    rest = dict(params)
    path = _API
    for part in template.split("/")[1:]:
        if part.startswith("{"):
            part = quote(_in_path(part[1:-1], rest.pop(part[1:-1])), safe="")
        path += f"/{part}"
    if verb != "GET":
        return Request(verb=verb, target=path, accept=accept, body=encoded(rest))
    query = urlencode({name: _in_query(value) for name, value in rest.items()}, doseq=True)
    return Request(verb=verb, target=f"{path}?{query}" if query else path, accept=accept)


def _in_path(name: str, value: str) -> str:
    """A name that can be a part of a path: these cannot, or mean another one."""
    if value in ("", ".", ".."):
        raise InvalidParams.at(name, f"{value!r} cannot be named over HTTP")
    return value


def _in_query(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
