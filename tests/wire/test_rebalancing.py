"""``service.rebalance``: busy instances hand some of what they own to those that have less to do."""

import itertools
from collections import Counter

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


async def told(party: Party) -> list[Json]:
    """What an instance was told by notices, as (what, params)."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    return [notice | {} for notice in party.take_news() if notice["method"].startswith("resource.")]


async def crowd(scenario: Scenario, *others: str) -> tuple[Party, list[Party]]:
    """An instance with ten resources of rising priority, and others with none."""
    busy = await scenario.instance("busy")
    metadata = {name: {"priority": number} for number, name in enumerate(NAMES)}
    await busy.ask("resource.register", resource_ids=NAMES, metadata=metadata)
    return busy, [await scenario.instance(name) for name in others]


async def test_a_new_instance_takes_its_share_the_lowest_priority_first(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        busy, [idle] = await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        result = await admin.ask("service.rebalance", service_name="service", by="count")
        assert result["moves"] == [
            {"resource_id": name, "from_instance_id": "busy", "to_instance_id": "idle"} for name in NAMES[:5]
        ]
        [transfer_id] = result["transfer_ids"]
        assert "has_more" not in result
        owned = await owners(admin)
        assert owned == {name: "idle" if name in NAMES[:5] else "busy" for name in NAMES}
        [lost] = await told(busy)
        assert lost["method"] == "resource.lost"
        assert lost["params"]["resource_ids"] == NAMES[:5]
        assert (lost["params"]["cause"], lost["params"]["new_owner"]) == ("transfer", "idle")
        assert lost["params"]["transfer_id"] == transfer_id
        [acquired] = await told(idle)
        assert acquired["method"] == "resource.acquired"
        assert [one["resource_id"] for one in acquired["params"]["resources"]] == NAMES[:5]
        assert [one["metadata"]["priority"] for one in acquired["params"]["resources"]] == list(range(5))
        assert all("state" not in one for one in acquired["params"]["resources"])
        assert acquired["params"]["transfer_id"] == transfer_id
        again = await admin.ask("service.rebalance", service_name="service", by="count")
        assert (again["moves"], again["transfer_ids"]) == ([], [])


async def test_who_watches_and_who_asks_why_see_the_cause(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        watch = await admin.ask("resource.watch", service_name="service")
        await admin.ask("service.rebalance", service_name="service", by="count", max_moves=1)
        news = await admin.next("resource.events")
        assert news["params"]["watch_id"] == watch["watch_id"]
        [event] = news["params"]["events"]
        assert (event["event"], event["cause"], event["previous_owner"]) == (
            "transferred",
            "rebalance",
            "busy",
        )
        explained = await admin.ask("route.explain", resource_id="doc:0")
        assert [t["cause"] for t in explained["transitions"]] == ["request", "rebalance"]


async def test_a_dry_run_says_what_would_be_moved(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle-1", "idle-2")
        admin = await scenario.connect("admin")
        await trio.sleep(1)  # the log knows of the last of them
        before = scenario.revision
        dry = await admin.ask("service.rebalance", service_name="service", by="count", dry_run=True)
        assert scenario.revision == before
        assert dry["transfer_ids"] == []
        assert Counter(move["to_instance_id"] for move in dry["moves"]) == {"idle-1": 3, "idle-2": 3}
        real = await admin.ask("service.rebalance", service_name="service", by="count")
        assert real["moves"] == dry["moves"]
        assert len(real["transfer_ids"]) == 2


async def test_moves_are_bounded_and_whoever_asks_again_gets_the_rest(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        moved: list[str] = []
        for more in (True, True, None):
            result = await admin.ask("service.rebalance", service_name="service", by="count", max_moves=2)
            moved += [move["resource_id"] for move in result["moves"]]
            assert result.get("has_more") is more
        assert moved == NAMES[:5]


async def test_by_calls_what_is_called_most_goes_where_least_is_called(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        busy = await scenario.owner("busy", *NAMES)
        idle = await scenario.owner("idle", "doc:a", "doc:b", "doc:c")
        caller = await scenario.connect("caller")
        for name, count in (("doc:7", 5), ("doc:8", 4), ("doc:9", 1), ("doc:a", 1)):
            for _ in range(count):
                pending = await caller.start_call(name)
                callee = idle if name == "doc:a" else busy
                await callee.answer(await callee.next("work"))
                await pending.result()
        dry = await caller.ask("service.rebalance", service_name="service", by="calls", dry_run=True)
        result = await caller.ask("service.rebalance", service_name="service", by="calls")
        assert result["moves"] == dry["moves"]
        assert [move["resource_id"] for move in result["moves"]] == ["doc:7"]
        again = await caller.ask("service.rebalance", service_name="service", by="calls")
        assert again["moves"] == [], "what was called before counts on"
        await trio.sleep(3600)
        busy.take_news()
        for name in ("doc:8", "doc:9", "doc:9"):
            pending = await caller.start_call(name)
            await busy.answer(await busy.next("work"))
            await pending.result()
        later = await caller.ask("service.rebalance", service_name="service", by="calls")
        assert [move["resource_id"] for move in later["moves"]] == ["doc:9"], "an hour later it does not"


async def test_calls_that_were_not_handed_over_follow(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        busy = await scenario.owner("busy", "doc:1", "doc:2", max_concurrency=1)
        idle = await scenario.instance("idle")
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:1", f"m{number}") for number in range(3)]
        first = await busy.next("m0")
        result = await caller.ask("service.rebalance", service_name="service", by="count")
        assert [move["resource_id"] for move in result["moves"]] == ["doc:1"]
        await idle.next("resource.acquired")
        for number in (1, 2):
            await idle.answer(await idle.next(f"m{number}"), number)
        await busy.answer(first, 0)
        assert [await call.result() for call in calls] == [0, 1, 2]


async def test_only_instances_that_take_resources_take_part(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"), max_resources_per_instance=11)
    async with open_scenario(settings) as scenario:
        _, [full, leaving, silent] = await crowd(scenario, "full", "leaving", "silent")
        await full.ask("resource.register", resource_ids=[f"full:{number}" for number in range(11)])
        await leaving.ask("instance.drain")
        admin = await scenario.connect("admin")
        silent.lose_everything()
        await trio.sleep(13)
        result = await admin.ask("service.rebalance", service_name="service", by="count")
        assert result["moves"] == [], "busy and full are as even as they can be"
        fresh = await scenario.instance("fresh")
        result = await admin.ask("service.rebalance", service_name="service", by="count")
        counts = Counter((await owners(admin)).values())
        assert counts == {"busy": 7, "full": 7, "fresh": 7}
        assert len(result["transfer_ids"]) == 2
        assert {notice["method"] for notice in await told(fresh)} == {"resource.acquired"}


async def test_suspended_instances_give_and_get_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        gone = [await scenario.connect(name) for name in ("much", "nothing")]
        for party in gone:
            await party.ask(
                "instance.register", service_name="service", instance_id=party.name, resume_grace_seconds=60
            )
        await gone[0].ask("resource.register", resource_ids=[f"gone:{number}" for number in range(20)])
        for party in gone:
            party.drop()
        await scenario.wait_until(lambda: scenario.statistics().suspended == 2)
        await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        result = await admin.ask("service.rebalance", service_name="service", by="count")
        assert [move["resource_id"] for move in result["moves"]] == NAMES[:5]
        assert {move["to_instance_id"] for move in result["moves"]} == {"idle"}
        assert Counter((await owners(admin)).values()) == {"much": 20, "busy": 5, "idle": 5}


async def test_an_instance_that_is_resumed_meanwhile_takes_part_from_then_on(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(900)]
        busy = await scenario.connect("busy")
        asked = {"service_name": "service", "instance_id": "busy"}
        token = (await busy.ask("instance.register", **asked))["resume_token"]
        await busy.ask("resource.register", resource_ids=names)
        idle, admin = await scenario.instance("idle"), await scenario.connect("admin")
        pending = await admin.start("service.rebalance", {"service_name": "service", "by": "count"})
        await idle.next("resource.acquired")
        again = await scenario.connect("again")
        await again.ask("instance.register", **asked, resume_token=token)
        await pending.result()
        counts = Counter((await owners(admin)).values())
        assert sum(counts.values()) == 900
        await admin.ask("service.rebalance", service_name="service", by="count")
        assert Counter((await owners(admin)).values()) == {"busy": 450, "idle": 450}


async def test_what_a_bulk_has_set_aside_stays_where_it_is(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        busy, [idle] = await crowd(scenario, "idle")
        silent = await scenario.owner("silent", "theirs")
        admin = await scenario.instance("admin", "admins")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [{"resource_id": "doc:0", "force": True}, {"resource_id": "theirs"}]
        bulk = await admin.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(0.5)
        other = await scenario.connect("other")
        result = await other.ask("service.rebalance", service_name="service", by="count")
        assert not bulk.is_settled, "the silent one is being asked"
        assert [move["resource_id"] for move in result["moves"]] == NAMES[1:5]
        assert (await bulk.result())["total_registered"] == 2
        assert (await owners(other))["doc:0"] == "admin"
        assert len(await told(busy)) == 2 and len(await told(idle)) == 1


async def test_what_races_is_skipped(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(600)]
        busy = await scenario.owner("busy", *names)
        idle = await scenario.instance("idle")
        admin = await scenario.connect("admin")
        pending = await admin.start("service.rebalance", {"service_name": "service", "by": "count"})
        released = await busy.start("resource.release", {"resource_ids": names[200:300]})
        result = await pending.result()
        await released.answer()
        owned = await owners(admin)
        moved = [move["resource_id"] for move in result["moves"]]
        assert 200 <= len(moved) <= 300
        assert all(owned.get(name, "idle") == "idle" for name in moved)
        assert sum(owner == "idle" for owner in owned.values()) + (
            sum(name not in owned for name in moved)
        ) == len(moved)
        assert (await told(idle))[0]["method"] == "resource.acquired"


async def test_a_target_that_leaves_meanwhile_gets_no_more(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(900)]
        await scenario.owner("busy", *names)
        a, b = await scenario.instance("a"), await scenario.instance("b")
        admin = await scenario.connect("admin")
        pending = await admin.start("service.rebalance", {"service_name": "service", "by": "count"})
        await a.next("resource.acquired")
        a.drop()
        result = await pending.result()
        to = Counter(move["to_instance_id"] for move in result["moves"])
        assert to["b"] == 300 and to["a"] < 300
        assert Counter((await owners(admin)).values()).keys() == {"busy", "b"}
        b.take_news()


async def test_a_request_that_is_cancelled_says_how_far_it_came(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(1000)]
        await scenario.owner("busy", *names)
        await scenario.instance("idle")
        admin = await scenario.connect("admin")
        pending = await admin.start("service.rebalance", {"service_name": "service", "by": "count"})
        await admin.cancel(pending)
        result = await pending.result()
        assert len(result["moves"]) < 500
        owned = await owners(admin)
        assert sum(owner == "idle" for owner in owned.values()) == len(result["moves"])


async def test_several_at_a_time_are_done_one_after_the_other(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle")
        admins = [await scenario.connect(f"admin-{number}") for number in range(3)]
        asked = {"service_name": "service", "by": "count"}
        pending = [await admin.start("service.rebalance", asked) for admin in admins]
        moves = [len((await each.result())["moves"]) for each in pending]
        assert moves == [5, 0, 0]


async def test_who_waits_for_its_turn_may_be_cancelled_meanwhile(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(1000)]
        await scenario.owner("busy", *names)
        await scenario.instance("idle")
        admin = await scenario.connect("admin")
        asked = {"service_name": "service", "by": "count"}
        first, second, third = [await admin.start("service.rebalance", asked) for _ in range(3)]
        await admin.cancel(second)
        assert (await second.result())["moves"] == []
        assert not first.is_settled
        assert len((await first.result())["moves"]) == 500
        assert (await third.result())["moves"] == []


async def test_the_answer_fits_into_a_message(autojump_clock: MockClock) -> None:
    settings = Settings(
        anonymous_roles=("caller", "instance", "admin"),
        max_message_bytes=20_000,
        max_resources_per_instance=400,
    )
    async with open_scenario(settings) as scenario:
        busy = await scenario.instance("busy")
        names = [f"{number:03d}:" + "x" * 200 for number in range(240)]
        for first in range(0, 240, 30):
            await busy.ask("resource.register", resource_ids=names[first : first + 30])
        await scenario.instance("idle")
        admin = await scenario.connect("admin")
        moved: list[str] = []
        while True:
            result = await admin.ask("service.rebalance", service_name="service", by="count")
            moved += [move["resource_id"] for move in result["moves"]]
            if "has_more" not in result:
                break
            assert 30 < len(result["moves"]) < 80
        assert moved == names[:120]
        dry = await admin.ask("service.rebalance", service_name="service", by="count", dry_run=True)
        assert dry["moves"] == []


async def test_others_get_on_while_it_is_worked_out_and_while_it_is_done(autojump_clock: MockClock) -> None:
    clock = itertools.count()
    # a late log would wait for a clock that stands still while somebody has something to do
    async with open_scenario(ADMIN, turn_clock=lambda: 0.0006 * next(clock), is_lagging=False) as scenario:
        names = [f"doc:{number:04d}" for number in range(900)]
        await scenario.owner("busy", *names)
        await scenario.instance("idle")
        admin, other = await scenario.connect("admin"), await scenario.connect("other")
        for is_dry in (True, False):
            pending = await admin.start(
                "service.rebalance", {"service_name": "service", "by": "count", "dry_run": is_dry}
            )
            turns = 0
            while not pending.is_settled:
                await other.ask("session.ping")
                turns += 1
            assert len((await pending.result())["moves"]) == 450
            assert turns > 10


async def test_it_may_be_asked_for_without_an_answer_and_in_a_batch(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        params = {"service_name": "service", "by": "count", "max_moves": 1}
        await admin.notify("service.rebalance", **params)
        answers = [admin.expect(request_id) for request_id in ("first", "second")]
        await admin.say_batch(
            *({"id": answer.id, "method": "service.rebalance", "params": params} for answer in answers)
        )
        moves = [move for answer in answers for move in (await answer.result())["moves"]]
        assert [move["resource_id"] for move in moves] == ["doc:1", "doc:2"]
        assert Counter((await owners(admin)).values()) == {"busy": 7, "idle": 3}


async def test_whoever_asks_and_leaves_has_what_is_not_moved_left_as_it_is(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{number:04d}" for number in range(1000)]
        await scenario.owner("busy", *names)
        idle = await scenario.instance("idle")
        admin, other = await scenario.connect("admin"), await scenario.connect("other")
        await admin.start("service.rebalance", {"service_name": "service", "by": "count"})
        await idle.next("resource.acquired")
        admin.drop()
        await trio.sleep(5)
        counts = Counter((await owners(other)).values())
        assert 0 < counts["idle"] < 500
        rest = await other.ask("service.rebalance", service_name="service", by="count")
        assert len(rest["moves"]) == 500 - counts["idle"]


@pytest.mark.parametrize(
    ("params", "code", "type_"),
    [
        ({"service_name": "service"}, -32602, "invalid_params"),
        ({"by": "count"}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "size"}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "max_moves": 0}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "max_moves": -1}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "max_moves": 1.5}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "max_moves": True}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "dry_run": 1}, -32602, "invalid_params"),
        ({"service_name": "service", "by": "count", "gently": True}, -32602, "invalid_params"),
        ({"service_name": "no such", "by": "count"}, -32602, "invalid_params"),
        ({"service_name": "nobody", "by": "count"}, 404, "service_not_found"),
    ],
)
async def test_a_request_that_makes_no_sense_moves_nothing(
    autojump_clock: MockClock, params: Json, code: int, type_: str
) -> None:
    async with open_scenario(ADMIN) as scenario:
        await crowd(scenario, "idle")
        admin = await scenario.connect("admin")
        refused = await admin.refused("service.rebalance", **params)
        assert (refused.code, refused.type) == (code, type_)
        assert set((await owners(admin)).values()) == {"busy"}


async def test_it_is_for_administrators(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        busy, _ = await crowd(scenario, "idle")
        for service in ("service", "nobody"):
            refused = await busy.refused("service.rebalance", service_name=service, by="count")
            assert (refused.code, refused.data["required"]) == (403, "admin")
        assert set((await owners(busy)).values()) == {"busy"}
