"""A callee may refuse a call as stale before it runs anything: the call goes to the newer owner, once."""

from typing import Any

import pytest
from trio.testing import MockClock

from resroute.settings import Settings
from tests.scenario import Party, Scenario, open_scenario

ADMINS = Settings(anonymous_roles=("caller", "instance", "admin"))
STALE = {"type": "stale_epoch"}


async def refuse_as_stale(party: Party, request: dict[str, Any]) -> None:
    await party.fail(request, 409, "stale epoch", data=STALE)


async def open_pair(scenario: Scenario) -> tuple[Party, Party, Party]:
    owner = await scenario.owner("owner", "doc:7")
    return owner, await scenario.instance("heir"), await scenario.connect("caller")


async def test_a_stale_call_goes_to_the_newer_owner_with_its_epoch(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, heir, caller = await open_pair(scenario)
        call = await caller.start_call("doc:7", "write", {"text": "x"}, idempotency_key="k", meta={})
        request = await owner.next("write")
        granted = await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        await refuse_as_stale(owner, request)
        again = await heir.next("write")
        assert again["params"] == {"text": "x"}
        assert again["meta"]["epoch"] == granted["epochs"]["doc:7"] > request["meta"]["epoch"]
        assert again["meta"]["idempotency_key"] == "k"
        await heir.answer(again, "written")
        answer = await call.answer()
        assert answer["result"] == "written" and answer["meta"]["instance_id"] == "heir"


async def test_a_call_that_nobody_newer_owns_has_moved_and_was_not_delivered(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, _, caller = await open_pair(scenario)
        call = await caller.start_call("doc:7")
        await refuse_as_stale(owner, await owner.next())
        refusal = await call.refusal()
        assert (refusal.code, refusal.data["reason"], refusal.data["delivery"]) == (
            503,
            "moved",
            "not_delivered",
        )
        assert refusal.is_routers


async def test_a_call_is_routed_only_once_more(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, heir, caller = await open_pair(scenario)
        call = await caller.start_call("doc:7")
        request = await owner.next()
        await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        await refuse_as_stale(owner, request)
        again = await heir.next()
        await owner.ask("resource.register", resource_ids=["doc:7"], force=True)
        await refuse_as_stale(heir, again)
        assert (await call.refusal()).data["reason"] == "moved"


async def test_a_call_too_large_to_be_kept_is_told_that_it_may_be_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, heir, caller = await open_pair(scenario)
        call = await caller.start_call("doc:7", params=["x" * 70_000])
        request = await owner.next()
        await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        await refuse_as_stale(owner, request)
        refusal = await call.refusal()
        assert (refusal.data["reason"], refusal.data["delivery"]) == ("moved", "not_delivered")
        assert scenario.statistics().memory_bytes == 0


@pytest.mark.parametrize(
    ("code", "data"),
    [(409, {"type": "other"}), (410, STALE), (409, "stale_epoch"), (409, None), (409, {"type": 1})],
)
async def test_other_errors_are_the_callees_own(autojump_clock: MockClock, code: int, data: Any) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, _, caller = await open_pair(scenario)
        call = await caller.start_call("doc:7")
        await owner.fail(await owner.next(), code, "mine", data=data)
        answer = await call.answer()
        assert (answer["error"]["code"], answer["error"]["data"]) == (code, data)
        assert "meta" not in answer


async def test_a_call_by_service_has_no_epoch_to_be_stale(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMINS) as scenario:
        owner, _, caller = await open_pair(scenario)
        await scenario.instance("only", "alone")
        call = await caller.start_call(service_name="alone")
        only = scenario.parties[-1]
        await refuse_as_stale(only, await only.next())
        refusal = await call.refusal()
        assert (refusal.code, refusal.is_routers) == (409, False)
        assert owner.take_news() == []
