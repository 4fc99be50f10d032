"""What is traced of requests and calls: over the wire, into memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from trio.testing import MockClock

from resroute.protocol.traceparent import TraceParent, read_traceparent
from resroute.settings import Settings
from resroute.telemetry.exporting import SpanMemory
from resroute.telemetry.tracing import Tracer
from resroute.transport.interface import MSGPACK, NDJSON, Subprotocol
from tests.party import Json, Party
from tests.scenario import Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Traced:
    """A scenario whose router makes traces, and what it has made."""

    def __init__(self, scenario: Scenario, memory: SpanMemory) -> None:
        self.scenario = scenario
        self._memory = memory

    def all(self, name: str) -> list[ReadableSpan]:
        """All spans of that name that have ended, in the order in which they did."""
        return [span for span in self._memory.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        [span] = self.all(name)
        return span

    def last(self, name: str) -> ReadableSpan:
        """The last span of that name."""
        return self.all(name)[-1]

    def below(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """What is a part of a span."""
        return [span for span in self._memory.spans if span.parent == parent.get_span_context()]


@asynccontextmanager
async def traced(settings: Settings | None = None, sample_ratio: float = 1.0) -> AsyncGenerator[Traced]:
    memory = SpanMemory()
    async with open_scenario(settings, tracer=Tracer(memory, sample_ratio=sample_ratio)) as scenario:
        yield Traced(scenario, memory)


def attributes(span: ReadableSpan, *names: str) -> dict[str, Any]:
    found = span.attributes or {}
    return {name: found[f"resroute.{name}"] for name in names}


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def number(span: ReadableSpan) -> int:
    return context_of(span).span_id


def trace_of(span: ReadableSpan) -> str:
    return f"{context_of(span).trace_id:032x}"


def links(span: ReadableSpan, kind: str | None = None) -> set[int]:
    """The spans that it is linked to, in that way."""
    return {
        link.context.span_id
        for link in span.links
        if kind is None or (link.attributes or {}).get("resroute.link") == kind
    }


async def answer_one(owner: Party, result: Any = None) -> Json:
    request = await owner.next("work")
    await owner.answer(request, result)
    return request


# --- calls ------------------------------------------------------------------------------------------------------


async def test_a_call_is_a_span_below_its_callers_and_above_its_callees(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a", service="documents")
        caller = await made.scenario.connect("caller")
        call = await caller.start_call("a", meta={"traceparent": SAMPLED})
        delivered = await answer_one(owner, 7)
        assert await call.result() == 7
        span = made.one("route.call")
        assert (trace_of(span), span.parent and f"{span.parent.span_id:016x}") == (TRACE, PARENT)
        assert span.kind is SpanKind.SERVER
        passed_on = read_traceparent(delivered["meta"]["traceparent"])
        assert passed_on == TraceParent(int(TRACE, 16), number(span), is_sampled=True)
        assert attributes(span, "resource_id", "service_name", "instance_id", "epoch", "outcome") == {
            "resource_id": "a",
            "service_name": "documents",
            "instance_id": "owner",
            "epoch": delivered["meta"]["epoch"],
            "outcome": "ok",
        }
        assert (span.attributes or {})["rpc.method"] == "work"
        assert [event.name for event in span.events] == ["delivered"]
        assert span.status.status_code is StatusCode.UNSET


async def test_without_a_parent_the_trace_id_of_the_answer_is_that_of_the_trace(
    autojump_clock: MockClock,
) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        await caller.say(
            {
                "jsonrpc": "2.0",
                "method": "route.call",
                "params": {"resource_id": "a", "method": "work", "trace_id": "order-7"},
            }
        )
        by_name = await owner.next("work")
        pending = await caller.start("session.ping", {})
        await pending.result()
        span = made.one("route.call")
        assert attributes(span, "trace_id") == {"trace_id": "order-7"}
        assert span.parent is None
        passed_on = read_traceparent(by_name["meta"]["traceparent"])
        assert passed_on is not None and f"{passed_on.trace_id:032x}" == trace_of(span)
        answer = await owner.start("resource.register", {"resource_ids": ["b"]})
        assert (await answer.result())["trace_id"] == trace_of(made.last("resource.register"))


@pytest.mark.parametrize(
    ("ratio", "traceparent", "is_made"),
    [(1.0, NOT_SAMPLED, False), (0.0, SAMPLED, True), (0.0, None, False), (1.0, "nonsense", True)],
)
async def test_who_sent_a_traceparent_decides_and_else_the_share(
    ratio: float, traceparent: str | None, is_made: bool, autojump_clock: MockClock
) -> None:
    async with traced(sample_ratio=ratio) as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        meta: Json = {} if traceparent is None else {"traceparent": traceparent}
        call = await caller.start_call("a", meta=meta)
        delivered = await answer_one(owner)
        await call.result()
        assert bool(made.all("route.call")) is is_made
        if not is_made:
            assert delivered["meta"].get("traceparent") == traceparent


async def test_errors_are_told_by_their_types(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        await (await caller.start_call("nobody")).refusal()
        failing = await caller.start_call("a")
        await owner.fail(await owner.next("work"), 1, "no")
        await failing.refusal()
        await (await caller.start_call("a", timeout_seconds=1)).refusal()
        cancelled = await caller.start_call("a")
        await caller.cancel(cancelled)
        await cancelled.refusal()
        left = await caller.start_call("a")
        owner.drop()
        await left.refusal()
        outcomes = [(span.attributes or {})["resroute.outcome"] for span in made.all("route.call")]
        assert outcomes == [
            "resource_not_found",
            "error",
            "call_timeout",
            "call_cancelled",
            "owner_disconnected",
        ]
        assert {span.status.status_code for span in made.all("route.call")} == {StatusCode.ERROR}


async def test_a_call_whose_caller_goes_is_over(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        await caller.start_call("a")
        await owner.next("work")
        caller.drop()
        await owner.next("$/cancelRequest")
        assert attributes(made.one("route.call"), "outcome") == {"outcome": "caller_gone"}


async def test_a_notification_is_over_when_it_is_delivered(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        await caller.notify("route.call", resource_id="a", method="work")
        told = await owner.next("work")
        assert read_traceparent(told["meta"]["traceparent"])
        assert attributes(made.one("route.call"), "outcome") == {"outcome": "ok"}


async def test_where_a_call_waits_and_goes_is_in_its_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        caller = await made.scenario.connect("caller")
        call = await caller.start_call("a", wait_for_owner_seconds=5)
        first = await made.scenario.owner("first", "a", max_concurrency=1)
        occupying = await first.next("work")
        second = await caller.start_call("a")
        await trio.sleep(1)
        await first.answer(occupying)
        await call.result()
        await answer_one(first)
        await second.result()
        one, two = ([event.name for event in span.events] for span in made.all("route.call"))
        assert one == ["waits for an owner", "delivered"]
        assert two == ["waits in line", "delivered"]


async def test_a_call_that_is_sent_again_is_linked_to_the_one_before(autojump_clock: MockClock) -> None:
    async with traced() as made:
        caller = await made.scenario.connect("caller")
        for _ in range(2):
            await (await caller.start_call("nobody", idempotency_key="k")).refusal()
        await (await caller.start_call("nobody", idempotency_key="other")).refusal()
        first, second, other = made.all("route.call")
        assert (links(first), links(second), links(other)) == (set(), {number(first)}, set())


@pytest.mark.parametrize("subprotocols", [(MSGPACK, MSGPACK), (MSGPACK, NDJSON), (NDJSON, MSGPACK)])
async def test_a_trace_goes_on_between_encodings(
    subprotocols: tuple[Subprotocol, Subprotocol], autojump_clock: MockClock
) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a", subprotocol=subprotocols[0])
        caller = await made.scenario.connect("caller", subprotocol=subprotocols[1])
        call = await caller.start_call("a", params={"x": 1}, meta={"traceparent": SAMPLED})
        delivered = await answer_one(owner)
        await call.result()
        passed_on = read_traceparent(delivered["meta"]["traceparent"])
        assert passed_on == TraceParent(int(TRACE, 16), number(made.one("route.call")), is_sampled=True)


async def test_calls_on_a_bound_connection_are_traced(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a")
        bound = await made.scenario.connect("bound", target="/resources/a")
        call = await bound.start("work", {})
        delivered = await answer_one(owner)
        await call.result()
        assert read_traceparent(delivered["meta"]["traceparent"])
        assert attributes(made.one("route.call"), "resource_id", "outcome") == {
            "resource_id": "a",
            "outcome": "ok",
        }


async def test_a_plain_instance_is_told_nothing_and_its_call_is_traced(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a", plain=True)
        caller = await made.scenario.connect("caller")
        call = await caller.start_call("a", meta={"traceparent": SAMPLED})
        assert "meta" not in await answer_one(owner)
        await call.result()
        assert attributes(made.one("route.call"), "outcome") == {"outcome": "ok"}


async def test_a_stale_call_is_delivered_twice_in_one_span(autojump_clock: MockClock) -> None:
    async with traced(ADMIN) as made:
        owner = await made.scenario.owner("owner", "a")
        caller = await made.scenario.connect("caller")
        call = await caller.start_call("a")
        request = await owner.next("work")
        thief = await made.scenario.instance("thief")
        await thief.ask("resource.register", resource_ids=["a"], force=True)
        await owner.fail(request, 409, "stale epoch", data={"type": "stale_epoch"})
        await answer_one(thief)
        await call.result()
        span = made.one("route.call")
        assert [event.name for event in span.events] == ["delivered", "refused as stale", "delivered"]
        assert attributes(span, "instance_id", "outcome") == {"instance_id": "thief", "outcome": "ok"}


# --- requests to the router -------------------------------------------------------------------------------------


async def test_each_resource_operation_is_a_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.instance("owner", "documents")
        meta = {"traceparent": SAMPLED}
        for method, params in (
            ("resource.register", {"resource_ids": ["a"]}),
            ("resource.update", {"resource_id": "a", "metadata": {}}),
            ("resource.renew", {"resource_ids": ["a"]}),
            ("resource.query", {}),
            ("resource.release", {"resource_ids": ["a"]}),
        ):
            await (await owner.start(method, params, meta=meta)).result()
            span = made.one(method)
            assert (trace_of(span), span.parent and f"{span.parent.span_id:016x}") == (TRACE, PARENT)
            assert attributes(span, "status", "instance_id", "service_name") == {
                "status": "ok",
                "instance_id": "owner",
                "service_name": "documents",
            }
        assert attributes(made.one("resource.register"), "resource_id", "resource_count") == {
            "resource_id": "a",
            "resource_count": 1,
        }
        assert len(made.all("instance.register")) == 1
        await owner.ask("session.ping")
        assert not made.all("session.ping")


async def test_a_conflict_is_linked_to_the_grant_in_its_way_and_to_what_is_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with traced() as made:
        first = await made.scenario.owner("first", "a")
        granted = made.last("resource.register")
        second = await made.scenario.instance("second")
        await second.refused("resource.register", resource_ids=["a"])
        conflict = made.last("resource.register")
        assert conflict.status.status_code is StatusCode.ERROR
        assert links(conflict, "owner") == {number(granted)}
        assert [event.name for event in conflict.events] == ["conflict"]
        await second.refused("resource.register", resource_ids=["a"])
        again = made.last("resource.register")
        assert links(again, "retry_of") == {number(conflict)}
        await first.ask("resource.release", resource_ids=["a"])
        await second.ask("resource.register", resource_ids=["a"])
        assert links(made.last("resource.register")) == {number(again)}


async def test_conflicts_in_part_and_in_bulk_are_linked_too(autojump_clock: MockClock) -> None:
    async with traced() as made:
        await made.scenario.owner("first", "a")
        granted = made.last("resource.register")
        second = await made.scenario.instance("second")
        await second.ask("resource.register", resource_ids=["a", "b"], partial=True)
        assert links(made.last("resource.register"), "owner") == {number(granted)}
        await second.ask("resource.bulk_register", resources=[{"resource_id": "a"}], continue_on_error=True)
        bulk = made.one("resource.bulk_register")
        assert links(bulk, "owner") == {number(granted)}
        assert links(bulk, "retry_of") == {number(made.last("resource.register"))}


async def test_each_batch_of_a_bulk_is_a_span(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.instance("owner")
        items = [{"resource_id": name} for name in "abcb"]
        await owner.ask("resource.bulk_register", resources=items, batch_size=3, continue_on_error=True)
        bulk = made.one("resource.bulk_register")
        batches = [span for span in made.below(bulk) if span.name == "batch"]
        assert [attributes(span, "batch_number", "success_count", "failure_count") for span in batches] == [
            {"batch_number": 1, "success_count": 3, "failure_count": 0},
            {"batch_number": 2, "success_count": 0, "failure_count": 1},
        ]
        assert [span.status.status_code for span in batches] == [StatusCode.UNSET, StatusCode.ERROR]


async def test_a_transfer_is_one_trace_with_what_both_sides_were_told(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", "a", "b")
        await made.scenario.instance("heir")
        result = await owner.ask(
            "resource.transfer",
            resource_ids=["a", "b"],
            from_instance_id="owner",
            to_instance_id="heir",
            reason="test",
        )
        operation = made.one("resource.transfer")
        [transfer] = made.below(operation)
        assert attributes(transfer, "transfer_id", "resource_ids", "from_instance_id", "to_instance_id") == {
            "transfer_id": result["transfer_id"],
            "resource_ids": ("a", "b"),
            "from_instance_id": "owner",
            "to_instance_id": "heir",
        }
        told = [(span.name, attributes(span, "instance_id")["instance_id"]) for span in made.below(transfer)]
        assert told == [("resource.lost", "owner"), ("resource.acquired", "heir")]
        assert trace_of(operation) == result["trace_id"]


async def test_a_drain_has_each_of_its_transfers(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.owner("owner", *"abcd")
        for name in ("heir-1", "heir-2"):
            await made.scenario.instance(name)
        await owner.ask("instance.drain", batch_size=2)
        transfers = [span for span in made.below(made.one("instance.drain")) if span.name == "transfer"]
        assert len(transfers) == 4
        assert {span.attributes["resroute.cause"] for span in transfers if span.attributes} == {"drain"}


async def test_a_rebalance_has_each_of_its_transfers(autojump_clock: MockClock) -> None:
    async with traced(ADMIN) as made:
        await made.scenario.owner("owner", *"abcd", service="documents")
        await made.scenario.instance("heir", "documents")
        admin = await made.scenario.connect("admin")
        await admin.ask("service.rebalance", service_name="documents", by="count")
        [transfer] = made.below(made.one("service.rebalance"))
        assert attributes(transfer, "cause", "resource_count") == {"cause": "rebalance", "resource_count": 2}
        assert [span.name for span in made.below(transfer)] == ["resource.lost", "resource.acquired"]


async def test_the_share_of_traces_follows_the_settings(autojump_clock: MockClock) -> None:
    async with traced() as made:
        owner = await made.scenario.instance("owner")
        for ratio in (0.0, 1.0):
            made.scenario.router.change_settings(Settings(traces_sample_ratio=ratio))
            await owner.ask("resource.query")
            assert len(made.all("resource.query")) == ratio


async def test_a_registration_that_waits_says_so(autojump_clock: MockClock) -> None:
    async with traced() as made:
        first = await made.scenario.owner("first", "a")
        second = await made.scenario.instance("second")
        waiting = await second.start("resource.register", {"resource_ids": ["a"], "wait_seconds": 9})
        await trio.sleep(1)
        await first.ask("resource.release", resource_ids=["a"])
        await waiting.result()
        assert [event.name for event in made.last("resource.register").events] == ["waits in line"]
