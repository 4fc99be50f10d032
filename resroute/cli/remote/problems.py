"""What an answer of an admin API says if it is not what was asked for, as one of our errors."""

import json
from collections.abc import Mapping
from typing import Any

from resroute import errors as e
from resroute.cli.remote.http import Answer, Http
from resroute.cli.remote.refusals import Denied, NoAdminApi, TokenRefused, TriesRefused

PROBLEM = "application/problem+json"
MAX_PROBLEM_BYTES = 64 * 1024
_SHOWN = 1000  # characters of what somebody else says
_OWN_MEMBERS = ("type", "title", "status", "detail", "code")


def error_of(answer: Answer, body: bytes, http: Http, asked: str) -> e.ResrouteError:
    """The error.

    Args:
        answer: its status is not 200, or its content is of another type than was asked for.
        body: as far as it was read.
        asked: what for, for people.
    """
    url, status = http.address.url, answer.status
    if 300 <= status < 400:
        where = answer.headers.get("location", "nowhere")[:_SHOWN]
        return NoAdminApi(url, f"it leads elsewhere, to {where}: give that URL if you trust it", status)
    if answer.content_type == PROBLEM and (problem := _members(body)) is not None:
        return _error_of_problem(status, problem, http, asked)
    if status == 426:
        return NoAdminApi(
            url,
            "that is a port for WebSocket: the admin API has another one, 8766 unless set otherwise",
            status,
        )
    if status in (414, 431):
        return _too_long()
    if status in (401, 407):
        return TokenRefused(http.has_token)
    if status in (403, 451):
        return Denied(f"HTTP {status}")
    kind = answer.content_type or "nothing"
    return NoAdminApi(url, f"what answers there is no admin API of a router: HTTP {status}, {kind}", status)


def _members(body: bytes) -> Mapping[str, Any] | None:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return problem if isinstance(problem, dict) else None


def _error_of_problem(status: int, problem: Mapping[str, Any], http: Http, asked: str) -> e.ResrouteError:
    kind = str(problem.get("type", "about:blank"))
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")[:_SHOWN]
    if status == 401:
        return TokenRefused(http.has_token)
    if kind == e.RateLimited.type:
        after = problem.get("retry_after_seconds")
        return TriesRefused(after if isinstance(after, int | float) else None)
    code = problem.get("code")
    if kind != "about:blank" and isinstance(code, int):
        data = {name: value for name, value in problem.items() if name not in _OWN_MEMBERS}
        return e.router_error_from_wire(code, detail, {"type": kind, **data})
    match status:
        case 404 | 405 | 501:
            why = "it is of another version than this program"
            if http.address.target:
                why += ", or its admin API is not at this path"
            return NoAdminApi(http.address.url, f"this router does not offer {asked}: {why}", status)
        case 414 | 431:
            return _too_long()
        case 413 | 415:
            return e.InvalidParams.at("", detail)
        case 403:
            return Denied(detail)
        case _:
            return e.ConnectionFailed(http.address.url, detail, status)


def _too_long() -> e.InvalidParams:
    return e.InvalidParams.at("", "they are too long for one request over HTTP")
