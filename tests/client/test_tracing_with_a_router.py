"""Traces from the caller over the router to the callee and on, with a real router in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode
from trio.testing import MockClock

from resroute import Client, ConnectionLost, RemoteError, ResourceNotFound, RetryPolicy, current_call
from resroute.telemetry.exporting import SpanMemory
from resroute.telemetry.tracing import Tracer as RouterTracer
from tests.client.scripted import open_client_of, open_router


class Documents:
    """Answers, fails, counts or asks another document, as it is asked."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self) -> str:
        return "text"

    async def copy(self) -> object:
        return await self._client.call("read", resource_id="doc:2")

    def fail(self) -> None:
        raise RemoteError(7, "no", {"type": "not_today"})

    def blunder(self) -> None:
        raise ValueError("a bug")

    async def hang(self) -> None:
        await trio.sleep_forever()

    async def count(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    def traceparent(self) -> str | None:
        return current_call().traceparent


@attrs.frozen
class Traced:
    """A caller, and all spans that were made."""

    caller: Client
    programs: InMemorySpanExporter
    routers: SpanMemory

    def named(self, name: str, kind: SpanKind) -> list[ReadableSpan]:
        """The spans of programs of that name and kind, in the order in which they ended."""
        spans = self.programs.get_finished_spans()
        return [span for span in spans if (span.name, span.kind) == (name, kind)]

    def one(self, name: str, kind: SpanKind) -> ReadableSpan:
        [span] = self.named(name, kind)
        return span


def is_below(span: ReadableSpan, parent: ReadableSpan) -> bool:
    mine, its = span.parent, parent.get_span_context()
    return (
        mine is not None and its is not None and (mine.trace_id, mine.span_id) == (its.trace_id, its.span_id)
    )


@asynccontextmanager
async def traced(
    retry: RetryPolicy | None = None, max_concurrency: int | None = None
) -> AsyncGenerator[Traced]:
    programs, routers = InMemorySpanExporter(), SpanMemory()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(programs))
    tracer = provider.get_tracer("tests")
    async with (
        open_router(tracer=RouterTracer(routers)) as router,
        open_client_of(router, tracer=tracer) as owner,
        open_client_of(router, tracer=tracer, retry=retry) as caller,
        owner.open_instance(
            "documents", Documents(owner), instance_id="i1", max_concurrency=max_concurrency
        ) as instance,
    ):
        await instance.register("doc:1", "doc:2")
        yield Traced(caller, programs, routers)


async def test_a_call_is_one_trace_from_the_caller_over_the_router_to_the_callee(
    autojump_clock: MockClock,
) -> None:
    async with traced() as made:
        assert await made.caller.call("read", resource_id="doc:1") == "text"
        asked, served = made.one("read", SpanKind.CLIENT), made.one("read", SpanKind.SERVER)
        [routed] = [span for span in made.routers.spans if span.name == "route.call"]
        assert is_below(routed, asked)
        assert is_below(served, routed)
        attributes = served.attributes or {}
        assert (attributes["resroute.resource_id"], attributes["resroute.service_name"]) == (
            "doc:1",
            "documents",
        )
        assert (asked.attributes or {})["resroute.resource_id"] == "doc:1"


async def test_what_a_handler_asks_is_below_the_call_that_it_answers(autojump_clock: MockClock) -> None:
    async with traced() as made:
        await made.caller.call("copy", resource_id="doc:1")
        assert is_below(made.one("read", SpanKind.CLIENT), made.one("copy", SpanKind.SERVER))


async def test_what_is_asked_of_the_router_is_above_the_routers_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        asked = made.one("resource.register", SpanKind.CLIENT)
        [decided] = [span for span in made.routers.spans if span.name == "resource.register"]
        assert is_below(decided, asked)
        await made.caller.ping()
        assert not made.named("session.ping", SpanKind.CLIENT)


@pytest.mark.parametrize(
    ("method", "at_caller", "at_callee"),
    [("fail", "not_today", "not_today"), ("blunder", "-32000", "-32000")],
)
async def test_errors_are_in_both_spans(
    method: str, at_caller: str, at_callee: str, autojump_clock: MockClock
) -> None:
    async with traced() as made:
        with pytest.raises(RemoteError):
            await made.caller.call(method, resource_id="doc:1")
        for kind, error in ((SpanKind.CLIENT, at_caller), (SpanKind.SERVER, at_callee)):
            span = made.one(method, kind)
            assert span.status.status_code is StatusCode.ERROR
            assert (span.attributes or {})["error.type"] == error


async def test_an_error_of_the_routers_and_a_cancellation_end_the_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        with pytest.raises(ResourceNotFound):
            await made.caller.call("read", resource_id="nobody")
        with trio.move_on_after(1):
            await made.caller.call("hang", resource_id="doc:1")
        failed, cancelled = made.one("read", SpanKind.CLIENT), made.one("hang", SpanKind.CLIENT)
        assert (failed.attributes or {})["error.type"] == "resource_not_found"
        assert (cancelled.attributes or {})["error.type"] == "Cancelled"
        await trio.sleep(1)
        assert made.one("hang", SpanKind.SERVER).end_time is not None


async def test_a_stream_is_one_span_until_its_block_ends(autojump_clock: MockClock) -> None:
    async with traced() as made:
        async with made.caller.open_stream("count", resource_id="doc:1") as chunks:
            assert [chunk async for chunk in chunks] == [0, 1, 2]
            assert not made.named("count", SpanKind.CLIENT)
        [routed] = [span for span in made.routers.spans if span.name == "route.call"]
        assert is_below(routed, made.one("count", SpanKind.CLIENT))
        assert is_below(made.one("count", SpanKind.SERVER), routed)


async def test_each_attempt_of_a_call_is_linked_to_those_before(autojump_clock: MockClock) -> None:
    async with traced(RetryPolicy(first_seconds=1, max_seconds=1), max_concurrency=1) as made:
        async with trio.open_nursery() as nursery:

            async def occupy() -> None:
                with trio.move_on_after(5):
                    await made.caller.call("hang", service_name="documents")

            nursery.start_soon(occupy)
            await trio.sleep(0.1)
            assert await made.caller.call("read", service_name="documents") == "text"
        attempts = made.named("read", SpanKind.CLIENT)
        assert len(attempts) > 2
        numbers = [context.span_id for context in map(ReadableSpan.get_span_context, attempts) if context]
        linked = [[link.context.span_id for link in span.links] for span in attempts]
        assert linked == [numbers[:count] for count in range(len(attempts))]
        assert made.one("read", SpanKind.SERVER).status.status_code is StatusCode.UNSET


async def test_without_a_tracer_nothing_goes_along_and_with_one_that_does_nothing_neither(
    autojump_clock: MockClock,
) -> None:
    async with open_router() as router, open_client_of(router) as owner:
        async with owner.open_instance("documents", Documents(owner)):
            for tracer in (None, NoOpTracer()):
                async with open_client_of(router, tracer=tracer) as caller:
                    assert await caller.call("traceparent", service_name="documents") is None


async def test_what_cannot_be_sent_ends_its_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        with pytest.raises(TypeError):
            await made.caller.call("read", {"text": object()}, resource_id="doc:1")
        assert (made.one("read", SpanKind.CLIENT).attributes or {})["error.type"] == "TypeError"


async def test_a_lost_connection_ends_the_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionLost):
                    await made.caller.call("hang", resource_id="doc:1")

            nursery.start_soon(ask)
            await trio.sleep(1)
            await made.caller._link.aclose()
        assert (made.one("hang", SpanKind.CLIENT).attributes or {})["error.type"] == "ConnectionLost"
