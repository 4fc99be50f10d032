"""Resources with a time to live: they are free in time, whoever owned them is told, and renewing puts it off."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from tests.scenario import open_scenario

LATE_SECONDS = 0.1 + 0.2
"""So late at most its owner hears of it: with what a late log takes to decide twice."""


def lasting(seconds: float, *names: str) -> dict[str, Any]:
    return {"resource_ids": list(names), "metadata": {name: {"ttl_seconds": seconds} for name in names}}


async def test_a_resource_is_free_when_its_time_is_over_and_its_owner_is_told(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        began = trio.current_time()
        await owner.ask("resource.register", **lasting(5, "doc:7", "doc:8"))
        await owner.ask("resource.register", resource_ids=["doc:9"])
        assert scenario.statistics().timers == 2
        [info] = (await owner.ask("resource.query", resource_ids=["doc:7"]))["resources"]
        assert info["expires_at"] > info["registered_at"]
        assert info["metadata"]["ttl_seconds"] == 5
        lost = await owner.next("resource.lost")
        assert 5 <= trio.current_time() - began <= 5 + LATE_SECONDS
        assert lost["params"] == {"resource_ids": ["doc:7", "doc:8"], "cause": "expired"}
        assert (await owner.ask("resource.query"))["total_count"] == 1
        assert scenario.statistics().timers == 0
        caller = await scenario.connect("caller")
        refused = await caller.refused("route.call", resource_id="doc:7", method="work")
        assert refused.type == "resource_not_found"
        transitions = (await caller.ask("route.explain", resource_id="doc:7"))["transitions"]
        assert [(told["event"], told["cause"], told["instance_id"]) for told in transitions] == [
            ("registered", "request", "owner"),
            ("expired", "expired", "owner"),
        ]


async def test_what_is_renewed_in_time_stays(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", **lasting(5, "doc:7"))
        await owner.ask("resource.register", resource_ids=["doc:8"])
        for _ in range(3):
            await trio.sleep(4)
            result = await owner.ask("resource.renew", resource_ids=["doc:7", "doc:8"])
            assert result["renewed"] == ["doc:7", "doc:8"]
            assert list(result["expires_at"]) == ["doc:7"]
        await owner.ask("resource.renew", resource_ids=["doc:7"], ttl_seconds=50)
        await trio.sleep(45)
        assert not owner.has_news
        await owner.ask("resource.register", resource_ids=["doc:7"])
        began = trio.current_time()
        await owner.next("resource.lost")
        assert 5 <= trio.current_time() - began <= 5 + LATE_SECONDS


async def test_a_time_to_live_that_is_removed_is_no_more(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", **lasting(5, "doc:7"))
        result = await owner.ask("resource.update", resource_id="doc:7", metadata={"tags": ["a"]})
        assert result["resource"]["metadata"]["ttl_seconds"] == 5
        result = await owner.ask(
            "resource.update", resource_id="doc:7", metadata={"ttl_seconds": None}, merge=True
        )
        assert result["resource"]["metadata"]["ttl_seconds"] is None
        assert "expires_at" not in result["resource"]
        assert scenario.statistics().timers == 0
        await trio.sleep(10)
        assert not owner.has_news


async def test_no_timer_is_left_of_what_was_released_or_whose_owner_has_gone(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        other = await scenario.instance("other")
        await owner.ask("resource.register", **lasting(1000, "a", "b"))
        await other.ask("resource.register", **lasting(1000, *(f"c{n}" for n in range(50))))
        await owner.ask("resource.release", resource_ids=["a"])
        assert scenario.statistics().timers == 51
        other.drop()
        await scenario.wait_until(lambda: scenario.statistics().unreclaimed == 0)
        await scenario.wait_until(lambda: scenario.statistics().timers == 1)
        await owner.ask("resource.release", resource_ids=["b"])
        assert scenario.statistics().timers == 0


async def test_a_call_for_what_expires_waits_for_the_next_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", **lasting(2, "doc:7"))
        caller = await scenario.connect("caller")
        handed_over = await caller.start_call("doc:7")
        request = await owner.next()
        await owner.next("resource.lost")
        waiting = await caller.start_call("doc:7", wait_for_owner_seconds=10)
        await owner.answer(request, "late but good")
        assert await handed_over.result() == "late but good"
        await owner.ask("resource.register", resource_ids=["doc:7"])
        await owner.answer(await owner.next(), "from the next life")
        assert await waiting.result() == "from the next life"


@pytest.mark.parametrize("seconds", [0, -1, 1e10, 1e300, "5", True, [5]])
async def test_a_time_to_live_is_a_number_above_0(autojump_clock: MockClock, seconds: Any) -> None:
    async with open_scenario(Settings()) as scenario:
        owner = await scenario.instance("owner")
        refused = await owner.refused("resource.register", **lasting(seconds, "doc:7"))
        assert [error["path"] for error in refused.data["errors"]] == ["metadata.doc:7.ttl_seconds"]
        await owner.ask("resource.register", resource_ids=["doc:7"])
        refused = await owner.refused("resource.renew", resource_ids=["doc:7"], ttl_seconds=seconds)
        assert [error["path"] for error in refused.data["errors"]] == ["ttl_seconds"]
        refused = await owner.refused(
            "resource.update", resource_id="doc:7", metadata={"ttl_seconds": seconds}
        )
        assert [error["path"] for error in refused.data["errors"]] == ["metadata.ttl_seconds"]


async def test_renewing_is_for_all_or_none(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("other", "doc:9")
        owner = await scenario.instance("owner")
        await owner.ask("resource.register", **lasting(5, "doc:7"))
        await trio.sleep(3)
        refused = await owner.refused("resource.renew", resource_ids=["doc:7", "doc:9"])
        assert (refused.code, refused.type) == (403, "not_owner")
        refused = await owner.refused("resource.renew", resource_ids=["doc:7", "doc:8"])
        assert (refused.code, refused.type) == (404, "resource_not_found")
        for wrong in ([], ["doc:7", "doc:7"]):
            assert (await owner.refused("resource.renew", resource_ids=wrong)).code == -32602
        caller = await scenario.connect("caller")
        assert (await caller.refused("resource.renew", resource_ids=["doc:7"])).code == 403
        began = trio.current_time()
        await owner.next("resource.lost")
        assert trio.current_time() - began <= 2 + LATE_SECONDS


async def test_who_asked_for_owners_hears_of_an_expiry_and_of_no_renewal(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        client = await scenario.connect("client", target="/resources/doc:7?owner_changes=true")
        owner = await scenario.instance("owner")
        granted = await owner.ask(
            "resource.register", resource_ids=["doc:7"], metadata={"doc:7": {"ttl_seconds": 5}}
        )
        await owner.ask("resource.renew", resource_ids=["doc:7"])
        await owner.ask("resource.update", resource_id="doc:7", metadata={"tags": ["a"]})
        told = await client.next("$/ownerChanged")
        assert told["params"] == {"resource_id": "doc:7", "epoch": granted["epochs"]["doc:7"]}
        await trio.testing.wait_all_tasks_blocked()
        assert not client.has_news
        await owner.next("resource.lost")
        assert (await client.next("$/ownerChanged"))["params"] == {"resource_id": "doc:7"}
        assert not client.has_news
