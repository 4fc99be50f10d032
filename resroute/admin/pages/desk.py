"""What all pages do: see who is there, ask the router, show something, and ask before they do something."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import msgspec
from msgspec import UNSET, Raw
from quart import Response, request

from resroute.admin.access import Access, Visitor
from resroute.admin.asking import Asker
from resroute.admin.forms import Form, read_form, see_other
from resroute.admin.notices import Notice, Notices
from resroute.admin.problems import Problem, trace_id_of_request
from resroute.admin.rendering import Templates
from resroute.admin.requests import current_request
from resroute.admin.view import Administrable
from resroute.audit.records import Actor, Entry, Touched
from resroute.errors import RouterError
from resroute.protocol import results as r
from resroute.router.queries import MAX_OFFSET

_encode = msgspec.json.Encoder().encode


class LoginNeeded(Exception):
    """Nobody has logged in who may see this page."""


@attrs.frozen
class Change:
    """What something is, and what it would be."""

    name: str
    before: str
    after: str


@attrs.frozen
class Question:
    """What a page asks before it does something."""

    title: str
    """What would be done."""
    text: str
    """What that means."""
    button: str
    back: str
    """The path to go back to."""
    subjects: Sequence[str] = ()
    """What it would be done to."""
    changes: Sequence[Change] = ()
    """What would be otherwise then."""
    details: str = ""
    """What would be said, as it is."""


class Desk:
    """What all pages share.

    Args:
        router: what they are about.
        access: lets administrators in.
        asker: makes requests of the router.
        templates: of pages.
    """

    def __init__(self, router: Administrable, access: Access, asker: Asker, templates: Templates) -> None:
        self.router = router
        self._access = access
        self._asker = asker
        self._templates = templates
        self._notices = Notices()

    def visitor(self) -> Visitor:
        """Who looks at a page.

        Raises:
            LoginNeeded: nobody who may.
        """
        visitor = self._access.find(request)
        if visitor is None:
            raise LoginNeeded
        return visitor

    def end_with(self, visitor: Visitor, end: Callable[[], object]) -> None:
        """Have what a request has begun end with it, and when its visitor may no longer be here."""
        current_request().when_done(end)
        current_request().when_done(self._access.when_out(visitor, end))

    async def form(self) -> tuple[Visitor, Form]:
        """Who has sent a form, and what it says.

        Raises:
            LoginNeeded: nobody who may.
            Problem: it is no form of ours.
        """
        visitor = self.visitor()
        return visitor, await read_form(request, visitor)

    async def ask[T](self, visitor: Visitor, method: str, kind: type[T], **params: Any) -> T:
        """The result of a request to the router. Parameters that are None are left out.

        Raises:
            Problem: it is refused.
        """
        return await self._asker.result(visitor, method, kind, **params)

    async def call(
        self, visitor: Visitor, told: r.Explanation, params: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """What comes of a routed call of a resource: ``result`` or ``error``, as JSON, and ``meta``.

        The audit log says who it was, unless the router says that it was not delivered.

        Args:
            told: what is known of the resource.
            params: of ``route.call``.

        Raises:
            Problem: the router refuses it.
        """
        session = await self.ask(visitor, "session.info", r.SessionInfo)
        actor, trace_id = Actor(visitor.subject, session.session_id), trace_id_of_request()
        may_be_there = True
        try:
            answer = await self._asker.ask(visitor, "route.call", _encode({**params, "trace_id": trace_id}))
        except (Problem, RouterError) as error:
            problem = error if isinstance(error, Problem) else Problem.of(error)
            may_be_there = problem.members.get("delivery") == "unknown"
            raise problem from None
        finally:  # whoever asked may have gone meanwhile
            if may_be_there:
                self._record_call(actor, trace_id, told, str(params["method"]))
        return {"result": answer.result, "error": answer.error, "meta": answer.meta}

    def _record_call(self, actor: Actor, trace_id: str, told: r.Explanation, method: str) -> None:
        owner = None if told.owner is UNSET else told.owner
        instance_id = None if owner is None else owner.owner_instance_id
        touched = [] if owner is None else [Touched(owner.resource_id, owner.epoch, owner.epoch)]
        self.router.trail.add(
            Entry(
                at=time.time(),
                revision=self.router.revision,
                event="called",
                cause="admin",
                actor=actor,
                service_name=None if owner is None else owner.service_name,
                instance_before=instance_id,
                instance_after=instance_id,
                resources=touched,
                resource_count=len(touched),
                trace_id=trace_id,
                reason=method,
            )
        )

    def page(
        self, template: str, visitor: Visitor, *, here: str | None, status: int = 200, **members: Any
    ) -> Response:
        """A page, and what the action before it had to say."""
        notice = self._notices.take(request.args.get("said", ""))
        return self._templates.page(template, visitor, here=here, status=status, notice=notice, **members)

    def render(self, template: str, **members: Any) -> str:
        """A part of a page."""
        return self._templates.render(template, **members)

    def confirmed(self, form: Form, visitor: Visitor, question: Question) -> Response | None:
        """None if a form says that it was asked already; otherwise the page that asks."""
        if form.get("confirmed") == "yes":
            return None
        fields = [
            (name, value)
            for name, values in form.fields().items()
            for value in values
            if name not in ("csrf_token", "confirmed")
        ]
        return self.page(
            "confirm.html", visitor, here=None, question=question, fields=fields, action=request.path
        )

    def done(self, path: str, text: str, *, is_good: bool = True) -> Response:
        """Go on to a page, which says what was done."""
        key = self._notices.add(Notice(text, is_good))
        return see_other(f"{path}{'&' if '?' in path else '?'}said={key}")

    def failed(self, path: str, problem: Problem) -> Response:
        """Go on to a page, which says why nothing was done."""
        return self.done(path, f"Nothing was done: {problem.detail}.", is_good=False)


def pretty(value: bytes | Raw) -> str:
    """JSON for people. Characters that turn the text around them are spelled out: it means the same, and shows what it is."""
    text = msgspec.json.format(bytes(value)).decode()
    return _TURNING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


# the marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def link(path: str, **params: Any) -> str:
    """A path with parameters, without those that are empty."""
    given = [(name, value) for name, value in params.items() if value not in (None, "", ())]
    return f"{path}?{urlencode(given, doseq=True, quote_via=quote)}" if given else path


def offset_of(text: str) -> int:
    """What a page leaves out of a list, as its parameter says: 0 if that is empty.

    Raises:
        Problem: it is no number, or more than can be left out.
    """
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_OFFSET:
        return int(text)
    if text:
        raise Problem(400, f"the offset must be a whole number from 0 to {MAX_OFFSET}")
    return 0
