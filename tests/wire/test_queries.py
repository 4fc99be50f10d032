"""What is registered, page by page."""

import itertools

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from resroute.transport.interface import JSON, MSGPACK, Subprotocol
from tests.scenario import open_scenario


async def test_resources_come_in_order_by_service_instance_and_ids(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one", "a")
        two = await scenario.instance("two", "b")
        await one.ask("resource.register", resource_ids=["z", "B", "a", "10", "9"])
        await two.ask("resource.register", resource_ids=["m"])

        async def ids(**filters: object) -> list[str]:
            page = await one.ask("resource.query", **filters)
            assert page["total_count"] == len(page["resources"])
            assert page["has_more"] is False
            assert page["revision"] == scenario.revision
            return [resource["resource_id"] for resource in page["resources"]]

        assert await ids() == ["10", "9", "B", "a", "m", "z"]
        assert await ids(service_name="b") == ["m"]
        assert await ids(instance_id="one") == ["10", "9", "B", "a", "z"]
        assert await ids(instance_id="one", service_name="b") == []
        assert await ids(resource_ids=["z", "m", "nobody", "a"]) == ["a", "m", "z"]
        assert await ids(resource_ids=["z", "m"], service_name="a") == ["z"]
        assert await ids(resource_ids=["z", "m"], instance_id="two") == ["m"]
        assert await ids(service_name="unheard-of") == []
        assert await ids(instance_id="unheard-of") == []


async def test_resources_are_found_by_what_they_say_of_themselves(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        one = await scenario.instance("one", "a")
        two = await scenario.instance("two", "b")
        page = {"resource_type": "page", "tags": ["eu", "draft"]}
        image = {"resource_type": "image", "tags": ["eu"]}
        await one.ask("resource.register", resource_ids=["p:1", "p:2"], metadata={"p:1": page, "p:2": page})
        await two.ask("resource.register", resource_ids=["i:1", "p:3"], metadata={"i:1": image})

        async def ids(**filters: object) -> list[str]:
            answer = await one.ask("resource.query", **filters)
            assert answer["total_count"] == len(answer["resources"])
            return [resource["resource_id"] for resource in answer["resources"]]

        assert await ids(resource_type="page") == ["p:1", "p:2"]
        assert await ids(tags=["eu"]) == ["i:1", "p:1", "p:2"]
        assert await ids(tags=["draft", "eu"]) == ["p:1", "p:2"]
        assert await ids(tags=["eu", "us"]) == []
        assert await ids(tags=[]) == await ids() == ["i:1", "p:1", "p:2", "p:3"]
        assert await ids(prefix="p:") == ["p:1", "p:2", "p:3"]
        assert await ids(prefix="p:", service_name="b") == ["p:3"]
        assert await ids(prefix="p:4") == []
        assert await ids(tags=["eu"], resource_type="image", instance_id="two") == ["i:1"]
        assert await ids(tags=["eu"], resource_ids=["p:2", "p:3"]) == ["p:2"]

        await one.ask("resource.update", resource_id="p:1", metadata={"tags": ["final"]}, merge=True)
        await two.ask("resource.update", resource_id="p:3", metadata=image)
        await one.ask("resource.release", resource_ids=["p:2"])
        assert await ids(tags=["eu"]) == ["i:1", "p:3"]
        assert await ids(tags=["final"], resource_type="page") == ["p:1"]
        await two.aclose()
        await trio.sleep(5)
        assert await ids(tags=["eu"]) == []


async def test_a_resource_is_described_with_its_owner_and_its_use(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        [info] = (await caller.ask("resource.query"))["resources"]
        assert info["calls_total"] == 0
        assert "last_called_at" not in info
        assert (info["owner_instance_id"], info["service_name"]) == ("owner", "service")
        assert info["is_healthy"] is True
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        assert info["epoch"] == request["meta"]["epoch"]
        await owner.answer(request, 1)
        await pending.result()
        [info] = (await caller.ask("resource.query"))["resources"]
        assert info["calls_total"] == 1
        assert info["last_called_at"] >= info["registered_at"]


async def test_cursors_and_offsets_page_through_everything_once(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        names = sorted(f"doc:{n}" for n in range(25))
        owner = await scenario.owner("owner", *names)
        seen: list[str] = []
        given: dict[str, object] = {}
        while True:
            page = await owner.ask("resource.query", limit=10, service_name="service", **given)
            seen += [resource["resource_id"] for resource in page["resources"]]
            assert page["total_count"] == 25
            if not page["has_more"]:
                assert "next_cursor" not in page
                break
            given = {"cursor": page["next_cursor"]}
        assert seen == names
        page = await owner.ask("resource.query", limit=10, offset=20)
        assert [resource["resource_id"] for resource in page["resources"]] == names[20:]


async def test_a_cursor_survives_changes_between_pages(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "a", "b", "c", "d")
        page = await owner.ask("resource.query", limit=2)
        await owner.ask("resource.release", resource_ids=["b", "c"])
        await owner.ask("resource.register", resource_ids=["aa", "e"])
        page = await owner.ask("resource.query", limit=10, cursor=page["next_cursor"])
        assert [resource["resource_id"] for resource in page["resources"]] == ["d", "e"]


async def test_bad_pages_are_refused(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "a", "b", "c")
        cursor = (await owner.ask("resource.query", limit=1))["next_cursor"]
        mistakes: list[dict[str, object]] = [
            {"limit": 0},
            {"limit": 1001},
            {"offset": -1},
            {"offset": 10_001},
            {"cursor": cursor, "offset": 1},
            {"cursor": cursor, "service_name": "service"},
            {"cursor": cursor[:-4] + "AAAA"},
            {"cursor": cursor + "A"},
            {"cursor": cursor + "=="},
            {"cursor": cursor + "\n"},
            {"cursor": "!" + cursor},
            {"cursor": "nonsense"},
            {"cursor": "\u00fc"},
            {"limit": 1.5},
            {"resource_ids": []},
            {"resource_ids": ["a", "b", "a"]},
            {"tags": "draft"},
            {"tags": [1]},
            {"prefix": 7},
            {"prefix": "a\u0000"},
            {"resource_type": ["page"]},
            {"owner": "a"},
        ]
        for given in mistakes:
            refused = await owner.refused("resource.query", **given)
            assert (refused.code, refused.type) == (-32602, "invalid_params"), given


async def test_bad_pages_of_instances_are_refused(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect()
        mistakes: list[dict[str, object]] = [
            {"limit": 0},
            {"limit": 1001},
            {"limit": True},
            {"offset": -1},
            {"offset": 10_001},
            {"offset": "1"},
            {"instance_id": 7},
            {"service_name": "no good name"},
            {"cursor": "there is none"},
        ]
        for given in mistakes:
            refused = await caller.refused("instance.query", **given)
            assert (refused.code, refused.type) == (-32602, "invalid_params"), given
        page = await caller.ask("instance.query", limit=1000, offset=10_000)
        assert (page["instances"], page["total_count"], page["has_more"]) == ([], 0, False)


async def test_a_page_is_cut_where_one_message_ends(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=8_000)) as scenario:
        names = sorted(f"doc:{n}:" + "x" * 200 for n in range(30))
        owner = await scenario.owner("owner", *names[:15])
        await owner.ask("resource.register", resource_ids=names[15:])
        seen: list[str] = []
        given: dict[str, object] = {}
        while True:
            page = await owner.ask("resource.query", limit=1000, **given)
            assert 0 < len(page["resources"]) < 20
            seen += [resource["resource_id"] for resource in page["resources"]]
            if not page["has_more"]:
                break
            given = {"cursor": page["next_cursor"]}
        assert seen == names


async def test_instances_are_described_with_their_health_and_load(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=10, timeout_seconds=100))
    async with open_scenario(settings) as scenario:
        busy = await scenario.instance("busy", "a", priority=3)
        await busy.ask("resource.register", resource_ids=["x", "y"])
        silent = await scenario.instance("silent", "a")
        await scenario.instance("other", "b")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("x", timeout_seconds=100)
        request = await busy.next()
        silent.lose_everything()
        await trio.sleep(13)
        result = await caller.ask("instance.query", service_name="a")
        first, second = result["instances"]
        assert result["total_count"] == 2
        assert (first["instance_id"], first["status"], first["priority"]) == ("busy", "healthy", 3)
        assert (first["resources"], first["in_flight"]) == (2, 1)
        assert first["latency_ms"] is not None
        assert (second["instance_id"], second["status"]) == ("silent", "unresponsive")
        assert "remote_address" not in first
        assert (await caller.ask("instance.query", instance_id="other"))["total_count"] == 1
        assert (await caller.ask("instance.query", instance_id="other", service_name="a"))["total_count"] == 0
        assert (await caller.ask("instance.query", service_name="unheard-of"))["instances"] == []
        page = await caller.ask("instance.query", limit=1, offset=1)
        assert ([i["instance_id"] for i in page["instances"]], page["has_more"]) == (["other"], True)
        await busy.answer(request)
        await pending.result()


async def test_administrators_see_where_an_instance_connects_from(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        worker = await scenario.instance("worker", metadata={"zone": "b"})
        [info] = (await worker.ask("instance.query"))["instances"]
        assert info["remote_address"]
        assert info["metadata"] == {"zone": "b"}


# --- in order, and in turns ---------------------------------------------------------------------------------------


async def test_a_query_takes_its_place_among_the_requests_of_its_session(autojump_clock: MockClock) -> None:
    ticks = itertools.count()
    async with open_scenario(is_lagging=False, turn_clock=lambda: next(ticks) / 100) as scenario:
        names = [f"r:{n:04d}" for n in range(900)]
        said = {name: {"resource_type": "page", "tags": ["a"]} for name in names}
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=names[:-1], metadata=dict(list(said.items())[:-1]))
        wanted = {"resource_type": "page", "tags": ["a"], "limit": 1}
        requests = (
            ("resource.register", {"resource_ids": names[-1:], "metadata": {names[-1]: said[names[-1]]}}),
            ("resource.query", wanted),
            ("resource.release", {"resource_ids": names[:10]}),
            ("resource.query", wanted),
        )
        pendings = [owner.expect(f"{n}") for n in range(len(requests))]
        await owner.say(
            *({"id": f"{n}", "method": method, "params": given} for n, (method, given) in enumerate(requests))
        )
        answers = [await pending.result() for pending in pendings]
        assert [answers[1]["total_count"], answers[3]["total_count"]] == [900, 890]
        assert [answers[1]["resources"][0]["resource_id"], answers[3]["resources"][0]["resource_id"]] == [
            "r:0000",
            "r:0010",
        ]


async def test_others_get_their_turn_while_somebody_asks_for_much(autojump_clock: MockClock) -> None:
    ticks = itertools.count()
    settings = Settings(max_resources_per_instance=20_000)
    async with open_scenario(settings, is_lagging=False, turn_clock=lambda: next(ticks) / 100) as scenario:
        owner = await scenario.instance("owner")
        for tag in ("a", "b"):
            names = [f"{tag}:{n:04d}" for n in range(3000)]
            said = {name: {"tags": [tag]} for name in names}
            await owner.ask("resource.register", resource_ids=names, metadata=said)
        curious = await scenario.connect("curious")
        other = await scenario.connect("other")
        pendings = [await curious.start("resource.query", {"tags": ["a", "b"]}) for _ in range(5)]
        await other.ask("session.ping")
        assert not pendings[-1].is_settled
        for pending in pendings:
            assert (await pending.result())["total_count"] == 0


async def test_a_session_that_leaves_in_the_middle_of_its_query_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    ticks = itertools.count()
    settings = Settings(max_resources_per_instance=20_000)
    async with open_scenario(settings, is_lagging=False, turn_clock=lambda: next(ticks) / 100) as scenario:
        owner = await scenario.instance("owner")
        for tag in ("a", "b"):
            names = [f"{tag}:{n:04d}" for n in range(3000)]
            await owner.ask(
                "resource.register", resource_ids=names, metadata={name: {"tags": [tag]} for name in names}
            )
        curious = await scenario.connect("curious")
        await curious.start("resource.query", {"tags": ["a", "b"]})
        await owner.ask("session.ping")
        curious.drop()
        await trio.sleep(5)
        assert (await owner.ask("resource.query", limit=1))["total_count"] == 6000


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_a_batch_of_queries_is_answered_as_a_whole(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        said = {f"r:{n}": {"tags": ["even" if n % 2 == 0 else "odd"]} for n in range(8)}
        await owner.ask("resource.register", resource_ids=list(said), metadata=said)
        party = await scenario.connect(subprotocol=subprotocol)
        asked = [{"tags": ["even"]}, {"tags": ["odd"], "limit": 0}, {"prefix": "r:7"}]
        pendings = [party.expect(number) for number in range(3)]
        await party.say_batch(
            *(
                {"jsonrpc": "2.0", "id": n, "method": "resource.query", "params": params}
                for n, params in enumerate(asked)
            )
        )
        assert (await pendings[0].result())["total_count"] == 4
        assert (await pendings[1].refusal()).type == "invalid_params"
        [info] = (await pendings[2].result())["resources"]
        assert (info["resource_id"], info["metadata"]["tags"]) == ("r:7", ["odd"])


async def test_metadata_is_found_for_as_long_as_it_is_there(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        first = await scenario.instance("first")
        second = await scenario.instance("second")

        async def found(**filters: object) -> list[tuple[str, str]]:
            page = await second.ask("resource.query", **filters)
            assert page["total_count"] == len(page["resources"])
            return [(info["resource_id"], info["owner_instance_id"]) for info in page["resources"]]

        page = {"resource_type": "page", "tags": ["a"]}
        short = {**page, "ttl_seconds": 5}
        await first.ask(
            "resource.register", resource_ids=["x", "y", "z"], metadata={"x": page, "y": page, "z": short}
        )
        assert await found(tags=["a"], prefix="z") == [("z", "first")]
        await trio.sleep(6)
        assert await found(tags=["a"]) == [("x", "first"), ("y", "first")]
        # taken by force it keeps what it says of itself; released and registered again it says nothing
        await second.ask("resource.register", resource_ids=["x"], force=True)
        assert await found(tags=["a"], instance_id="second") == [("x", "second")]
        await first.ask("resource.release", resource_ids=["y"])
        await first.ask("resource.register", resource_ids=["y"])
        assert await found(resource_type="page") == [("x", "second")]
        await second.ask("resource.update", resource_id="x", metadata={"resource_type": None}, merge=True)
        await second.ask("resource.update", resource_id="y", metadata=page)
        assert await found(resource_type="page") == [("y", "first")]
        assert await found(tags=["a"]) == [("x", "second"), ("y", "first")]
        first.drop()
        await trio.sleep(5)
        assert await found(tags=["a"]) == [("x", "second")]
