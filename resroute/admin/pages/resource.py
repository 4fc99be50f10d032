"""One resource: who owns it and why, its metadata, and what can be done with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec
from msgspec import UNSET, Raw
from quart import Blueprint, Response, request

from resroute.admin.access import Visitor
from resroute.admin.forms import Form
from resroute.admin.pages.desk import Desk, Question, link, pretty
from resroute.admin.pages.resources import split_tags
from resroute.admin.problems import Problem
from resroute.errors import RouterError
from resroute.protocol import results as r

_encode = msgspec.json.Encoder().encode


class _NotJson(Exception):
    """What stands in a field is not what it should hold; the text says what is wrong."""


@attrs.frozen(kw_only=True)
class Draft:
    """Metadata as it stands in the fields of the form."""

    expected_version: str = "0"
    resource_type: str = ""
    tags: str = ""
    priority: str = "0"
    ttl_seconds: str = ""
    attributes: str = "{}"

    @classmethod
    def of(cls, metadata: r.ResourceMetadata | None) -> "Draft":
        """The metadata that there is."""
        if metadata is None:
            return cls()
        return cls(
            expected_version=str(metadata.version),
            resource_type=metadata.resource_type or "",
            tags=", ".join(metadata.tags),
            priority=str(metadata.priority),
            ttl_seconds="" if metadata.ttl_seconds is None else f"{metadata.ttl_seconds:g}",
            attributes=pretty(metadata.attributes),
        )

    @classmethod
    def read(cls, form: Form) -> "Draft":
        """What somebody wrote."""
        return cls(**{field.name: form.get(field.name).strip() for field in attrs.fields(cls)})

    def params(self) -> dict[str, Any]:
        """As the router takes it.

        Raises:
            _NotJson: a field does not hold what it should.
        """
        return {
            "expected_version": _number(self.expected_version, "version"),
            "metadata": {
                "resource_type": self.resource_type or None,
                "tags": split_tags(self.tags),
                "priority": _number(self.priority or "0", "priority"),
                "ttl_seconds": _number(self.ttl_seconds, "time to live") if self.ttl_seconds else None,
                "attributes": _json(self.attributes or "{}", "attributes"),
            },
        }


@attrs.frozen(kw_only=True)
class CallForm:
    """A call as it stands in the fields of the form."""

    method: str = ""
    params: str = ""
    timeout_seconds: str = "10"


@attrs.frozen(kw_only=True)
class CallAnswer:
    """What came of a call."""

    is_good: bool
    text: str
    body: str


@attrs.frozen(kw_only=True)
class Explained:
    """What the page says of a resource beside its owner."""

    status: str
    waiters: int
    transitions: Sequence[r.TransitionInfo]
    recent_calls: Mapping[str, int]
    deliver_to: str | None
    refusal: str
    flapping: bool


class ResourcePages:
    """``/resource``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def blueprint(self) -> Blueprint:
        """Where they are."""
        pages = Blueprint("resource", __name__)
        pages.get("/resource")(self.resource)
        pages.post("/resource/update")(self.update)
        pages.post("/resource/transfer")(self.transfer)
        pages.post("/resource/release")(self.release)
        pages.post("/resource/call")(self.call)
        return pages

    async def _show(self, visitor: Visitor, name: str, status: int = 200, **members: Any) -> Response:
        told = await self._desk.ask(visitor, "route.explain", r.Explanation, resource_id=name)
        owner = None if told.owner is UNSET else told.owner
        metadata = None if owner is None or owner.metadata is UNSET else owner.metadata
        given: dict[str, Any] = {
            "draft": Draft.of(metadata),
            "conflict": None,
            "current": "",
            "problem": None,
            "answer": None,
            "call": CallForm(),
        }
        return self._desk.page(
            "resource.html",
            visitor,
            here="/resources",
            status=status,
            name=name,
            owner=owner,
            explained=_explained(told),
            link=link,
            **given | members,
        )

    async def resource(self) -> Response:
        return await self._show(self._desk.visitor(), request.args.get("id", ""))

    async def update(self) -> Response:
        visitor, form = await self._desk.form()
        name, draft = form.get("id"), Draft.read(form)
        try:
            told = await self._desk.ask(
                visitor, "resource.update", r.UpdatedResource, resource_id=name, **draft.params()
            )
        except _NotJson as wrong:
            return await self._show(visitor, name, 400, draft=draft, problem=str(wrong))
        except Problem as problem:
            if problem.type != "version_conflict":
                return await self._show(visitor, name, problem.status, draft=draft, problem=problem.detail)
            return await self._show_conflict(visitor, name, draft, problem)
        version = told.resource.metadata.version if told.resource.metadata is not UNSET else "?"
        return self._desk.done(link("/resource", id=name), f"Saved as version {version}.")

    async def _show_conflict(self, visitor: Visitor, name: str, draft: Draft, problem: Problem) -> Response:
        """What somebody wrote, and what somebody else has saved meanwhile."""
        page = await self._desk.ask(visitor, "resource.query", r.ResourcePage, resource_ids=[name])
        metadata = page.resources[0].metadata if page.resources else UNSET
        current = "" if metadata is UNSET else pretty(_encode(metadata))
        version = str(problem.members["current_version"])
        return await self._show(
            visitor,
            name,
            problem.status,
            draft=attrs.evolve(draft, expected_version=version),
            conflict=f"It is at version {version} now, and you began with {draft.expected_version}.",
            current=current,
        )

    async def transfer(self) -> Response:
        visitor, form = await self._desk.form()
        name, heir = form.get("id"), form.get("to_instance_id").strip()
        back = link("/resource", id=name)
        if not heir:
            return self._desk.done(back, "Say which instance to hand it over to.", is_good=False)
        question = Question(f"Hand {name} over to {heir}?", "Both sides are told.", "Hand over", back)
        if (asking := self._desk.confirmed(form, visitor, question)) is not None:
            return asking
        try:
            await self._desk.ask(
                visitor,
                "resource.transfer",
                r.TransferredResources,
                resource_ids=[name],
                from_instance_id=form.get("from_instance_id"),
                to_instance_id=heir,
                reason=form.get("reason").strip() or f"by {visitor.subject}",
            )
        except Problem as problem:
            return self._desk.failed(back, problem)
        return self._desk.done(back, f"{name} was handed over to {heir}.")

    async def release(self) -> Response:
        visitor, form = await self._desk.form()
        name = form.get("id")
        back = link("/resource", id=name)
        question = Question(f"Release {name}?", "Nobody owns it then. Its owner is told.", "Release", back)
        if (asking := self._desk.confirmed(form, visitor, question)) is not None:
            return asking
        try:
            await self._desk.ask(visitor, "resource.release", r.ReleasedResources, resource_ids=[name])
        except Problem as problem:
            return self._desk.failed(back, problem)
        return self._desk.done(back, f"{name} was released.")

    async def call(self) -> Response:
        visitor, form = await self._desk.form()
        name = form.get("id")
        given = CallForm(**{field.name: form.get(field.name) for field in attrs.fields(CallForm)})
        try:
            params: dict[str, Any] = {"resource_id": name, "method": given.method.strip()}
            if given.params.strip():
                params["params"] = _json(given.params, "params")
            if given.timeout_seconds.strip():
                params["timeout_seconds"] = _number(given.timeout_seconds.strip(), "seconds")
            told = await self._desk.call(visitor, _encode(params))
        except _NotJson as wrong:
            answer = CallAnswer(is_good=False, text=str(wrong), body="")
        except Problem as problem:
            answer = _refused(problem)
        except RouterError as error:
            answer = _refused(Problem.of(error))
        else:
            answer = _answered(told)
        return await self._show(visitor, name, call=given, answer=answer)


def _explained(told: r.Explanation) -> Explained:
    would = told.would
    return Explained(
        status=told.status,
        waiters=told.waiters,
        transitions=told.transitions,
        recent_calls=told.recent_calls,
        deliver_to=None if would.deliver_to is UNSET else would.deliver_to,
        refusal="" if would.error is UNSET else would.error.message,
        flapping=told.flapping is not UNSET,
    )


def _refused(problem: Problem) -> CallAnswer:
    delivery = problem.members.get("delivery")
    more = f" ({delivery.replace('_', ' ')})" if isinstance(delivery, str) else ""
    return CallAnswer(is_good=False, text=f"The router refused it{more}:", body=problem.detail)


def _answered(told: Mapping[str, Any]) -> CallAnswer:
    meta = msgspec.json.decode(told["meta"])
    by = f"by {meta.get('instance_id', 'its owner')} in {meta['duration_ms']} ms"
    if told["error"] is UNSET:
        return CallAnswer(is_good=True, text=f"Answered {by}:", body=pretty(told["result"]))
    return CallAnswer(
        is_good=False, text=f"An error of the callee's own, {by}:", body=pretty(_encode(told["error"]))
    )


def _json(text: str, what: str) -> Raw:
    """A field that holds JSON, as it stands there."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _NotJson(f"The {what} are not JSON: {error}.") from None
    return Raw(text.encode())


def _number(text: str, what: str) -> Raw:
    """A field that holds a number; whether it can be that is for the router to say."""
    try:
        msgspec.json.decode(text, type=float)
    except msgspec.DecodeError:
        raise _NotJson(f"The {what} is not a number.") from None
    return Raw(text.encode())
