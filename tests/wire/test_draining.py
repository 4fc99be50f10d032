"""``instance.drain``: an instance leaves, and what it owns goes to others while calls go on."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from tests.party import Json
from tests.scenario import Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
NAMES = [f"doc:{number}" for number in range(10)]


async def owners(party: Party) -> dict[str, str]:
    """Who owns what."""
    page = await party.ask("resource.query", limit=1000)
    return {info["resource_id"]: info["owner_instance_id"] for info in page["resources"]}


async def gained(heir: Party) -> list[str]:
    """What an instance was told that it has been given."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    notices = [notice["params"] for notice in heir.take_news() if notice["method"] == "resource.acquired"]
    return [resource["resource_id"] for params in notices for resource in params["resources"]]


async def open_service(scenario: Scenario, *heirs: str) -> tuple[Party, list[Party]]:
    return await scenario.owner("old", *NAMES), [await scenario.instance(name) for name in heirs]


async def test_whoever_has_least_gets_the_next(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        old, heirs = await open_service(scenario, "a", "b", "c")
        await heirs[2].ask("resource.register", resource_ids=["doc:own1", "doc:own2", "doc:own3"])
        result = await old.ask("instance.drain", batch_size=4)
        assert {name: result[name] for name in ("handed_over", "released", "in_flight")} == {
            "handed_over": 10,
            "released": 0,
            "in_flight": 0,
        }
        owned = await owners(old)
        assert [list(owned.values()).count(name) for name in ("old", "a", "b", "c")] == [0, 5, 4, 4]
        lost = [notice["params"] for notice in old.take_news()]
        assert sorted(name for params in lost for name in params["resource_ids"]) == sorted(NAMES)
        assert {params["cause"] for params in lost} == {"transfer"}
        assert all("old" in params["reason"] for params in lost)
        for heir in heirs:
            told = await gained(heir)
            assert {owned[name] for name in told} == {heir.name}
        transitions = (await old.ask("route.explain", resource_id="doc:1"))["transitions"]
        assert [(t["event"], t["cause"]) for t in transitions] == [
            ("registered", "request"),
            ("transferred", "drain"),
        ]


async def test_an_instance_that_drains_gets_nothing_new(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        old, [heir] = await open_service(scenario, "heir")
        caller = await scenario.connect("caller")
        await (
            await caller.start(
                "route.call", {"service_name": "service", "method": "m", "timeout_seconds": 0.1}
            )
        ).refusal()
        await old.ask("instance.drain", hand_over_to="nobody")
        [info] = (await caller.ask("instance.query", instance_id="old"))["instances"]
        assert info["status"] == "draining"
        refused = await old.refused("resource.register", resource_ids=["doc:new"])
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        refused = await old.refused("resource.register", resource_ids=["doc:new"], wait_seconds=5)
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        await heir.ask("resource.register", resource_ids=["doc:1"])
        transfer = {"resource_ids": ["doc:1"], "from_instance_id": "heir", "to_instance_id": "old"}
        refused = await heir.refused("resource.transfer", **transfer, reason="back")
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        explained = await caller.ask("route.explain", service_name="service")
        able = {candidate["instance_id"]: candidate["able"] for candidate in explained["candidates"]}
        assert able == {"heir": True, "old": False}
        [why] = [c["reason"] for c in explained["candidates"] if c["instance_id"] == "old"]
        assert why == "draining"
        heir.take_news()
        for _ in range(4):
            pending = await caller.start("route.call", {"service_name": "service", "method": "m"})
            await heir.answer(await heir.next("m"), "new")
            assert await pending.result() == "new"
        await heir.aclose()
        await scenario.wait_until(lambda: scenario.statistics().instances == 1)
        refused = await caller.refused("route.call", service_name="service", method="m")
        assert (refused.code, refused.data["reason"]) == (503, "draining")


async def test_calls_in_flight_stay_and_what_waits_follows(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        old = await scenario.owner("old", "doc:7", max_concurrency=1)
        heir = await scenario.instance("heir")
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", f"m{number}") for number in range(3)]
        first = await old.next("m0")
        result = await old.ask("instance.drain")
        assert (result["handed_over"], result["in_flight"]) == (1, 1)
        await heir.next("resource.acquired")
        for number in (1, 2):
            await heir.answer(await heir.next(f"m{number}"), number)
        await old.answer(first, 0)
        assert [await call.result() for call in calls] == [0, 1, 2]


async def test_what_finds_no_heir_is_released(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=10)) as scenario:
        old, [heir] = await open_service(scenario, "heir")
        await heir.ask("resource.register", resource_ids=[f"doc:own{number}" for number in range(7)])
        result = await old.ask("instance.drain", batch_size=2)
        assert (result["handed_over"], result["released"]) == (3, 7)
        causes = [notice["params"] for notice in old.take_news()]
        released = [params["resource_ids"] for params in causes if params["cause"] == "drain"]
        assert sum(map(len, released)) == 7
        assert "old" not in (await owners(old)).values()
        again = await old.ask("instance.drain")
        assert (again["handed_over"], again["released"]) == (0, 0)


async def test_what_a_bulk_has_set_aside_is_tried_again_now_and_then(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        old = await scenario.owner("old", "doc:7")
        silent = await scenario.owner("silent", "theirs")
        admin = await scenario.instance("admin")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [{"resource_id": "doc:7", "force": True}, {"resource_id": "theirs"}]
        bulk = await admin.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(1)
        before = scenario.revision
        drained = await old.start("instance.drain", {"hand_over_to": "nobody"})
        await trio.sleep(1)
        assert not bulk.is_settled and not drained.is_settled, "the silent one is being asked"
        assert scenario.revision - before < 40
        assert (await bulk.result())["total_registered"] == 2
        assert (await drained.result())["released"] == 0
        assert (await owners(admin))["doc:7"] == "admin"


async def test_what_a_bulk_has_set_aside_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        old, [heir] = await open_service(scenario, "heir")
        silent = await scenario.owner("silent", "theirs")
        admin = await scenario.instance("admin", service="others")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [*({"resource_id": name, "force": True} for name in NAMES[:3]), {"resource_id": "theirs"}]
        bulk = await admin.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(1)
        drained = await old.start("instance.drain", {"batch_size": 2})
        await trio.sleep(0.5)
        assert not bulk.is_settled and not drained.is_settled, "the silent one is being asked"
        assert sorted(await gained(heir)) == NAMES[3:]
        assert (await bulk.result())["total_registered"] == 4
        assert (await drained.result())["handed_over"] == 7


async def test_what_is_not_handed_over_by_the_deadline_is_released(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"), probe_timeout_seconds=9)
    async with open_scenario(settings) as scenario:
        old, [heir] = await open_service(scenario, "heir")
        silent = await scenario.owner("silent", "theirs")
        admin = await scenario.instance("admin", service="others")
        silent.stall()
        await trio.sleep(15)
        resources = [*({"resource_id": name, "force": True} for name in NAMES[:3]), {"resource_id": "theirs"}]
        bulk = await admin.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(1)
        drained = await old.start("instance.drain", {"deadline_seconds": 2})
        await trio.sleep(3)
        assert not bulk.is_settled and not drained.is_settled, "the silent one is being asked"
        silent.resume()
        assert (await bulk.result())["rolled_back"]
        result = await drained.result()
        assert (result["handed_over"], result["released"]) == (7, 3)
        assert sorted(await gained(heir)) == NAMES[3:]
        assert sorted(await owners(admin)) == [*NAMES[3:], "theirs"]


async def test_room_that_is_set_aside_for_a_bulk_is_no_room(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=20)) as scenario:
        old, [busy, heir] = await open_service(scenario, "busy", "heir")
        silent = await scenario.owner("silent", "theirs")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [{"resource_id": f"new:{number}"} for number in range(19)] + [{"resource_id": "theirs"}]
        bulk = await busy.start("resource.bulk_register", {"resources": resources, "batch_size": 19})
        await trio.sleep(1)
        drained = await old.ask("instance.drain", hand_over_to=["busy", "heir"])
        assert (drained["handed_over"], bulk.is_settled) == (10, False), "the silent one is being asked"
        assert len(await gained(heir)) >= 9
        await bulk.answer()


async def test_room_that_is_all_set_aside_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=20, probe_timeout_seconds=9)) as scenario:
        old, [busy] = await open_service(scenario, "busy")
        silent = await scenario.owner("silent", "theirs")
        silent.stall()
        await trio.sleep(15)
        resources = [*({"resource_id": f"new:{n}"} for n in range(19)), {"resource_id": "theirs"}]
        bulk = await busy.start("resource.bulk_register", {"resources": resources, "batch_size": 19})
        await trio.sleep(1)
        drained = await old.start("instance.drain", {"hand_over_to": ["busy"], "progress_token": 1})
        await trio.sleep(1)
        silent.resume()
        assert (await bulk.result())["rolled_back"]
        result = await drained.result()
        told = [
            notice["params"]["value"]["done"] for notice in old.take_news() if "token" in notice["params"]
        ]
        assert told == sorted(set(told)), "only batches are told"
        assert (result["handed_over"], result["released"]) == (10, 0)
        assert sorted(await gained(busy)) == NAMES


@pytest.mark.parametrize("comes_back", [True, False])
async def test_heirs_that_are_silent_are_waited_for_if_there_are_no_others(
    comes_back: bool, autojump_clock: MockClock
) -> None:
    async with open_scenario() as scenario:
        old, [heir] = await open_service(scenario, "heir")
        heir.stall()
        await trio.sleep(13)
        [info] = (await old.ask("instance.query", instance_id="heir"))["instances"]
        assert info["status"] == "unresponsive"
        began = trio.current_time()
        drained = await old.start("instance.drain", {})
        await trio.sleep(1)
        assert not drained.is_settled
        if comes_back:
            heir.resume()
        result = await drained.result()
        assert trio.current_time() - began < Settings().probe_timeout_seconds + 0.5
        assert (result["handed_over"], result["released"]) == ((10, 0) if comes_back else (0, 10))


async def test_only_those_who_are_named_get_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        old, [_, b] = await open_service(scenario, "a", "b")
        result = await old.ask("instance.drain", hand_over_to=["b"])
        assert result["handed_over"] == 10
        assert set((await owners(old)).values()) == {"b"}
        assert sorted(await gained(b)) == sorted(NAMES)


async def test_an_instance_may_drain_and_hand_over_by_itself_what_it_keeps(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        old, [heir] = await open_service(scenario, "heir")
        call = await (await scenario.connect()).start_call("doc:0")
        request = await old.next("work")
        result = await old.ask("instance.drain", hand_over_to="keep", progress_token="unheard")
        assert (result["handed_over"], result["released"], result["in_flight"]) == (0, 0, 1)
        assert (await old.refused("resource.register", resource_ids=["doc:new"])).data["reason"] == "draining"
        transferred = await old.ask(
            "resource.transfer",
            resource_ids=NAMES[:4],
            from_instance_id="old",
            to_instance_id="heir",
            reason="leaving",
            state={NAMES[0]: {"cursor": 3}},
        )
        assert transferred["transferred"] == NAMES[:4]
        acquired = (await heir.next("resource.acquired"))["params"]
        assert [resource.get("state") for resource in acquired["resources"]] == [
            {"cursor": 3},
            None,
            None,
            None,
        ]
        await old.answer(request, "still answered")
        assert await call.result() == "still answered"
        rest = await old.ask("instance.drain")
        assert (rest["handed_over"], rest["released"]) == (6, 0)


async def test_progress_follows_each_batch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        old, _ = await open_service(scenario, "heir")
        await old.ask("instance.drain", batch_size=4, progress_token="how far?")
        told = [notice["params"] for notice in old.take_news() if notice["method"] == "$/progress"]
        assert {params["token"] for params in told} == {"how far?"}
        assert [params["value"]["done"] for params in told] == [4, 8, 10]
        assert {params["value"]["total"] for params in told} == {10}
        assert told[-1]["value"] == {"done": 10, "total": 10, "handed_over": 10, "released": 0}


async def test_administrators_drain_others(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        old, [heir] = await open_service(scenario, "heir")
        admin = await scenario.connect("admin")
        result = await admin.ask("instance.drain", instance_id="old")
        assert result["handed_over"] == 10
        assert len(await gained(heir)) == 10
        assert (await old.refused("resource.register", resource_ids=["doc:new"])).data["reason"] == "draining"


async def test_a_drain_that_is_cancelled_says_how_far_it_came(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        names = [f"doc:{number}" for number in range(200)]
        old = await scenario.owner("old", *names)
        await scenario.instance("heir")
        pending = await old.start("instance.drain", {"batch_size": 1})
        await old.cancel(pending)
        result = await pending.result()
        assert result["handed_over"] < 200 and result["released"] == 0
        left = [name for name, owner in (await owners(old)).items() if owner == "old"]
        assert len(left) == 200 - result["handed_over"]
        assert (await old.ask("instance.drain"))["handed_over"] == len(left)


async def test_heirs_that_leave_meanwhile_are_passed_over(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        names = [f"doc:{number}" for number in range(100)]
        old = await scenario.owner("old", *names)
        a, b = await scenario.instance("a"), await scenario.instance("b")
        pending = await old.start("instance.drain", {"batch_size": 5})
        await a.next("resource.acquired")
        a.drop()
        result = await pending.result()
        assert (result["handed_over"], result["released"]) == (100, 0)
        owned = await owners(old)
        assert set(owned.values()) == {"b"}
        assert len(owned) >= 50
        b.take_news()


@pytest.mark.parametrize(
    ("params", "code", "type_"),
    [
        ({"instance_id": "other"}, 403, "forbidden"),
        ({"hand_over_to": ["nobody-knows"]}, 404, "instance_not_found"),
        ({"hand_over_to": ["stranger"]}, 404, "service_mismatch"),
        ({"hand_over_to": ["old"]}, -32602, "invalid_params"),
        ({"hand_over_to": ["heir", "gone"]}, 404, "instance_not_found"),
        ({"hand_over_to": []}, -32602, "invalid_params"),
        ({"hand_over_to": ["heir", "heir"]}, -32602, "invalid_params"),
        ({"hand_over_to": "somebody"}, -32602, "invalid_params"),
        ({"hand_over_to": [1]}, -32602, "invalid_params"),
        ({"hand_over_to": {"a": 1}}, -32602, "invalid_params"),
        ({"hand_over_to": None}, -32602, "invalid_params"),
        ({"batch_size": 0}, -32602, "invalid_params"),
        ({"batch_size": 1001}, -32602, "invalid_params"),
        ({"batch_size": 1.5}, -32602, "invalid_params"),
        ({"deadline_seconds": 0}, -32602, "invalid_params"),
        ({"deadline_seconds": -1}, -32602, "invalid_params"),
        ({"deadline_seconds": 601}, -32602, "invalid_params"),
        ({"progress_token": True}, -32602, "invalid_params"),
        ({"progress_token": [1]}, -32602, "invalid_params"),
        ({"gently": True}, -32602, "invalid_params"),
    ],
)
async def test_a_drain_that_makes_no_sense_drains_nothing(
    autojump_clock: MockClock, params: Json, code: int, type_: str
) -> None:
    async with open_scenario() as scenario:
        old, _ = await open_service(scenario, "heir", "other")
        await scenario.instance("stranger", "strangers")
        gone = await scenario.instance("gone", resume_grace_seconds=100)
        gone.drop()
        await scenario.wait_until(lambda: scenario.statistics().suspended == 1)
        refused = await old.refused("instance.drain", **params)
        assert (refused.code, refused.type) == (code, type_)
        assert set((await owners(old)).values()) == {"old"}
        await old.ask("resource.register", resource_ids=["doc:new"])


async def test_plain_callers_drain_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await open_service(scenario, "heir")
        caller = await scenario.connect("caller")
        asked: dict[str, Any]
        for asked, required in (({}, "instance.register"), ({"instance_id": "old"}, "admin")):
            refused = await caller.refused("instance.drain", **asked)
            assert (refused.code, refused.data["required"]) == (403, required)
