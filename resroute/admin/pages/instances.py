"""Services, their instances, and what can be done with one."""

from msgspec import UNSET
from quart import Blueprint, Response, request

from resroute.admin.pages.desk import Desk, Question, link, offset_of, pretty
from resroute.admin.problems import Problem
from resroute.protocol import results as r

_SIZE = 50
_SHOWN_RESOURCES = 36
_SHOWN_CALLS = 25


class InstancePages:
    """``/services`` and ``/instance``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def blueprint(self) -> Blueprint:
        """Where they are."""
        pages = Blueprint("instances", __name__)
        pages.get("/services")(self.services)
        pages.post("/services/rebalance")(self.rebalance)
        pages.get("/instance")(self.instance)
        pages.post("/instance/drain")(self.drain)
        pages.post("/instance/end")(self.end)
        return pages

    async def services(self) -> Response:
        visitor = self._desk.visitor()
        service_name = request.args.get("service_name", "")
        offset = offset_of(request.args.get("offset", ""))
        page = await self._desk.ask(
            visitor,
            "instance.query",
            r.InstancePage,
            service_name=service_name or None,
            limit=_SIZE,
            offset=offset,
        )
        statistics = await self._desk.ask(visitor, "router.statistics", r.Statistics)
        shown = [(name, it) for name, it in statistics.services.items() if service_name in ("", name)]
        return self._desk.page(
            "services.html",
            visitor,
            here="/services",
            service_name=service_name,
            services=shown,
            page=page,
            offset=offset,
            size=_SIZE,
            link=link,
        )

    async def rebalance(self) -> Response:
        visitor, form = await self._desk.form()
        service_name, by = form.get("service_name"), form.get("by")
        back = link("/services", service_name=service_name)
        is_asked = form.get("confirmed") == "yes"
        try:
            told = await self._desk.ask(
                visitor,
                "service.rebalance",
                r.RebalancedService,
                service_name=service_name,
                by=by,
                dry_run=not is_asked,
            )
        except Problem as problem:
            return self._desk.failed(back, problem)
        if is_asked:
            return self._desk.done(back, f"{len(told.moves)} resources have moved.")
        if not told.moves:
            return self._desk.done(back, "Nothing has to move: no instance has much more than others.")
        question = Question(
            f"Move {len(told.moves)} resources?",
            "They go to instances that have less to do; both sides are told. What moves is worked out again then.",
            "Move them",
            back,
            [f"{it.resource_id}: {it.from_instance_id} → {it.to_instance_id}" for it in told.moves],
        )
        return self._desk.confirmed(form, visitor, question) or self._desk.done(back, "")

    async def instance(self) -> Response:
        visitor = self._desk.visitor()
        name = request.args.get("id", "")
        page = await self._desk.ask(visitor, "instance.query", r.InstancePage, instance_id=name)
        if not page.instances:
            raise Problem(404, f"there is no instance {name}")
        [it] = page.instances
        owned = await self._desk.ask(
            visitor,
            "resource.query",
            r.ResourcePage,
            instance_id=name,
            limit=_SHOWN_RESOURCES,
            include_metadata=False,
        )
        offset = offset_of(request.args.get("offset", ""))
        calls = await self._desk.router.calls.of(it.instance_id, limit=_SHOWN_CALLS, offset=offset)
        metadata = "" if it.metadata is UNSET else pretty(it.metadata)
        return self._desk.page(
            "instance.html",
            visitor,
            here="/services",
            it=it,
            metadata=metadata,
            calls=calls,
            offset=offset,
            size=_SHOWN_CALLS,
            resources=owned.resources,
            has_more=owned.has_more,
            link=link,
        )

    async def drain(self) -> Response:
        visitor, form = await self._desk.form()
        name, heirs = form.get("id"), form.get("hand_over_to")
        back = link("/instance", id=name)
        text = (
            "Its resources go to other instances of its service."
            if heirs == "service"
            else "Its resources are free then."
        )
        question = Question(f"Drain {name}?", f"It gets nothing new from then on. {text}", "Drain it", back)
        if (asking := self._desk.confirmed(form, visitor, question)) is not None:
            return asking
        try:
            told = await self._desk.ask(
                visitor, "instance.drain", r.DrainedInstance, instance_id=name, hand_over_to=heirs
            )
        except Problem as problem:
            return self._desk.failed(back, problem)
        return self._desk.done(
            back,
            f"{name} drains: {told.handed_over} resources handed over, {told.released} released, "
            f"{told.in_flight} calls in flight.",
        )

    async def end(self) -> Response:
        visitor, form = await self._desk.form()
        name, session_id = form.get("id"), form.get("session_id")
        question = Question(
            f"End the session of {name}?",
            "Its connection is closed, all it owned is free at once, and calls that it has fail.",
            "End it",
            link("/instance", id=name),
        )
        if (asking := self._desk.confirmed(form, visitor, question)) is not None:
            return asking
        reason = form.get("reason") or "ended by an administrator"
        try:
            await self._desk.ask(visitor, "session.end", r.Result, session_id=session_id, reason=reason)
        except Problem as problem:
            return self._desk.failed("/services", problem)
        return self._desk.done("/services", f"The session of {name} has ended.")
