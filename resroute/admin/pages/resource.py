"""One resource: who owns it and why, its metadata, and what can be done with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec
from msgspec import UNSET
from quart import Blueprint, Response, request

from resroute.admin.access import Visitor
from resroute.admin.pages.calling import CallAnswer, CallForm, answered, refused
from resroute.admin.pages.desk import Desk, Question, link, pretty
from resroute.admin.pages.drafts import Draft
from resroute.admin.pages.fields import NotJson
from resroute.admin.problems import Problem
from resroute.errors import InvalidParams
from resroute.protocol import results as r

_SHOWN_HEIRS = 100

_encode = msgspec.json.Encoder().encode


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
        told = await self._explain(visitor, name)
        owner = None if told.owner is UNSET else told.owner
        given: dict[str, Any] = {
            "draft": Draft.of(_metadata_of(told)),
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
            heirs=await self._heirs(visitor, owner),
            explained=_explained(told),
            link=link,
            **given | members,
        )

    async def _explain(self, visitor: Visitor, name: str) -> r.Explanation:
        return await self._desk.ask(visitor, "route.explain", r.Explanation, resource_id=name)

    async def _heirs(self, visitor: Visitor, owner: r.ResourceInfo | None) -> Sequence[str]:
        """Some of those that a resource can be handed over to."""
        if owner is None:
            return ()
        page = await self._desk.ask(
            visitor, "instance.query", r.InstancePage, service_name=owner.service_name, limit=_SHOWN_HEIRS
        )
        return [
            it.instance_id
            for it in page.instances
            if it.instance_id != owner.owner_instance_id and it.status == "healthy"
        ]

    async def resource(self) -> Response:
        return await self._show(self._desk.visitor(), request.args.get("id", ""))

    async def update(self) -> Response:
        visitor, form = await self._desk.form()
        name, draft = form.get("id"), Draft.read(form)
        try:
            draft.check(name)
            told = await self._explain(visitor, name)
            before = Draft.of(_metadata_of(told))
            changes = draft.changes_from(before)
            if before.expected_version != draft.expected_version:
                return await self._show_conflict(visitor, name, draft, before.expected_version)
            if not changes:
                return self._desk.done(link("/resource", id=name), "It says just that already.")
            question = Question(
                f"Change what {name} says of itself?",
                "All who look for it see that from then on.",
                "Save",
                link("/resource", id=name),
                changes=changes,
            )
            if (asking := self._desk.confirmed(form, visitor, question)) is not None:
                return asking
            saved = await self._desk.ask(
                visitor, "resource.update", r.UpdatedResource, resource_id=name, **draft.params()
            )
        except NotJson as wrong:
            return await self._show(visitor, name, 400, draft=draft, problem=str(wrong))
        except InvalidParams as wrong:
            return await self._show(visitor, name, 400, draft=draft, problem=f"{wrong}.")
        except Problem as problem:
            if problem.type != "version_conflict":
                return await self._show(visitor, name, problem.status, draft=draft, problem=problem.detail)
            return await self._show_conflict(visitor, name, draft, str(problem.members["current_version"]))
        version = saved.resource.metadata.version if saved.resource.metadata is not UNSET else "?"
        return self._desk.done(link("/resource", id=name), f"Saved as version {version}.")

    async def _show_conflict(self, visitor: Visitor, name: str, draft: Draft, version: str) -> Response:
        """What somebody wrote, and what somebody else has saved meanwhile."""
        page = await self._desk.ask(visitor, "resource.query", r.ResourcePage, resource_ids=[name])
        metadata = page.resources[0].metadata if page.resources else UNSET
        return await self._show(
            visitor,
            name,
            409,
            draft=attrs.evolve(draft, expected_version=version),
            conflict=f"It is at version {version} now, and you began with {draft.expected_version}.",
            current="" if metadata is UNSET else pretty(_encode(metadata)),
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
        name, given = form.get("id"), CallForm.read(form)
        answer: CallAnswer
        try:
            params = given.given(name)
            told = await self._explain(visitor, name)
            if (asking := self._desk.confirmed(form, visitor, _call_question(name, given, told))) is not None:
                return asking
            answer = answered(await self._desk.call(visitor, told, params))
        except NotJson as wrong:
            answer = CallAnswer(is_good=False, text=str(wrong), body="")
        except Problem as problem:
            answer = refused(problem)
        return await self._show(visitor, name, call=given, answer=answer)


def _metadata_of(told: r.Explanation) -> r.ResourceMetadata | None:
    if told.owner is UNSET or told.owner.metadata is UNSET:
        return None
    return told.owner.metadata


def _call_question(name: str, given: CallForm, told: r.Explanation) -> Question:
    would = told.would
    goes = (
        "It would be refused as things are."
        if would.deliver_to is UNSET
        else f"{would.deliver_to} does whatever that means there."
    )
    params = given.params.strip()
    return Question(
        f"Call {given.method.strip()} of {name}?",
        f"{goes} The audit log says that you called.",
        "Call",
        f"{link('/resource', id=name)}#call",
        details=pretty(params.encode()) if params else "",
    )


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
