"""Bounds: what happens when somebody is silent, slow, or too much."""

import gc
import json
import tracemalloc
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from resroute.core.commands import Open
from resroute.ids import SessionId
from resroute.router import Router
from resroute.router.router import CoreFault
from resroute.settings import Heartbeat, Settings
from resroute.transport.interface import NDJSON
from resroute.transport.memory import memory_transport_pair
from tests.scenario import Party, open_scenario

PATIENT = Heartbeat(interval_seconds=1000, timeout_seconds=5000)


async def fill(owner: Party, caller: Party, *, size: int, count: int) -> list[object]:
    """Have calls pile up before an owner that does not read."""
    owner.stall()
    pendings = [
        await caller.start_call("doc:7", params={"text": "x" * size}, timeout_seconds=500)
        for _ in range(count)
    ]
    await trio.sleep(1)
    return list(pendings)


async def test_calls_in_flight_have_a_limit(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_calls_in_flight=2)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("doc:7") for _ in range(2)]
        refused = await (await caller.start_call("doc:7")).refusal()
        assert (refused.code, refused.type, refused.data["limit"]) == (429, "too_many_calls", 2)
        assert refused.data["retry_after_seconds"] > 0
        other = await scenario.connect("other")
        pendings.append(await other.start_call("doc:7"))
        for pending in pendings:
            await owner.answer(await owner.next())
            await pending.result()
        pending = await caller.start_call("doc:7")
        await owner.answer(await owner.next())
        await pending.result()


async def test_an_owner_that_reads_slowly_is_overloaded_for_its_callers_alone(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(outbox_soft_bytes=100_000, heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        slow = await scenario.owner("slow", "doc:7")
        quick = await scenario.owner("quick", "doc:8")
        caller = await scenario.connect("caller")
        await fill(slow, caller, size=150_000, count=6)
        refused = await (await caller.start_call("doc:7")).refusal()
        assert (refused.code, refused.data["reason"]) == (503, "overloaded")
        assert refused.data["delivery"] == "not_delivered"
        assert refused.data["retry_after_seconds"] > 0
        pending = await caller.start_call("doc:8")
        await quick.answer(await quick.next())
        await pending.result()
        slow.drop()


async def test_a_caller_that_does_not_read_its_answers_calls_nobody(autojump_clock: MockClock) -> None:
    settings = Settings(outbox_soft_bytes=100_000, heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("doc:7") for _ in range(8)]
        requests = [await owner.next() for _ in range(8)]
        caller.stall()
        for request in requests:
            await owner.answer(request, "x" * 90_000)
        await trio.sleep(1)
        late = await caller.start_call("doc:7")
        await trio.sleep(1)
        assert not owner.has_news
        caller.resume()
        refused = await late.refusal()
        assert (refused.code, refused.type, refused.data["limit"]) == (429, "too_many_calls", 100_000)
        for pending in pendings:
            assert await pending.result() == "x" * 90_000


async def test_an_answer_that_does_not_fit_the_outbox_becomes_a_small_error(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(
        outbox_soft_bytes=200_000, max_outbox_bytes=200_000, heartbeat=PATIENT, write_timeout_seconds=1000
    )
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("doc:7") for _ in range(4)]
        requests = [await owner.next() for _ in range(4)]
        caller.stall()
        for request in requests:
            await owner.answer(request, "x" * 90_000)
            await trio.sleep(1)
        caller.resume()
        outcomes = [(await pending.answer()) for pending in pendings]
        refused = [outcome["error"]["data"] for outcome in outcomes if "error" in outcome]
        assert refused
        assert {(data["reason"], data["delivery"]) for data in refused} == {("overloaded", "unknown")}
        assert not any("retry_after_seconds" in data for data in refused), "they may have run"
        assert any("result" in outcome for outcome in outcomes)


async def test_a_session_whose_outbox_holds_no_small_message_more_is_ended(autojump_clock: MockClock) -> None:
    settings = Settings(
        outbox_soft_bytes=50_000, max_outbox_bytes=50_000, heartbeat=PATIENT, write_timeout_seconds=1000
    )
    async with open_scenario(settings) as scenario:
        party = await scenario.connect(buffer_bytes=10_000)
        await party.ask("session.ping")
        party.stall()
        for n in range(400):
            await party.say({"id": f"{n}", "method": "session.info"})
            if not scenario.statistics().sessions:
                break
        party.resume()
        assert (await party.wait_ended()).code in (4008, None)
        await scenario.wait_until(lambda: not scenario.statistics().sessions)
        assert scenario.statistics().sessions == 0


async def test_a_writer_that_is_stuck_ends_the_session(autojump_clock: MockClock) -> None:
    settings = Settings(
        heartbeat=Heartbeat(interval_seconds=5, timeout_seconds=5000), write_timeout_seconds=15
    )
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        began = trio.current_time()
        pendings = await fill(owner, caller, size=400_000, count=2)
        await scenario.wait_until(lambda: scenario.statistics().instances == 0)
        assert 15 <= trio.current_time() - began < 23
        codes = [line["code"] for line in scenario.log_lines if line["event"] == "session ended"]
        assert codes in ([4008], [])
        assert len(pendings) == 2


async def test_a_silent_session_is_ended_and_what_it_owned_is_free(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        ghost = await scenario.owner("ghost", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7", timeout_seconds=100)
        await ghost.next()
        ghost.lose_everything()
        began = trio.current_time()
        refused = await pending.refusal()
        assert 14 < trio.current_time() - began <= 26
        assert (refused.type, refused.data["delivery"]) == ("owner_disconnected", "unknown")
        assert scenario.statistics().resources == 0


async def test_a_session_that_answers_pings_lives(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        await trio.sleep(10_000)
        assert owner.ended is None
        assert (await owner.ask("resource.query"))["total_count"] == 1


async def test_who_sends_but_answers_no_ping_is_ended_after_three_times_as_long(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        talker = await scenario.connect("talker")
        await talker.ask("session.ping")
        talker.stall()
        began = trio.current_time()
        with trio.move_on_after(200):
            while scenario.statistics().sessions:
                try:
                    await talker.notify("session.ping")
                except trio.BrokenResourceError:
                    break
                await trio.sleep(1)
        assert 75 <= trio.current_time() - began < 90


async def test_the_memory_of_all_sessions_is_bounded_and_the_largest_goes_first(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(
        max_outbox_total_bytes=2_000_000,
        outbox_soft_bytes=5_000_000,
        max_outbox_bytes=5_000_000,
        heartbeat=PATIENT,
        write_timeout_seconds=1000,
    )
    async with open_scenario(settings) as scenario:
        large = await scenario.owner("large", "doc:7")
        small = await scenario.owner("small", "doc:8")
        caller = await scenario.connect("caller")
        small.stall()
        for _ in range(2):
            await caller.start_call("doc:8", params=["x" * 300_000], timeout_seconds=500)
        await fill(large, caller, size=400_000, count=6)
        assert {party.name for party in scenario.parties if party.ended is None} == {
            "small",
            "caller",
            "large",
        }
        await scenario.wait_until(lambda: scenario.statistics().instances == 1)
        assert scenario.statistics().memory_bytes <= 2_000_000
        assert (await caller.ask("instance.query"))["instances"][0]["instance_id"] == "small"
        small.drop()
        large.drop()


async def test_there_are_no_more_sessions_than_there_may_be(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_sessions=2)) as scenario:
        first = await scenario.connect()
        await first.ask("session.ping")
        await (await scenario.connect()).ask("session.ping")
        third = await scenario.connect()
        assert (await third.wait_ended()).code == 4029
        await first.aclose()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 1)
        fourth = await scenario.connect()
        assert (await fourth.ask("session.ping"))["trace_id"]
        await fourth.aclose()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 1)


async def test_every_limit_that_the_protocol_names_is_told_with_its_default(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect("party")
        kibi, mebi = 1024, 1024 * 1024
        expected = {
            "max_resources_per_instance": 1000,
            "max_message_bytes": mebi,
            "max_calls_in_flight": 1024,
            "max_bulk_items": 10_000,
            "max_batch_messages": 1000,
            "max_metadata_bytes": 16 * kibi,
            "max_watches": 16,
            "max_state_bytes": 512 * kibi,
            "max_waiters_per_resource": 1000,
            "max_waiters_per_session": 100,
            "max_queued_calls": 256,
            "watch_history_events": 200_000,
            "watch_history_bytes": 64 * mebi,
            "outbox_soft_bytes": mebi,
            "max_outbox_bytes": 16 * mebi,
            "max_outbox_total_bytes": 512 * mebi,
            "max_sessions": 10_000,
            "handshake_timeout_seconds": 10,
            "write_timeout_seconds": 15,
            "probe_timeout_seconds": 3,
            "default_timeout_seconds": 30,
            "max_timeout_seconds": 600,
            "max_resume_grace_seconds": 300,
        }
        assert (await party.ask("session.info"))["limits"] == expected
        registered = await party.ask("instance.register", service_name="service")
        assert registered["limits"] == expected


async def test_those_who_wait_to_register_have_limits_by_resource_and_by_session(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(max_waiters_per_resource=3, max_waiters_per_session=2)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "a", "b")
        first, second, third = [await scenario.instance(name) for name in ("first", "second", "third")]
        waiting = [
            await party.start("resource.register", {"resource_ids": [name], "wait_seconds": 100})
            for party, name in ((first, "a"), (first, "a"), (second, "a"), (second, "b"))
        ]
        await scenario.wait_until(lambda: scenario.statistics().waiters == 4)
        for party, names, limit in ((third, ["a"], 3), (third, ["c", "b", "a"], 3), (first, ["b"], 2)):
            refused = await party.refused("resource.register", resource_ids=names, wait_seconds=100)
            assert (refused.code, refused.type, refused.data["limit"]) == (429, "too_many_waiters", limit)
        waiting.append(await third.start("resource.register", {"resource_ids": ["b"], "wait_seconds": 100}))
        await first.cancel(waiting[0])
        assert (await waiting[0].refusal()).type == "call_cancelled"
        waiting.append(await first.start("resource.register", {"resource_ids": ["b"], "wait_seconds": 100}))
        await scenario.wait_until(lambda: scenario.statistics().waiters == 5)
        await owner.aclose()
        assert [(await pending.answer()).get("error") for pending in (waiting[1], waiting[3])] == [None, None]


async def test_a_caller_may_give_no_more_time_than_there_is(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_timeout_seconds=50)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        for seconds in (0, -1, 50.001, 1e300):
            refused = await (await caller.start_call("doc:7", timeout_seconds=seconds)).refusal()
            assert (refused.code, refused.data["errors"][0]["path"]) == (-32602, "timeout_seconds")
        assert not owner.has_news
        for seconds in (0.001, 49.999, 50):
            pending = await caller.start_call("doc:7", timeout_seconds=seconds)
            await owner.next()
            began = trio.current_time()
            assert (await pending.refusal()).type == "call_timeout"
            assert trio.current_time() - began == pytest.approx(seconds, abs=0.02)
            await owner.next("$/cancelRequest")


async def test_one_request_names_no_more_ids_than_it_may(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_bulk_items=3)) as scenario:
        owner = await scenario.instance("owner")
        for method in ("resource.register", "resource.query", "resource.watch", "resource.release"):
            for count in (2, 3):
                await owner.ask(method, resource_ids=[f"doc:{number}" for number in range(count)])
                if method == "resource.release":
                    await owner.ask("resource.register", resource_ids=["doc:0", "doc:1", "doc:2"])
            refused = await owner.refused(method, resource_ids=["doc:0", "doc:1", "doc:2", "doc:3"])
            assert refused.data["errors"] == [{"path": "resource_ids", "message": "at most 3 in one request"}]
        for method, name in (
            ("resource.bulk_register", "resources"),
            ("resource.bulk_release", "resource_ids"),
        ):
            ids = ["doc:0", "doc:1", "doc:2", "doc:3"]
            items: list[Any] = [{"resource_id": id} for id in ids] if name == "resources" else ids
            for count in (2, 3):
                assert (await owner.ask(method, **{name: items[:count]}))["complete"]
            refused = await owner.refused(method, **{name: items})
            assert refused.data["errors"] == [{"path": name, "message": "at most 3 in one request"}]


async def test_a_session_has_no_more_watches_than_it_may(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_watches=3)) as scenario:
        watcher, other = await scenario.connect("watcher"), await scenario.connect("other")
        watches = [await watcher.ask("resource.watch") for _ in range(3)]
        refused = await watcher.refused("resource.watch")
        assert (refused.code, refused.type, refused.data["limit"]) == (429, "too_many_watches", 3)
        await other.ask("resource.watch")
        await watcher.ask("resource.unwatch", watch_id=watches[1]["watch_id"])
        await watcher.ask("resource.watch")
        assert (await watcher.refused("resource.watch", snapshot=True)).type == "too_many_watches"
        assert scenario.statistics().watches == 4


async def test_what_a_watch_asks_for_counts_as_memory(autojump_clock: MockClock) -> None:
    settings = Settings(max_outbox_total_bytes=4 * 1024 * 1024)
    async with open_scenario(settings) as scenario:
        greedy, modest = await scenario.connect("greedy"), await scenario.connect("modest")
        await modest.ask("resource.watch", prefix="doc:")
        names = [f"{'x' * 200}:{n:04}" for n in range(4000)]
        started = await greedy.ask("resource.watch", resource_ids=names)
        taken = scenario.statistics().memory_bytes
        assert taken > 4000 * 204
        await greedy.ask("resource.unwatch", watch_id=started["watch_id"])
        assert scenario.statistics().memory_bytes < taken / 100
        for _ in range(3):
            await greedy.start("resource.watch", {"resource_ids": names})
        assert (await greedy.wait_ended()).code == 4008
        assert scenario.statistics().watches == 1
        assert modest.ended is None


async def test_the_metadata_of_an_instance_has_a_limit(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_metadata_bytes=100, anonymous_roles=("admin",))) as scenario:
        party = await scenario.connect("party")
        at = {"a": "x" * 92}
        assert len(json.dumps(at, separators=(",", ":"))) == 100
        asked = {"service_name": "service", "instance_id": "party"}
        refused = await party.refused("instance.register", **asked, metadata={"a": "x" * 93}, extra=1)
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        errors = {error["path"]: error["message"] for error in refused.data["errors"]}
        assert errors == {"metadata": "at most 100 bytes of compact JSON", "extra": "unknown member"}
        assert scenario.statistics().instances == 0
        await party.ask("instance.register", **asked, metadata=at)
        [info] = (await party.ask("instance.query"))["instances"]
        assert info["metadata"] == at


async def test_white_space_counts_for_nothing_in_the_size_of_metadata(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_metadata_bytes=100)) as scenario:
        party = await scenario.connect("party")
        for text, is_refused in (
            ('{"a" :  "%s"}' % ("x " * 47), True),
            ('{"a" :  "%s"}' % ("x " * 46), False),
        ):
            pending = party.expect("register")
            params = '{"service_name":"service","metadata":%s}' % text.replace(":", ":" + "\t " * 500)
            await party.say_text(
                '{"jsonrpc":"2.0","id":"register","method":"instance.register","params":%s}' % params
            )
            assert ("error" in await pending.answer()) is is_refused


async def test_metadata_takes_no_more_memory_than_its_json_and_is_told_as_it_was_sent(
    autojump_clock: MockClock,
) -> None:
    count, told = (
        40,
        '{"b":[%s],"a":{"n":18446744073709551615,"x":1.50,"s":"\\u00e9"}}' % ",".join(["[]"] * 5000),
    )
    spaced = told.replace(":", " " * 20_000 + ":")
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        parties = [await scenario.connect(f"party-{number}") for number in range(count)]

        async def register(party: Party) -> None:
            pending = party.expect("register")
            params = '{"service_name":"service","metadata":%s}' % spaced
            await party.say_text(
                '{"jsonrpc":"2.0","id":"register","method":"instance.register","params":%s}' % params
            )
            assert "result" in await pending.answer()

        await register(parties.pop())  # and with it all that is made once
        tracemalloc.start()
        try:
            for party in parties:
                await register(party)
            gc.collect()
            kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/resroute/*")])
        finally:
            tracemalloc.stop()
        assert sum(trace.size for trace in kept.traces) < len(parties) * (len(told) + 8 * 1024)
        [info, *_] = (await scenario.parties[0].ask("instance.query", limit=1))["instances"]
        assert info["metadata"] == json.loads(told)


async def test_metadata_as_deep_as_may_be_can_be_told(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        party = await scenario.connect("party")
        registered = 0
        for depth in (100, 250, 300, 500, 700, 900, 990):
            instance = await scenario.connect(f"deep-{depth}")
            pending = instance.expect("register")
            params = '{"service_name":"service","metadata":{"a":%s}}' % ("[" * depth + "]" * depth)
            await instance.say_text(
                '{"jsonrpc":"2.0","id":"register","method":"instance.register","params":%s}' % params
            )
            answer = await pending.answer()
            registered += "result" in answer
            if "error" in answer:
                assert answer["error"]["code"] == -32602
        assert len((await party.ask("instance.query"))["instances"]) == registered > 0


async def test_a_message_over_the_limit_ends_the_session(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=5_000)) as scenario:
        party = await scenario.connect()
        await party.ask("session.ping", trace_id="x")
        await party.say_text('{"jsonrpc":"2.0","method":"session.ping","x":"' + "x" * 5_000 + '"}')
        assert (await party.wait_ended()).code == 1009
        owner = await scenario.instance("owner")
        await owner.say_text('{"jsonrpc":"2.0","method":"session.ping","x":"' + "x" * 5_000 + '"}')
        assert (await owner.wait_ended()).code == 1009
        batcher = await scenario.instance("batcher")
        await batcher.say_text('[{"jsonrpc":"2.0","method":"session.ping","x":"' + "x" * 5_000 + '"}]')
        assert (await batcher.wait_ended()).code == 1009


async def test_a_router_that_drains_lets_calls_finish_and_takes_nothing_new(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        scenario.start_soon(scenario.router.drain)
        for party in (owner, caller):
            closing = await party.next("session.closing")
            assert closing["params"]["reconnect_after_seconds"] > 0
        refused = await (await caller.start_call("doc:7")).refusal()
        assert (refused.code, refused.data["reason"], refused.data["delivery"]) == (
            503,
            "draining",
            "not_delivered",
        )
        refused = await owner.refused("resource.register", resource_ids=["doc:8"])
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        refused = await caller.refused("instance.register", service_name="service")
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        await owner.answer(request, "done")
        assert await pending.result() == "done"
        for party in (owner, caller):
            assert (await party.wait_ended()).code == 1001
        assert scenario.router.is_draining


async def test_a_drain_does_not_wait_for_ever(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(drain_seconds=5)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7", timeout_seconds=500)
        await owner.next()
        began = trio.current_time()
        await scenario.router.drain()
        assert 5 <= trio.current_time() - began < 10
        for party in (owner, caller):
            assert (await party.wait_ended()).code == 1001
        assert pending.is_settled


async def test_a_bug_in_a_method_costs_that_request_alone(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("request failed")
        owner = await scenario.owner("owner", "doc:7")
        operations = scenario.router._parts.dispatch._operations

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        operations._handlers["session.info"] = broken
        refused = await owner.refused("session.info")
        assert (refused.code, refused.type, refused.is_routers) == (-32603, "internal_error", True)
        assert set(refused.data) == {"type", "trace_id"}
        assert (await owner.ask("resource.query"))["total_count"] == 1


async def test_a_fault_of_the_core_ends_everything(autojump_clock: MockClock) -> None:
    router = Router(Settings())
    closed: list[int | None] = []

    async def connect() -> None:
        transport, peer = memory_transport_pair(subprotocol=NDJSON, max_message_bytes=10_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.serve_transport, transport)
            try:
                while True:
                    await peer.receive()
            except Exception as ended:
                closed.append(getattr(ended, "code", None))

    before = structlog.get_config()
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent())])
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            nursery.start_soon(connect)
            with pytest.RaisesGroup(CoreFault):
                async with trio.open_nursery() as serving:
                    await serving.start(router.serve)
                    await trio.sleep(1)
                    router.log.submit(Open(SessionId("twice")))
                    router.log.submit(Open(SessionId("twice")))
    finally:
        structlog.configure(**before)
    assert closed == [1011, 1011]
