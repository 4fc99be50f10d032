"""Spans by OpenTelemetry, which is an extra: import this module only where it is there and traces are wanted.

Nothing here is global, and no thread is started but for sending: see :mod:`resroute.telemetry.exporting`.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from resroute.protocol.traceparent import TraceParent, trace_number
from resroute.settings import Settings
from resroute.telemetry.exporting import SpanSink

Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

MAX_LINKS = 16
"""Of one span: what goes beyond says nothing new."""

_LIMITS = SpanLimits(
    max_span_attributes=32,
    max_events=64,
    max_links=MAX_LINKS,
    max_event_attributes=16,
    max_link_attributes=4,
    max_span_attribute_length=512,  # peers choose what stands there
)
_LOW_BITS = (1 << 64) - 1
_DIGITS = 32  # of a trace id
_NANOSECONDS = 1_000_000_000


class _Ids(IdGenerator):
    """Random ids, but for the trace id of the next span without a parent."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.next_trace_id = 0

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()

    def generate_trace_id(self) -> int:
        return self.next_trace_id


class Tracer:
    """Makes the spans of one router. All of it is synchronous, and for one thread.

    Whether a trace is made is decided before anything of it is: by who sent a ``traceparent``, else by the trace id, so
    that all routers and programs that go by the same share decide alike.

    Args:
        sink: where spans go.
        resource: what is said of whoever makes them.
        sample_ratio: the share of traces to make, of those that nobody else has decided about.
        max_per_second: how many traces may begin in a second, whoever wants them. What goes beyond is counted as dropped.
        clock: seconds on any clock.
    """

    def __init__(
        self,
        sink: SpanSink,
        *,
        resource: Mapping[str, str] | None = None,
        sample_ratio: float = 1.0,
        max_per_second: int = Settings().traces_max_per_second,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sink = sink
        self._max_per_second = max_per_second
        self._clock = clock
        self._second = 0
        self._begun = 0  # in that second
        self.sample(sample_ratio)
        self._ids = _Ids()
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": "resroute", **(resource or {})}),
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=_LIMITS,
        )
        provider.add_span_processor(sink)
        self._tracer = provider.get_tracer("resroute")

    def sample(self, ratio: float) -> None:
        """Make this share of traces from now on."""
        self._bound = round(ratio * (_LOW_BITS + 1))
        # the same as the last digits of a trace id are written; above all of them if all traces are made
        self._bound_digits = "g" if self._bound > _LOW_BITS else f"{self._bound:016x}"

    def samples(self, parent: TraceParent | None, trace_id: str) -> bool:
        """Whether a trace is made of what somebody asks for: to be asked once.

        Args:
            parent: what the asker sent.
            trace_id: ours, by which a trace without a parent is found.
        """
        if parent is not None:
            return parent.is_sampled and self._has_room()
        if len(trace_id) == _DIGITS:  # as good as always; of digits, what is less comes first
            return trace_id[_DIGITS // 2 :] < self._bound_digits and self._has_room()
        return trace_number(trace_id) & _LOW_BITS < self._bound and self._has_room()

    def _has_room(self) -> bool:
        """Whether one more trace may begin in this second. Callers must not have a router make more than it can."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._begun = second, 0
        self._begun += 1
        if self._begun > self._max_per_second:
            self.sink.counts["dropped"] += 1
            return False
        return True

    def begin(
        self,
        name: str,
        parent: TraceParent | None,
        trace_id: str,
        attributes: Attributes,
        links: Sequence[SpanContext] = (),
    ) -> Span:
        """The span of something that somebody asked for, and whose trace :meth:`samples` has said is made."""
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED)
            above = NonRecordingSpan(SpanContext(parent.trace_id, parent.span_id, True, flags))
            context = trace.set_span_in_context(above)
        else:
            self._ids.next_trace_id = trace_number(trace_id)
            context = trace.set_span_in_context(trace.INVALID_SPAN)
        return self._tracer.start_span(
            name,
            context,
            SpanKind.SERVER,
            {**attributes, "resroute.trace_id": trace_id},
            [Link(linked) for linked in links],
        )

    def child(self, parent: Span, name: str, attributes: Attributes, *, seconds: float = 0.0) -> Span:
        """A part of what a span is about, which began so many seconds ago. To be ended."""
        started = time.time_ns() - round(seconds * _NANOSECONDS)
        context = trace.set_span_in_context(parent)
        return self._tracer.start_span(name, context, SpanKind.INTERNAL, attributes, start_time=started)

    def message(self, parent: Span, name: str, attributes: Attributes) -> None:
        """Something was told to somebody as a part of what a span is about."""
        context = trace.set_span_in_context(parent)
        self._tracer.start_span(name, context, SpanKind.PRODUCER, attributes).end()

    @staticmethod
    def end(span: Span, error: str | None, attributes: Attributes) -> None:
        """What a span is about is over; ``error`` is the type of what went wrong, if anything did."""
        span.set_attributes(attributes)
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()
