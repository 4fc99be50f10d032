"""Sending spans: bounded, in a thread, and over OTLP to a real receiver."""

import random
import threading
from collections.abc import Sequence
from http import HTTPStatus

import pytest
import trio
import trio.testing
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from structlog.testing import capture_logs

from resroute.protocol.traceparent import TraceParent, read_traceparent, trace_number
from resroute.telemetry.exporting import BATCH_SPANS, SpanMemory, SpanQueue
from resroute.telemetry.otlp import make_otlp_tracer
from resroute.telemetry.tracing import Tracer
from tests.telemetry.receiver import open_receiver


class Stuck(SpanExporter):
    """Takes spans only when it may."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.begun = threading.Event()
        self.sizes: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun.set()
        self.may_go_on.wait(20)
        self.sizes.append(len(spans))
        return SpanExportResult.SUCCESS


class Broken(SpanExporter):
    """Takes no spans."""

    def __init__(self, how: Exception | None = None) -> None:
        self._how = how

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._how is not None:
            raise self._how
        return SpanExportResult.FAILURE


def make(tracer: Tracer, count: int) -> None:
    for number in range(count):
        span = tracer.begin("span", None, f"t{number}", {})
        tracer.end(span, None, {})


async def test_what_was_made_is_sent_at_the_latest_at_the_end(nursery: trio.Nursery) -> None:
    memory = InMemorySpanExporter()
    queue = SpanQueue(memory, 1000)
    make(Tracer(queue), BATCH_SPANS + 10)
    with trio.fail_after(20):
        async with trio.open_nursery() as running:
            running.start_soon(queue.run)
            running.cancel_scope.cancel()  # which it does not mind
            queue.finish()
    assert len(memory.get_finished_spans()) == BATCH_SPANS + 10
    assert queue.counts == {"exported": BATCH_SPANS + 10, "failed": 0, "dropped": 0}
    assert len(queue) == 0


async def test_what_is_made_is_sent_soon_and_nobody_waits_for_that(nursery: trio.Nursery) -> None:
    stuck = Stuck()
    queue = SpanQueue(stuck, 1000)
    tracer = Tracer(queue)
    with trio.fail_after(20):
        async with trio.open_nursery() as running:
            running.start_soon(queue.run)
            await trio.testing.wait_all_tasks_blocked()
            make(tracer, 1)
            assert await trio.to_thread.run_sync(stuck.begun.wait, 20)
            make(tracer, 2)
            assert len(queue) == 2
            stuck.may_go_on.set()
            queue.finish()
    assert stuck.sizes == [1, 2]
    assert queue.counts["exported"] == 3


async def test_more_than_may_wait_is_dropped_and_counted() -> None:
    stuck = Stuck()
    queue = SpanQueue(stuck, 10)
    make(Tracer(queue), 13)
    assert len(queue) == 10
    assert queue.counts["dropped"] == 3
    stuck.may_go_on.set()
    queue.finish()
    await queue.run()
    assert queue.counts == {"exported": 10, "failed": 0, "dropped": 3}


@pytest.mark.parametrize("how", [None, ValueError("no")])
async def test_what_a_receiver_does_not_take_is_counted_and_others_go_on(how: Exception | None) -> None:
    queue = SpanQueue(Broken(how), 1000)
    make(Tracer(queue), BATCH_SPANS + 1)
    queue.finish()
    with trio.fail_after(20):
        await queue.run()
    assert queue.counts == {"exported": 0, "failed": BATCH_SPANS + 1, "dropped": 0}


async def test_a_receiver_that_hangs_does_not_hold_up_the_end(autojump_clock: trio.testing.MockClock) -> None:
    stuck = Stuck()
    queue = SpanQueue(stuck, 1000)
    make(Tracer(queue), BATCH_SPANS + 1)
    queue.finish()
    try:
        await queue.run()
        assert queue.counts == {"exported": 0, "failed": BATCH_SPANS, "dropped": 1}
    finally:
        stuck.may_go_on.set()


async def test_spans_arrive_at_a_receiver_of_otlp() -> None:
    async with open_receiver() as receiver:
        tracer = make_otlp_tracer(receiver.url, sample_ratio=1.0, max_per_second=100, max_queued=100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tracer.sink.run)
            parent = TraceParent(2**100, 7, is_sampled=True)
            span = tracer.begin("resource.register", parent, "t", {"resroute.resource_id": "a"})
            tracer.end(span, "resource_conflict", {})
            [received] = await receiver.wait_for("resource.register")
            tracer.sink.finish()
        assert int.from_bytes(received.trace_id) == 2**100
        assert int.from_bytes(received.parent_span_id) == 7
        said = {it.key: it.value.string_value for it in received.attributes}
        assert said == {
            "resroute.resource_id": "a",
            "resroute.trace_id": "t",
            "error.type": "resource_conflict",
        }
        assert receiver.resources[0]["service.name"] == "resroute"


async def test_a_receiver_that_refuses_costs_the_spans_it_refuses() -> None:
    async with open_receiver() as receiver:
        receiver.status = HTTPStatus.BAD_REQUEST
        tracer = make_otlp_tracer(receiver.url, sample_ratio=1.0, max_per_second=100, max_queued=100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tracer.sink.run)
            make(tracer, 1)
            await receiver.wait_requests(1)
            receiver.status = HTTPStatus.OK
            make(tracer, 1)
            await receiver.wait_for("span")
            tracer.sink.finish()
        assert tracer.sink.counts == {"exported": 1, "failed": 1, "dropped": 0}


async def test_what_is_secret_in_the_address_of_a_receiver_is_not_logged() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()  # nobody listens there
    url = f"http://ada:pa55word@127.0.0.1:{port}/v1/traces?key=pa55word"
    tracer = make_otlp_tracer(url, sample_ratio=1.0, max_per_second=100, max_queued=100)
    make(tracer, 1)
    tracer.sink.finish()
    with trio.fail_after(30), capture_logs() as logs:
        await tracer.sink.run()
    assert tracer.sink.counts["failed"] == 1
    [line] = [line for line in logs if "reason" in line]
    assert "********" in line["reason"], line
    assert "pa55word" not in str(logs)


# --- trace ids ------------------------------------------------------------------------------------------------


def test_a_share_of_all_traces_is_made_and_for_one_trace_id_always_the_same() -> None:
    tracer, again = (
        Tracer(SpanQueue(InMemorySpanExporter(), 10_000), sample_ratio=0.25, max_per_second=10_000)
        for _ in range(2)
    )
    ids = [f"t{number}" for number in range(2000)]
    made = [trace_id for trace_id in ids if tracer.samples(None, trace_id)]
    assert 400 < len(made) < 600
    assert made == [trace_id for trace_id in ids if again.samples(None, trace_id)]


def test_the_share_can_change() -> None:
    tracer = Tracer(SpanMemory(), sample_ratio=0.0)
    assert not tracer.samples(None, "f" * 32)
    tracer.sample(1.0)
    assert tracer.samples(None, "f" * 32)


def test_no_more_than_so_many_traces_begin_in_a_second_whoever_wants_them() -> None:
    now = 10.0
    tracer = Tracer(SpanMemory(), max_per_second=2, clock=lambda: now)
    wanted = TraceParent(1, 1, is_sampled=True)
    assert [tracer.samples(wanted, "t") for _ in range(4)] == [True, True, False, False]
    assert tracer.sink.counts["dropped"] == 2
    now = 11.0
    assert tracer.samples(None, "t")


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_the_share_of_w3c_trace_ids_is_that_of_opentelemetrys_own_sampler(ratio: float) -> None:
    tracer = Tracer(SpanMemory(), sample_ratio=ratio, max_per_second=10_000)
    sampler = TraceIdRatioBased(ratio)
    chance = random.Random(1)
    for trace_id in (chance.getrandbits(128) for _ in range(1000)):
        is_theirs = sampler.should_sample(None, trace_id, "m").decision is Decision.RECORD_AND_SAMPLE
        assert tracer.samples(None, f"{trace_id:032x}") is is_theirs


def test_a_w3c_trace_id_stays_what_it_is() -> None:
    w3c = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_number(w3c) == int(w3c, 16)
    assert trace_number("0" * 32) != 0
    assert trace_number("order-7") == trace_number("order-7") != trace_number("order-8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
    ],
)
def test_a_malformed_traceparent_says_nothing(text: str) -> None:
    assert read_traceparent(text) is None


def test_a_traceparent_is_read_as_it_is_written() -> None:
    for flags, is_sampled in (("00", False), ("01", True), ("02", False), ("ff", True)):
        text = f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
        read = read_traceparent(text)
        assert read is not None and read.is_sampled is is_sampled
        assert str(read) == text[:-2] + ("01" if is_sampled else "00")
