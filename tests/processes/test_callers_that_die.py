"""A caller's process is killed, or cut off, with calls in flight: what its owner hears, and what the router keeps."""

from collections import Counter

import trio

from tests.processes.proxy import open_proxy
from tests.processes.running import TABLES, Peer, open_router


def cancelled(owner: Peer) -> list[int]:
    """The correlation ids that the owner was told to cancel."""
    return [notice["params"]["id"] for notice in owner.notices() if notice["method"] == "$/cancelRequest"]


def delivered(owner: Peer) -> list[int]:
    """The correlation ids of the calls that reached it."""
    return [request["id"] for request in owner.requests()]


async def test_the_calls_of_a_killed_caller_are_cancelled_at_once_and_forgotten() -> None:
    async with open_router() as router:
        async with router.open_owner("store-1", "doc:1") as owner:
            before = await router.metrics()
            async with router.open_caller("doc:1", 100) as caller:
                await owner.wait_requests(100)
                assert (await router.metrics())["calls_in_flight"] == 100

                killed_at = caller.kill()
                await owner.program.wait_until(lambda: len(cancelled(owner)) == 100)
                print(f"all cancelled {(trio.current_time() - killed_at) * 1000:.1f} ms after the kill")
                assert Counter(cancelled(owner)) == Counter(delivered(owner))

            after = await router.wait_metrics(lambda metrics: metrics["sessions"] == before["sessions"])
            assert {name: after[name] for name in TABLES} == {name: before[name] for name in TABLES}
            assert after['calls_total{outcome="caller_gone"}'] == 100
        await router.wait_baseline()


async def test_answers_to_a_caller_that_is_gone_are_dropped_and_counted() -> None:
    async with open_router() as router, router.open_instance("store-1", "doc:1") as owner:
        async with router.open_caller("doc:1", 10) as caller:
            requests = [await owner.next_request() for _ in range(10)]
            caller.kill()
            notices = [await owner.next_notice() for _ in range(10)]
        assert {notice["method"] for notice in notices} == {"$/cancelRequest"}
        assert [notice["params"]["id"] for notice in notices] == [request["id"] for request in requests]
        for request in requests:
            await owner.answer(request, "too late")
        await owner.ask("session.ping")
        assert (await router.metrics())["dropped_answers_total"] == 10


async def test_the_calls_of_a_silent_caller_are_cancelled_when_its_heartbeat_is_lost() -> None:
    async with (
        open_router(heartbeat_interval_seconds=0.5, heartbeat_timeout_seconds=2.0) as router,
        router.open_owner("store-1", "doc:1") as owner,
        open_proxy(router.port) as proxy,
        router.open_caller("doc:1", 10, url=proxy.url) as caller,
    ):
        await owner.wait_requests(10)
        caller.is_cut_off()
        proxy.cut()
        await owner.program.wait_until(lambda: len(cancelled(owner)) == 10)
        assert Counter(cancelled(owner)) == Counter(delivered(owner))
        after = await router.metrics()
        assert (after["sessions"], after["calls_in_flight"]) == (1, 0)
