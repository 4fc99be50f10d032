"""The audit log, the settings, and changes as they happen."""

from typing import get_args

import msgspec
from msgspec import UNSET, Raw
from quart import Blueprint, Response, request

from resroute.admin.api import settings_in_force
from resroute.admin.audit_api import audit_page
from resroute.admin.pages.desk import Desk, link
from resroute.admin.pages.fields import split_tags
from resroute.admin.params import value_of
from resroute.admin.problems import Problem
from resroute.admin.shapes import AuditParams
from resroute.audit.records import Event
from resroute.core.filters import Filter
from resroute.errors import InvalidParams
from resroute.ids import ServiceName
from resroute.protocol.structure import structure_params
from resroute.router.router import CHANGEABLE

_SIZE = 50
_LATEST = 50  # changes that are there before any is told
_AUDIT_FILTERS = ("since", "until", "resource_id", "instance_id", "actor", "event")
_LIVE_FILTERS = ("prefix", "service_name", "tags")


def make_record_pages(desk: Desk) -> Blueprint:
    """``/audit``, ``/settings`` and ``/live``."""
    pages = Blueprint("records", __name__)

    @pages.get("/audit")
    async def audit() -> Response:
        visitor = desk.visitor()
        filters = {name: request.args.get(name, "").strip() for name in _AUDIT_FILTERS}
        given: dict[str, object] = {name: value for name, value in filters.items() if value}
        cursor = request.args.get("cursor", "")
        asked = given | {"limit": _SIZE} | ({"cursor": value_of(cursor, int)} if cursor else {})
        status, problem, records, following = 200, None, [], None
        try:
            params = structure_params(Raw(msgspec.json.encode(asked)), AuditParams)
            page = await audit_page(desk.router.trail, params)
        except InvalidParams as wrong:
            status, problem = 400, "; ".join(f"{it['path']} {it['message']}" for it in wrong.errors)
        except Problem as refusal:
            status, problem = refusal.status, refusal.detail
        else:
            records = list(page.records)
            if page.next_cursor is not UNSET:
                following = link("/audit", **given, cursor=page.next_cursor)
        return desk.page(
            "audit.html",
            visitor,
            here="/audit",
            status=status,
            filters=filters,
            events=get_args(Event),
            problem=problem,
            records=records,
            is_filtered=bool(given or cursor),
            first=link("/audit", **given) if cursor else None,
            next=following,
            export=link("/api/v1/audit/export", **given),
            export_csv=link("/api/v1/audit/export", **given, format="csv"),
            link=link,
        )

    @pages.get("/settings")
    async def settings() -> Response:
        visitor = desk.visitor()
        return desk.page(
            "settings.html",
            visitor,
            here="/settings",
            settings=settings_in_force(desk.router.settings),
            changeable=CHANGEABLE,
        )

    @pages.get("/live")
    async def live() -> Response:
        visitor = desk.visitor()
        filters = {name: request.args.get(name, "").strip() for name in _LIVE_FILTERS}
        given: dict[str, object] = {name: value for name, value in filters.items() if name != "tags"}
        tags = split_tags(filters["tags"])
        wanted = Filter.of(
            prefix=filters["prefix"], service_name=ServiceName(filters["service_name"]) or None, tags=tags
        )
        return desk.page(
            "live.html",
            visitor,
            here="/live",
            filters=filters,
            changes=desk.router.changes.of(wanted, _LATEST),
            # from where the page ends, so that nothing is missed between the two
            events=link("/api/v1/events", **given, tags=tags, from_revision=desk.router.revision),
            link=link,
        )

    return pages
