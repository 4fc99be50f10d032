"""Finding resources, and doing something with many at once."""

from collections.abc import Sequence

import attrs
from msgspec import UNSET
from quart import Blueprint, Response, request

from resroute.admin.forms import Form, is_local_path
from resroute.admin.pages.desk import Desk, Question, link
from resroute.admin.problems import Problem
from resroute.protocol import results as r

_SIZE = 50


@attrs.frozen
class Filters:
    """What is asked for, as it stands in the fields; ``tags`` with commas between them."""

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

    def params(self) -> dict[str, object]:
        """As the router takes them."""
        given: dict[str, object] = {
            name: value for name, value in attrs.asdict(self).items() if value and name != "tags"
        }
        tags = split_tags(self.tags)
        return given | ({"tags": tags} if tags else {})


def split_tags(text: str) -> list[str]:
    """The tags in a field."""
    return [tag.strip() for tag in text.split(",") if tag.strip()]


@attrs.frozen
class Found:
    """One page of what matches."""

    resources: Sequence[r.ResourceInfo]
    total_count: int
    is_lower_bound: bool


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
        status, problem, found, following = 200, None, None, None
        try:
            page = await self._desk.ask(
                visitor,
                "resource.query",
                r.ResourcePage,
                **filters.params(),
                limit=_SIZE,
                cursor=cursor or None,
            )
        except Problem as refusal:
            status, problem = refusal.status, refusal.detail
        else:
            is_lower_bound = page.total_count_is_lower_bound is not UNSET
            found = Found(page.resources, page.total_count, is_lower_bound)
            if page.next_cursor is not UNSET:
                following = link("/resources", **given, cursor=page.next_cursor)
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
