"""Asking the router for something on behalf of whoever made a request."""

from typing import Any

import msgspec
from msgspec import UNSET
from quart import request

from resroute.admin.access import Visitor
from resroute.admin.problems import Problem
from resroute.admin.routes import result_of
from resroute.admin.sessions import AdminSessions, Message, NotReady, RequestTooLarge
from resroute.errors import RouterError

_encode = msgspec.json.Encoder().encode


class Asker:
    """Makes requests of the router.

    Args:
        sessions: those of administrators with it.
    """

    def __init__(self, sessions: AdminSessions) -> None:
        self._sessions = sessions

    async def ask(self, visitor: Visitor, method: str, params: bytes) -> Message:
        """Make a request of the router, and return an answer that is no error of the router's own.

        Args:
            visitor: on whose behalf.
            method: of the router's.
            params: the JSON of an object.

        Raises:
            Problem: it is refused.
            RouterError: likewise.
        """
        try:
            session = self._sessions.of(visitor.subject)
            traceparent = request.headers.get("traceparent")
            answer = await session.request(method, params, traceparent=traceparent)
        except NotReady:
            raise not_ready() from None
        except RequestTooLarge:
            raise Problem(413, "The request does not fit into one message to the router") from None
        if answer.error is not UNSET and answer.is_refusal:
            raise Problem.of_answer(answer.error)
        return answer

    async def result[T](self, visitor: Visitor, method: str, kind: type[T], **params: Any) -> T:
        """The result of a request. Parameters that are None are left out.

        Raises:
            Problem: it is refused.
        """
        given = {name: value for name, value in params.items() if value is not None}
        try:
            answer = await self.ask(visitor, method, _encode(given))
        except RouterError as error:
            raise Problem.of(error) from None
        return msgspec.json.decode(result_of(answer), type=kind)


def not_ready() -> Problem:
    """The router cannot be asked yet."""
    return Problem(503, "The router does not listen yet", headers={"Retry-After": "1"})
