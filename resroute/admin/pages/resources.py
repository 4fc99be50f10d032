"""Finding resources, and doing something with many at once."""

from collections.abc import Sequence
from typing import Any

import attrs
from msgspec import UNSET
from quart import Blueprint, Response, request

from resroute.admin.access import Visitor
from resroute.admin.forms import Form, is_local_path
from resroute.admin.pages.desk import Desk, Question, link
from resroute.admin.pages.fields import split_tags
from resroute.admin.problems import Problem
from resroute.core.filters import Filter
from resroute.ids import ResourceId, is_id
from resroute.protocol import results as r
from resroute.router.id_search import Rank

_SIZE = 50


@attrs.frozen
class Filters:
    """What is asked for, as it stands in the fields; ``tags`` with commas between them."""

    id: str = ""
    """Any part of it."""
    prefix: str = ""
    service_name: str = ""
    instance_id: str = ""
    resource_type: str = ""
    tags: str = ""

    @classmethod
    def read(cls) -> "Filters":
        """Those of the request."""
        names = [field.name for field in attrs.fields(cls)]
        return cls(**{name: request.args.get(name, "").strip() for name in names})

    def params(self) -> dict[str, Any]:
        """As the router takes them, all but a part of an id."""
        given = {
            name: value for name, value in attrs.asdict(self).items() if value and name not in ("id", "tags")
        }
        tags = split_tags(self.tags)
        return given | ({"tags": tags} if tags else {})


@attrs.frozen
class Found:
    """One page of what matches."""

    resources: Sequence[r.ResourceInfo]
    total_count: int
    is_lower_bound: bool
    next_cursor: str | None


class ResourceList:
    """``/resources``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def blueprint(self) -> Blueprint:
        """Where they are."""
        pages = Blueprint("resources", __name__)
        pages.get("/resources")(self.resources)
        pages.post("/resources/act")(self.act)
        return pages

    async def resources(self) -> Response:
        visitor = self._desk.visitor()
        filters, cursor = Filters.read(), request.args.get("cursor", "")
        given = attrs.asdict(filters)
        status, problem, found = 200, None, None
        try:
            find = self._find_by_part if filters.id else self._find
            found = await find(visitor, filters, cursor)
        except Problem as refusal:
            status, problem = refusal.status, refusal.detail
        following = None
        if found is not None and found.next_cursor is not None:
            following = link("/resources", **given, cursor=found.next_cursor)
        return self._desk.page(
            "resources.html",
            visitor,
            here="/resources",
            status=status,
            filters=filters,
            page=found,
            problem=problem,
            first=link("/resources", **given),
            next=following,
            is_later=bool(cursor),
            back=link("/resources", **given, cursor=cursor),
            link=link,
        )

    async def _find(self, visitor: Visitor, filters: Filters, cursor: str) -> Found:
        page = await self._desk.ask(
            visitor,
            "resource.query",
            r.ResourcePage,
            **filters.params(),
            limit=_SIZE,
            cursor=cursor or None,
        )
        is_lower_bound = page.total_count_is_lower_bound is not UNSET
        following = None if page.next_cursor is UNSET else page.next_cursor
        return Found(page.resources, page.total_count, is_lower_bound, following)

    async def _find_by_part(self, visitor: Visitor, filters: Filters, cursor: str) -> Found:
        """By a part of their ids: the one of just that id first, then those that begin with it, then all others."""
        found = await self._desk.router.search.find(
            Filter.of(**filters.params()), filters.id, limit=_SIZE, after=_rank(cursor)
        )
        resources: Sequence[r.ResourceInfo] = ()
        if found.resource_ids:
            page = await self._desk.ask(
                visitor, "resource.query", r.ResourcePage, resource_ids=found.resource_ids, limit=_SIZE
            )
            place = {resource_id: number for number, resource_id in enumerate(found.resource_ids)}
            resources = sorted(page.resources, key=lambda it: place[it.resource_id])
        following = None if found.last is None else f"{found.last.begins}{found.last.resource_id}"
        return Found(resources, found.total_count, not found.is_complete, following)

    async def act(self) -> Response:
        visitor, form = await self._desk.form()
        names = form.all("resource_id")
        back = form.get("back") if is_local_path(form.get("back")) else "/resources"
        if not names:
            return self._desk.done(back, "Nothing was selected.", is_good=False)
        question = _question(form, names, back)
        if question is None:
            return self._desk.done(back, "Say which instance to hand them over to.", is_good=False)
        if (asking := self._desk.confirmed(form, visitor, question)) is not None:
            return asking
        try:
            if form.get("act") == "release":
                gone = await self._desk.ask(
                    visitor, "resource.release", r.ReleasedResources, resource_ids=names, partial=True
                )
                text = _outcome("released", len(gone.released), len(gone.failed))
                return self._desk.done(back, text, is_good=gone.success)
            owned = await self._desk.ask(
                visitor, "resource.query", r.ResourcePage, resource_ids=names, limit=1, include_metadata=False
            )
            if not owned.resources:
                return self._desk.done(back, "Nobody owns any of them any more.", is_good=False)
            moved = await self._desk.ask(
                visitor,
                "resource.transfer",
                r.TransferredResources,
                resource_ids=names,
                from_instance_id=owned.resources[0].owner_instance_id,  # and from whoever else owns one
                to_instance_id=form.get("to_instance_id").strip(),
                reason=f"by {visitor.subject}",
                verify_ownership=False,
                partial=True,
            )
            text = _outcome("handed over", len(moved.transferred), len(moved.failed))
            return self._desk.done(back, text, is_good=moved.success)
        except Problem as problem:
            return self._desk.failed(back, problem)


def _rank(cursor: str) -> Rank | None:
    """Where a page of what was found by a part of its id begins.

    Raises:
        Problem: nowhere.
    """
    if not cursor:
        return None
    begins, resource_id = cursor[0], cursor[1:]
    if begins not in ("0", "1") or not is_id(resource_id):
        raise Problem(400, "the cursor is none of a search: begin at the first page")
    return Rank(int(begins), ResourceId(resource_id))


def _question(form: Form, names: list[str], back: str) -> Question | None:
    count = f"{len(names)} resources" if len(names) > 1 else names[0]
    if form.get("act") == "release":
        return Question(
            f"Release {count}?", "Nobody owns them then. Their owners are told.", "Release", back, names
        )
    heir = form.get("to_instance_id").strip()
    if not heir:
        return None
    return Question(f"Hand {count} over to {heir}?", "Both sides are told.", "Hand over", back, names)


def _outcome(done: str, count: int, failed: int) -> str:
    text = f"{count} {'resource' if count == 1 else 'resources'} {done}"
    return f"{text}; {failed} could not be." if failed else f"{text}."
