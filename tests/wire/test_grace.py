"""``resume_grace_seconds``: an instance that was cut off is suspended, and nobody has what it owned until it is over."""

from datetime import datetime
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from tests.party import Json
from tests.scenario import Left, Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
GRACE = 20.0


async def become(party: Party, token: str | None = None, name: str = "owner", **more: Any) -> Json:
    """The session becomes an instance that asks for a grace."""
    asked: Json = {"service_name": "service", "instance_id": name, "resume_grace_seconds": GRACE, **more}
    if token is not None:
        asked["resume_token"] = token
    result: Json = await party.ask("instance.register", **asked)
    return result


async def open_owner(scenario: Scenario, *names: str, **more: Any) -> tuple[Party, str]:
    """An instance that owns resources and has asked for a grace; and its token."""
    owner = await scenario.connect("owner")
    token = (await become(owner, **more))["resume_token"]
    if names:
        await owner.ask("resource.register", resource_ids=list(names))
    return owner, token


async def cut_off(scenario: Scenario, owner: Party) -> None:
    """The connection breaks, and the router has noticed."""
    before = scenario.statistics().suspended
    owner.drop()
    await scenario.wait_until(lambda: scenario.statistics().suspended == before + 1)


def seconds_from_start(time: str) -> float:
    """A time of the router's, whose clock began at 1 700 000 000."""
    return datetime.fromisoformat(time).timestamp() - 1_700_000_000


async def info_of(scenario: Scenario, resource_id: str) -> Json | None:
    observer = await scenario.connect()
    page = await observer.ask("resource.query", resource_ids=[resource_id])
    return page["resources"][0] if page["resources"] else None


async def test_who_comes_back_in_time_has_everything_and_nobody_had_it_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7", "doc:8")
        rival = await scenario.instance("rival")
        await cut_off(scenario, owner)
        await trio.sleep(GRACE - 1)
        assert (await rival.refused("resource.register", resource_ids=["doc:7"])).type == "resource_conflict"
        again = await scenario.connect("again")
        result = await become(again, token)
        assert (result["resumed_count"], list(result["resumed"])) == (2, ["doc:7", "doc:8"])
        await trio.sleep(GRACE + 1)
        called = await rival.start_call("doc:7")
        heard = await again.next()
        assert heard["meta"]["epoch"] == result["resumed"]["doc:7"]
        await again.answer(heard, 1)
        assert await called.result() == 1


async def test_when_the_grace_is_over_all_is_free(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        rival, watcher = await scenario.instance("rival"), await scenario.connect("watcher")
        await watcher.ask("resource.watch", prefix="doc:")
        await cut_off(scenario, owner)
        began = trio.current_time()
        event = (await watcher.next("resource.events"))["params"]["events"][0]
        assert trio.current_time() - began == pytest.approx(GRACE, abs=0.5)
        assert (event["event"], event["cause"], event["previous_owner"]) == (
            "released",
            "session_ended",
            "owner",
        )
        assert (await rival.ask("resource.register", resource_ids=["doc:7"]))["success"]
        again = await scenario.connect("again")
        assert (await become(again, token))["resumed"] == {}


async def test_a_lost_heartbeat_suspends_too_and_is_the_cause_in_the_end(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        watcher = await scenario.connect("watcher")
        await watcher.ask("resource.watch", prefix="doc:")
        owner.lose_everything()
        await scenario.wait_until(lambda: scenario.statistics().suspended == 1)
        event = (await watcher.next("resource.events"))["params"]["events"][0]
        assert (event["event"], event["cause"]) == ("released", "heartbeat_lost")


async def test_what_is_suspended_is_told_to_those_who_want_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7", "doc:8")
        rival = await scenario.owner("rival", "doc:1")
        await cut_off(scenario, owner)
        ends_at = trio.current_time() + GRACE
        refused = await rival.refused("resource.register", resource_ids=["doc:7"])
        assert (refused.code, refused.type) == (409, "resource_conflict")
        assert refused.data["owner_instance_id"] == "owner"
        assert refused.data["owner_healthy"] is False
        assert seconds_from_start(refused.data["suspended_until"]) == pytest.approx(ends_at, abs=1)
        several = await rival.refused("resource.register", resource_ids=["doc:7", "doc:8", "doc:9"])
        assert several.data["conflicts"] == {"doc:7": "owner", "doc:8": "owner"}
        assert several.data["suspended_until"] == refused.data["suspended_until"]
        partly = await rival.ask("resource.register", resource_ids=["doc:7", "doc:9"], partial=True)
        assert (partly["registered"], partly["conflicts"]) == (["doc:9"], {"doc:7": "owner"})
        other = await scenario.instance("other")
        ordinary = await other.refused("resource.register", resource_ids=["doc:1"])
        assert "suspended_until" not in ordinary.data
        bulk = await rival.ask("resource.bulk_register", resources=[{"resource_id": "doc:8"}])
        [failure] = bulk["failed"]
        assert (failure["error_code"], failure["current_owner"]) == ("resource_conflict", "owner")


async def test_the_name_of_a_suspended_instance_is_taken(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        await cut_off(scenario, owner)
        ends_at = trio.current_time() + GRACE
        thief = await scenario.connect("thief")
        for more in ({}, {"resume_token": "forged"}, {"resume_token": token, "service_name": "mail"}):
            asked = {"service_name": "service", "instance_id": "owner", **more}
            refused = await thief.refused("instance.register", **asked)
            assert (refused.code, refused.type) == (409, "instance_conflict")
            assert refused.data["instance_id"] == "owner"
            assert seconds_from_start(refused.data["suspended_until"]) == pytest.approx(ends_at, abs=1)
        await trio.sleep(GRACE + 1)
        await thief.ask("instance.register", service_name="service", instance_id="owner")


async def test_an_instance_without_resources_keeps_its_name_too(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario)
        await cut_off(scenario, owner)
        again = await scenario.connect("again")
        about = {"service_name": "service", "instance_id": "owner"}
        assert (await again.refused("instance.register", **about)).type == "instance_conflict"
        assert (await become(again, token))["resumed_count"] == 0
        assert await again.ask("session.ping")


async def test_calls_meet_503_or_wait_for_who_comes_back(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        await cut_off(scenario, owner)
        refused = await (await caller.start_call("doc:7")).refusal()
        assert (refused.code, refused.type) == (503, "unavailable")
        assert refused.data["reason"] == "suspended"
        assert refused.data["delivery"] == "not_delivered"
        waiting = [await caller.start_call("doc:7", f"step-{n}", wait_for_owner_seconds=15) for n in range(3)]
        with_service = await caller.start_call(
            "doc:7", "step-3", service_name="service", wait_for_owner_seconds=15
        )
        elsewhere = await (await caller.start_call("doc:7", service_name="mail")).refusal()
        assert elsewhere.type == "service_mismatch"
        await trio.sleep(5)
        assert not any(call.is_settled for call in waiting)
        again = await scenario.connect("again")
        await become(again, token)
        for number, call in enumerate((*waiting, with_service)):
            heard = await again.next(f"step-{number}")
            await again.answer(heard, number)
            assert await call.result() == number


async def test_a_call_that_waits_long_enough_meets_what_it_would_have_met_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        await cut_off(scenario, owner)
        short = await caller.start_call("doc:7", wait_for_owner_seconds=3)
        long = await caller.start_call("doc:7", wait_for_owner_seconds=GRACE + 5)
        timed_out = await caller.start_call("doc:7", wait_for_owner_seconds=50, timeout_seconds=4)
        began = trio.current_time()
        refused = await short.refusal()
        assert (refused.code, refused.data["reason"]) == (503, "suspended")
        assert refused.data["delivery"] == "not_delivered"
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)
        assert (await timed_out.refusal()).type == "call_timeout"
        assert (await long.refusal()).type == "resource_not_found"
        assert trio.current_time() - began == pytest.approx(GRACE + 5, abs=0.1)


async def test_what_was_not_handed_over_waits_if_it_may(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7", max_concurrency=1)
        caller = await scenario.connect("caller")
        handed_over = await caller.start_call("doc:7", "first")
        impatient = await caller.start_call("doc:7", "second")
        patient = await caller.start_call("doc:7", "third", wait_for_owner_seconds=30)
        await owner.next("first")
        await cut_off(scenario, owner)
        refused = await handed_over.refusal()
        assert (refused.type, refused.data["delivery"]) == ("owner_disconnected", "unknown")
        refused = await impatient.refusal()
        assert (refused.type, refused.data["reason"]) == ("unavailable", "suspended")
        assert refused.data["delivery"] == "not_delivered"
        again = await scenario.connect("again")
        await become(again, token)
        await again.answer(await again.next("third"), 3)
        assert await patient.result() == 3


async def test_a_service_whose_only_instance_is_suspended_has_nobody_healthy(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        await cut_off(scenario, owner)
        refused = await (await caller.start_call(service_name="service")).refusal()
        assert (refused.code, refused.data["reason"]) == (503, "no_healthy_instance")
        again = await scenario.connect("again")
        await become(again, token)
        called = await caller.start_call(service_name="service")
        await again.answer(await again.next(), 1)
        assert await called.result() == 1


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_goodbye_ends_it_at_once(code: int, autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        rival = await scenario.instance("rival")
        await owner.aclose(code)
        await scenario.wait_until(lambda: scenario.statistics().sessions == 1)
        assert (await rival.ask("resource.register", resource_ids=["doc:7"]))["success"]
        assert (await become(await scenario.connect("again"), token))["resumed"] == {}


@pytest.mark.parametrize("code", [1002, 1011, 3000, 4000])
async def test_any_other_close_suspends(code: int, autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        await owner.aclose(code)
        await scenario.wait_until(lambda: scenario.statistics().suspended == 1)
        assert list((await become(await scenario.connect("again"), token))["resumed"]) == ["doc:7"]


async def test_an_instance_that_drains_is_not_suspended(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        rival = await scenario.instance("rival")
        await rival.ask("resource.register", resource_ids=["doc:1"])
        holding = await rival.start(
            "instance.drain", {"instance_id": "owner", "hand_over_to": "service", "batch_size": 1}
        )
        await holding.result()
        owner.drop()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 1)
        assert not scenario.statistics().suspended
        await become(await scenario.connect("again"))


async def test_an_administrator_who_drains_a_suspended_instance_frees_what_it_had(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token = await open_owner(scenario, "doc:7", "doc:8")
        boss = await scenario.instance("boss")
        await cut_off(scenario, owner)
        drained = await boss.ask("instance.drain", instance_id="owner")
        assert (drained["handed_over"], drained["released"], drained["in_flight"]) == (0, 2, 0)
        assert (await boss.ask("resource.register", resource_ids=["doc:7"]))["success"]
        observer = await scenario.connect()
        told = (await observer.ask("route.explain", resource_id="doc:7"))["transitions"]
        assert [it["cause"] for it in told] == ["request", "drain", "request"]
        assert (await become(await scenario.connect("again"), token))["resumed"] == {}


async def test_a_session_that_an_administrator_ends_is_not_suspended(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        session_id = (await owner.ask("session.info"))["session_id"]
        boss = await scenario.instance("boss")
        await boss.ask("session.end", session_id=session_id, reason="out")
        assert (await boss.ask("resource.register", resource_ids=["doc:7"]))["success"]


async def test_an_administrator_can_end_a_grace(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        session_id = (await owner.ask("session.info"))["session_id"]
        boss = await scenario.instance("boss")
        await cut_off(scenario, owner)
        await boss.ask("session.end", session_id=session_id, reason="it will not come back")
        assert (await boss.ask("resource.register", resource_ids=["doc:7"]))["success"]
        assert (await become(await scenario.connect("again"), token))["resumed"] == {}
        gone = await boss.refused("session.end", session_id=session_id, reason="once more")
        assert gone.type == "session_not_found"
        observer = await scenario.connect()
        told = (await observer.ask("route.explain", resource_id="doc:7"))["transitions"]
        assert [it["cause"] for it in told] == ["request", "admin", "request"]


async def test_queries_tell_who_is_suspended_and_until_when(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        observer = await scenario.connect("observer")
        [before] = (await observer.ask("instance.query"))["instances"]
        assert "suspended_until" not in before
        await cut_off(scenario, owner)
        ends_at = trio.current_time() + GRACE
        [info] = (await observer.ask("instance.query"))["instances"]
        assert (info["status"], info["session_id"]) == ("suspended", before["session_id"])
        assert (info["resources"], info["in_flight"]) == (1, 0)
        assert seconds_from_start(info["suspended_until"]) == pytest.approx(ends_at, abs=1)
        for asked in ({}, {"instance_id": "owner"}, {"service_name": "service"}, {"prefix": "doc:"}):
            page = await observer.ask("resource.query", **asked)
            [resource] = page["resources"]
            assert page["total_count"] == 1
            assert (resource["owner_instance_id"], resource["is_healthy"]) == ("owner", False)
            assert resource["suspended_until"] == info["suspended_until"]
        assert (await observer.ask("instance.query", instance_id="owner"))["total_count"] == 1
        numbers = await observer.ask("router.statistics")
        assert numbers["resources"] == 1
        assert numbers["services"]["service"]["instances"] == 0
        assert numbers["services"]["service"]["suspended"] == 1
        assert numbers["services"]["service"]["resources"] == 1


async def test_a_call_to_what_is_suspended_is_explained(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        await cut_off(scenario, owner)
        waiting = await caller.start_call("doc:7", wait_for_owner_seconds=30)
        explained = await caller.ask("route.explain", resource_id="doc:7")
        assert explained["status"] == "suspended"
        assert explained["owner"]["owner_instance_id"] == "owner"
        [candidate] = explained["candidates"]
        assert (candidate["instance_id"], candidate["status"]) == ("owner", "suspended")
        assert (candidate["able"], candidate["reason"]) == (False, "suspended")
        assert explained["waiters"] == 1
        assert explained["would"]["error"]["data"]["reason"] == "suspended"
        by_service = await caller.ask("route.explain", service_name="service")
        assert (by_service["status"], len(by_service["candidates"])) == ("suspended", 1)
        again = await scenario.connect("again")
        await become(again, token)
        await again.answer(await again.next(), 1)
        assert await waiting.result() == 1
        assert (await caller.ask("route.explain", resource_id="doc:7"))["status"] == "owned"


async def test_a_snapshot_of_a_watch_shows_what_is_suspended(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        watcher = await scenario.connect("watcher")
        await cut_off(scenario, owner)
        watch = await watcher.ask("resource.watch", prefix="doc:", snapshot=True)
        [resource] = watch["resources"]
        assert resource["is_healthy"] is False
        assert "suspended_until" in resource
        await become(await scenario.connect("again"), token)
        event = (await watcher.next("resource.events"))["params"]["events"][0]
        assert (event["event"], event["cause"]) == ("transferred", "resume")
        assert event["resource"]["is_healthy"] is True
        assert "suspended_until" not in event["resource"]


async def test_those_who_wait_are_granted_it_when_the_grace_is_over(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        heir, impatient = await scenario.instance("heir"), await scenario.instance("impatient")
        before = await heir.start("resource.register", {"resource_ids": ["doc:7"], "wait_seconds": 60})
        await trio.testing.wait_all_tasks_blocked()
        await cut_off(scenario, owner)
        began = trio.current_time()
        short = await impatient.start("resource.register", {"resource_ids": ["doc:7"], "wait_seconds": 5})
        refused = await short.refusal()
        assert (refused.type, "suspended_until" in refused.data) == ("resource_conflict", True)
        assert (await before.result())["success"]
        assert trio.current_time() - began == pytest.approx(GRACE, abs=1)


async def test_registrations_of_the_suspended_that_wait_end(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        rival = await scenario.owner("rival", "doc:1")
        owner, token = await open_owner(scenario, "doc:7")
        await owner.start("resource.register", {"resource_ids": ["doc:1"], "wait_seconds": 60})
        await trio.testing.wait_all_tasks_blocked()
        await cut_off(scenario, owner)
        assert not scenario.statistics().waiters
        await rival.ask("resource.release", resource_ids=["doc:1"])
        assert list((await become(await scenario.connect("again"), token))["resumed"]) == ["doc:7"]


async def test_times_to_live_run_on(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario)
        metadata = {"doc:7": {"ttl_seconds": 5}, "doc:8": {"ttl_seconds": 15}}
        await owner.ask("resource.register", resource_ids=["doc:7", "doc:8", "doc:9"], metadata=metadata)
        watcher, rival = await scenario.connect("watcher"), await scenario.instance("rival")
        await watcher.ask("resource.watch", prefix="doc:")
        await cut_off(scenario, owner)
        event = (await watcher.next("resource.events"))["params"]["events"][0]
        assert (event["event"], event["resource"]["resource_id"]) == ("expired", "doc:7")
        assert (await rival.ask("resource.register", resource_ids=["doc:7"]))["success"]
        again = await scenario.connect("again")
        assert list((await become(again, token))["resumed"]) == ["doc:8", "doc:9"]
        lost = await again.next("resource.lost")
        assert (lost["params"]["resource_ids"], lost["params"]["cause"]) == (["doc:8"], "expired")


async def test_administrators_take_release_update_and_transfer_what_is_suspended(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{n}" for n in range(1, 6)]
        owner, token = await open_owner(scenario, *names)
        boss, heir = await scenario.instance("boss"), await scenario.instance("heir")
        await cut_off(scenario, owner)
        assert (await boss.ask("resource.register", resource_ids=["doc:1"], force=True))["success"]
        assert (await boss.ask("resource.release", resource_ids=["doc:2"]))["released"] == ["doc:2"]
        moved = await boss.ask(
            "resource.transfer",
            resource_ids=["doc:3"],
            from_instance_id="owner",
            to_instance_id="heir",
            reason="it takes too long",
        )
        assert moved["transferred"] == ["doc:3"]
        acquired = (await heir.next("resource.acquired"))["params"]
        assert (acquired["from_instance_id"], acquired["resources"][0]["resource_id"]) == ("owner", "doc:3")
        updated = await boss.ask("resource.update", resource_id="doc:4", metadata={"tags": ["x"]})
        assert updated["resource"]["metadata"]["tags"] == ["x"]
        assert "suspended_until" in updated["resource"]
        result = await become(await scenario.connect("again"), token)
        assert list(result["resumed"]) == ["doc:4", "doc:5"]


async def test_calls_that_wait_go_to_whoever_is_given_it_meanwhile(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token = await open_owner(scenario, "doc:1", "doc:2", "doc:3", "doc:4", max_concurrency=1)
        heir, caller = await scenario.instance("heir"), await scenario.connect("caller")
        await cut_off(scenario, owner)
        names = ["doc:1", "doc:2", "doc:3", "doc:4", "doc:4"]
        calls = [
            await caller.start_call(name, f"step-{n}", wait_for_owner_seconds=60, timeout_seconds=100)
            for n, name in enumerate(names)
        ]
        about = {"from_instance_id": "owner", "to_instance_id": "heir", "reason": "r"}
        await heir.ask("resource.transfer", resource_ids=["doc:1"], **about)
        await heir.next("resource.acquired")
        await heir.answer(await heir.next("step-0"), 0)
        await heir.ask("resource.register", resource_ids=["doc:2"], force=True)
        await heir.answer(await heir.next("step-1"), 1)
        await heir.ask("resource.release", resource_ids=["doc:3"])
        await trio.sleep(1)
        assert not heir.has_news and not calls[2].is_settled
        await heir.ask("resource.register", resource_ids=["doc:3"])
        await heir.answer(await heir.next("step-2"), 2)
        again = await scenario.connect("again")
        assert list((await become(again, token, max_concurrency=1))["resumed"]) == ["doc:4"]
        for n in (3, 4):
            heard = await again.next(f"step-{n}")
            await trio.sleep(1)
            assert not again.has_news, "it works on one at a time"
            await again.answer(heard, n)
        assert [await call.result() for call in calls] == [0, 1, 2, 3, 4]


async def test_nothing_can_be_given_to_a_suspended_instance(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        boss = await scenario.owner("boss", "doc:1")
        await cut_off(scenario, owner)
        refused = await boss.refused(
            "resource.transfer",
            resource_ids=["doc:1"],
            from_instance_id="boss",
            to_instance_id="owner",
            reason="r",
        )
        assert (refused.type, refused.data["instance_id"]) == ("instance_not_found", "owner")
        for method, more in (
            ("resource.register", {"resource_ids": ["doc:2"]}),
            ("resource.bulk_register", {"resources": [{"resource_id": "doc:2"}]}),
        ):
            refused = await boss.refused(method, instance_id="owner", **more)
            assert refused.type == "instance_not_found"
        drained = await boss.ask("instance.drain", hand_over_to="service")
        assert (drained["handed_over"], drained["released"]) == (0, 1)


async def test_a_rebalance_leaves_the_suspended_alone(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token = await open_owner(scenario, *[f"doc:{n}" for n in range(6)])
        boss = await scenario.instance("boss")
        await cut_off(scenario, owner)
        assert (await boss.ask("service.rebalance", service_name="service", by="count"))["moves"] == []
        assert (await become(await scenario.connect("again"), token))["resumed_count"] == 6


async def test_who_comes_back_may_be_cut_off_again_and_without_a_grace_is_not_suspended(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        for _ in range(3):
            await cut_off(scenario, owner)
            await trio.sleep(GRACE / 2)
            owner = await scenario.connect("again")
            token = (await become(owner, token))["resume_token"]
        await cut_off(scenario, owner)
        last = await scenario.connect("last")
        assert (await become(last, token, resume_grace_seconds=0))["resumed_count"] == 1
        last.drop()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 0)
        assert await info_of(scenario, "doc:7") is None


async def test_a_lost_answer_costs_nothing_even_if_that_session_is_cut_off_too(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        await cut_off(scenario, owner)
        second = await scenario.connect("second")
        await become(second, token)  # and nobody hears of it
        await cut_off(scenario, second)
        third = await scenario.connect("third")
        result = await become(third, token)
        assert list(result["resumed"]) == ["doc:7"]
        await third.ask("session.ping")
        await cut_off(scenario, third)
        fourth = await scenario.connect("fourth")
        about = {"service_name": "service", "instance_id": "owner", "resume_token": token}
        assert (await fourth.refused("instance.register", **about)).type == "instance_conflict"
        assert list((await become(fourth, result["resume_token"]))["resumed"]) == ["doc:7"]


async def test_a_probe_of_a_silent_owner_leaves_it_suspended(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=5, timeout_seconds=100))
    async with open_scenario(settings) as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        owner.lose_everything()
        await trio.sleep(10)
        rival = await scenario.instance("rival")
        refused = await rival.refused("resource.register", resource_ids=["doc:7"])
        assert (refused.type, "suspended_until" in refused.data) == ("resource_conflict", True)
        again = await scenario.connect("again")
        assert list((await become(again, token))["resumed"]) == ["doc:7"]


async def test_bound_callers_wait_or_not_as_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, _ = await open_owner(scenario, "doc:7")
        bound = await scenario.connect("bound", target="/resources/doc:7?owner_changes=true")
        await cut_off(scenario, owner)
        refused = await (await bound.start("read", {})).refusal()
        assert (refused.code, refused.data["reason"]) == (503, "suspended")
        changed = await bound.next("$/ownerChanged")
        assert changed["params"] == {"resource_id": "doc:7"}
        assert (await (await bound.start("read", {})).refusal()).type == "resource_not_found"


@pytest.mark.parametrize("seconds", [0, 0.5, 29.9, 30])
async def test_a_grace_up_to_the_limit_is_given(seconds: float, autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resume_grace_seconds=30)) as scenario:
        owner, _ = await open_owner(scenario, "doc:7", resume_grace_seconds=seconds)
        watcher = await scenario.connect("watcher")
        await watcher.ask("resource.watch")
        owner.drop()
        began = trio.current_time()
        await watcher.next("resource.events")
        assert trio.current_time() - began == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize("seconds", [30.001, 1e300, -0.001, -1])
async def test_a_grace_over_the_limit_is_refused(seconds: float, autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resume_grace_seconds=30)) as scenario:
        party = await scenario.connect()
        assert (await party.ask("session.info"))["limits"]["max_resume_grace_seconds"] == 30
        refused = await party.refused(
            "instance.register", service_name="service", resume_grace_seconds=seconds
        )
        assert (refused.code, refused.data["errors"][0]["path"]) == (-32602, "resume_grace_seconds")


async def test_no_grace_is_given_where_the_limit_is_zero(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resume_grace_seconds=0)) as scenario:
        party = await scenario.connect()
        refused = await party.refused("instance.register", service_name="service", resume_grace_seconds=1)
        assert refused.data["errors"][0]["path"] == "resume_grace_seconds"
        await party.ask("instance.register", service_name="service", resume_grace_seconds=0)


async def test_no_more_are_suspended_than_there_may_be_sessions(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_sessions=3)) as scenario:
        for number in range(5):
            party = await scenario.connect(f"owner-{number}")
            await become(party, name=f"owner-{number}")
            await party.ask("resource.register", resource_ids=[f"doc:{number}"])
            party.drop()
            await scenario.wait_until(lambda: not scenario.statistics().sessions)
            await trio.sleep(0.2)
        assert scenario.statistics().suspended == 3
        observer = await scenario.connect()
        there = (await observer.ask("resource.query"))["resources"]
        assert [info["resource_id"] for info in there] == ["doc:0", "doc:1", "doc:2"]


async def test_a_bulk_that_was_under_way_leaves_nothing_set_aside(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        rival = await scenario.instance("rival")
        resources = [{"resource_id": f"new:{n}"} for n in range(500)]
        await owner.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await scenario.wait_bulk()
        await cut_off(scenario, owner)
        assert not scenario.statistics().bulks
        await scenario.wait_until(lambda: not scenario.statistics().unreclaimed)
        assert (await rival.ask("resource.register", resource_ids=["new:0"]))["success"]
        assert list((await become(await scenario.connect("again"), token))["resumed"]) == ["doc:7"]


async def test_a_bulk_of_another_that_takes_what_is_suspended_or_resumed_comes_into_force(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token = await open_owner(scenario, "doc:7", "doc:8")
        boss = await scenario.instance("boss")
        resources = [{"resource_id": f"doc:{n}", "force": True} for n in (7, *range(100, 400))]
        bulk = await boss.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await scenario.wait_bulk()
        await cut_off(scenario, owner)
        again = await scenario.connect("again")
        result = await become(again, token)
        taken = await bulk.result()
        assert taken["complete"]
        owned = await boss.ask("resource.query", instance_id="owner")
        assert [info["resource_id"] for info in owned["resources"]] == ["doc:8"]
        if "doc:7" in result["resumed"]:
            lost = await again.next("resource.lost")
            assert lost["params"]["resource_ids"] == ["doc:7"]


async def test_a_rival_that_never_stops_asking_never_gets_it_and_each_call_is_answered_once(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token = await open_owner(scenario, "doc:7")
        rival, caller = await scenario.instance("rival"), await scenario.connect("caller")
        refusals: list[str | None] = []
        calls = []

        async def ask_on() -> None:
            while True:
                refusals.append((await rival.refused("resource.register", resource_ids=["doc:7"])).type)
                await trio.sleep(0.003)

        async def call_on() -> None:
            while True:
                calls.append(await caller.start_call("doc:7", wait_for_owner_seconds=30))
                await trio.sleep(0.01)

        async def answer_on(party: Party) -> None:
            while True:
                try:
                    await party.answer(await party.next(), "done")
                except Left:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_on)
            nursery.start_soon(call_on)
            scenario.start_soon(answer_on, owner)
            for turn in range(30):
                await trio.sleep(0.02)
                if turn % 3 == 0:
                    owner.drop()
                elif turn % 3 == 1:
                    owner.lose_everything()
                again = await scenario.connect(f"again-{turn}")
                result = await become(again, token)
                assert list(result["resumed"]) == ["doc:7"]
                token, owner = result["resume_token"], again
                scenario.start_soon(answer_on, owner)
            nursery.cancel_scope.cancel()
        assert len(refusals) > 20
        assert set(refusals) == {"resource_conflict"}
        answers = [await call.answer() for call in calls]
        assert sum("result" in answer for answer in answers) > len(calls) // 2
