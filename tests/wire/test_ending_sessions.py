"""``session.end``: an administrator closes a session, and what it owned is free."""

import trio
from trio.testing import MockClock

from resroute.settings import Settings
from tests.scenario import Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


async def session_id_of(party: Party) -> str:
    return str((await party.ask("session.info"))["session_id"])


async def how_it_ended(party: Party) -> tuple[int | None, str]:
    ended = await party.wait_ended()
    return ended.code, ended.reason


async def test_only_administrators_end_sessions(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        victim, other = await scenario.connect(), await scenario.instance("other")
        refused = await other.refused("session.end", session_id=await session_id_of(victim), reason="envy")
        assert (refused.code, refused.type, refused.data["required"]) == (403, "forbidden", "admin")
        assert await victim.ask("session.ping")


async def test_a_session_that_is_not_there_cannot_be_ended(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        boss, victim = await scenario.connect(), await scenario.connect()
        refused = await boss.refused("session.end", session_id="session-0", reason="gone")
        assert (refused.code, refused.type, refused.data["session_id"]) == (
            404,
            "session_not_found",
            "session-0",
        )
        known = await session_id_of(victim)
        await boss.ask("session.end", session_id=known, reason="once")
        assert (await boss.refused("session.end", session_id=known, reason="twice")).type == (
            "session_not_found"
        )
        refused = await boss.refused("session.end", session_id=known)
        assert refused.data["errors"][0]["path"] == "reason"


async def test_who_is_ended_hears_why_and_all_it_owned_is_free_before_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        heir, caller = await scenario.instance("heir"), await scenario.connect()
        call = await caller.start_call("doc:7")
        await owner.next()
        ended = await session_id_of(owner)
        await heir.ask("session.end", session_id=ended, reason="it writes nonsense")
        assert (await heir.ask("resource.register", resource_ids=["doc:7"]))["success"]
        assert await how_it_ended(owner) == (4010, "it writes nonsense")
        refused = await call.refusal()
        assert (refused.type, refused.data["delivery"]) == ("owner_disconnected", "unknown")
        causes = [it["cause"] for it in await transitions(scenario, "doc:7")]
        assert causes == ["request", "admin", "request"]


async def transitions(scenario: Scenario, resource_id: str) -> list[dict[str, str]]:
    observer = await scenario.connect()
    told: list[dict[str, str]] = (await observer.ask("route.explain", resource_id=resource_id))["transitions"]
    return told


async def test_an_administrator_who_ends_its_own_session_hears_the_answer_first(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        boss = await scenario.owner("boss", "doc:7")
        await boss.ask("session.end", session_id=await session_id_of(boss), reason="enough for today")
        assert await how_it_ended(boss) == (4010, "enough for today")


async def test_an_administrator_may_leave_before_the_answer(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        boss, victim = await scenario.connect(), await scenario.connect()
        await boss.start("session.end", {"session_id": await session_id_of(victim), "reason": "last act"})
        boss.drop()
        assert await how_it_ended(victim) == (4010, "last act")


async def test_who_does_not_read_is_ended_at_once_and_what_waits_for_it_is_dropped(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, boss = await scenario.owner("owner", "doc:7"), await scenario.connect()
        victim = await scenario.connect("victim", buffer_bytes=10_000)
        ended = await session_id_of(victim)
        calls = [await victim.start_call("doc:7") for _ in range(3)]
        requests = [await owner.next() for _ in calls]
        victim.stall()
        for request in requests:
            await owner.answer(request, "x" * 20_000)
        await trio.sleep(1)
        began_at = trio.current_time()
        await boss.ask("session.end", session_id=ended, reason="it does not read")
        assert trio.current_time() - began_at <= 5, "nobody waits for it"
        victim.resume()
        await victim.wait_ended()
        assert any(call.message is None for call in calls)
