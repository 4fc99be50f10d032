"""What goes wrong, told as RFC 9457 has it: the router's errors under their own types, HTTP's own as ``about:blank``."""

import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
from msgspec import UNSET
from quart import Response, request

from resroute.admin.sessions import WireError
from resroute.errors import RouterError

CONTENT_TYPE = "application/problem+json"

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

STATUS_OF_CODE: Mapping[int, int] = {
    -32700: HTTPStatus.BAD_REQUEST,
    -32600: HTTPStatus.BAD_REQUEST,
    -32601: HTTPStatus.NOT_IMPLEMENTED,
    -32602: HTTPStatus.BAD_REQUEST,
    -32603: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The HTTP status of JSON-RPC's own codes. All others are HTTP statuses."""


class Problem(Exception):
    """A request is answered with an error instead.

    Attributes:
        status: of HTTP.
        type: of the error, as the protocol names it; None where HTTP itself says it all.
        detail: what is wrong, for people.
        members: what there is to say beside.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type: str | None = None,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.members = members or {}
        self.headers = headers or {}

    @classmethod
    def of(cls, error: RouterError) -> "Problem":
        """An error that the router makes before it asks anybody."""
        return cls._made(error.code, str(error), error.data())

    @classmethod
    def of_answer(cls, error: WireError) -> "Problem":
        """An error that the router answered a request with."""
        data = {} if error.data is UNSET else msgspec.json.decode(error.data)
        return cls._made(error.code, error.message, data)

    @classmethod
    def _made(cls, code: int, message: str, data: Mapping[str, Any]) -> "Problem":
        members = {name: value for name, value in data.items() if name != "type"}
        headers = {}
        if (after := data.get("retry_after_seconds")) is not None:
            headers["Retry-After"] = str(max(1, round(after)))
        status = STATUS_OF_CODE.get(code, code)
        return cls(
            status, message, type=str(data["type"]), members={"code": code, **members}, headers=headers
        )

    def response(self) -> Response:
        """The answer."""
        text = self.text(trace_id_of_request())
        return Response(text, self.status, dict(self.headers), content_type=CONTENT_TYPE)

    def text(self, trace_id: str) -> bytes:
        """What it tells, as JSON.

        Args:
            trace_id: if the error itself has none.
        """
        told = {
            "type": self.type or "about:blank",
            "title": self._title(),
            "status": self.status,
            "detail": self.detail,
            "trace_id": trace_id,
            **self.members,
        }
        return orjson.dumps(told)

    def _title(self) -> str:
        if self.type is not None:
            return self.type.replace("_", " ").capitalize()
        return HTTPStatus(self.status).phrase


def trace_id_of_request() -> str:
    """That of the trace which the request belongs to, or a new one."""
    match = _TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    return match[1] if match is not None else new_trace_id()


def new_trace_id() -> str:
    """That of a trace that nobody has begun."""
    return secrets.token_hex(16)
