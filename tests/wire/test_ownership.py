"""Who owns what, as the wire tells it: one owner at a time, for as long as its connection lives."""

import pytest
import trio
from trio.testing import MockClock

from resroute.ids import MAX_ID_LENGTH
from resroute.settings import Settings
from tests.scenario import Party, Refused, open_scenario
from tests.watching import start_watch, wait_told

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


async def test_an_instance_registers_resources_and_is_told_their_epochs(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        result = await owner.ask("resource.register", resource_ids=["doc:7", "doc:8"])
        assert result["success"] is True
        assert result["registered"] == ["doc:7", "doc:8"]
        assert result["conflicts"] == {}
        assert set(result["epochs"].values()) == {scenario.revision}
        assert len(result["trace_id"]) == 32


async def test_a_conflict_names_the_owner_and_tells_all_about_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        rival = await scenario.instance("rival")
        refused = await rival.refused("resource.register", resource_ids=["doc:7"])
        assert (refused.code, refused.type, refused.is_routers) == (409, "resource_conflict", True)
        assert refused.data["conflicts"] == {"doc:7": "owner"}
        assert refused.data["resource_id"] == "doc:7"
        assert refused.data["owner_instance_id"] == "owner"
        assert refused.data["owner_healthy"] is True
        assert refused.data["since"].endswith("Z")
        assert isinstance(refused.data["epoch"], int)
        assert "owner" in refused.error["message"]


async def test_one_conflict_among_many_ids_registers_none_of_them(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:2", "doc:4")
        rival = await scenario.instance("rival")
        refused = await rival.refused("resource.register", resource_ids=["doc:1", "doc:2", "doc:3", "doc:4"])
        assert refused.data["conflicts"] == {"doc:2": "owner", "doc:4": "owner"}
        assert "resource_id" not in refused.data
        assert (await rival.ask("resource.query", instance_id="rival"))["total_count"] == 0


async def test_partial_registers_what_nobody_else_owns(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:2")
        rival = await scenario.instance("rival")
        result = await rival.ask("resource.register", resource_ids=["doc:1", "doc:2", "doc:3"], partial=True)
        assert result["success"] is False
        assert result["registered"] == ["doc:1", "doc:3"]
        assert result["conflicts"] == {"doc:2": "owner"}
        assert set(result["epochs"]) == {"doc:1", "doc:3"}


async def test_registering_what_one_owns_already_keeps_the_epoch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        first = await owner.ask("resource.register", resource_ids=["doc:7"])
        again = await owner.ask("resource.register", resource_ids=["doc:7", "doc:8"])
        assert again["epochs"]["doc:7"] == first["epochs"]["doc:7"]
        assert again["epochs"]["doc:8"] > again["epochs"]["doc:7"]


async def test_force_is_for_administrators(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("owner", "doc:7")
        rival = await scenario.instance("rival")
        refused = await rival.refused("resource.register", resource_ids=["doc:7"], force=True)
        assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", "admin")


async def test_a_forced_owner_is_told_what_it_lost_before_the_new_one_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        rival = await scenario.instance("rival")
        before = scenario.revision
        result = await rival.ask("resource.register", resource_ids=["doc:7", "doc:8"], force=True)
        lost = await owner.next("resource.lost")
        assert lost["params"] == {"resource_ids": ["doc:7", "doc:8"], "cause": "forced", "new_owner": "rival"}
        assert all(epoch > before for epoch in result["epochs"].values())


async def test_many_lost_resources_are_told_in_messages_under_the_limit(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("instance", "admin", "caller"), max_message_bytes=20_000)
    async with open_scenario(settings) as scenario:
        names = [f"doc:{n:03}:" + "x" * 200 for n in range(150)]
        owner = await scenario.instance("owner")
        rival = await scenario.instance("rival")
        for start in range(0, len(names), 50):
            await owner.ask("resource.register", resource_ids=names[start : start + 50])
        for start in range(0, len(names), 50):
            await rival.ask("resource.register", resource_ids=names[start : start + 50], force=True)
        await scenario.wait_until(lambda: owner.has_news)
        await trio.sleep(1)
        told = [name for notice in owner.take_news() for name in notice["params"]["resource_ids"]]
        assert told == names


async def test_only_the_owner_releases(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        rival = await scenario.owner("rival", "doc:9")
        refused = await rival.refused("resource.release", resource_ids=["doc:9", "doc:7"])
        assert (refused.code, refused.type) == (403, "not_owner")
        assert refused.data["owner_instance_id"] == "owner"
        refused = await owner.refused("resource.release", resource_ids=["doc:6", "doc:7"])
        assert (refused.code, refused.type, refused.data["resource_id"]) == (
            404,
            "resource_not_found",
            "doc:6",
        )
        assert (await owner.ask("resource.query"))["total_count"] == 3
        result = await owner.ask("resource.release", resource_ids=["doc:7"])
        assert (result["success"], result["released"], result["failed"]) == (True, ["doc:7"], {})


async def test_a_partial_release_says_why_for_each_that_stays(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("other", "doc:9")
        owner = await scenario.owner("owner", "doc:7")
        result = await owner.ask("resource.release", resource_ids=["doc:6", "doc:7", "doc:9"], partial=True)
        assert result["success"] is False
        assert result["released"] == ["doc:7"]
        assert result["failed"] == {"doc:6": "resource_not_found", "doc:9": "not_owner"}


async def test_an_administrator_releases_what_others_own_and_they_are_told(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        boss = await scenario.connect()
        refused = await boss.refused("resource.release", resource_ids=["doc:7", "doc:9"])
        assert (refused.code, refused.type) == (404, "resource_not_found")
        result = await boss.ask("resource.release", resource_ids=["doc:9", "doc:7"], partial=True)
        assert result["released"] == ["doc:7"] and result["failed"] == {"doc:9": "resource_not_found"}
        lost = await owner.next("resource.lost")
        assert lost["params"] == {"resource_ids": ["doc:7"], "cause": "released_by_admin"}
        owned = (await owner.ask("resource.query"))["resources"]
        assert [(it["resource_id"], it["owner_instance_id"]) for it in owned] == [("doc:8", "owner")]


MANY = [f"r{number}" for number in range(300)]


@pytest.mark.parametrize("role", ["owner", "administrator"])
async def test_many_resources_are_released_as_a_few_are(autojump_clock: MockClock, role: str) -> None:
    async with open_scenario(ADMIN) as scenario:
        watcher = await scenario.connect("watcher")
        told = await start_watch(watcher)
        owner = await scenario.owner("owner", *MANY)
        other = await scenario.instance("other")
        waits = await other.start("resource.register", {"resource_ids": ["r7"], "wait_seconds": 60})
        call = await other.start_call("r8")
        delivered = await owner.next("work")
        releases = owner if role == "owner" else await scenario.connect("administrator")
        result = await releases.ask("resource.release", resource_ids=MANY)
        assert (result["released"], result["failed"]) == (MANY, {})
        if role == "administrator":
            lost = (await owner.next("resource.lost"))["params"]
            assert (lost["cause"], lost["resource_ids"]) == ("released_by_admin", MANY)
        assert (await waits.result())["registered"] == ["r7"]
        await owner.answer(delivered)
        await call.result()
        assert (await other.refused("route.call", resource_id="r9", method="work")).code == 404
        assert (await other.ask("resource.register", resource_ids=["r9", "r299"]))["success"]
        await scenario.wait_until(lambda: not scenario.router.log.state.leftover_count)
        await wait_told(watcher, told, 603)
        cause = "request" if role == "owner" else "admin"
        assert told.brief[300:] == [
            *(("released", name, cause) for name in MANY),
            *(("registered", name, "request") for name in ("r7", "r9", "r299")),
        ]
        found = await other.ask("resource.query")
        assert [resource["resource_id"] for resource in found["resources"]] == ["r299", "r7", "r9"]


async def test_an_administrator_who_releases_its_own_is_told_by_the_answer_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        assert (await owner.ask("resource.release", resource_ids=["doc:7"]))["released"] == ["doc:7"]
        await owner.ask("session.ping")
        assert not owner.has_news


async def test_calls_not_handed_over_are_taken_back_when_an_administrator_releases(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7", max_concurrency=1)
        heir = await scenario.instance("heir")
        caller = await scenario.connect()
        kept = await caller.start_call("doc:7", "kept")
        request = await owner.next("kept")
        hasty = await caller.start_call("doc:7", "hasty")
        patient = await caller.start_call("doc:7", "patient", wait_for_owner_seconds=20)
        await heir.ask("resource.release", resource_ids=["doc:7"])
        assert (await hasty.refusal()).type == "resource_not_found"
        await heir.ask("resource.register", resource_ids=["doc:7"])
        await heir.answer(await heir.next("patient"), "from the heir")
        assert await patient.result() == "from the heir"
        await owner.answer(request, "from the owner that was")
        assert await kept.result() == "from the owner that was"


@pytest.mark.parametrize("leave", [Party.drop, Party.aclose])
async def test_ownership_ends_with_the_connection(autojump_clock: MockClock, leave: object) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        rival = await scenario.instance("rival")
        if leave is Party.drop:
            owner.drop()
        else:
            await owner.aclose()
        await scenario.wait_until(lambda: scenario.statistics().instances == 1)
        result = await rival.ask("resource.register", resource_ids=["doc:7", "doc:8"])
        assert result["success"] is True


async def test_an_instance_id_can_be_used_again_once_its_session_has_ended(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        first = await scenario.instance("worker")
        second = await scenario.connect()
        refused = await second.refused("instance.register", service_name="service", instance_id="worker")
        assert (refused.code, refused.type) == (409, "instance_conflict")
        assert refused.data["instance_id"] == "worker"
        first.drop()
        await scenario.wait_until(lambda: scenario.statistics().instances == 0)
        await second.ask("instance.register", service_name="service", instance_id="worker")


async def test_a_session_becomes_an_instance_once(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        worker = await scenario.instance("worker")
        refused = await worker.refused("instance.register", service_name="service", instance_id="another")
        assert (refused.code, refused.type) == (409, "already_registered")


async def test_an_instance_id_is_minted_where_none_is_given(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        result = await party.ask("instance.register", service_name="documents")
        assert result["instance_id"].startswith("documents-")
        assert result["session_id"]
        assert (await party.ask("session.info"))["instance"] == {
            "service_name": "documents",
            "instance_id": result["instance_id"],
        }


async def test_a_plain_caller_cannot_own_anything(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect()
        for method in ("resource.register", "resource.release"):
            refused = await caller.refused(method, resource_ids=["doc:7"])
            assert (refused.code, refused.type) == (403, "forbidden")
            assert refused.data["required"] == "instance.register"


async def test_nobody_but_an_administrator_acts_for_another_instance(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.instance("other")
        worker = await scenario.instance("worker")
        for given in ({"instance_id": "other"}, {"service_name": "elsewhere"}):
            refused = await worker.refused("resource.register", resource_ids=["doc:7"], **given)
            assert (refused.code, refused.data["required"]) == (403, "admin")
        given = {"instance_id": "worker", "service_name": "service"}
        assert (await worker.ask("resource.register", resource_ids=["doc:7"], **given))["success"]


async def test_an_administrator_who_acts_for_an_instance_must_name_one_that_is_there(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        await scenario.instance("worker")
        boss = await scenario.connect()
        refused = await boss.refused("resource.register", resource_ids=["doc:7"], instance_id="nobody")
        assert (refused.code, refused.type) == (404, "instance_not_found")
        refused = await boss.refused(
            "resource.register", resource_ids=["doc:7"], instance_id="worker", service_name="elsewhere"
        )
        assert (refused.code, refused.type) == (404, "service_mismatch")
        refused = await boss.refused("resource.register", resource_ids=["doc:7"])
        assert (refused.code, refused.data["required"]) == (403, "instance.register")


async def test_an_instance_owns_no_more_than_it_may(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=3)) as scenario:
        owner = await scenario.owner("owner", "doc:1", "doc:2")
        refused = await owner.refused("resource.register", resource_ids=["doc:2", "doc:3", "doc:4"])
        assert (refused.code, refused.type) == (429, "resource_limit_exceeded")
        assert (refused.data["limit"], refused.data["current"], refused.data["requested"]) == (3, 2, 2)
        assert "more instances" in refused.error["message"]
        assert (await owner.ask("resource.register", resource_ids=["doc:2", "doc:3"]))["success"]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "/doc",
        "doc/",
        "do c",
        "d\u00f6c",
        "x" * (MAX_ID_LENGTH + 1),
        "a\u0000",
        "a\n",
        7,
        None,
        True,
        ["a"],
    ],
)
async def test_an_id_that_is_none_is_refused_before_anything_happens(
    autojump_clock: MockClock, bad: object
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        revision = scenario.revision
        refused = await owner.refused("resource.register", resource_ids=["doc:1", bad])
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        assert [error["path"] for error in refused.data["errors"]] == ["resource_ids.1"]
        assert scenario.revision == revision


@pytest.mark.parametrize("good", ["a", "user:42", "a.b_c~d:e/f@g+h=i-j", "x" * MAX_ID_LENGTH, "-", "A/b"])
async def test_ids_may_be_as_the_rule_says(autojump_clock: MockClock, good: str) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", good)
        assert (await owner.ask("resource.query", resource_ids=[good]))["total_count"] == 1


async def test_empty_and_repeated_and_too_many_ids_are_refused(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_bulk_items=3)) as scenario:
        owner = await scenario.instance("owner")
        for ids in ([], ["a", "b", "a"], ["a", "b", "c", "d"]):
            for method in ("resource.register", "resource.release"):
                refused = await owner.refused(method, resource_ids=ids)
                assert (refused.code, refused.type) == (-32602, "invalid_params")


async def test_everything_that_is_wrong_is_named_at_once(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        refused = await owner.refused(
            "resource.register", resource_ids="doc:7", partial=1, force="yes", extra=1, trace_id="no spaces"
        )
        paths = {error["path"] for error in refused.data["errors"]}
        assert paths == {"resource_ids", "partial", "force", "extra", "trace_id"}


async def test_fifty_instances_ask_for_one_id_and_one_gets_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        rivals = [await scenario.instance(f"rival-{n}") for n in range(50)]
        outcomes: list[str] = []

        async def ask(rival: Party) -> None:
            try:
                await rival.ask("resource.register", resource_ids=["doc:7"])
                outcomes.append("granted")
            except Refused as refused:
                outcomes.append(refused.data["owner_instance_id"])

        async with trio.open_nursery() as nursery:
            for rival in rivals:
                nursery.start_soon(ask, rival)
        assert outcomes.count("granted") == 1
        assert len(set(outcomes)) == 2
