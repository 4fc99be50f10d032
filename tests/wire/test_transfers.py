"""``resource.transfer``: ownership moves from one live instance to another, with no moment in between."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.router.identity import Identity
from resroute.settings import Settings
from resroute.transport.interface import MSGPACK, NDJSON, Subprotocol
from tests.party import Json
from tests.scenario import Party, Scenario, open_scenario
from tests.watching import start_watch, wait_told

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
NOT_ADMIN = Settings()


def to_heir(*names: str, source: str = "owner", **more: Any) -> Json:
    """Parameters of a transfer from the owner to the heir."""
    asked = {"resource_ids": list(names), "from_instance_id": source, "to_instance_id": "heir"}
    return {**asked, "reason": "less to do", **more}


async def open_pair(scenario: Scenario, *names: str) -> tuple[Party, Party]:
    owner = await (scenario.owner("owner", *names) if names else scenario.instance("owner"))
    return owner, await scenario.instance("heir")


async def test_the_new_owner_has_it_with_metadata_and_state_and_both_sides_are_told(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, heir = await open_pair(scenario)
        metadata = {"doc:7": {"tags": ["hot"], "attributes": {"pages": 3}}}
        first = await owner.ask("resource.register", resource_ids=["doc:7", "doc:8"], metadata=metadata)
        state = {"doc:7": {"cursor": [1, 2.5, None]}}
        result = await owner.ask("resource.transfer", **to_heir("doc:7", "doc:8", state=state))
        assert (result["success"], result["transferred"], result["failed"]) == (True, ["doc:7", "doc:8"], {})
        assert set(result["epochs"].values()) == {scenario.revision}
        assert scenario.revision > first["epochs"]["doc:7"]
        lost = await owner.next("resource.lost")
        assert lost["params"] == {
            "resource_ids": ["doc:7", "doc:8"],
            "cause": "transfer",
            "new_owner": "heir",
            "transfer_id": result["transfer_id"],
            "reason": "less to do",
        }
        acquired = (await heir.next("resource.acquired"))["params"]
        assert (acquired["cause"], acquired["from_instance_id"]) == ("transfer", "owner")
        assert acquired["transfer_id"] == result["transfer_id"]
        with_state, without = acquired["resources"]
        assert (with_state["resource_id"], with_state["state"]) == ("doc:7", state["doc:7"])
        assert with_state["metadata"]["tags"] == ["hot"]
        assert with_state["metadata"]["attributes"] == {"pages": 3}
        assert without == {"resource_id": "doc:8", "epoch": scenario.revision, "metadata": None}
        for resource in acquired["resources"]:
            assert resource["epoch"] == result["epochs"][resource["resource_id"]]
        [info] = (await heir.ask("resource.query", resource_ids=["doc:7"]))["resources"]
        assert (info["owner_instance_id"], info["metadata"]["version"]) == ("heir", 1)
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await heir.next("work")
        assert request["meta"]["epoch"] == result["epochs"]["doc:7"]
        await heir.answer(request, "here")
        assert await pending.result() == "here"
        transitions = (await caller.ask("route.explain", resource_id="doc:7"))["transitions"]
        assert [(t["event"], t["cause"], t["instance_id"]) for t in transitions] == [
            ("registered", "request", "owner"),
            ("transferred", "transfer", "heir"),
        ]


async def test_calls_handed_over_stay_and_the_others_follow_in_order(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", max_concurrency=1)
        heir = await scenario.instance("heir")
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", f"m{number}") for number in range(4)]
        handed_over = await owner.next("m0")
        await trio.testing.wait_all_tasks_blocked()
        result = await owner.ask("resource.transfer", **to_heir("doc:7"))
        await heir.next("resource.acquired")
        calls.append(await caller.start_call("doc:7", "m4"))
        for number in range(1, 5):
            request = await heir.next(f"m{number}")
            assert request["meta"]["epoch"] == result["epochs"]["doc:7"]
            await heir.answer(request, number)
        await owner.next("resource.lost")
        assert not owner.has_news, "what it was handed is not cancelled"
        await owner.answer(handed_over, 0)
        assert [await call.result() for call in calls] == [0, 1, 2, 3, 4]


async def test_a_time_to_live_runs_on(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, heir = await open_pair(scenario)
        began = trio.current_time()
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": {"ttl_seconds": 10}})
        await trio.sleep(6)
        await owner.ask("resource.transfer", **to_heir("doc:7"))
        await heir.next("resource.acquired")
        assert scenario.statistics().timers == 1
        lost = await heir.next("resource.lost")
        assert lost["params"] == {"resource_ids": ["doc:7"], "cause": "expired"}
        assert 10 <= trio.current_time() - began < 10.5
        assert scenario.statistics().timers == 0


@pytest.mark.parametrize(
    ("params", "code", "type_"),
    [
        (to_heir("doc:7", "doc:other"), 403, "not_owner"),
        (to_heir("doc:none", "doc:other"), 403, "not_owner"),
        (to_heir("doc:7", "doc:none"), 404, "resource_not_found"),
        (to_heir("doc:7", to_instance_id="owner"), -32602, "invalid_params"),
        (to_heir("doc:7", to_instance_id="nobody"), 404, "instance_not_found"),
        (to_heir("doc:7", to_instance_id="stranger"), 404, "service_mismatch"),
        (to_heir("doc:7", service_name="other"), 403, "forbidden"),
        (to_heir("doc:7", verify_ownership=False), 403, "forbidden"),
        (to_heir("doc:other", source="other"), 403, "not_owner"),
        (to_heir("doc:7", source="other"), 403, "not_owner"),
        (to_heir("doc:7", "doc:7"), -32602, "invalid_params"),
        (to_heir(), -32602, "invalid_params"),
        (to_heir("doc:7", state={"doc:8": 1}), -32602, "invalid_params"),
        (to_heir("doc:7", state={"doc:7": "x" * 999}), -32602, "invalid_params"),
        (to_heir("doc:7", reason=""), -32602, "invalid_params"),
        (to_heir("doc:7", reason="x" * 1001), -32602, "invalid_params"),
        (to_heir("doc:7", to_instance_id=""), -32602, "invalid_params"),
        (to_heir("doc:7", partial="yes"), -32602, "invalid_params"),
        (to_heir("doc:7", to=1), -32602, "invalid_params"),
    ],
)
async def test_what_cannot_be_transferred_stays_as_it_is(
    autojump_clock: MockClock, params: Json, code: int, type_: str
) -> None:
    async with open_scenario(Settings(max_state_bytes=1000)) as scenario:
        owner, heir = await open_pair(scenario, "doc:7")
        await scenario.owner("other", "doc:other")
        await scenario.instance("stranger", service="strangers")
        refused = await owner.refused("resource.transfer", **params)
        assert (refused.code, refused.type) == (code, type_)
        assert (await owner.ask("resource.query", instance_id="owner"))["total_count"] == 1
        await trio.sleep(1)
        assert not owner.has_news and not heir.has_news


async def test_what_a_bulk_has_set_aside_is_transferred_by_administrators_only(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, heir = await open_pair(scenario, "doc:7", "doc:8")
        silent = await scenario.owner("silent", "theirs")
        admin = await scenario.connect("admin", identity=Identity("admin", frozenset({"instance", "admin"})))
        await admin.ask("instance.register", service_name="service", instance_id="admin")
        silent.lose_everything()
        await trio.sleep(15)
        resources = [{"resource_id": "doc:7", "force": True}, {"resource_id": "theirs"}]
        bulk = await admin.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await trio.sleep(0.5)
        refused = await owner.refused("resource.transfer", **to_heir("doc:8", "doc:7"))
        assert (refused.code, refused.type, refused.data["pending"]) == (409, "resource_conflict", True)
        assert refused.data["conflicts"] == {"doc:7": "admin"}
        assert (await owner.ask("resource.query", instance_id="owner"))["total_count"] == 2
        partly = await owner.ask("resource.transfer", **to_heir("doc:8", "doc:7", partial=True))
        assert (partly["transferred"], partly["failed"]) == (["doc:8"], {"doc:7": "resource_conflict"})
        assert not bulk.is_settled, "the silent one is being asked"
        assert (await admin.ask("resource.transfer", **to_heir("doc:7")))["transferred"] == ["doc:7"]
        assert (await bulk.result())["rolled_back"]
        assert (await heir.ask("resource.query", instance_id="heir"))["total_count"] == 2


async def test_who_is_no_instance_and_no_administrator_transfers_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await open_pair(scenario, "doc:7")
        caller = await scenario.connect("caller")
        refused = await caller.refused("resource.transfer", **to_heir("doc:7"))
        assert (refused.code, refused.data["required"]) == (403, "instance.register")


@pytest.mark.parametrize("name", ["doc:7", "doc:none"])
@pytest.mark.parametrize(
    ("more", "required"),
    [
        ({"service_name": "elsewhere"}, "admin"),
        ({"verify_ownership": False}, "admin"),
        ({}, "instance.register"),
    ],
)
async def test_whether_it_may_comes_before_what_there_is(
    name: str, more: Json, required: str, autojump_clock: MockClock
) -> None:
    async with open_scenario(NOT_ADMIN) as scenario:
        owner, _ = await open_pair(scenario, "doc:7")
        asking = await scenario.instance("third") if more else await scenario.connect("third")
        refused = await asking.refused("resource.transfer", **to_heir(name, **more))
        assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", required)
        assert await owner.ask("resource.release", resource_ids=["doc:7"])


async def test_an_instance_learns_of_what_it_does_not_own_as_much_as_by_registering_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(NOT_ADMIN) as scenario:
        await open_pair(scenario, "doc:7")
        third = await scenario.instance("third")
        refused = await third.refused("resource.transfer", **to_heir("doc:7"))
        assert (refused.code, refused.type, refused.data["owner_instance_id"]) == (403, "not_owner", "owner")
        conflict = await third.refused("resource.register", resource_ids=["doc:7"])
        assert conflict.data["owner_instance_id"] == "owner"
        refused = await third.refused("resource.transfer", **to_heir("doc:none"))
        assert (refused.code, refused.type) == (404, "resource_not_found")


async def test_in_part_what_can_be_is_transferred_and_the_rest_says_why(autojump_clock: MockClock) -> None:
    settings = Settings(max_resources_per_instance=3)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:1", "doc:2", "doc:3")
        heir = await scenario.owner("heir", "doc:9")
        await scenario.owner("other", "doc:other")
        asked = ["doc:none", "doc:1", "doc:other", "doc:2", "doc:9", "doc:3"]
        result = await owner.ask("resource.transfer", **to_heir(*asked, partial=True))
        assert result["success"] is False
        assert result["transferred"] == ["doc:1", "doc:2"]
        assert list(result["epochs"]) == ["doc:1", "doc:2"]
        assert result["failed"] == {
            "doc:none": "resource_not_found",
            "doc:other": "not_owner",
            "doc:9": "not_owner",
            "doc:3": "resource_limit_exceeded",
        }
        assert len((await heir.next("resource.acquired"))["params"]["resources"]) == 2
        refused = await owner.refused("resource.transfer", **to_heir("doc:3"))
        assert (refused.code, refused.type) == (429, "resource_limit_exceeded")
        assert (refused.data["limit"], refused.data["current"], refused.data["requested"]) == (3, 3, 1)
        nowhere = await owner.ask(
            "resource.transfer", **to_heir("doc:3", to_instance_id="nobody", partial=True)
        )
        assert (nowhere["success"], nowhere["failed"]) == (False, {"doc:3": "instance_not_found"})


async def test_administrators_transfer_what_others_own(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, heir = await open_pair(scenario, "doc:7")
        other = await scenario.owner("other", "doc:8")
        admin = await scenario.connect("admin")
        refused = await admin.refused("resource.transfer", **to_heir("doc:7", "doc:8"))
        assert (refused.type, refused.data["owner_instance_id"]) == ("not_owner", "other")
        result = await admin.ask("resource.transfer", **to_heir("doc:7", "doc:8", verify_ownership=False))
        assert result["transferred"] == ["doc:7", "doc:8"]
        for party, name in ((owner, "doc:7"), (other, "doc:8")):
            assert (await party.next("resource.lost"))["params"]["resource_ids"] == [name]
        for source, name in (("owner", "doc:7"), ("other", "doc:8")):
            acquired = (await heir.next("resource.acquired"))["params"]
            assert acquired["from_instance_id"] == source
            assert [resource["resource_id"] for resource in acquired["resources"]] == [name]
        again = await admin.refused("resource.transfer", **to_heir("doc:7", verify_ownership=False))
        assert (again.code, again.data["errors"][0]["path"]) == (-32602, "to_instance_id")


async def test_another_service_takes_it_where_that_is_allowed(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(transfer_across_services=True)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        heir = await scenario.instance("heir", service="archive")
        await owner.ask("resource.transfer", **to_heir("doc:7"))
        await heir.next("resource.acquired")
        page = await owner.ask("resource.query", service_name="archive")
        assert [info["resource_id"] for info in page["resources"]] == ["doc:7"]
        assert (await owner.ask("resource.query", service_name="service"))["total_count"] == 0


async def test_nothing_is_handed_to_an_instance_that_has_gone_without_a_word(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, heir = await open_pair(scenario, "doc:7")
        heir.stall()
        await trio.sleep(15)
        refused = await owner.refused("resource.transfer", **to_heir("doc:7"))
        assert (refused.code, refused.type) == (404, "instance_not_found")
        assert (await owner.ask("resource.query", instance_id="owner"))["total_count"] == 1


async def test_many_are_told_in_messages_under_the_limit(autojump_clock: MockClock) -> None:
    settings = Settings(max_message_bytes=20_000, max_metadata_bytes=5000)
    async with open_scenario(settings) as scenario:
        owner, heir = await open_pair(scenario)
        names = [f"doc:{number:03}:" + "x" * 200 for number in range(40)]
        for start in range(0, len(names), 4):
            part = names[start : start + 4]
            metadata = {name: {"attributes": {"text": "y" * 4000}} for name in part}
            await owner.ask("resource.register", resource_ids=part, metadata=metadata)
        await owner.ask("resource.transfer", **to_heir(*names))
        await trio.sleep(1)
        lost = [name for notice in owner.take_news() for name in notice["params"]["resource_ids"]]
        assert lost == names
        news = heir.take_news()
        assert len(news) > 5
        assert [told["resource_id"] for notice in news for told in notice["params"]["resources"]] == names


@pytest.mark.parametrize("said", [{}, {"tags": ["a"], "ttl_seconds": 20}])
async def test_many_are_transferred_as_a_few_are(autojump_clock: MockClock, said: Json) -> None:
    async with open_scenario() as scenario:
        watcher = await scenario.connect("watcher")
        owner, heir = await open_pair(scenario)
        names = [f"doc:{number:03}" for number in range(300)]
        metadata = dict.fromkeys(names, said) if said else {}
        await owner.ask("resource.register", resource_ids=names, metadata=metadata)
        told = await start_watch(watcher)
        call = await watcher.start_call("doc:007")
        delivered = await owner.next("work")
        answer = await owner.ask("resource.transfer", **to_heir(*names, state={"doc:001": [1]}))
        assert (answer["transferred"], answer["failed"]) == (names, {})
        [epoch] = set(answer["epochs"].values())
        lost = (await owner.next("resource.lost"))["params"]
        assert (lost["resource_ids"], lost["new_owner"]) == (names, "heir")
        acquired = (await heir.next("resource.acquired"))["params"]["resources"]
        assert [(it["resource_id"], it["epoch"]) for it in acquired] == [(name, epoch) for name in names]
        assert [it["resource_id"] for it in acquired if "state" in it] == ["doc:001"]
        assert all((it["metadata"] or {}).get("tags", []) == said.get("tags", []) for it in acquired)
        await owner.answer(delivered)
        await call.result()
        again = await watcher.start_call("doc:007")
        await heir.answer(await heir.next("work"))
        await again.result()
        await wait_told(watcher, told, 300)
        assert told.brief == [("transferred", name, "transfer") for name in names]
        assert (await owner.ask("resource.register", resource_ids=["mine"]))["success"]
        await trio.sleep(30)
        left = [it["resource_id"] for it in (await heir.ask("resource.query", limit=1000))["resources"]]
        assert left == (["mine"] if said else [*names, "mine"])


async def test_what_goes_to_a_msgpack_session_is_the_same_value(autojump_clock: MockClock) -> None:
    from resroute.transport.interface import MSGPACK

    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        heir = await scenario.instance("heir", subprotocol=MSGPACK)
        state = {"doc:7": ["ä", 2**63, -1.5, {"a": None}]}
        await owner.ask("resource.transfer", **to_heir("doc:7", state=state))
        [resource] = (await heir.next("resource.acquired"))["params"]["resources"]
        assert resource["state"] == state["doc:7"]
        back = to_heir("doc:7", source="heir", to_instance_id="owner", state=state)
        await heir.ask("resource.transfer", **back)
        await owner.next("resource.lost")
        [resource] = (await owner.next("resource.acquired"))["params"]["resources"]
        assert resource["state"] == state["doc:7"]


async def test_who_waits_for_what_it_is_given_is_granted_at_once(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, heir = await open_pair(scenario, "doc:7", "doc:8", "doc:9")
        one, all_three = [
            await heir.start("resource.register", {"resource_ids": names, "wait_seconds": 60})
            for names in (["doc:7"], ["doc:7", "doc:8", "doc:9"])
        ]
        await trio.sleep(1)
        began = trio.current_time()
        moved = await owner.ask("resource.transfer", **to_heir("doc:7"))
        assert (await one.result())["epochs"] == moved["epochs"]
        assert len((await owner.ask("service.rebalance", service_name="service", by="count"))["moves"]) == 0
        assert not all_three.is_settled
        assert (await owner.ask("instance.drain"))["handed_over"] == 2
        assert (await all_three.result())["epochs"]["doc:7"] == moved["epochs"]["doc:7"]
        assert trio.current_time() - began < 1


@pytest.mark.parametrize("encodings", [(NDJSON, MSGPACK), (MSGPACK, NDJSON)])
@pytest.mark.parametrize("is_plain", [True, False])
async def test_calls_follow_to_an_owner_that_speaks_otherwise(
    encodings: tuple[Subprotocol, Subprotocol], is_plain: bool, autojump_clock: MockClock
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance(
            "owner", subprotocol=encodings[0], max_concurrency=1, plain=not is_plain
        )
        await owner.ask("resource.register", resource_ids=["doc:7"])
        heir = await scenario.instance("heir", subprotocol=encodings[1], plain=is_plain)
        caller = await scenario.connect("caller")
        params = {"deep": [1, 2.5, None, {"\u00fc": "x"}]}
        calls = [await caller.start_call("doc:7", f"m{number}", params) for number in range(2)]
        handed_over = await owner.next("m0")
        assert ("meta" in handed_over) is is_plain
        await owner.ask("resource.transfer", **to_heir("doc:7"))
        await heir.next("resource.acquired")
        followed = await heir.next("m1")
        assert (followed["params"], "meta" in followed) == (params, not is_plain)
        await heir.answer(followed, 1)
        await owner.answer(handed_over, 0)
        assert [await call.result() for call in calls] == [0, 1]
