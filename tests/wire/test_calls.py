"""What becomes of a call: it reaches the one owner, and exactly one answer comes back."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from resroute.transport.interface import JSON, MSGPACK, NDJSON, Subprotocol
from tests.party import listen_to
from tests.scenario import Json, open_scenario

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON, MSGPACK])
async def test_a_call_reaches_the_owner_with_all_it_needs_to_know(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner", subprotocol=subprotocol)
        granted = await owner.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        session_id = (await caller.ask("session.info"))["session_id"]
        pending = await caller.start_call("doc:7", "read", {"page": 1}, timeout_seconds=12.5)
        request = await owner.next("read")
        assert request["params"] == {"page": 1}
        assert isinstance(request["id"], int)
        meta = request["meta"]
        assert meta["resource_id"] == "doc:7"
        assert meta["epoch"] == granted["epochs"]["doc:7"]
        assert meta["service_name"] == "service"
        assert meta["caller"] == {"session_id": session_id, "subject": "anonymous"}
        assert meta["timeout_seconds"] == 12.5
        await owner.answer(request, {"text": "hello"})
        answer = await pending.answer()
        assert answer["result"] == {"text": "hello"}
        assert "meta" not in answer


async def test_an_instance_that_calls_is_named_to_its_callee(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        pending = await other.start_call("doc:7")
        request = await owner.next()
        assert request["meta"]["caller"]["instance_id"] == "other"
        await owner.answer(request)
        await pending.result()


async def test_an_instance_may_call_itself(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        pending = await owner.start_call("doc:7")
        await owner.answer(await owner.next(), 1)
        assert await pending.result() == 1


async def test_who_sends_meta_is_told_what_happened_to_the_call(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7", meta={})
        request = await owner.next()
        await trio.sleep(0.25)
        await owner.answer(request, 1)
        meta = (await pending.answer())["meta"]
        assert meta["trace_id"] == request["meta"]["trace_id"]
        assert (meta["resource_id"], meta["instance_id"]) == ("doc:7", "owner")
        assert meta["epoch"] == request["meta"]["epoch"]
        assert 250 <= meta["duration_ms"] < 260
        answer = await (await caller.start("session.ping", {"trace_id": "mine"}, meta={})).answer()
        assert answer["result"] == {"trace_id": "mine"}
        assert answer["meta"]["trace_id"] == "mine"


async def test_who_sends_meta_is_told_how_long_a_call_took_that_failed(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        late = await caller.start_call("doc:7", timeout_seconds=2, meta={})
        early = await caller.start_call("unowned", wait_for_owner_seconds=0.5, meta={})
        lost = await caller.start_call("doc:7", meta={})
        for pending, seconds in ((early, 0.5), (late, 2)):
            meta = (await pending.answer())["meta"]
            assert seconds * 1000 <= meta["duration_ms"] < seconds * 1000 + 50
        await trio.sleep(1)
        owner.drop()
        meta = (await lost.answer())["meta"]
        assert 3000 <= meta["duration_ms"] < 3050
        assert meta["origin"] == "router"


async def test_the_callees_error_is_passed_on_and_is_not_the_routers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        posing = {"type": "owner_disconnected", "delivery": "not_delivered"}
        await owner.fail(request, 502, "as if", data=posing, meta={"origin": "router"})
        answer = await pending.answer()
        assert answer["error"] == {
            "code": 502,
            "message": "as if",
            "data": posing,
            "meta": {"origin": "router"},
        }
        assert "meta" not in answer


async def test_meta_of_a_callee_is_dropped(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        await owner.say({"id": request["id"], "result": 1, "meta": {"origin": "router"}})
        assert "meta" not in await pending.answer()


async def test_a_plain_instance_gets_no_meta(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner", plain=True)
        caller = await scenario.connect("caller")
        pending = await caller.start_call(service_name="service", method="read", params=[1])
        await scenario.wait_until(lambda: owner.has_news)
        request = await owner.next("read")
        assert set(request) == {"jsonrpc", "id", "method", "params"}
        await owner.answer(request, 1)
        await pending.result()


async def test_trace_ids_come_from_the_caller_or_its_traceparent_or_are_minted(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")

        async def meta_of(request_meta: object, **more: object) -> dict[str, object]:
            asked = {"resource_id": "doc:7", "method": "work", **more}
            members: dict[str, Any] = {} if request_meta is None else {"meta": request_meta}
            pending = await caller.start("route.call", asked, **members)
            request = await owner.next()
            await owner.answer(request)
            await pending.result()
            meta: dict[str, object] = request["meta"]
            return meta

        minted = await meta_of(None)
        assert len(str(minted["trace_id"])) == 32
        assert "traceparent" not in minted
        traced = await meta_of({"traceparent": TRACEPARENT})
        assert (traced["trace_id"], traced["traceparent"]) == (TRACEPARENT[3:35], TRACEPARENT)
        assert (await meta_of({"traceparent": TRACEPARENT}, trace_id="my-own"))["trace_id"] == "my-own"
        for malformed in ("", "00-x", TRACEPARENT.upper(), "00-" + "0" * 32 + TRACEPARENT[35:], 7, None):
            meta = await meta_of({"traceparent": malformed})
            assert "traceparent" not in meta
            assert len(str(meta["trace_id"])) == 32
        assert (await meta_of({}, idempotency_key="k-1"))["idempotency_key"] == "k-1"
        asked = {"resource_id": "doc:7", "method": "work", "trace_id": "no spaces"}
        refused = await (await caller.start("route.call", asked)).refusal()
        assert refused.code == -32602


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("route.call", {"resource_id": "doc:7", "method": "work", "timeout_seconds": "soon"}),
        ("route.call", {"resource_id": "doc:7", "method": "work", "unknown": 1}),
        ("route.call", {"resource_id": "doc:7"}),
        ("route.call", {"resource_id": "doc:7", "method": "nul\0"}),
        ("route.call", {"resource_id": "doc:7", "method": "nul\0", "params": ["x" * 20_000]}),
        ("session.ping", {"unknown": 1}),
        ("resource.register", {"resource_ids": "doc:7"}),
        ("no.such", {}),
    ],
)
async def test_an_error_bears_the_trace_id_that_came_with_what_is_wrong(
    method: str, wrong: Json, autojump_clock: MockClock
) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        traced = {"traceparent": TRACEPARENT}
        refused = await (await caller.start(method, {**wrong, "trace_id": "mine"}, meta=traced)).refusal()
        assert refused.data["trace_id"] == "mine"
        for malformed in ({}, {"trace_id": "no spaces"}, {"trace_id": 7}, {"trace_id": None}):
            refused = await (await caller.start(method, {**wrong, **malformed}, meta=traced)).refusal()
            assert refused.data["trace_id"] == TRACEPARENT[3:35]
            refused = await (await caller.start(method, {**wrong, **malformed})).refusal()
            assert len(refused.data["trace_id"]) == 32


async def test_an_error_for_an_id_in_flight_bears_the_trace_id_of_its_own_request(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7", id="same")
        for method, trace_id in (("route.call", "first"), ("session.ping", "second")):
            await caller.say({"id": "same", "method": method, "params": {"trace_id": trace_id}})
        await caller.ask("session.ping")
        assert [stray["error"]["data"]["trace_id"] for stray in caller.strays] == ["first", "second"]
        await owner.answer(await owner.next())
        await pending.result()


@pytest.mark.parametrize(
    "payload",
    [
        '{"n": 18446744073709551616, "m": 1e400}',
        '{"a": 1, "a": 2}',
        '["\\u0000", "\\\\", "\u00fcber \U0001f600"]',
        "{}",
        "[ ]",
        '{"deep": ' + "[" * 200 + "]" * 200 + "}",
    ],
)
async def test_payloads_pass_as_the_senders_own_bytes(autojump_clock: MockClock, payload: str) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        heard, answers = listen_to(owner), listen_to(caller)
        asked = f'{{"resource_id":"doc:7","method":"work","trace_id":"t-1","params":{payload}}}'
        pending = caller.expect(99)
        await caller.say_text(f'{{"jsonrpc":"2.0","id":99,"method":"route.call","params":{asked}}}')
        request = await owner.next()
        assert f'"params":{payload}' in heard[-1]
        await owner.say_text(f'{{"jsonrpc":"2.0","id":{request["id"]},"result":{payload}}}')
        await pending.result()
        assert f'"result":{payload}' in answers[-1]


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"])
async def test_raw_line_breaks_become_spaces_on_the_way_to_lines(
    autojump_clock: MockClock, line_break: str
) -> None:
    broken = line_break.join(("{", '"text":', '"a\\nb"', "}"))
    even = broken.replace("\n", " ").replace("\r", " ")
    async with open_scenario() as scenario:
        reader = await scenario.instance("reader", subprotocol=NDJSON)
        writer = await scenario.instance("writer", subprotocol=JSON)
        await reader.ask("resource.register", resource_ids=["doc:7"])
        await writer.ask("resource.register", resource_ids=["doc:8"])
        texts = listen_to(reader)
        told = writer.expect(1)
        await writer.say_text(
            f'{{"jsonrpc":"2.0",{line_break}"id":1,"method":"route.call","params":{{"trace_id":"t-1",'
            f'"resource_id":"doc:7","method":"work","params":{broken}}}}}'
        )
        request = await reader.next()
        assert request["params"] == {"text": "a\nb"}
        assert f'"params":{even},' in texts[-1]
        await reader.answer(request)
        await told.result()
        asked = await reader.start_call("doc:8", meta={"progress": True})
        request = await writer.next()
        await writer.say_text(
            f'{{"jsonrpc":"2.0","method":"$/progress","params":{{"token":{request["id"]},"value":{broken}}}}}'
        )
        assert (await reader.next("$/progress"))["params"]["value"] == {"text": "a\nb"}
        assert f'"value":{even}' in texts[-1]
        await writer.say_text(f'{{"jsonrpc":"2.0","id":{request["id"]},"result":{broken}}}')
        assert await asked.result() == {"text": "a\nb"}
        assert f'"result":{even}' in texts[-1]
        session_id = (await reader.ask("session.info"))["session_id"]
        told = writer.expect(2)
        await writer.say_text(
            '{"jsonrpc":"2.0","id":2,"method":"session.notify","params":{"resource_id":"doc:8","method":"changed",'
            f'"session_id":"{session_id}","params":{broken}}}}}'
        )
        await told.result()
        assert (await reader.next("changed"))["params"] == {"text": "a\nb"}
        assert f'"params":{even}' in texts[-1]


async def test_an_unowned_resource_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        refused = await (await caller.start_call("doc:7")).refusal()
        assert (refused.code, refused.type, refused.is_routers) == (404, "resource_not_found", True)
        assert refused.data["resource_id"] == "doc:7"
        refused = await (await caller.start_call(service_name="unheard-of")).refusal()
        assert (refused.code, refused.type) == (404, "service_not_found")


async def test_a_resource_of_another_service_is_a_mismatch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        refused = await (await caller.start_call("doc:7", service_name="elsewhere")).refusal()
        assert (refused.code, refused.type) == (404, "service_mismatch")
        pending = await caller.start_call("doc:7", service_name="service")
        await owner.answer(await owner.next())
        await pending.result()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, ""),
        ({"resource_id": "doc:7", "timeout_seconds": 0}, "timeout_seconds"),
        ({"resource_id": "doc:7", "timeout_seconds": -1}, "timeout_seconds"),
        ({"resource_id": "doc:7", "timeout_seconds": 601}, "timeout_seconds"),
        ({"resource_id": "doc:7", "timeout_seconds": "1"}, "timeout_seconds"),
        ({"resource_id": "doc:7", "params": 7}, "params"),
        ({"resource_id": "doc:7", "params": "text"}, "params"),
        ({"resource_id": "/doc:7"}, "resource_id"),
        ({"resource_id": 7}, "resource_id"),
        ({"service_name": "/"}, "service_name"),
        ({"resource_id": "doc:7", "nonsense": 1}, "nonsense"),
        ({"resource_id": "doc:7", "method": "rpc.discover"}, "method"),
        ({"resource_id": "doc:7", "method": "$/progress"}, "method"),
        ({"resource_id": "doc:7", "method": 7}, "method"),
    ],
)
async def test_wrong_parameters_of_a_call_are_named(
    autojump_clock: MockClock, given: dict[str, object], path: str
) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        refused = await (await caller.start("route.call", {"method": "work", **given})).refusal()
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        assert [error["path"] for error in refused.data["errors"]] == [path]


async def test_null_params_count_as_absent(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        asked = caller.call_params("doc:7")
        pending = await caller.start("route.call", {**asked, "params": None})
        request = await owner.next()
        assert "params" not in request
        await owner.answer(request)
        await pending.result()
        ping = caller.expect(77)
        await caller.say_text('{"jsonrpc":"2.0","id":77,"method":"session.ping","params":null}')
        assert (await ping.result())["trace_id"]


async def test_a_call_by_service_goes_to_the_least_busy_and_then_takes_turns(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        workers = [await scenario.instance(f"worker-{n}") for n in range(3)]
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call(service_name="service") for _ in range(6)]
        await trio.sleep(1)
        requests = [worker.take_news() for worker in workers]
        assert [len(news) for news in requests] == [2, 2, 2]
        await workers[1].answer(requests[1][0])
        await trio.sleep(1)
        pendings.append(await caller.start_call(service_name="service"))
        await trio.sleep(1)
        assert workers[1].has_news
        for worker, news in zip(workers, requests, strict=True):
            for request in [*news, *worker.take_news()]:
                if worker is not workers[1] or request is not requests[1][0]:
                    await worker.answer(request)
        for pending in pendings:
            await pending.result()


async def test_priority_comes_before_load_and_a_full_instance_is_passed_over(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        first = await scenario.instance("first", priority=5, max_concurrency=2)
        second = await scenario.instance("second", max_concurrency=1)
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call(service_name="service") for _ in range(3)]
        await trio.sleep(1)
        news = {party: party.take_news() for party in (first, second)}
        assert [len(requests) for requests in news.values()] == [2, 1]
        refused = await (await caller.start_call(service_name="service")).refusal()
        assert (refused.code, refused.type) == (503, "unavailable")
        assert (refused.data["reason"], refused.data["delivery"]) == ("overloaded", "not_delivered")
        for party, requests in news.items():
            for request in requests:
                await party.answer(request)
        for pending in pendings:
            await pending.result()


async def test_a_silent_instance_gets_no_calls_by_service(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=10, timeout_seconds=100))
    async with open_scenario(settings) as scenario:
        silent = await scenario.instance("silent", priority=9)
        caller = await scenario.connect("caller")
        silent.lose_everything()
        await trio.sleep(13)
        refused = await (await caller.start_call(service_name="service")).refusal()
        assert (refused.code, refused.data["reason"]) == (503, "no_healthy_instance")
        healthy = await scenario.instance("healthy")
        pending = await caller.start_call(service_name="service")
        await healthy.answer(await healthy.next())
        await pending.result()


async def test_instances_that_come_and_go_are_found_by_service(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        first = await scenario.instance("first")
        for _ in range(2):
            pending = await caller.start_call(service_name="service")
            await first.answer(await first.next())
            await pending.result()
        second = await scenario.instance("second")
        first.drop()
        await scenario.wait_until(lambda: scenario.statistics().instances == 1)
        pending = await caller.start_call(service_name="service")
        await second.answer(await second.next())
        await pending.result()
        second.drop()
        await scenario.wait_until(lambda: scenario.statistics().instances == 0)
        refused = await (await caller.start_call(service_name="service")).refusal()
        assert refused.type == "service_not_found"


async def test_a_caller_needs_the_role(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("instance",))) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        refused = await (await owner.start_call("doc:7")).refusal()
        assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", "caller")
        assert (await owner.refused("resource.query")).data["required"] == "caller"


async def test_an_instance_needs_the_role(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("caller",))) as scenario:
        caller = await scenario.connect()
        refused = await caller.refused("instance.register", service_name="service")
        assert (refused.code, refused.data["required"]) == (403, "instance")


async def test_nothing_is_kept_of_a_notification_that_its_owner_has_taken(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, caller = await scenario.owner("owner", "doc:7"), await scenario.connect("caller")
        owner.stall()
        for _ in range(3):
            params = caller.call_params("doc:7", "note", ["x" * 40_000])
            await caller.say({"method": "route.call", "params": params})
            await trio.testing.wait_all_tasks_blocked()  # a writer that has not begun would take all at once
        assert scenario.statistics().notes > 0
        owner.resume()
        for _ in range(3):
            await owner.next("note")
        assert scenario.statistics().notes == 0


async def test_a_call_sent_as_a_notification_is_delivered_as_one(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")

        async def notify(resource_id: str, method: str) -> None:
            asked = {"resource_id": resource_id, "method": method, "params": [1]}
            await caller.say({"method": "route.call", "params": asked})

        await notify("doc:7", "touch")
        request = await owner.next("touch")
        assert "id" not in request
        assert request["params"] == [1]
        assert request["meta"]["resource_id"] == "doc:7"
        for reserved in ("rpc.x", "$/x", "session.closing", "resource.lost"):
            await notify("doc:7", reserved)
        await notify("nobody", "touch")
        assert (await caller.ask("session.ping"))["trace_id"]
        assert not owner.has_news
        assert not caller.has_news


async def test_large_calls_are_calls_like_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        objects = [{"n": n, "text": "x" * 20} for n in range(2_000)]
        pending = await caller.start_call(
            "doc:7", params=objects, id="large", meta={"traceparent": TRACEPARENT}
        )
        request = await owner.next("work")
        assert request["params"] == objects
        assert request["meta"]["traceparent"] == TRACEPARENT
        await owner.answer(request, objects)
        answer = await pending.answer()
        assert answer["result"] == objects
        assert answer["meta"]["resource_id"] == "doc:7"
        for wrong in ({"resource_id": "/"}, {"method": "rpc.x"}, {"extra": 1}, {"timeout_seconds": "1"}):
            asked = {"resource_id": "doc:7", "method": "work", "params": objects, **wrong}
            assert (await (await caller.start("route.call", asked)).refusal()).code == -32602
        assert (await (await caller.start_call("nobody", params=objects)).refusal()).code == 404
