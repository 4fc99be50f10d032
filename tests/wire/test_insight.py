"""What can be asked about calls and resources: why, how many, which most."""

import re
from typing import Any

import trio
from trio.testing import MockClock

from resroute.router.placement import LEFT_ALONE_SECONDS, TIMEOUTS_IN_A_ROW
from resroute.settings import Settings
from tests.scenario import Party, open_scenario


def told(transitions: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    revisions = [transition["revision"] for transition in transitions]
    assert revisions == sorted(revisions)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", transition["at"]) for transition in transitions)
    return [
        (transition["event"], transition["cause"], transition["instance_id"]) for transition in transitions
    ]


async def answer_all(party: Party) -> None:
    while True:
        message = await party.next()
        if "id" in message:
            await party.answer(message, "done")


# --- route.explain --------------------------------------------------------------------------------------------


async def test_an_owned_resource_is_explained_with_its_owner_and_what_calls_met(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("one", "doc:1")
        caller = await scenario.connect()
        pending = await caller.start_call("doc:1")
        await owner.answer(await owner.next())
        await pending.result()
        pending = await caller.start_call("doc:1")
        await owner.fail(await owner.next(), 1, "no")
        await pending.refusal()
        pending = await caller.start_call("doc:1")
        await caller.cancel(pending)
        await pending.refusal()

        explained = await caller.ask("route.explain", resource_id="doc:1")
        assert explained["status"] == "owned"
        assert explained["owner"]["owner_instance_id"] == "one"
        assert explained["owner"]["calls_total"] == 3
        [candidate] = explained["candidates"]
        assert (candidate["instance_id"], candidate["able"]) == ("one", True)
        assert "reason" not in candidate
        assert "remote_address" not in candidate
        assert explained["waiters"] == 0
        assert told(explained["transitions"]) == [("registered", "request", "one")]
        assert explained["transitions"][0]["revision"] == explained["owner"]["epoch"]
        assert explained["recent_calls"] == {"ok": 1, "error": 1, "call_cancelled": 1}
        assert explained["would"] == {"deliver_to": "one"}
        assert explained["trace_id"]


async def test_explaining_calls_nobody_and_counts_no_call(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("one", "doc:1")
        for _ in range(3):
            await owner.ask("route.explain", resource_id="doc:1")
            await owner.ask("route.explain", service_name="service")
            await owner.ask("route.explain", resource_id="doc:2")
        page = await owner.ask("resource.query", resource_ids=["doc:1"])
        assert page["resources"][0]["calls_total"] == 0
        assert not owner.has_news
        for what in ("busiest", "unowned", "conflicts"):
            assert (await owner.ask("router.top", what=what))["entries"] == []


async def test_a_resource_that_nobody_owns_is_explained_by_what_became_of_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        one, two = await scenario.owner("one", "doc:1"), await scenario.instance("two")
        await two.ask("resource.register", resource_ids=["doc:1"], force=True)
        await two.ask("resource.release", resource_ids=["doc:1"])
        await one.ask("resource.register", resource_ids=["doc:1"])
        await one.aclose()
        await trio.sleep(1)
        explained = await two.ask("route.explain", resource_id="doc:1")
        assert explained["status"] == "unowned"
        assert "owner" not in explained
        assert explained["candidates"] == []
        assert explained["recent_calls"] == {}
        assert told(explained["transitions"]) == [
            ("registered", "request", "one"),
            ("transferred", "forced", "two"),
            ("released", "request", "two"),
            ("registered", "request", "one"),
            ("released", "session_ended", "one"),
        ]
        error = explained["would"]["error"]
        assert (error["code"], error["data"]["type"], error["data"]["resource_id"]) == (
            404,
            "resource_not_found",
            "doc:1",
        )


async def test_no_more_than_the_last_ten_transitions_are_told(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one")
        last_epoch = 0
        for _ in range(8):
            registered = await one.ask("resource.register", resource_ids=["doc:1", "doc:2"])
            last_epoch = registered["epochs"]["doc:1"]
            await one.ask("resource.release", resource_ids=["doc:1"])
        transitions = (await one.ask("route.explain", resource_id="doc:1"))["transitions"]
        assert told(transitions) == [("registered", "request", "one"), ("released", "request", "one")] * 5
        assert transitions[-2]["revision"] == last_epoch
        assert len((await one.ask("route.explain", resource_id="doc:2"))["transitions"]) == 1


async def test_what_the_router_remembers_no_longer_is_not_told(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(watch_history_events=3)) as scenario:
        one = await scenario.owner("one", "doc:1")
        await one.ask("resource.register", resource_ids=["doc:2", "doc:3"])
        assert len((await one.ask("route.explain", resource_id="doc:1"))["transitions"]) == 1
        await one.ask("resource.register", resource_ids=["doc:4"])
        explained = await one.ask("route.explain", resource_id="doc:1")
        assert (explained["status"], explained["transitions"]) == ("owned", [])
        assert len((await one.ask("route.explain", resource_id="doc:2"))["transitions"]) == 1


async def test_what_happens_while_it_looks_back_is_told_too(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one")
        await one.ask("resource.register", resource_ids=[f"other:{number}" for number in range(999)])
        asked = await one.start("route.explain", {"resource_id": "doc:1"})
        taken = await one.start("resource.register", {"resource_ids": ["doc:1"]})
        explained = await asked.result()
        await taken.result()
        is_owned = explained["status"] == "owned"
        assert len(explained["transitions"]) == (1 if is_owned else 0)


async def test_a_service_is_explained_with_its_instances_in_the_order_of_choice(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        await scenario.instance("busy", max_concurrency=1)
        await scenario.instance("idle")
        await scenario.instance("first", priority=1, max_concurrency=1)
        await scenario.instance("stranger", service="others")
        caller = await scenario.connect()
        calls = [await caller.start_call(service_name="service") for _ in range(2)]
        await trio.sleep(0.1)
        explained = await caller.ask("route.explain", service_name="service")
        assert explained["status"] == "owned"
        assert [(it["instance_id"], it["able"], it.get("reason")) for it in explained["candidates"]] == [
            ("first", False, "max_concurrency"),
            ("idle", True, None),
            ("busy", False, "max_concurrency"),
        ]
        assert explained["would"] == {"deliver_to": "idle"}
        assert explained["transitions"] == []
        for party in scenario.parties:
            for request in party.take_news():
                await party.answer(request)
        for call in calls:
            await call.result()
        explained = await caller.ask("route.explain", service_name="service")
        assert explained["recent_calls"] == {"ok": 2}


async def test_a_service_whose_instances_are_all_silent_is_explained(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one")
        caller = await scenario.connect()
        one.stall()
        await trio.sleep(15)
        explained = await caller.ask("route.explain", service_name="service")
        [candidate] = explained["candidates"]
        assert (candidate["able"], candidate["reason"]) == (False, "unresponsive")
        assert explained["would"]["error"]["data"]["reason"] == "no_healthy_instance"


async def test_calls_that_wait_are_counted_and_a_full_line_is_what_a_call_would_meet(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_queued_calls=2)) as scenario:
        owner = await scenario.owner("one", "doc:1", max_concurrency=1)
        caller, other = await scenario.connect(), await scenario.connect()
        calls = [await caller.start_call("doc:1") for _ in range(2)]
        explained = await caller.ask("route.explain", resource_id="doc:1")
        assert (explained["waiters"], explained["would"]) == (1, {"deliver_to": "one"})
        [candidate] = explained["candidates"]
        assert candidate["able"]
        calls.append(await caller.start_call("doc:1"))
        explained = await caller.ask("route.explain", resource_id="doc:1")
        assert explained["would"]["error"]["data"]["reason"] == "overloaded"
        [candidate] = explained["candidates"]
        assert (candidate["able"], candidate["reason"]) == (False, "max_concurrency")
        # who has fewer calls in the line than others has a place there
        explained = await other.ask("route.explain", resource_id="doc:1")
        assert explained["would"] == {"deliver_to": "one"}
        assert explained["candidates"][0]["able"]
        waits = await caller.start_call("doc:2", wait_for_owner_seconds=50)
        explained = await caller.ask("route.explain", resource_id="doc:2")
        assert (explained["status"], explained["waiters"]) == ("unowned", 1)
        assert explained["would"]["error"]["code"] == 404
        for _ in range(3):
            await owner.answer(await owner.next())
        await owner.ask("resource.register", resource_ids=["doc:2"])
        await owner.answer(await owner.next())
        for call in (*calls, waits):
            await call.result()
        explained = await caller.ask("route.explain", resource_id="doc:1")
        assert (explained["waiters"], explained["recent_calls"]) == (0, {"ok": 3})


async def test_explaining_is_no_try_of_an_instance_that_is_left_alone(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one", priority=1)
        two = await scenario.instance("two")
        caller = await scenario.connect()
        for _ in range(TIMEOUTS_IN_A_ROW):
            call = await caller.start_call(service_name="service", timeout_seconds=1)
            assert (await call.refusal()).type == "call_timeout"
        explained = await caller.ask("route.explain", service_name="service")
        first = explained["candidates"][0]
        assert (first["instance_id"], first["able"], first["reason"]) == ("one", False, "left_alone")
        assert explained["would"] == {"deliver_to": "two"}
        assert explained["recent_calls"] == {"call_timeout": TIMEOUTS_IN_A_ROW}
        await trio.sleep(LEFT_ALONE_SECONDS)
        one.take_news()
        for _ in range(3):
            explained = await caller.ask("route.explain", service_name="service")
            assert explained["would"] == {"deliver_to": "one"}
        call = await caller.start_call(service_name="service")
        await one.answer(await one.next("work"), "one")
        assert await call.result() == "one"
        assert not two.has_news


async def test_an_unknown_service_is_explained(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect()
        explained = await caller.ask("route.explain", service_name="nobody")
        assert (explained["status"], explained["candidates"]) == ("unowned", [])
        assert explained["would"]["error"]["data"]["type"] == "service_not_found"


async def test_an_owner_of_another_service_is_explained_as_a_call_would_meet_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        one = await scenario.owner("one", "doc:1")
        explained = await one.ask("route.explain", resource_id="doc:1", service_name="others")
        assert explained["status"] == "owned"
        assert explained["would"]["error"]["data"]["type"] == "service_mismatch"


async def test_an_owner_that_does_not_read_is_explained(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=1000)) as scenario:
        owner = await scenario.connect("one", buffer_bytes=10)
        await owner.ask("instance.register", service_name="service", instance_id="one")
        await owner.ask("resource.register", resource_ids=["doc:1"])
        owner.stall()
        caller = await scenario.connect()
        call = await caller.start_call("doc:1", params=["x" * 2000])
        await trio.sleep(0.1)
        await caller.start_call("doc:1", params=["x" * 2000])
        explained = await caller.ask("route.explain", resource_id="doc:1")
        [candidate] = explained["candidates"]
        assert (candidate["able"], candidate["reason"]) == (False, "outbox_full")
        assert explained["would"]["error"]["data"]["reason"] == "overloaded"
        owner.resume()
        assert not call.is_settled


async def test_administrators_are_told_all_about_candidates(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        one = await scenario.owner("one", "doc:1", metadata={"zone": "a"})
        [candidate] = (await one.ask("route.explain", resource_id="doc:1"))["candidates"]
        assert candidate["metadata"] == {"zone": "a"}
        assert candidate["remote_address"]


async def test_who_may_not_call_may_not_ask_why(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("instance",))) as scenario:
        party = await scenario.connect()
        for method, params in (
            ("route.explain", {"resource_id": "doc:1"}),
            ("route.explain", {}),
            ("router.statistics", {}),
            ("router.top", {"what": "busiest"}),
        ):
            refused = await party.refused(method, **params)
            assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", "caller")


async def test_what_cannot_be_explained_is_refused(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        for params in ({}, {"resource_id": "/bad/"}, {"service_name": ""}, {"resource_id": 1}, {"x": 1}):
            assert (await party.refused("route.explain", **params)).type == "invalid_params"


async def test_who_leaves_before_the_answer_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.owner("one", "doc:1")
        for _ in range(50):
            await one.start("route.explain", {"resource_id": "doc:1"})
        one.drop()


async def test_a_draining_router_explains_that_it_takes_no_calls(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("one", "doc:1")
        caller = await scenario.connect()
        await caller.start_call("doc:1")
        request = await owner.next()
        scenario.start_soon(scenario.router.drain)
        await trio.sleep(0.1)
        explained = await caller.ask("route.explain", resource_id="doc:1")
        assert explained["would"]["error"]["data"]["reason"] == "draining"
        await owner.answer(request)


# --- router.top -----------------------------------------------------------------------------------------------


async def test_the_busiest_resources_come_first(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("one", "doc:1", "doc:2", "doc:3")
        scenario.start_soon(finish, answer_all, owner)
        for resource_id, count in (("doc:1", 1), ("doc:2", 3), ("doc:3", 2)):
            for _ in range(count):
                await owner.call(resource_id)
        entries = (await owner.ask("router.top", what="busiest"))["entries"]
        assert [(it["resource_id"], it["count"]) for it in entries] == [
            ("doc:2", 3),
            ("doc:3", 2),
            ("doc:1", 1),
        ]
        assert all(it["last_at"].endswith("Z") for it in entries)
        assert len((await owner.ask("router.top", what="busiest", limit=1))["entries"]) == 1
        await owner.ask("resource.release", resource_ids=["doc:2"])
        await owner.ask("resource.register", resource_ids=["doc:2"])
        entries = (await owner.ask("router.top", what="busiest"))["entries"]
        assert [it["resource_id"] for it in entries] == ["doc:3", "doc:1"]


async def test_a_resource_that_moves_keeps_its_place_among_the_busiest_but_not_its_outcomes(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        one, two = await scenario.owner("one", "doc:1", "doc:2"), await scenario.instance("two")
        for owner in (one, two):
            scenario.start_soon(finish, answer_all, owner)
        for resource_id in ("doc:1", "doc:1", "doc:2"):
            await one.call(resource_id)
        await two.ask("resource.register", resource_ids=["doc:1"], force=True)
        await two.call("doc:1")
        entries = (await two.ask("router.top", what="busiest"))["entries"]
        assert [(it["resource_id"], it["count"]) for it in entries] == [("doc:1", 3), ("doc:2", 1)]
        assert (await two.ask("route.explain", resource_id="doc:1"))["recent_calls"] == {"ok": 1}


async def finish(task: Any, party: Party) -> None:
    from tests.scenario import Left

    try:
        await task(party)
    except Left:
        pass


async def test_calls_to_what_nobody_owns_are_counted(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect()
        for resource_id in ("doc:1", "doc:2", "doc:2"):
            assert (await (await caller.start_call(resource_id)).refusal()).code == 404
        assert (await (await caller.start_call("/bad/")).refusal()).type == "invalid_params"
        entries = (await caller.ask("router.top", what="unowned"))["entries"]
        assert [(it["resource_id"], it["count"]) for it in entries] == [("doc:2", 2), ("doc:1", 1)]


async def test_what_instances_fight_over_is_counted(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("one", "doc:1", "doc:2")
        two = await scenario.instance("two")
        await two.refused("resource.register", resource_ids=["doc:1"])
        await two.refused("resource.register", resource_ids=["doc:1", "doc:2", "doc:3"])
        await two.ask("resource.register", resource_ids=["doc:1", "doc:3"], partial=True)
        entries = (await two.ask("router.top", what="conflicts"))["entries"]
        assert [(it["resource_id"], it["count"]) for it in entries] == [("doc:1", 3), ("doc:2", 1)]


async def test_rankings_have_bounds(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        for params in ({}, {"what": "most"}, {"what": "busiest", "limit": 0}):
            assert (await party.refused("router.top", **params)).type == "invalid_params"
        assert (await party.refused("router.top", what="unowned", limit=1001)).type == "invalid_params"
        assert (await party.ask("router.top", what="unowned", limit=1000))["entries"] == []


async def test_when_the_busiest_have_gone_those_that_follow_are_found(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=10_000)) as scenario:
        owner = await scenario.instance("one")
        ids = [f"doc:{number:04d}" for number in range(2500)]
        await owner.ask("resource.register", resource_ids=ids)
        for at in range(0, len(ids), 500):
            await owner.say(
                *(
                    {"method": "route.call", "params": owner.call_params(resource_id)}
                    for resource_id in ids[at : at + 500]
                    for _ in range(2 if resource_id < "doc:2400" else 1)
                )
            )
        await trio.sleep(1)
        owner.take_news()
        await owner.ask("resource.release", resource_ids=ids[:2400])
        entries = (await owner.ask("router.top", what="busiest", limit=200))["entries"]
        assert {it["resource_id"] for it in entries} == set(ids[2400:])
        assert {it["count"] for it in entries} == {1}


# --- router.statistics ----------------------------------------------------------------------------------------


async def test_services_are_told_in_numbers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.owner("one", "doc:1", "doc:2")
        await scenario.instance("two")
        caller = await scenario.connect()
        for seconds, resource_id in ((0.01, "doc:1"), (0.01, "doc:2"), (1.0, "doc:1")):
            call = await caller.start_call(resource_id)
            request = await one.next()
            await trio.sleep(seconds)
            await one.answer(request)
            await call.result()
        call = await caller.start_call("doc:1")
        await one.fail(await one.next(), 7, "no")
        await call.refusal()
        await (await caller.start_call("doc:1", timeout_seconds=1)).refusal()
        await caller.start_call("doc:1")
        await (await caller.start_call("doc:9")).refusal()
        await trio.sleep(0.1)

        numbers = await caller.ask("router.statistics")
        assert (numbers["sessions"], numbers["resources"], numbers["calls_in_flight"]) == (3, 2, 1)
        assert numbers["uptime_seconds"] >= 2.1
        assert "services_left_out" not in numbers
        service = numbers["services"]["service"]
        assert (service["instances"], service["resources"], service["in_flight"]) == (2, 2, 1)
        assert service["calls_total"] == 5
        assert service["errors_total"] == {"error": 1, "call_timeout": 1}
        assert 9 <= service["p50_ms"] <= 11
        assert 900 <= service["p99_ms"] <= 1100

        await trio.sleep(120)
        service = (await caller.ask("router.statistics"))["services"]["service"]
        assert (service["p50_ms"], service["p99_ms"]) == (None, None)
        assert service["calls_total"] == 6  # one has run out of time


async def test_a_service_without_instances_keeps_its_numbers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.owner("one", "doc:1")
        caller = await scenario.connect()
        await caller.start_call("doc:1")
        await one.next()
        await one.aclose()
        await trio.sleep(1)
        service = (await caller.ask("router.statistics"))["services"]["service"]
        assert (service["instances"], service["resources"], service["in_flight"]) == (0, 0, 0)
        assert (service["calls_total"], service["errors_total"]) == (1, {"owner_disconnected": 1})


async def test_calls_that_a_service_cannot_take_count_as_its_errors(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.instance("one", max_concurrency=1)
        caller = await scenario.connect()
        await caller.start_call(service_name="service")
        assert (await (await caller.start_call(service_name="service")).refusal()).code == 503
        service = (await caller.ask("router.statistics"))["services"]["service"]
        assert service["errors_total"] == {"unavailable": 1}


async def test_services_that_do_not_fit_into_one_message_are_counted(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=2048, outbox_soft_bytes=4096)) as scenario:
        busy = await scenario.instance("busy", service="busy")
        for number in range(20):
            await scenario.instance(f"idle-{number}", service=f"idle-{number}")
        call = await busy.start_call(service_name="busy")
        await busy.answer(await busy.next())
        await call.result()
        numbers = await busy.ask("router.statistics")
        assert next(iter(numbers["services"])) == "busy"
        assert len(numbers["services"]) + numbers["services_left_out"] == 21
