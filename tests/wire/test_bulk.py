"""Registering and releasing in bulk: all of it in one step or none, or each batch by itself; and nobody is held up."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import MSGPACK
from tests.scenario import Json, Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("admin",))
MANY = Settings(max_resources_per_instance=20_000)


def resources(*names: str) -> list[Json]:
    return [{"resource_id": name} for name in names]


def many(count: int, start: int = 0) -> list[str]:
    return [f"doc:{number}" for number in range(start, start + count)]


async def owned_by(party: Party, instance_id: str) -> dict[str, int]:
    """What an instance owns, and the epochs, as a query tells."""
    owned: dict[str, int] = {}
    params: Json = {"instance_id": instance_id, "limit": 1000}
    while True:
        page = await party.ask("resource.query", **params)
        owned |= {info["resource_id"]: info["epoch"] for info in page["resources"]}
        if not page["has_more"]:
            return owned
        params["cursor"] = page["next_cursor"]


def counts(result: Json) -> list[tuple[int, int, int]]:
    return [
        (batch["batch_number"], batch["success_count"], batch["failure_count"])
        for batch in result["batch_results"]
    ]


async def test_all_of_it_is_registered_in_one_step_with_one_epoch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        result = await owner.ask("resource.bulk_register", resources=resources(*many(250)))
        assert result["complete"] and not result["rolled_back"]
        assert (result["total_requested"], result["total_registered"]) == (250, 250)
        assert (result["failed"], result["epochs"]) == ([], {})
        assert "registered" not in result and "has_more" not in result
        assert counts(result) == [(1, 100, 0), (2, 100, 0), (3, 50, 0)]
        [epoch] = {batch["epoch"] for batch in result["batch_results"]}
        assert all(batch["duration_ms"] >= 0 for batch in result["batch_results"])
        assert await owned_by(owner, "owner") == dict.fromkeys(many(250), epoch)


async def test_one_conflict_leaves_everything_as_it_was(autojump_clock: MockClock) -> None:
    async with open_scenario(MANY) as scenario:
        other = await scenario.owner("other", "doc:150", "doc:151")
        owner = await scenario.instance("owner")
        before = scenario.statistics()
        result = await owner.ask("resource.bulk_register", resources=resources(*many(1000)))
        assert (result["complete"], result["rolled_back"]) == (False, True)
        assert (result["total_registered"], result["registered"], result["epochs"]) == (0, [], {})
        assert counts(result) == [(1, 100, 0), (2, 98, 2)]
        assert [failure["resource_id"] for failure in result["failed"]] == ["doc:150", "doc:151"]
        assert {failure["error_code"] for failure in result["failed"]} == {"resource_conflict"}
        assert {failure["current_owner"] for failure in result["failed"]} == {"other"}
        assert await owned_by(owner, "owner") == {}
        assert list(await owned_by(owner, "other")) == ["doc:150", "doc:151"]
        await scenario.wait_until(lambda: scenario.statistics() == before)
        await other.ask("resource.register", resource_ids=["doc:1"])


async def test_with_continue_on_error_each_batch_is_registered_without_what_fails(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(MANY) as scenario:
        await scenario.owner("other", "doc:7", "doc:250")
        owner = await scenario.instance("owner")
        result = await owner.ask(
            "resource.bulk_register", resources=resources(*many(1000)), continue_on_error=True
        )
        assert (result["complete"], result["rolled_back"]) == (False, False)
        assert (result["total_requested"], result["total_registered"]) == (1000, 998)
        assert counts(result)[:3] == [(1, 99, 1), (2, 100, 0), (3, 99, 1)]
        epochs = [batch["epoch"] for batch in result["batch_results"]]
        assert epochs == sorted(set(epochs))
        assert [failure["resource_id"] for failure in result["failed"]] == ["doc:7", "doc:250"]
        assert result["registered"] == list(result["epochs"])
        assert result["epochs"]["doc:251"] == epochs[2]
        assert await owned_by(owner, "owner") == result["epochs"]


async def test_what_is_owned_already_keeps_its_epoch_so_that_repeating_is_harmless(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:1")
        before = await owned_by(owner, "owner")
        for _ in range(2):
            result = await owner.ask("resource.bulk_register", resources=resources("doc:0", "doc:1"))
            assert result["complete"]
            assert result["epochs"]["doc:1"] == before["doc:1"]
            known = {
                **dict.fromkeys(("doc:0", "doc:1"), result["batch_results"][0]["epoch"]),
                **result["epochs"],
            }
            assert known == await owned_by(owner, "owner")
        for _ in range(2):
            result = await owner.ask("resource.bulk_release", resource_ids=["doc:0", "doc:1"])
            assert (result["complete"], result["total_released"]) == (True, 2)
            assert "released" not in result
        assert await owned_by(owner, "owner") == {}


async def test_a_release_in_bulk_that_meets_what_another_owns_gives_nothing_up(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("other", "theirs")
        owner = await scenario.owner("owner", "mine", "too")
        before = await owned_by(owner, "owner")
        asked = {"resource_ids": ["mine", "nobody", "theirs", "too"], "batch_size": 2}
        result = await owner.ask("resource.bulk_release", **asked)
        assert (result["complete"], result["rolled_back"], result["total_released"]) == (False, True, 0)
        assert result["released"] == []
        assert counts(result) == [(1, 2, 0), (2, 1, 1)]
        [failure] = result["failed"]
        assert (failure["resource_id"], failure["error_code"]) == ("theirs", "not_owner")
        assert await owned_by(owner, "owner") == before
        result = await owner.ask("resource.bulk_release", **asked, continue_on_error=True)
        assert (result["complete"], result["rolled_back"]) == (False, False)
        assert result["released"] == ["mine", "nobody", "too"]
        assert "epoch" not in result["batch_results"][0]
        assert await owned_by(owner, "owner") == {}


async def test_an_id_that_is_there_twice_is_a_failure_of_the_later(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        asked = {"resources": resources("a", "b", "a", "c"), "batch_size": 2}
        result = await owner.ask("resource.bulk_register", **asked)
        assert result["rolled_back"] and await owned_by(owner, "owner") == {}
        assert [(f["resource_id"], f["error_code"]) for f in result["failed"]] == [("a", "invalid_params")]
        result = await owner.ask("resource.bulk_register", **asked, continue_on_error=True)
        assert counts(result) == [(1, 2, 0), (2, 1, 1)]
        assert list(await owned_by(owner, "owner")) == result["registered"] == ["a", "b", "c"]


async def test_each_item_may_say_something_of_its_resource(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        asked = [
            {"resource_id": "a", "metadata": {"tags": ["x"], "ttl_seconds": 10}},
            {"resource_id": "b", "metadata": None},
        ]
        await owner.ask("resource.bulk_register", resources=asked)
        first, second = (await owner.ask("resource.query"))["resources"]
        assert (first["metadata"]["tags"], first["metadata"]["version"]) == (["x"], 1)
        assert "expires_at" in first and "metadata" not in second
        await trio.sleep(11)
        assert list(await owned_by(owner, "owner")) == ["b"]
        lost = await owner.next("resource.lost")
        assert lost["params"]["resource_ids"] == ["a"]


@pytest.mark.parametrize("is_one_step", [True, False])
async def test_progress_follows_each_batch_before_the_answer(
    autojump_clock: MockClock, is_one_step: bool
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        result = await owner.ask(
            "resource.bulk_register",
            resources=resources(*many(250)),
            progress_token="p",
            continue_on_error=not is_one_step,
        )
        told = [message["params"] for message in owner.take_news()]
        assert [params["token"] for params in told] == ["p"] * 3
        assert [(params["value"]["done"], params["value"]["total"]) for params in told] == [
            (100, 250),
            (200, 250),
            (250, 250),
        ]
        assert [params["value"]["batch_number"] for params in told] == [1, 2, 3]
        if not is_one_step:
            without = [{k: v for k, v in p["value"].items() if k not in ("done", "total")} for p in told]
            assert without == result["batch_results"]


async def test_a_request_behind_is_not_held_up(autojump_clock: MockClock) -> None:
    async with open_scenario(MANY) as scenario:
        owner = await scenario.instance("owner")
        bulk = await owner.start("resource.bulk_register", {"resources": resources(*many(2000))})
        await owner.ask("session.ping")
        assert not bulk.is_settled
        assert (await bulk.result())["total_registered"] == 2000


async def hold_up(scenario: Scenario, owner: Party, **params: Any) -> Any:
    """Start a bulk of two batches, whose second waits for a silent owner to be probed. Returns where its answer will be."""
    silent = await scenario.owner("silent", "theirs")
    silent.lose_everything()
    await trio.sleep(15)
    asked = {"resources": resources("a", "own", "theirs"), "batch_size": 2, **params}
    bulk = await owner.start("resource.bulk_register", asked)
    await trio.sleep(1)
    assert not bulk.is_settled
    return bulk


async def test_a_silent_owner_is_asked_before_it_stands_in_the_way(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        bulk = await hold_up(scenario, owner)
        result = await bulk.result()
        assert result["complete"]
        assert list(await owned_by(owner, "owner")) == ["a", "own", "theirs"]


async def test_what_is_set_aside_is_pending_for_others_and_counts_against_the_limit(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_resources_per_instance=3)) as scenario:
        owner = await scenario.owner("owner", "own")
        bulk = await hold_up(scenario, owner)
        other = await scenario.instance("other")
        refused = await other.refused("resource.register", resource_ids=["a"])
        assert (refused.code, refused.type, refused.data["pending"]) == (409, "resource_conflict", True)
        assert refused.data["conflicts"] == {"a": "owner"}
        assert await owned_by(other, "owner") == await owned_by(other, "owner")
        assert (await other.refused("route.call", resource_id="a", method="m")).type == "resource_not_found"
        refused = await owner.refused("resource.register", resource_ids=["x", "y"])
        assert (refused.type, refused.data["current"]) == ("resource_limit_exceeded", 2)
        assert (await bulk.result())["complete"]


async def test_what_one_owns_cannot_be_released_while_a_bulk_counts_on_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own", "other")
        bulk = await hold_up(scenario, owner)
        refused = await owner.refused("resource.release", resource_ids=["own"])
        assert (refused.code, refused.type, refused.data["pending"]) == (409, "resource_conflict", True)
        result = await owner.ask("resource.release", resource_ids=["other", "own"], partial=True)
        assert (result["released"], result["failed"]) == (["other"], {"own": "resource_conflict"})
        assert (await owner.ask("resource.register", resource_ids=["own"]))["success"]
        assert (await bulk.result())["complete"]
        assert (await owner.ask("resource.release", resource_ids=["own"]))["success"]


async def test_a_cancel_in_the_middle_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        bulk = await hold_up(scenario, owner)
        await owner.cancel(bulk)
        refused = await bulk.refusal()
        assert (refused.code, refused.type, refused.data["delivery"]) == (
            499,
            "call_cancelled",
            "not_delivered",
        )
        other = await scenario.instance("other")
        await other.ask("resource.register", resource_ids=["a"])
        await trio.sleep(10)
        assert list(await owned_by(owner, "owner")) == ["own"]


async def test_a_cancel_before_its_turn_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        first = await hold_up(scenario, owner)
        second = await owner.start("resource.bulk_register", {"resources": resources("b")})
        await owner.cancel(second)
        assert (await second.refusal()).type == "call_cancelled"
        assert (await first.result())["complete"]
        assert list(await owned_by(owner, "owner")) == ["a", "own", "theirs"]


async def test_a_drop_in_the_middle_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        await hold_up(scenario, owner)
        owner.drop()
        other = await scenario.instance("other")
        await scenario.wait_until(lambda: scenario.statistics().bulks == 0)
        assert (await other.ask("resource.register", resource_ids=["a", "own"]))["success"]


async def test_a_drain_with_nothing_else_to_wait_for_lets_a_bulk_have_its_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        bulk = await hold_up(scenario, owner, continue_on_error=True)
        scenario.start_soon(scenario.router.drain, 20.0)
        result = await bulk.result()
        assert not result["rolled_back"]
        assert result["registered"] == ["a", "own"]
        assert [failure["resource_id"] for failure in result["failed"]] == ["theirs"]


async def test_a_drain_in_the_middle_rolls_back(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        other = await scenario.owner("other", "held")
        bulk = await hold_up(scenario, owner)
        second = await owner.start("resource.bulk_register", {"resources": resources("x")})
        caller = await scenario.connect("caller")
        await caller.start_call("held")
        await other.next("work")  # keeps the drain up
        scenario.start_soon(scenario.router.drain, 20.0)
        result = await bulk.result()
        assert result["rolled_back"]
        assert (await second.refusal()).data["reason"] == "draining"
        assert {failure["error_code"] for failure in result["failed"]} == {"unavailable"}
        refused = await owner.refused("resource.bulk_register", resources=resources("z"))
        assert (refused.code, refused.data["reason"]) == (503, "draining")
        assert (await owner.ask("resource.bulk_release", resource_ids=["own"]))["complete"]


@pytest.mark.parametrize("by", ["force", "admin", "expiry"])
async def test_what_is_lost_in_the_middle_rolls_back(autojump_clock: MockClock, by: str) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.instance("owner")
        metadata = {"own": {"ttl_seconds": 17}} if by == "expiry" else {}
        await owner.ask("resource.register", resource_ids=["own"], metadata=metadata)
        admin = await scenario.instance("admin")
        bulk = await hold_up(scenario, owner)
        if by == "force":
            await admin.ask("resource.register", resource_ids=["a"], force=True)
        elif by == "admin":
            await admin.ask("resource.release", resource_ids=["own"])
        result = await bulk.result()
        assert (result["rolled_back"], result["total_registered"]) == (True, 0)
        [failure] = result["failed"]
        assert (failure["resource_id"], failure["error_code"]) == {
            "force": ("a", "resource_conflict"),
            "admin": ("own", "not_owner"),
            "expiry": ("own", "resource_not_found"),
        }[by]
        assert await owned_by(admin, "owner") == (
            {"own": (await owned_by(admin, "owner"))["own"]} if by == "force" else {}
        )


async def test_administrators_force_single_items_and_act_for_others(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        loser = await scenario.owner("loser", "a", "b")
        owner = await scenario.instance("owner")
        admin = await scenario.connect("admin")
        asked = [{"resource_id": "a", "force": True}, {"resource_id": "c"}]
        result = await admin.ask("resource.bulk_register", resources=asked, instance_id="owner")
        assert result["complete"]
        lost = await loser.next("resource.lost")
        assert lost["params"] == {"resource_ids": ["a"], "cause": "forced", "new_owner": "owner"}
        assert list(await owned_by(admin, "owner")) == ["a", "c"]
        result = await admin.ask("resource.bulk_release", resource_ids=["a", "c"], instance_id="owner")
        assert result["complete"]
        lost = await owner.next("resource.lost")
        assert lost["params"] == {"resource_ids": ["a", "c"], "cause": "released_by_admin"}


async def test_who_is_no_administrator_neither_forces_nor_acts_for_others(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "a")
        await scenario.instance("other")
        forced = [{"resource_id": "b"}, {"resource_id": "a", "force": True}]
        for params in ({"resources": forced}, {"resources": resources("b"), "instance_id": "other"}):
            refused = await owner.refused("resource.bulk_register", **params)
            assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", "admin")
        caller = await scenario.connect("caller")
        refused = await caller.refused("resource.bulk_release", resource_ids=["a"])
        assert refused.data["required"] == "instance.register"
        assert list(await owned_by(owner, "owner")) == ["a"]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"resources": []}, "resources"),
        ({"resources": {}}, "resources"),
        ({}, "resources"),
        ({"resources": [{"resource_id": "a"}, {"resource_id": "/a"}]}, "resources.1.resource_id"),
        ({"resources": [{"resource_id": "a"}, 5]}, "resources.1"),
        ({"resources": [{"resource_id": "a", "more": 1}]}, "resources.0.more"),
        ({"resources": [{"resource_id": "a", "force": 1}]}, "resources.0.force"),
        ({"resources": [{"resource_id": "a", "metadata": {"tags": [1]}}]}, "resources.0.metadata.tags.0"),
        (
            {"resources": [{"resource_id": "a", "metadata": {"ttl_seconds": -1}}]},
            "resources.0.metadata.ttl_seconds",
        ),
        ({"resources": resources("a"), "batch_size": 0}, "batch_size"),
        ({"resources": resources("a"), "batch_size": 1001}, "batch_size"),
        ({"resources": resources("a"), "progress_token": True}, "progress_token"),
        ({"resources": resources("a"), "progress_token": "x" * 257}, "progress_token"),
        ({"resources": resources("a"), "continue_on_error": None}, "continue_on_error"),
        ({"resources": resources(*many(10_001))}, "resources"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_done(
    autojump_clock: MockClock, params: Json, path: str
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        refused = await owner.refused("resource.bulk_register", **params)
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        assert [error["path"] for error in refused.data["errors"]] == [path]
        assert await owned_by(owner, "owner") == {}


async def test_a_wrong_item_is_found_before_anything_is_done(autojump_clock: MockClock) -> None:
    async with open_scenario(MANY) as scenario:
        owner = await scenario.instance("owner")
        wrong = [*many(5000), "/"]
        for method, params in (
            ("resource.bulk_register", {"resources": resources(*wrong)}),
            ("resource.bulk_release", {"resource_ids": wrong}),
        ):
            refused = await owner.refused(method, **params, continue_on_error=True)
            assert refused.data["errors"][0]["path"].split(".")[1] == "5000"
        assert await owned_by(owner, "owner") == {}


async def test_as_many_are_registered_as_there_is_room_for(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=150)) as scenario:
        owner = await scenario.instance("owner")
        asked = {"resources": resources(*many(200))}
        result = await owner.ask("resource.bulk_register", **asked)
        assert (result["rolled_back"], len(result["failed"])) == (True, 50)
        assert {failure["error_code"] for failure in result["failed"]} == {"resource_limit_exceeded"}
        result = await owner.ask("resource.bulk_register", **asked, continue_on_error=True)
        assert (result["total_registered"], len(result["failed"])) == (150, 50)


async def test_an_answer_that_would_be_too_large_is_cut_and_says_so(autojump_clock: MockClock) -> None:
    settings = Settings(max_message_bytes=64 * 1024, max_resources_per_instance=2000)
    async with open_scenario(settings) as scenario:
        other = await scenario.instance("other")
        names = [f"a-rather-long-name-of-a-document/{number}" for number in range(1000)]
        for start in range(0, 1000, 500):
            await other.ask("resource.bulk_register", resources=resources(*names[start : start + 500]))
        owner = await scenario.instance("owner")
        result = await owner.ask(
            "resource.bulk_register", resources=resources(*names[:900]), continue_on_error=True
        )
        assert result["has_more"] is True
        assert (result["total_requested"], result["total_registered"]) == (900, 0)
        assert 100 < len(result["failed"]) < 900


async def test_calls_that_wait_for_an_owner_go_out_after_the_answer_that_grants(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:149", wait_for_owner_seconds=5)
        await owner.ask("resource.bulk_register", resources=resources(*many(150)))
        await owner.answer(await owner.next("work"), "done")
        assert await call.result() == "done"


async def test_what_a_bulk_holds_counts_as_memory_of_its_session(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "own")
        bulk = await hold_up(scenario, owner)
        before = scenario.statistics().memory_bytes
        second = await owner.start("resource.bulk_register", {"resources": resources(*many(500))})
        await owner.ask("session.ping")
        assert scenario.statistics().memory_bytes > before + 500 * len('{"resource_id":"doc:1"}')
        await bulk.result()
        await second.result()
        assert scenario.statistics().memory_bytes == 0


async def test_an_instance_that_goes_in_the_middle_is_told_to_who_acts_for_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "own")
        admin = await scenario.connect("admin")
        bulk = await hold_up(scenario, admin, instance_id="owner")
        owner.drop()
        result = await bulk.result()
        assert result["rolled_back"]
        assert {failure["error_code"] for failure in result["failed"]} == {"instance_not_found"}


async def test_how_bulks_end_is_counted(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("other", "b")
        owner = await scenario.instance("owner")
        await owner.ask("resource.bulk_register", resources=resources("a"))
        await owner.ask("resource.bulk_register", resources=resources("b"))
        await owner.ask("resource.bulk_register", resources=resources("b"), continue_on_error=True)
        await owner.ask("resource.bulk_release", resource_ids=["a"])
        assert scenario.router.metrics.bulks == {
            ("register", "ok"): 1,
            ("register", "rolled_back"): 1,
            ("register", "partial"): 1,
            ("release", "ok"): 1,
        }


async def test_whoever_speaks_messagepack_asks_in_bulk_the_same_way(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner", subprotocol=MSGPACK)
        asked: list[Json] = [{"resource_id": "a", "metadata": {"tags": ["x"]}}, {"resource_id": "b"}]
        result = await owner.ask("resource.bulk_register", resources=asked, progress_token=7, batch_size=1)
        assert (result["complete"], result["epochs"]) == (True, {})
        told = [message["params"] for message in owner.take_news()]
        assert [(params["token"], params["value"]["done"]) for params in told] == [(7, 1), (7, 2)]
        refused = await owner.refused("resource.bulk_register", resources=[{"resource_id": "/"}])
        assert refused.data["errors"][0]["path"] == "resources.0.resource_id"
        assert (await owner.ask("resource.bulk_release", resource_ids=["a", "b"]))["total_released"] == 2


async def test_an_instance_that_drains_in_the_middle_registers_nothing_more(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        bulk = await hold_up(scenario, owner, batch_size=1, resources=resources("a", "theirs", "b"))
        await owner.ask("instance.drain", hand_over_to="nobody")
        result = await bulk.result()
        assert (result["rolled_back"], result["total_registered"]) == (True, 0)
        assert {failure["error_code"] for failure in result["failed"]} == {"unavailable"}
        refused = await owner.refused("resource.bulk_register", resources=resources("c"))
        assert (refused.code, refused.data["reason"]) == (503, "draining")
