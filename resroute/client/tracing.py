"""Spans of what a program asks over its client, and of the calls that it answers.

OpenTelemetry's API is an extra: this module is imported only by who gives a tracer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

from resroute.client.calls import Call, told
from resroute.errors import RemoteError, RouterError
from resroute.protocol.traceparent import TraceParent, read_traceparent

_NAMED = ("resource_id", "service_name", "instance_id")


class ClientTracing:
    """Makes spans with somebody's tracer, which also decides what is traced."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def asking(
        self, method: str, params: Mapping[str, Any], attempts: list[SpanContext] | None
    ) -> Iterator[Mapping[str, Any]]:
        """The span of a request, for the length of the block; below the one that is current.

        Args:
            attempts: the spans of those who asked the same before, which this one is linked to and added to.

        Yields:
            What goes along with the request as its ``meta``.
        """
        name = str(params["method"]) if method == "route.call" else method
        attributes = {"rpc.system.name": "jsonrpc", "rpc.method": name}
        for member in _NAMED:
            if isinstance(value := params.get(member), str):
                attributes[f"resroute.{member}"] = value
        links = [Link(earlier) for earlier in attempts or ()]
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, links=links)
        context = span.get_span_context()
        if attempts is not None:
            attempts.append(context)
        try:
            yield _meta_of(context)
        except BaseException as error:  # cancellations, too
            _fail(span, _type_of(error))
            raise
        finally:
            span.end()

    @contextmanager
    def serving(self, call: Call) -> Iterator[None]:
        """The span of a call that is answered, below that of whoever made it. It is current within the block."""
        attributes: dict[str, str | int] = {"rpc.system.name": "jsonrpc", "rpc.method": told(call.method)}
        for name, value in (
            ("resource_id", call.resource_id),
            ("epoch", call.epoch),
            ("service_name", call.service_name),
            ("trace_id", call.trace_id),
        ):
            if value is not None:
                attributes[f"resroute.{name}"] = value
        with self._tracer.start_as_current_span(
            told(call.method),
            context=trace.set_span_in_context(_above(call)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,  # those of handlers are in the log
        ):
            yield

    @staticmethod
    def failed(error: RemoteError) -> None:
        """The call that is being answered is answered with an error."""
        _fail(trace.get_current_span(), _type_of(error))


def _meta_of(context: SpanContext) -> Mapping[str, Any]:
    if not context.is_valid:
        return {}
    is_sampled = bool(context.trace_flags & TraceFlags.SAMPLED)
    return {"traceparent": str(TraceParent(context.trace_id, context.span_id, is_sampled))}


def _above(call: Call) -> Span:
    parent = None if call.traceparent is None else read_traceparent(call.traceparent)
    if parent is None:
        return trace.INVALID_SPAN
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(parent.trace_id, parent.span_id, True, flags))


def _type_of(error: BaseException) -> str:
    match error:
        case RouterError():
            return error.type
        case RemoteError(data={"type": str(named)}):
            return named
        case RemoteError():
            return str(error.code)
        case _:
            return type(error).__name__


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR, error_type))
