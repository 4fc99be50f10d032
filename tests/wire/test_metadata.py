"""What resources say of themselves: given when they are registered, changed later, told to whoever asks."""

import json
from typing import Any

import pytest
from trio.testing import MockClock

from resroute.ids import ServiceName
from resroute.settings import Settings
from tests.scenario import Party, open_scenario

ADMIN = Settings(anonymous_roles=("admin",))
DRAFT = {"resource_type": "document", "tags": ["draft"], "attributes": {"pages": 3}, "priority": 2}


async def metadata_of(party: Party, resource_id: str) -> Any:
    [info] = (await party.ask("resource.query", resource_ids=[resource_id]))["resources"]
    return info.get("metadata")


async def test_metadata_is_told_with_what_the_router_adds_to_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["doc:7", "doc:8"], metadata={"doc:7": DRAFT})
        caller = await scenario.connect("caller")
        first, second = (await caller.ask("resource.query"))["resources"]
        added = {
            "version": 1,
            "created_by": "owner",
            "last_modified": first["registered_at"],
            "ttl_seconds": None,
        }
        assert first["metadata"] == {**DRAFT, **added}
        assert "metadata" not in second
        explained = await caller.ask("route.explain", resource_id="doc:7")
        assert explained["owner"]["metadata"] == first["metadata"]
        page = await caller.ask("resource.query", include_metadata=False)
        assert all("metadata" not in info for info in page["resources"])


async def test_an_update_replaces_or_merges_and_answers_what_is_there_then(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": DRAFT})
        merged = {"attributes": {"pages": None, "by": "me"}, "priority": 0}
        result = await owner.ask("resource.update", resource_id="doc:7", metadata=merged, merge=True)
        metadata = result["resource"]["metadata"]
        assert (metadata["version"], metadata["attributes"], metadata["tags"]) == (2, {"by": "me"}, ["draft"])
        result = await owner.ask("resource.update", resource_id="doc:7", metadata={"tags": ["final"]})
        metadata = result["resource"]["metadata"]
        assert metadata == await metadata_of(owner, "doc:7")
        assert (metadata["version"], metadata["attributes"], metadata["tags"]) == (3, {}, ["final"])
        assert metadata["resource_type"] is None
        assert metadata["priority"] == 0


async def test_what_was_read_can_be_sent_back_whatever_the_router_has_added(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": DRAFT})
        read = await metadata_of(owner, "doc:7")
        for ignored in ({}, {"version": [{}], "created_by": 1e9, "last_modified": {"x" * 20_000: None}}):
            await owner.ask("resource.update", resource_id="doc:7", metadata={**read, **ignored})
        now = await metadata_of(owner, "doc:7")
        assert now["version"] == 3
        assert {**now, "version": 1, "last_modified": read["last_modified"]} == read


async def test_of_two_who_expect_the_same_version_one_is_refused(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        admin = await scenario.connect("admin")
        expected = {"resource_id": "doc:7", "metadata": DRAFT, "expected_version": 0}
        await admin.ask("resource.update", **expected)
        refused = await owner.refused("resource.update", **expected)
        assert (refused.code, refused.type, refused.is_routers) == (409, "version_conflict", True)
        assert (refused.data["expected_version"], refused.data["current_version"]) == (0, 1)
        assert refused.data["resource_id"] == "doc:7"
        assert (await metadata_of(owner, "doc:7"))["created_by"] == "owner"


async def test_nobody_but_the_owner_and_administrators_update(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        rival = await scenario.instance("rival")
        caller = await scenario.connect("caller")
        given = {"resource_id": "doc:7", "metadata": DRAFT}
        refused = await rival.refused("resource.update", **given)
        assert (refused.code, refused.type, refused.data["owner_instance_id"]) == (403, "not_owner", "owner")
        refused = await caller.refused("resource.update", **given)
        assert (refused.code, refused.data["required"]) == (403, "instance.register")
        refused = await owner.refused("resource.update", resource_id="doc:8", metadata=DRAFT)
        assert (refused.code, refused.type) == (404, "resource_not_found")
        assert await metadata_of(owner, "doc:7") is None


async def test_the_transitions_of_a_resource_tell_its_updates(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        admin = await scenario.connect("admin")
        await owner.ask("resource.update", resource_id="doc:7", metadata=DRAFT)
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": DRAFT})
        await admin.ask("resource.update", resource_id="doc:7", metadata={})
        transitions = (await admin.ask("route.explain", resource_id="doc:7"))["transitions"]
        assert [(told["event"], told["cause"], told["instance_id"]) for told in transitions] == [
            ("registered", "request", "owner"),
            ("updated", "request", "owner"),
            ("updated", "request", "owner"),
            ("updated", "admin", "owner"),
        ]


async def test_metadata_stays_when_a_resource_is_taken_by_force(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", resource_ids=["doc:7"], metadata={"doc:7": DRAFT})
        before = await metadata_of(owner, "doc:7")
        other = await scenario.instance("other")
        await other.ask("resource.register", resource_ids=["doc:7"], force=True)
        assert await metadata_of(other, "doc:7") == before
        assert (await owner.next("resource.lost"))["params"]["cause"] == "forced"


async def test_an_update_tells_nobody_of_a_new_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        bound = await scenario.connect("bound", target="/resources/doc:7?owner_changes=true")
        await owner.ask("resource.update", resource_id="doc:7", metadata=DRAFT)
        assert not bound.has_news


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"metadata": {"doc:9": {}}}, ["metadata.doc:9"]),
        ({"metadata": []}, ["metadata"]),
        ({"metadata": {"doc:7": []}}, ["metadata.doc:7"]),
        ({"metadata": {"doc:7": None}}, ["metadata.doc:7"]),
        ({"metadata": {"doc:7": {"tags": ["a", 5]}}}, ["metadata.doc:7.tags.1"]),
        ({"metadata": {"doc:7": {"tags": None}}}, ["metadata.doc:7.tags"]),
        ({"metadata": {"doc:7": {"tags": ["a\0"]}}}, ["metadata.doc:7.tags.0"]),
        ({"metadata": {"doc:7": {"resource_type": 5}}}, ["metadata.doc:7.resource_type"]),
        ({"metadata": {"doc:7": {"resource_type": "a\0"}}}, ["metadata.doc:7.resource_type"]),
        ({"metadata": {"doc:7": {"priority": 1.0}}}, ["metadata.doc:7.priority"]),
        ({"metadata": {"doc:7": {"priority": True}}}, ["metadata.doc:7.priority"]),
        ({"metadata": {"doc:7": {"priority": 2**64}}}, ["metadata.doc:7.priority"]),
        ({"metadata": {"doc:7": {"attributes": None}}}, ["metadata.doc:7.attributes"]),
        ({"metadata": {"doc:7": {"attributes": [1]}}}, ["metadata.doc:7.attributes"]),
        ({"metadata": {"doc:7": {"attributes": {"a": "\0"}}}}, ["metadata.doc:7.attributes"]),
        ({"metadata": {"doc:7": {"attributes": {"a": [2**64]}}}}, ["metadata.doc:7.attributes"]),
        ({"metadata": {"doc:7": {"attributes": {"a": "x" * 500}}}}, ["metadata.doc:7.attributes"]),
        ({"metadata": {"doc:7": {"tags": ["x" * 40] * 12}}}, ["metadata.doc:7"]),
        (
            {"metadata": {"doc:7": {"color": 1, "priority": "high"}}},
            ["metadata.doc:7.color", "metadata.doc:7.priority"],
        ),
        (
            {"metadata": {"doc:7": {"color": 1}, "doc:8": {"tags": 1}}},
            ["metadata.doc:7.color", "metadata.doc:8.tags"],
        ),
    ],
)
async def test_wrong_metadata_is_named_where_it_is_wrong(
    autojump_clock: MockClock, given: dict[str, Any], paths: list[str]
) -> None:
    async with open_scenario(Settings(max_metadata_bytes=400)) as scenario:
        owner = await scenario.instance("owner")
        refused = await owner.refused("resource.register", resource_ids=["doc:7", "doc:8"], **given)
        assert (refused.code, refused.type) == (-32602, "invalid_params")
        assert sorted(error["path"] for error in refused.data["errors"]) == paths
        assert (await owner.ask("resource.query"))["total_count"] == 0


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"metadata": None}, "metadata"),
        ({}, "metadata"),
        ({"metadata": {"tags": 1}}, "metadata.tags"),
        ({"metadata": {"tags": ["x" * 500]}}, "metadata"),
        ({"metadata": {}, "expected_version": "1"}, "expected_version"),
        ({"metadata": {}, "merge": None}, "merge"),
    ],
)
async def test_a_wrong_update_changes_nothing(
    autojump_clock: MockClock, given: dict[str, Any], path: str
) -> None:
    async with open_scenario(Settings(max_metadata_bytes=400)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        refused = await owner.refused("resource.update", resource_id="doc:7", **given)
        assert [error["path"] for error in refused.data["errors"]] == [path]
        assert await metadata_of(owner, "doc:7") is None


async def test_attributes_come_back_as_they_were_written(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        attributes = '{ "a" : 1.10, "\\u00e9" : [1E2, 18446744073709551615], "b\\\\u0000" : {"deep" : [[]]} }'
        pending = owner.expect(77)
        await owner.say_text(
            '{"jsonrpc":"2.0","id":77,"method":"resource.update","params":{"resource_id":"doc:7",'
            f'"metadata":{{"attributes":{attributes}}}}}}}'
        )
        result = await pending.result()
        assert result["resource"]["metadata"]["attributes"] == json.loads(attributes)


async def test_a_page_with_metadata_is_cut_where_one_message_ends(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=8_000)) as scenario:
        owner = await scenario.instance("owner")
        names = [f"doc:{n}" for n in range(9)]
        for name in names:
            metadata = {name: {"attributes": {"text": "x" * 2000}}}
            await owner.ask("resource.register", resource_ids=[name], metadata=metadata)
        page = await owner.ask("resource.query")
        assert 0 < len(page["resources"]) < 5
        assert page["has_more"] is True
        page = await owner.ask("resource.query", include_metadata=False)
        assert [info["resource_id"] for info in page["resources"]] == names


async def test_how_large_metadata_is_is_counted_whenever_some_is_given_or_changed(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner", "documents")
        given = {"doc:7": {"attributes": {"text": "x" * 100}}, "doc:8": {}}
        await owner.ask("resource.register", resource_ids=["doc:7", "doc:8", "doc:9"], metadata=given)
        await owner.ask("resource.register", resource_ids=["doc:9"], metadata={"doc:9": {"priority": 1}})
        await owner.ask("resource.update", resource_id="doc:8", metadata={"tags": ["draft"]})
        await owner.ask("resource.register", resource_ids=["doc:8"])
        await owner.refused("resource.update", resource_id="doc:8", metadata={"tags": []}, expected_version=7)
        sizes = scenario.router.metrics.ownership_of(ServiceName("documents")).metadata_sizes
        expected = [
            len(json.dumps(metadata, separators=(",", ":")))
            for metadata in (given["doc:7"], {}, {"priority": 1}, {"tags": ["draft"]})
        ]
        assert sizes.sum == sum(expected)
        assert sizes.counts == [3, 1, 0, 0, 0, 0, 0]
