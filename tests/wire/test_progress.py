"""Partial results: in order, before the answer, to those who asked, and never more than they can take."""

import json
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import JSON, MAX_PACK_BYTES, MSGPACK, NDJSON, Subprotocol
from tests.party import listen_to
from tests.scenario import Party, open_scenario

WANTED: dict[str, Any] = {"progress": True}


async def report(owner: Party, request: dict[str, Any], value: Any) -> None:
    await owner.notify("$/progress", token=request["id"], value=value)


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON, MSGPACK])
async def test_parts_reach_the_caller_under_its_own_id_in_order_and_before_the_answer(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        call = await caller.start_call("doc:7", id="mine", meta=WANTED)
        request = await owner.next()
        assert request["meta"]["progress"] is True
        for value in ({"n": 1}, [2], 3, None, "5"):
            await report(owner, request, value)
        await owner.answer(request, "all")
        assert await call.result() == "all"
        parts = caller.take_news()
        assert [part["method"] for part in parts] == ["$/progress"] * 5
        assert [part["params"]["value"] for part in parts] == [{"n": 1}, [2], 3, None, "5"]
        assert {part["params"]["token"] for part in parts} == {"mine"}


async def test_the_value_passes_as_the_callee_wrote_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.connect("owner", subprotocol=JSON)
        await owner.ask("instance.register", service_name="s", instance_id="owner")
        await owner.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        value = '{"a": 1,\n "a": 123456789012345678901234567890}'
        await owner.say_text(
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":%s}}'
            % (request["id"], value)
        )
        await owner.answer(request)
        await call.result()
        [part] = caller.take_news()
        assert part["params"]["value"]["a"] == 123456789012345678901234567890


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON])
async def test_it_makes_no_difference_how_a_part_is_written(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        token = request["id"]
        right = [
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":0}}',
            '{"jsonrpc":"2.0","method":"$/progress","params":{"value":1,"token":%d}}',
            '{"method":"$/progress","params":{"token":%d,"value":2},"jsonrpc":"2.0"}',
            '{ "jsonrpc": "2.0", "method": "$/progress", "params": { "token": %d, "value": 3 } }',
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":4,"more":[]}}',
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":5},"more":{}}',
            '{"jsonrpc":"2.0","method":"$/progress","meta":{},"params":{"token":%d,"value":6}}',
        ]
        for text in right:
            await owner.say_text(text % token)
        wrong = [
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":"%d","value":7}}',
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d.0,"value":8}}',
            '{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d}}',
            '{"jsonrpc":"2.0","method":"$/progress","params":[%d,9]}',
        ]
        for text in wrong:
            await owner.say_text(text % token)
        await owner.say_text('{"jsonrpc":"2.0","method":"$/progress","params":null}')
        await owner.say_text('{"jsonrpc":"2.0","method":"$/progress","id":"x","params":{"token":%d}}' % token)
        answer = await owner.expect("x").refusal()
        assert answer.type == "method_not_found"
        await owner.say_text('{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,}}' % token)
        await owner.answer(request)
        await call.result()
        assert [part["params"]["value"] for part in caller.take_news()] == list(range(len(right)))
        assert scenario.router.metrics.dropped_progress == len(wrong) + 1


@pytest.mark.parametrize("meta", [None, {}, {"progress": False}, {"progress": "yes"}, {"progress": 1}])
async def test_who_did_not_ask_gets_no_parts_and_no_more_time(
    autojump_clock: MockClock, meta: dict[str, Any] | None
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", meta=meta, timeout_seconds=3)
        request = await owner.next()
        assert "progress" not in request["meta"]
        for _ in range(4):
            await report(owner, request, 1)
            await trio.sleep(1)
        assert (await call.refusal()).code == 504
        assert caller.take_news() == []
        assert scenario.router.metrics.dropped_progress >= 3
        await owner.next("$/cancelRequest")


async def test_while_parts_come_the_time_counts_from_the_last(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", meta=WANTED, timeout_seconds=3)
        request = await owner.next()
        for number in range(10):
            await trio.sleep(2)
            await report(owner, request, number)
        last = trio.current_time()
        refusal = await call.refusal()
        assert (refusal.code, refusal.data["delivery"]) == (504, "unknown")
        assert 2.9 <= trio.current_time() - last <= 3.1
        assert len(caller.take_news()) == 10
        await owner.next("$/cancelRequest")


async def test_parts_of_calls_that_are_not_ones_own_or_over_are_dropped_and_counted(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        stranger = await scenario.instance("stranger")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        await report(stranger, request, "stolen")
        await report(caller, request, "of the caller's own")
        await owner.answer(request)
        await report(owner, request, "too late")
        for params in ({}, {"token": request["id"]}, {"value": 1}, {"token": True, "value": 1}, None, [1]):
            await owner.say({"method": "$/progress", "params": params})
        await owner.say({"method": "$/progress"})
        await call.result()
        await owner.ask("session.ping")
        assert caller.take_news() == []
        assert scenario.router.metrics.dropped_progress == 10


async def test_a_caller_that_takes_no_parts_loses_the_call_and_nobody_elses(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=20_000)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        slow, other = await scenario.connect("slow"), await scenario.connect("other")
        call = await slow.start_call("doc:7", meta=WANTED, timeout_seconds=20)
        request = await owner.next()
        theirs = await other.start_call("doc:7", meta=WANTED)
        their_request = await owner.next()
        slow.stall()
        sent = 0
        while not owner.has_news:
            await report(owner, request, "x" * 5000)
            await report(owner, their_request, sent)
            sent += 1
            await trio.testing.wait_all_tasks_blocked()
        assert (await owner.next("$/cancelRequest"))["params"] == {"id": request["id"]}
        assert scenario.statistics().outbox_bytes < 40_000
        await owner.answer(their_request, "done")
        assert await theirs.result() == "done"
        assert [part["params"]["value"] for part in other.take_news()] == list(range(sent))
        slow.resume()
        refusal = await call.refusal()
        assert (refusal.code, refusal.data["reason"], refusal.data["delivery"]) == (
            503,
            "overloaded",
            "unknown",
        )


async def test_parts_without_end_stop_when_the_caller_cancels(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        for number in range(50):
            await report(owner, request, number)
        await caller.cancel(call)
        assert (await call.refusal()).data["delivery"] == "unknown"
        heard = len(caller.take_news())
        await report(owner, request, "more")
        await owner.ask("session.ping")
        assert heard == 50 and caller.take_news() == []
        await owner.next("$/cancelRequest")


async def test_a_member_of_a_batch_gets_its_parts_before_the_array(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = caller.expect("a")
        params = caller.call_params("doc:7")
        await caller.say_batch({"id": "a", "method": "route.call", "params": params, "meta": WANTED})
        request = await owner.next()
        await report(owner, request, 1)
        assert (await caller.next("$/progress"))["params"] == {"token": "a", "value": 1}
        await owner.answer(request, 2)
        assert await pending.result() == 2


async def test_a_part_that_the_callers_outbox_has_no_room_for_ends_the_call(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(outbox_soft_bytes=2000, max_outbox_bytes=20_000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", buffer_bytes=0)
        caller.stall()
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        for _ in range(2):
            await report(owner, request, "x" * 1000)
        await report(owner, request, "x" * 100_000)
        await owner.next("$/cancelRequest")
        assert scenario.statistics().outbox_bytes <= settings.max_outbox_bytes
        caller.resume()
        refusal = await call.refusal()
        assert (refusal.data["reason"], refusal.data["delivery"]) == ("overloaded", "unknown")


Parts = list[tuple[int, Any]]


def parts_in_lines(parts: Parts) -> str:
    head = '{"jsonrpc":"2.0","method":"$/progress","params":'
    return "\n".join(f'{head}{{"token":{token},"value":{json.dumps(value)}}}}}' for token, value in parts)


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON, MSGPACK])
@pytest.mark.parametrize("others", [JSON, NDJSON, MSGPACK])
async def test_parts_that_come_together_reach_each_caller_as_they_would_one_by_one(
    autojump_clock: MockClock, subprotocol: Subprotocol, others: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        first = await scenario.connect("first", subprotocol=subprotocol)
        second = await scenario.connect("second", subprotocol=others)
        calls = [
            await first.start_call("doc:7", id=1, meta=WANTED),
            await second.start_call("doc:8", id="long" * 40, meta=WANTED),
            await second.start_call("doc:7", id="short", meta=WANTED),
            await first.start_call("doc:8", id=2),
        ]
        requests = [await owner.next() for _ in calls]
        tokens = [request["id"] for request in requests]
        runs = [(0, 100), (1, 3), (2, 1), (0, 1), (3, 5), (1, 130), (2, 70)]
        parts = [
            (tokens[who], {"run": number, "part": part, "text": "a\nb"})
            for number, (who, count) in enumerate(runs)
            for part in range(count)
        ]
        await owner.say_text(parts_in_lines(parts))
        for request in requests:
            await owner.answer(request)
        for call in calls:
            await call.result()

        def told(who: int) -> list[Any]:
            return [value for token, value in parts if token == tokens[who]]

        heard = first.take_news()
        assert [part["params"] for part in heard] == [{"token": 1, "value": value} for value in told(0)]
        heard = second.take_news()
        for who, token in ((1, "long" * 40), (2, "short")):
            values = [part["params"]["value"] for part in heard if part["params"]["token"] == token]
            assert values == told(who)
        assert len(heard) == len(told(1)) + len(told(2))
        assert scenario.router.metrics.dropped_progress == 5


async def test_line_breaks_in_parts_that_come_together_do_not_cut_a_callers_lines(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.connect("owner", subprotocol=JSON)
        await owner.ask("instance.register", service_name="s", instance_id="owner")
        await owner.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller", subprotocol=NDJSON)
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        async with trio.open_nursery() as nursery:  # so that the router finds them all at once
            for _ in range(5):
                text = parts_in_lines([(request["id"], 0)]).replace("0}}", '{"a":1,\n"b":\n2}}}')
                nursery.start_soon(owner.say_text, text)
        await owner.answer(request)
        await call.result()
        assert [part["params"]["value"] for part in caller.take_news()] == [{"a": 1, "b": 2}] * 5


async def test_no_line_break_of_any_kind_is_left_in_parts_that_come_together(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", subprotocol=NDJSON)
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        texts = listen_to(caller)
        await owner.say_text(parts_in_lines([(request["id"], 0)] * 5).replace("0}}", '{"a":1,\r"b":\r2}}}'))
        await owner.answer(request)
        await call.result()
        assert [part["params"]["value"] for part in caller.take_news()] == [{"a": 1, "b": 2}] * 5
        assert not any("\r" in text for text in texts)


async def test_parts_that_come_together_fill_no_text_over_what_several_may_take(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", subprotocol=NDJSON)
        call = await caller.start_call("doc:7", id="i" * 64, meta=WANTED)
        request = await owner.next()
        texts = listen_to(caller)
        await owner.say_text(parts_in_lines([(request["id"], "x" * 165)] * 256))
        await owner.answer(request)
        await call.result()
        assert len(caller.take_news()) == 256
        assert max(map(len, texts)) <= MAX_PACK_BYTES


async def test_of_parts_that_come_together_those_are_passed_on_that_the_caller_has_room_for(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(outbox_soft_bytes=2000, max_outbox_bytes=20_000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", buffer_bytes=0)
        call = await caller.start_call("doc:7", meta=WANTED)
        request = await owner.next()
        caller.stall()
        await owner.say_text(parts_in_lines([(request["id"], [number, "x" * 400]) for number in range(20)]))
        await owner.next("$/cancelRequest")
        caller.resume()
        assert (await call.refusal()).data["reason"] == "overloaded"
        heard = [part["params"]["value"][0] for part in caller.take_news()]
        assert heard == list(range(5))
        assert scenario.router.metrics.dropped_progress == 14
        assert call.is_settled


async def test_of_callers_whose_parts_come_together_a_slow_one_loses_its_call_alone(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(outbox_soft_bytes=2000, max_outbox_bytes=20_000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        slow = await scenario.connect("slow", buffer_bytes=0)
        packed = await scenario.connect("packed", subprotocol=MSGPACK)
        plain = await scenario.connect("plain", subprotocol=JSON)
        calls = [await party.start_call("doc:7", meta=WANTED) for party in (slow, packed, plain)]
        member = plain.expect("member")
        params = plain.call_params("doc:7")
        await plain.say_batch({"id": member.id, "method": "route.call", "params": params, "meta": WANTED})
        requests = [await owner.next("work") for _ in range(4)]
        slow.stall()
        tokens = [request["id"] for request in requests]
        for number in range(0, 20, 2):
            parts = [(token, [part, f"{token}" * 100]) for part in (number, number + 1) for token in tokens]
            await owner.say_text(parts_in_lines(parts))
            await trio.testing.wait_all_tasks_blocked()
        assert (await owner.next("$/cancelRequest"))["params"]["id"] == tokens[0]
        for request in requests:
            await owner.answer(request)
        for call in (*calls[1:], member):
            await call.result()
        heard = [part["params"]["value"][0] for part in packed.take_news()]
        assert heard == list(range(20))
        heard_by_plain = [(part["params"]["token"], part["params"]["value"][0]) for part in plain.take_news()]
        for token in (calls[2].id, "member"):
            assert [value for told, value in heard_by_plain if told == token] == list(range(20))
        slow.resume()
        assert (await calls[0].refusal()).data["reason"] == "overloaded"
        heard = [part["params"]["value"][0] for part in slow.take_news()]
        assert heard == list(range(len(heard)))
        assert 5 < len(heard) < 20
