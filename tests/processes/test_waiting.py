"""Processes that wait for what others own, over real sockets: those that are killed, and those that live on."""

import signal
from contextlib import AsyncExitStack

import trio

from tests.processes.independent import Pending, Session
from tests.processes.running import Serving, open_router
from tests.processes.test_owners_that_die import SOON_SECONDS

IDS = ("doc:1", "doc:2", "doc:3")


async def wait_for(session: Session, *resource_ids: str) -> Pending:
    return await session.start("resource.register", resource_ids=resource_ids, wait_seconds=60)


async def wait_waiters(router: Serving, count: int) -> None:
    await router.wait_metrics(lambda metrics: metrics["waiters"] == count)


async def test_what_a_killed_owner_had_goes_to_who_waits_and_not_to_who_asks_all_the_time() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS) as owner,
            router.open_instance("store-2") as waiter,
            router.open_instance("store-3") as rival,
            trio.open_nursery() as nursery,
        ):
            pending = await wait_for(waiter, *IDS)
            await wait_waiters(router, 1)

            async def ask_all_the_time() -> None:
                while True:
                    answer = await rival.ask("resource.register", resource_ids=["doc:2"], partial=True)
                    assert answer["conflicts"]

            nursery.start_soon(ask_all_the_time)
            killed_at = owner.kill()
            epochs = (await pending.wait())["epochs"]
            print(f"granted after {(pending.answered_at - killed_at) * 1000:.1f} ms")
            assert pending.answered_at - killed_at < SOON_SECONDS
            assert set(epochs) == set(IDS)
            call = await rival.start_call("echo", resource_id="doc:1")
            request = await waiter.next_request()
            assert request["meta"]["epoch"] == epochs["doc:1"]
            await waiter.answer(request, "from who waited")
            assert await call.wait() == "from who waited"
            nursery.cancel_scope.cancel()
        await router.wait_baseline()


async def test_each_of_those_who_wait_is_killed_as_soon_as_it_has_it() -> None:
    async with open_router() as router, AsyncExitStack() as stack:
        last = await stack.enter_async_context(router.open_owner("store-0", "doc:1"))
        waiting = []
        for number in range(1, 5):
            waiting.append(
                await stack.enter_async_context(router.open_owner(f"store-{number}", waits_for=["doc:1"]))
            )
            await wait_waiters(router, number)
        epoch = 0
        for waiter in waiting:
            last.kill()
            granted = (await waiter.wait_event("granted"))["granted"]
            assert granted["doc:1"] > epoch
            epoch, last = granted["doc:1"], waiter
        last.kill()
        await router.wait_baseline()


async def test_who_is_killed_while_it_waits_is_passed_over() -> None:
    async with (
        open_router() as router,
        router.open_instance("store-1", "doc:1") as owner,
        router.open_owner("store-2", waits_for=["doc:1", "doc:2"]) as killed,
    ):
        await wait_waiters(router, 1)
        async with router.open_instance("store-3") as next_one:
            pending = await wait_for(next_one, "doc:1")
            await wait_waiters(router, 2)
            killed.kill()
            await wait_waiters(router, 1)
            await owner.ask("resource.release", resource_ids=["doc:1"])
            assert list((await pending.wait())["epochs"]) == ["doc:1"]
            page = await owner.ask("resource.query")
            assert [info["resource_id"] for info in page["resources"]] == ["doc:1"]


async def test_an_owner_that_stands_still_is_found_out_by_who_waits() -> None:
    async with (
        open_router(
            heartbeat_interval_seconds=0.5, heartbeat_timeout_seconds=60, probe_timeout_seconds=1
        ) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_instance("store-2") as waiter,
    ):
        owner.stop()
        await trio.sleep(3)
        began = trio.current_time()
        assert list((await (await wait_for(waiter, "doc:1")).wait())["epochs"]) == ["doc:1"]
        assert trio.current_time() - began < 1 + SOON_SECONDS


async def test_a_router_that_is_told_to_stop_lets_nobody_wait() -> None:
    async with (
        open_router() as router,
        router.open_instance("store-1", "doc:1"),
        router.open_instance("store-2") as waiter,
    ):
        pending = await wait_for(waiter, "doc:1")
        await wait_waiters(router, 1)
        router.program.send_signal(signal.SIGTERM)
        await pending.wait_settled()
        assert pending.refused is not None
        assert (pending.refused.type, pending.refused.data["reason"]) == ("unavailable", "draining")


async def test_hundreds_take_turns_at_one_resource() -> None:
    async with open_router() as router, AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(router.open_instance(f"store-{number}")) for number in range(60)
        ]
        first = await stack.enter_async_context(router.open_instance("store-first", "doc:1"))
        served: list[int] = []

        async def take_turns(number: int, session: Session) -> None:
            for _ in range(3):
                await (await wait_for(session, "doc:1")).wait()
                served.append(number)
                await session.ask("resource.release", resource_ids=["doc:1"])

        async with trio.open_nursery() as nursery:
            for number, session in enumerate(sessions):
                nursery.start_soon(take_turns, number, session)
            await wait_waiters(router, 60)
            await first.ask("resource.release", resource_ids=["doc:1"])
        assert sorted(served) == sorted([*range(60)] * 3)
        assert sorted(served[:60]) == [*range(60)], "nobody has a second turn before all have had one"
