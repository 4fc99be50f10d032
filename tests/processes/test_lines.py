"""Calls that wait inside the router, between processes: who has a turn, and what becomes of them when an owner is killed."""

from collections import Counter

from tests.processes.accounts import Accounts
from tests.processes.running import open_router

NOISY, MODEST = 200, 2


async def test_a_hundred_to_one_load_from_two_processes_leaves_each_its_share() -> None:
    async with open_router() as router, router.open_session("store-1") as owner:
        await owner.become("store", "doc:1", instance_id="store-1", max_concurrency=1)
        async with router.open_caller("doc:1", NOISY), router.open_caller("doc:1", MODEST):
            callers = []
            for _ in range(NOISY + MODEST):
                request = await owner.next_request()
                callers.append(request["meta"]["caller"]["session_id"])
                await owner.answer(request, "done")
        counts = Counter(callers)
        assert sorted(counts.values()) == [MODEST, NOISY]
        modest = min(counts, key=counts.__getitem__)
        # one call was there before anybody else came; from then on the two take turns
        assert [number for number, caller in enumerate(callers) if caller == modest][-1] <= 2 * MODEST


async def test_what_waits_when_an_owner_is_killed_is_refused_or_goes_to_the_next() -> None:
    async with open_router() as router, router.open_session() as session:
        with_owner, in_line, patient, early = (Accounts(session) for _ in range(4))
        for _ in range(3):
            await early.start("echo", resource_id="doc:2", wait_for_owner_seconds=60, timeout_seconds=60)
        async with router.open_owner("store-1", "doc:1", max_concurrency=2) as owner:
            for _ in range(2):
                await with_owner.start("hold", resource_id="doc:1")
            for _ in range(5):
                await in_line.start("echo", resource_id="doc:1")
                await patient.start(
                    "echo", resource_id="doc:1", wait_for_owner_seconds=60, timeout_seconds=60
                )
            await owner.wait_requests(2)
            await session.ask("session.ping")  # behind the calls: the router has seen them all
            owner.kill()
            await with_owner.wait_settled()
            await in_line.wait_settled()
            assert with_owner.refusals() == {("owner_disconnected", "unknown"): 2}
            assert in_line.refusals() == {("owner_disconnected", "not_delivered"): 5}
            assert len(owner.requests()) == 2
        assert not any(call.is_settled for call in (*patient.calls, *early.calls))

        async with router.open_owner("store-2", "doc:1", "doc:2", max_concurrency=1) as heir:
            for accounts in (patient, early):
                await accounts.wait_settled()
                assert accounts.answered == [{"by": "store-2"}] * len(accounts.calls)
            assert len(heir.requests()) == 8
        assert (await router.metrics())["calls_in_flight"] == 0
