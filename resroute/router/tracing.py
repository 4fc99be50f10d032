"""What is traced: requests about ownership with their parts, and calls from their arrival to their answer.

Made only when traces are wanted, and then a trace only of those requests and calls that are sampled: all others have no
:class:`RequestTrace` and no :class:`CallTrace`, and cost a look at an attribute.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.core.facts import Applied, ResourcesMoved
from resroute.core.lots import Lot, granted_in, parts_of
from resroute.errors import ResourceConflict, RouterError
from resroute.ids import ResourceId
from resroute.protocol.params import RouteCall
from resroute.protocol.traceparent import TraceParent, read_traceparent
from resroute.router.call_params import CallerMeta, read_meta

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

    from resroute.router.calls import Call
    from resroute.router.request import Request
    from resroute.router.session import Session
    from resroute.telemetry.tracing import Attributes, Tracer

MAX_REMEMBERED = 10_000
"""Grants, conflicts and idempotency keys each, of which it is known in which span they came up."""

MAX_NAMED = 16
"""Resources of one request that are looked at for links: many more say nothing new."""

_TRACED = ("resource.", "instance.", "service.")


class _Recent[K]:
    """In which span something came up last; of many, of the last."""

    def __init__(self) -> None:
        self._spans: OrderedDict[K, SpanContext] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spans)

    def get(self, key: K) -> "SpanContext | None":
        return self._spans.get(key)

    def take(self, key: K) -> "SpanContext | None":
        return self._spans.pop(key, None)

    def note(self, key: K, context: "SpanContext") -> None:
        self._spans[key] = context
        self._spans.move_to_end(key)
        if len(self._spans) > MAX_REMEMBERED:
            self._spans.popitem(last=False)


class Tracing:
    """Begins the traces of a router.

    Args:
        tracer: makes the spans.
    """

    def __init__(self, tracer: "Tracer") -> None:
        self.tracer = tracer
        # who owns a resource -> when it was granted
        self._grants: _Recent[ResourceId] = _Recent()
        # who wants a resource, and which -> when it was refused last
        self._conflicts: _Recent[tuple[str, ResourceId]] = _Recent()
        # who calls under which idempotency key -> the last such call
        self._keys: _Recent[tuple[str, str]] = _Recent()

    def call_begins(
        self, caller: "Session", request: RouteCall, meta: CallerMeta, trace_id: str
    ) -> "CallTrace | None":
        """Somebody calls. A call with the idempotency key of an earlier one of the same caller is linked to that."""
        parent = _parent(meta.traceparent)
        if not self.tracer.samples(parent, trace_id):
            return None
        key = None if request.idempotency_key is UNSET else (caller.subject, request.idempotency_key)
        earlier = None if key is None else self._keys.get(key)
        attributes: dict[str, str] = {
            "rpc.system.name": "jsonrpc",
            "rpc.method": request.method,
            "resroute.session_id": caller.id,
        }
        if request.resource_id is not UNSET:
            attributes["resroute.resource_id"] = request.resource_id
        if request.service_name is not UNSET:
            attributes["resroute.service_name"] = request.service_name
        span = self.tracer.begin(
            "route.call",
            parent,
            trace_id,
            attributes,
            () if earlier is None else (earlier,),
        )
        if key is not None:
            self._keys.note(key, span.get_span_context())
        return CallTrace(self.tracer, span)

    def request_begins(self, request: "Request", meta: Raw | UnsetType) -> None:
        """Somebody asks the router for something: traced if it is about ownership."""
        if not request.method.name.startswith(_TRACED):
            return
        parent = None if meta is UNSET else _parent(read_meta(meta).traceparent)
        if not self.tracer.samples(parent, request.trace_id):
            return
        session = request.session
        attributes: dict[str, str] = {"resroute.session_id": session.id}
        if session.owner is not None:
            attributes["resroute.instance_id"] = session.owner.instance_id
            attributes["resroute.service_name"] = session.owner.service.name
        span = self.tracer.begin(request.method.name, parent, request.trace_id, attributes)
        who = session.id if session.owner is None else session.owner.instance_id
        request.trace = RequestTrace(self, span, who)

    # --- what spans have to do with each other ----------------------------------------------------------------

    def conflicted(self, span: "Span", who: str, resource_ids: Iterable[ResourceId]) -> None:
        """Others own resources: linked to when they were granted those, and to when this was asked for before."""
        for resource_id in islice(resource_ids, MAX_NAMED):
            granted = self._grants.get(resource_id)
            if granted is not None:
                span.add_link(granted, {"resroute.link": "owner", "resroute.resource_id": resource_id})
            self._link_retry(span, self._conflicts.get((who, resource_id)), resource_id)
            self._conflicts.note((who, resource_id), span.get_span_context())

    def granted(self, span: "Span", who: str, resource_ids: Iterable[ResourceId]) -> None:
        """Resources have an owner: linked to when that was refused before."""
        for resource_id in islice(resource_ids, MAX_NAMED):
            self._link_retry(span, self._conflicts.take((who, resource_id)), resource_id)
            self._grants.note(resource_id, span.get_span_context())

    @staticmethod
    def _link_retry(span: "Span", earlier: "SpanContext | None", resource_id: ResourceId) -> None:
        if earlier is None or not span.is_recording():
            return
        if earlier.span_id != span.get_span_context().span_id:
            span.add_link(earlier, {"resroute.link": "retry_of", "resroute.resource_id": resource_id})


class CallTrace:
    """The span of one call, from its arrival to its end."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer = tracer
        self._span = span

    def passed_on(self, meta: CallerMeta) -> CallerMeta:
        """What is delivered with the call instead of what the caller sent: the callee's spans are below this one."""
        context = self._span.get_span_context()
        traceparent = TraceParent(context.trace_id, context.span_id, is_sampled=True)
        return msgspec.structs.replace(meta, traceparent=b'"%b"' % str(traceparent).encode())

    def delivered(self, call: "Call") -> None:
        """It is with a callee. A notification is over with that, even if it goes to the next owner after all."""
        if not self._span.is_recording():
            return
        attributes: dict[str, str | int] = {}
        callee = call.callee
        if callee is not None and callee.owner is not None:
            attributes["resroute.instance_id"] = callee.owner.instance_id
            attributes["resroute.service_name"] = callee.owner.service.name
        if call.epoch is not None:
            attributes["resroute.epoch"] = call.epoch
        self._span.add_event("delivered", attributes)
        self._span.set_attributes(attributes)
        if call.caller_id is None:
            self.ended("ok")

    def waits(self, where: str) -> None:
        """It waits inside the router."""
        if self._span.is_recording():
            self._span.add_event(f"waits {where}")

    def refused_as_stale(self) -> None:
        """Its callee has not run it, because its epoch has passed."""
        self._span.add_event("refused as stale")

    def ended(self, outcome: str) -> None:
        """``ok``, ``error`` (the callee's own), or the type of a router's error. What follows changes nothing."""
        if self._span.is_recording():
            self._tracer.end(self._span, None if outcome == "ok" else outcome, {"resroute.outcome": outcome})


class RequestTrace:
    """The span of one request to the router, and what belongs to it."""

    __slots__ = ("_span", "_tracing", "_who")

    def __init__(self, tracing: Tracing, span: "Span", who: str) -> None:
        self._tracing = tracing
        self._span = span
        self._who = who

    def asks_for(self, params: Any) -> None:
        """What the request is about, as far as its params say so."""
        asked = getattr(params, "resource_ids", None) or getattr(params, "resources", None)
        if asked:
            self._span.set_attribute("resroute.resource_count", len(asked))
            if len(asked) == 1 and isinstance(asked[0], str):
                self._span.set_attribute("resroute.resource_id", asked[0])
        for name in ("resource_id", "instance_id", "service_name", "from_instance_id", "to_instance_id"):
            value = getattr(params, name, None)
            if isinstance(value, str):
                self._span.set_attribute(f"resroute.{name}", value)

    def conflicted(self, resource_ids: Iterable[ResourceId]) -> None:
        """Others own resources that it wants."""
        if self._span.is_recording():
            ids = list(islice(resource_ids, MAX_NAMED))
            self._span.add_event("conflict", {"resroute.resource_ids": ids})
            self._tracing.conflicted(self._span, self._who, ids)

    def waits(self, where: str) -> None:
        """It waits inside the router."""
        self._span.add_event(f"waits {where}")

    def applied(self, applied: Applied) -> None:
        """The log has decided, and this has changed. What was handed over is told to both sides by now."""
        tracer = self._tracing.tracer
        if self._span.is_recording():  # it is over where whoever asked has gone meanwhile
            self._span.set_attribute("resroute.revision", applied.revision)
        self._tracing.granted(self._span, self._who, granted_in(applied.facts))
        for part in parts_of(applied.facts):
            if not isinstance(part, Lot):
                for fact in part:
                    if isinstance(fact, ResourcesMoved):
                        self._moved(tracer, fact)

    def _moved(self, tracer: "Tracer", move: ResourcesMoved) -> None:
        before, after = move.previous_owner, move.owner
        about: Attributes = {
            "resroute.transfer_id": move.transfer_id,
            "resroute.resource_count": len(move.resource_ids),
            "resroute.resource_ids": list(move.resource_ids[:MAX_NAMED]),
            "resroute.from_instance_id": before.instance_id,
            "resroute.to_instance_id": after.instance_id,
            "resroute.epoch": move.epoch,
            "resroute.cause": move.cause,
            "resroute.reason": move.reason,
        }
        span = tracer.child(self._span, "transfer", about)
        for name, told in (("resource.lost", before), ("resource.acquired", after)):
            tracer.message(
                span, name, {"resroute.instance_id": told.instance_id, "resroute.session_id": told.session_id}
            )
        tracer.end(span, None, {})

    def batch(self, number: int, seconds: float, done: int, failed: int) -> None:
        """A batch of a request in bulk is done, which took so long."""
        tracer = self._tracing.tracer
        attributes: Attributes = {
            "resroute.batch_number": number,
            "resroute.success_count": done,
            "resroute.failure_count": failed,
        }
        span = tracer.child(self._span, "batch", attributes, seconds=seconds)
        tracer.end(span, "batch_failed" if failed else None, {})

    def abandoned(self) -> None:
        """Whoever asked has gone, and it is not going to be answered. Does nothing once it is."""
        if self._span.is_recording():
            self._tracing.tracer.end(self._span, "caller_gone", {"resroute.status": "caller_gone"})

    def ended(self, error: RouterError | None, status: str) -> None:
        """It is answered: ``ok``, or the type of the error. What follows changes nothing."""
        if isinstance(error, ResourceConflict):
            self.conflicted(error.conflicts)
        if self._span.is_recording():  # its session may have ended before, and nobody hears the answer
            self._tracing.tracer.end(
                self._span, None if error is None else status, {"resroute.status": status}
            )


def _parent(traceparent: bytes | None) -> TraceParent | None:
    """What a caller sent, as JSON."""
    return None if traceparent is None else read_traceparent(traceparent[1:-1].decode())
