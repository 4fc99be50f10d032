"""Registrations that wait: granted in turn, answered at the end of their time, and given up with whoever wanted them."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from tests.scenario import Party, Pending, Scenario, log_is_late, open_scenario

LATE_SECONDS = 0.1 + 0.3
"""So late at most something happens: with what a late log takes to decide a few times."""


async def wait_for(party: Party, *resource_ids: str, seconds: float = 60, **more: Any) -> Pending:
    """Ask for resources, and wait for them if need be."""
    return await party.start(
        "resource.register", {"resource_ids": list(resource_ids), "wait_seconds": seconds, **more}
    )


async def settle(scenario: Scenario, waiters: int) -> None:
    """Wait until so many wait."""
    await scenario.wait_until(lambda: scenario.statistics().waiters == waiters)


async def test_those_who_wait_are_granted_one_after_the_other(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        others = [await scenario.instance(f"other-{number}") for number in range(3)]
        pendings = []
        for number, other in enumerate(others):
            pendings.append(await wait_for(other, "doc:7"))
            await settle(scenario, number + 1)
        before = (await owner.ask("resource.query"))["resources"][0]["epoch"]
        for pending, last, next_one in zip(pendings, [owner, *others], others, strict=False):
            assert pending.message is None
            await last.ask("resource.release", resource_ids=["doc:7"])
            granted = await pending.result()
            assert (granted["success"], granted["registered"], granted["conflicts"]) == (True, ["doc:7"], {})
            assert granted["epochs"]["doc:7"] > before
            before = granted["epochs"]["doc:7"]
            [info] = (await owner.ask("resource.query"))["resources"]
            assert (info["owner_instance_id"], info["epoch"]) == (next_one.name, before)
        assert scenario.statistics().waiters == 0


async def test_one_that_waits_holds_up_none_of_those_behind_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        pending = await wait_for(other, "doc:7")
        await other.ask("session.ping")
        assert (await other.ask("resource.register", resource_ids=["doc:8"]))["registered"] == ["doc:8"]
        await other.ask("resource.release", resource_ids=["doc:8"])
        assert pending.message is None
        await owner.aclose()
        assert (await pending.result())["registered"] == ["doc:7"]


async def test_several_are_granted_as_a_whole_and_what_is_free_of_them_anyone_may_have(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "a", "b")
        large, small = await scenario.instance("large"), await scenario.instance("small")
        pending = await wait_for(large, "a", "b", "c")
        await settle(scenario, 1)
        await small.ask("resource.register", resource_ids=["c"])
        await owner.ask("resource.release", resource_ids=["a", "b"])
        await small.ask("resource.register", resource_ids=["a"])
        await small.ask("resource.release", resource_ids=["c"])
        assert pending.message is None
        await small.ask("resource.release", resource_ids=["a"])
        granted = await pending.result()
        assert sorted(granted["registered"]) == ["a", "b", "c"]
        assert len(set(granted["epochs"].values())) == 1


async def test_at_the_end_of_the_time_the_conflict_stands(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        granted = await owner.ask("resource.register", resource_ids=["doc:7"])
        other = await scenario.instance("other")
        began = trio.current_time()
        one, two = (
            await wait_for(other, "doc:7", seconds=5),
            await wait_for(other, "doc:7", "doc:8", seconds=5),
        )
        refused = await one.refusal()
        assert 5 <= trio.current_time() - began <= 5 + LATE_SECONDS
        assert (refused.code, refused.type) == (409, "resource_conflict")
        assert refused.data["conflicts"] == {"doc:7": "owner"}
        assert refused.data["owner_instance_id"] == "owner"
        assert refused.data["epoch"] == granted["epochs"]["doc:7"]
        assert refused.data["owner_healthy"] is True
        assert (await two.refusal()).data["conflicts"] == {"doc:7": "owner", "doc:8": "owner"}
        assert scenario.statistics().waiters == 0
        await owner.ask("resource.release", resource_ids=["doc:7"])
        assert (await owner.ask("resource.query"))["total_count"] == 1


async def test_who_cancels_stands_in_no_line_any_more_and_has_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        other, next_one = await scenario.instance("other"), await scenario.instance("next")
        pending = await wait_for(other, "doc:7", "free")
        await settle(scenario, 1)
        behind = await wait_for(next_one, "doc:7")
        await settle(scenario, 2)
        await other.cancel(pending)
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (499, "call_cancelled")
        assert "delivery" not in refused.data
        await owner.ask("resource.release", resource_ids=["doc:7"])
        assert (await behind.result())["registered"] == ["doc:7"]
        resources = (await owner.ask("resource.query"))["resources"]
        assert {info["resource_id"]: info["owner_instance_id"] for info in resources} == {
            "doc:7": "next",
            "doc:8": "owner",
        }


async def test_a_cancel_in_the_same_breath_finds_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        pending = other.expect("w")
        asked = {"resource_ids": ["doc:7"], "wait_seconds": 60}
        await other.say(
            {"id": "w", "method": "resource.register", "params": asked},
            {"method": "$/cancelRequest", "params": {"id": "w"}},
        )
        began = trio.current_time()
        assert (await pending.refusal()).type == "call_cancelled"
        assert trio.current_time() - began <= LATE_SECONDS


async def test_what_a_waiter_that_leaves_waited_for_goes_to_the_next(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        leaving, next_one = await scenario.instance("leaving"), await scenario.instance("next")
        await wait_for(leaving, "doc:7")
        await settle(scenario, 1)
        behind = await wait_for(next_one, "doc:7")
        await settle(scenario, 2)
        leaving.drop()
        await settle(scenario, 1)
        owner.drop()
        assert (await behind.result())["registered"] == ["doc:7"]


async def test_an_owner_that_leaves_makes_room_before_anybody_else_can_ask(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", *(f"doc:{number}" for number in range(300)))
        waiters = [await scenario.instance(f"waiter-{number}") for number in range(3)]
        pendings = [
            await wait_for(waiter, *(f"doc:{number}" for number in range(first, 300, 3)))
            for first, waiter in enumerate(waiters)
        ]
        await settle(scenario, 3)
        late = await scenario.instance("late")
        owner.drop()
        await late.start("resource.register", {"resource_ids": ["doc:0"], "partial": True})
        for pending in pendings:
            assert len((await pending.result())["registered"]) == 100


async def test_the_grant_is_told_before_any_call_under_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.instance("other")
        pending = await wait_for(other, "doc:7")
        await settle(scenario, 1)
        caller = await scenario.connect("caller")
        for number in range(3):
            await caller.start_call("doc:7", params={"tag": f"before-{number}"})
        requests = [await owner.next() for _ in range(3)]
        await owner.say(
            {"id": "r", "method": "resource.release", "params": {"resource_ids": ["doc:7"]}},
            *({"id": request["id"], "result": None} for request in requests),
        )
        owner.expect("r")
        calls = [await caller.start_call("doc:7", wait_for_owner_seconds=5) for _ in range(3)]
        granted = await pending.result()
        for _ in calls:
            request = await other.next()
            assert request["meta"]["epoch"] == granted["epochs"]["doc:7"]
            await other.answer(request)
        for call in calls:
            await call.result()


async def test_calls_that_the_owner_was_not_handed_yet_go_to_who_waited(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", max_concurrency=1)
        other = await scenario.instance("other")
        await wait_for(other, "doc:7")
        await settle(scenario, 1)
        caller = await scenario.connect("caller")
        first, second = await caller.start_call("doc:7"), await caller.start_call("doc:7")
        request = await owner.next()
        await owner.ask("resource.release", resource_ids=["doc:7"])
        await other.answer(await other.next(), "from who waited")
        assert await second.result() == "from who waited"
        await owner.answer(request, "from who had it")
        assert await first.result() == "from who had it"


async def test_who_may_not_own_more_is_told_at_its_turn_and_skipped(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=2)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        full = await scenario.owner("full", "a", "b")
        pending = await wait_for(full, "doc:7")
        await settle(scenario, 1)
        next_one = await scenario.instance("next")
        behind = await wait_for(next_one, "doc:7")
        await settle(scenario, 2)
        await owner.ask("resource.release", resource_ids=["doc:7"])
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (429, "resource_limit_exceeded")
        assert (refused.data["limit"], refused.data["current"], refused.data["requested"]) == (2, 2, 1)
        assert (await behind.result())["registered"] == ["doc:7"]


async def test_an_expiry_serves_who_waits_and_begins_to_count_anew(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": {"ttl_seconds": 5}})
        other = await scenario.instance("other")
        metadata = {"doc:7": {"ttl_seconds": 3}}
        pending = await wait_for(other, "doc:7", metadata=metadata)
        granted = await pending.result()
        began = trio.current_time()
        assert (await owner.next("resource.lost"))["params"]["cause"] == "expired"
        assert (await other.next("resource.lost"))["params"]["resource_ids"] == ["doc:7"]
        assert 3 - LATE_SECONDS <= trio.current_time() - began <= 3 + LATE_SECONDS
        assert granted["epochs"]["doc:7"]


async def test_a_silent_owner_is_asked_as_soon_as_somebody_waits(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=10, timeout_seconds=500))
    async with open_scenario(settings) as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.instance("other")
        owner.lose_everything()
        await trio.sleep(30)
        began = trio.current_time()
        pending = await wait_for(other, "doc:7", seconds=60)
        assert (await pending.result())["registered"] == ["doc:7"]
        assert trio.current_time() - began <= settings.probe_timeout_seconds + LATE_SECONDS


async def test_an_owner_that_falls_silent_meanwhile_is_asked_before_the_conflict_is_told(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=10, timeout_seconds=500))
    async with open_scenario(settings) as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.instance("other")
        pending = await wait_for(other, "doc:7", seconds=60)
        await settle(scenario, 1)
        owner.lose_everything()
        began = trio.current_time()
        assert (await pending.result())["registered"] == ["doc:7"]
        assert 60 <= trio.current_time() - began + LATE_SECONDS <= 60 + settings.probe_timeout_seconds + 1


async def test_a_router_that_drains_lets_nobody_wait(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        pending = await wait_for(other, "doc:7")
        await settle(scenario, 1)
        scenario.start_soon(scenario.router.drain)
        refused = await pending.refusal()
        assert (refused.code, refused.type, refused.data["reason"]) == (503, "unavailable", "draining")


async def test_a_router_that_takes_no_time_to_drain_tells_all_who_wait_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(drain_seconds=0)) as scenario:
        await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        pendings = [await wait_for(other, "doc:7") for _ in range(50)]
        await settle(scenario, 50)
        await scenario.router.drain()
        if not log_is_late.get():  # else the sessions may be over first
            assert {(await pending.refusal()).data["reason"] for pending in pendings} == {"draining"}
        await settle(scenario, 0)


async def test_an_administrator_waits_on_behalf_of_an_instance_as_long_as_both_are_there(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_scenario(settings) as scenario:
        owner, other = await scenario.owner("owner", "a", "b", "c"), await scenario.instance("other")
        admin = await scenario.connect("admin")
        pending = await wait_for(admin, "a", instance_id="other")
        await settle(scenario, 1)
        await owner.ask("resource.release", resource_ids=["a"])
        assert (await pending.result())["registered"] == ["a"]
        await wait_for(admin, "b", instance_id="other")
        await settle(scenario, 1)
        admin.drop()
        await settle(scenario, 0)
        again = await scenario.connect("admin again")
        pending = await wait_for(again, "c", instance_id="other")
        await settle(scenario, 1)
        other.drop()
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (404, "instance_not_found")


async def test_an_administrator_that_frees_what_it_waits_for_itself_hears_of_that_before_it_is_granted(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_scenario(settings) as scenario:
        await scenario.owner("owner", "doc:7")
        both = await scenario.instance("both")
        pending = await wait_for(both, "doc:7")
        await settle(scenario, 1)
        freeing = await both.start("resource.release", {"resource_ids": ["doc:7"]})
        assert (await freeing.result())["released"] == ["doc:7"]
        assert (await pending.result())["registered"] == ["doc:7"]
        answers = [word.message["id"] for word in both.record.words if word.is_answer and not word.is_said]
        assert answers.index(freeing.id) < answers.index(pending.id)


async def test_explain_counts_who_waits(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.instance("other")
        for number in range(2):
            await wait_for(other, "doc:7", "doc:8", seconds=30)
            await settle(scenario, number + 1)
        assert (await owner.ask("route.explain", resource_id="doc:7"))["waiters"] == 2
        assert (await owner.ask("route.explain", resource_id="doc:8"))["waiters"] == 2
        assert (await owner.ask("route.explain", resource_id="doc:9"))["waiters"] == 0
        ranked = (await owner.ask("router.top", what="conflicts"))["entries"]
        assert [(entry["resource_id"], entry["count"]) for entry in ranked] == [("doc:7", 2)]


@pytest.mark.parametrize("seconds", [-0.001, -1, 50.001, 1e300, "5", True, None])
async def test_a_wait_is_from_0_to_the_longest_that_there_is(autojump_clock: MockClock, seconds: Any) -> None:
    async with open_scenario(Settings(max_timeout_seconds=50)) as scenario:
        await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        refused = await other.refused("resource.register", resource_ids=["doc:7"], wait_seconds=seconds)
        assert (refused.code, refused.data["errors"][0]["path"]) == (-32602, "wait_seconds")
        for good in (0, 0.02, 50):
            began = trio.current_time()
            refused = await other.refused("resource.register", resource_ids=["doc:7"], wait_seconds=good)
            assert refused.type == "resource_conflict"
            assert good <= trio.current_time() - began <= good + LATE_SECONDS


async def test_in_part_nobody_waits(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        other = await scenario.instance("other")
        asked = {"resource_ids": ["doc:7", "doc:8"], "partial": True}
        refused = await other.refused("resource.register", **asked, wait_seconds=1)
        assert (refused.code, refused.data["errors"][0]["path"]) == (-32602, "wait_seconds")
        assert (await other.ask("resource.register", **asked, wait_seconds=0))["registered"] == ["doc:8"]


async def test_a_batch_is_answered_once_the_one_in_it_that_waits_is(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.instance("other")
        pendings = [other.expect("w"), other.expect("p")]
        asked = {"resource_ids": ["doc:7"], "wait_seconds": 60}
        await other.say_batch(
            {"jsonrpc": "2.0", "id": "w", "method": "resource.register", "params": asked},
            {"jsonrpc": "2.0", "id": "p", "method": "session.ping"},
        )
        await settle(scenario, 1)
        await trio.sleep(10)
        assert pendings[1].message is None
        await owner.ask("resource.release", resource_ids=["doc:7"])
        assert (await pendings[0].result())["registered"] == ["doc:7"]
        await pendings[1].result()


async def test_hundreds_wait_for_what_one_owner_has_and_all_are_served_when_it_leaves(
    autojump_clock: MockClock,
) -> None:
    names = [f"doc:{number}" for number in range(300)]
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", *names)
        waiters = [await scenario.instance(f"waiter-{number}") for number in range(6)]
        pendings = [await wait_for(waiters[number % 6], name) for number, name in enumerate(names)]
        await settle(scenario, 300)
        assert scenario.statistics().memory_bytes > 300 * 1300, "what waits is counted as memory"
        owner.drop()
        for name, pending in zip(names, pendings, strict=True):
            assert (await pending.result())["registered"] == [name]
        assert not scenario.router.log.state.must_serve


async def test_many_register_one_resource_at_the_same_instant_and_each_has_it_once(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        rivals = [await scenario.instance(f"rival-{number}") for number in range(40)]
        served: list[str] = []

        async def compete(party: Party) -> None:
            granted = await (await wait_for(party, "doc:7", seconds=500)).result()
            assert granted["registered"] == ["doc:7"]
            served.append(party.name)
            await party.ask("resource.release", resource_ids=["doc:7"])

        async with trio.open_nursery() as nursery:
            for rival in rivals:
                nursery.start_soon(compete, rival)
        assert sorted(served) == sorted(rival.name for rival in rivals)


async def test_who_releases_what_it_waits_for_itself_is_told_of_the_release_before_the_grant(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(anonymous_roles=("caller", "instance", "admin"))) as scenario:
        await scenario.owner("owner", "doc:8")
        admin = await scenario.owner("admin", "doc:7")
        pending = await wait_for(admin, "doc:7", "doc:8")
        await settle(scenario, 1)
        release = await admin.start("resource.release", {"resource_ids": ["doc:7", "doc:8"]})
        assert (await release.result())["released"] == ["doc:7", "doc:8"]
        granted = await pending.result()
        heard = [word.id for word in admin.record.words if not word.is_said and word.is_answer]
        assert heard.index((int, release.id)) < heard.index((int, pending.id))
        epochs = {
            info["resource_id"]: info["epoch"] for info in (await admin.ask("resource.query"))["resources"]
        }
        assert epochs == granted["epochs"]
