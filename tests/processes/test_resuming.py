"""Owners that are killed, stopped or cut off, and whoever comes back in their place with their token."""

from typing import Any

import trio

from tests.processes.accounts import Accounts
from tests.processes.independent import Json, Session
from tests.processes.proxy import open_proxy
from tests.processes.running import KnownPeer, Serving, open_router

IDS = ("doc:1", "doc:2", "doc:3")

SOON_SECONDS = 3.0
"""Generous: what takes milliseconds on a quiet machine may not take this long on a busy one."""


def token_of(owner: KnownPeer) -> str:
    """What the owner was given by the router, and would show it again."""
    given = (message.get("result", {}).get("resume_token") for message in owner.heard())
    return next(str(token) for token in given if token is not None)


async def resume(session: Session, token: str, **more: Any) -> Json:
    """Be the instance that owned the ids."""
    result: Json = await session.ask(
        "instance.register", service_name="store", instance_id="store-1", resume_token=token, **more
    )
    return result


async def refused_with(session: Session, method: str, /, **params: Any) -> Json:
    """The data of the error that it meets."""
    return (await (await session.start(method, **params)).wait_refused()).data


async def wait_suspended(router: Serving) -> None:
    """Until the router has noticed."""
    await router.wait_metrics(lambda metrics: metrics["suspended_instances"] == 1)


async def test_who_comes_back_before_the_router_has_noticed_has_everything_at_once() -> None:
    async with open_router(heartbeat_interval_seconds=5, heartbeat_timeout_seconds=60) as router:
        async with (
            open_proxy(router.port) as proxy,
            router.open_owner("store-1", *IDS, url=proxy.url) as owner,
            router.open_instance("store-2") as rival,
            router.open_session() as caller,
            router.open_session("store-1") as again,
        ):
            calls = Accounts(caller)
            await calls.start("hold", resource_id="doc:1")
            await owner.wait_requests(1)
            owner.is_cut_off()
            proxy.cut()
            await calls.start("echo", resource_id="doc:2")
            await caller.ask("session.ping")  # behind the call: the owner has been handed it

            began = trio.current_time()
            result = await resume(again, token_of(owner))
            took = trio.current_time() - began
            print(f"resumed after {took * 1000:.1f} ms")
            assert took < SOON_SECONDS
            assert sorted(result["resumed"]) == list(IDS)
            await calls.wait_settled()
            assert calls.refusals() == {("owner_disconnected", "unknown"): 2}
            called = await caller.start_call("echo", resource_id="doc:3")
            request = await again.next_request()
            assert request["meta"]["epoch"] == result["resumed"]["doc:3"]
            await again.answer(request, "from the new session")
            assert await called.wait() == "from the new session"
            data = await refused_with(rival, "resource.register", resource_ids=["doc:1"])
            assert data["owner_instance_id"] == "store-1"
        await router.wait_baseline()


async def test_an_owner_that_stood_still_finds_that_another_has_taken_its_place() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS) as owner,
            router.open_session("store-1") as again,
            router.open_session() as caller,
        ):
            owner.stop()
            result = await resume(again, token_of(owner))
            assert result["resumed_count"] == len(IDS)
            called = await caller.start_call("echo", resource_id="doc:1")
            await again.answer(await again.next_request(), 1)
            assert await called.wait() == 1
            owner.go_on()
            assert (await owner.wait_event("closed"))["closed"] == 4009
            page = await caller.ask("instance.query", service_name="store")
            assert [info["session_id"] for info in page["instances"]] == [result["session_id"]]
        await router.wait_baseline()


async def test_a_killed_owner_is_suspended_and_callers_wait_for_who_comes_back() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS, resume_grace_seconds=60) as owner,
            router.open_instance("store-2") as rival,
            router.open_session() as caller,
            router.open_session("store-1") as again,
        ):
            calls = Accounts(caller)
            for _ in range(20):
                await calls.start("hold", resource_id="doc:1")
            await owner.wait_requests(20)
            token = token_of(owner)
            owner.kill()
            await calls.wait_settled()
            assert calls.refusals() == {("owner_disconnected", "unknown"): 20}
            await wait_suspended(router)

            impatient = await refused_with(
                caller, "route.call", method="echo", params={}, resource_id="doc:1"
            )
            assert (impatient["reason"], impatient["delivery"]) == ("suspended", "not_delivered")
            data = await refused_with(rival, "resource.register", resource_ids=["doc:2"])
            assert "suspended_until" in data
            data = await refused_with(
                caller, "instance.register", service_name="store", instance_id="store-1"
            )
            assert "suspended_until" in data
            waiting = [
                await caller.start_call("echo", resource_id="doc:1", wait_for_owner_seconds=60)
                for _ in range(5)
            ]
            await caller.ask("session.ping")
            result = await resume(again, token)
            assert sorted(result["resumed"]) == list(IDS)
            for number, call in enumerate(waiting):
                await again.answer(await again.next_request(), number)
                assert await call.wait() == number
        await router.wait_baseline()


async def test_when_nobody_comes_back_who_waits_has_it_at_the_end_of_the_grace() -> None:
    grace_seconds = 2
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS, resume_grace_seconds=grace_seconds) as owner,
            router.open_instance("store-2") as heir,
            router.open_session("store-1") as again,
        ):
            token = token_of(owner)
            waiting = await heir.start("resource.register", resource_ids=IDS, wait_seconds=60)
            await heir.ask("session.ping")
            killed_at = owner.kill()
            assert set((await waiting.wait())["epochs"]) == set(IDS)
            free_seconds = waiting.answered_at - killed_at
            print(f"granted after {free_seconds:.2f} s, with a grace of {grace_seconds} s")
            assert grace_seconds - 0.1 < free_seconds < grace_seconds + SOON_SECONDS
            assert (await resume(again, token))["resumed"] == {}
        await router.wait_baseline()


async def test_five_who_come_back_at_once_leave_one_and_an_id_is_never_anybody_elses() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS, resume_grace_seconds=60) as owner,
            router.open_instance("store-2") as rival,
            router.open_session() as caller,
            router.open_session("store-1") as first,
            router.open_session("store-1") as second,
            router.open_session("store-1") as third,
        ):
            token = token_of(owner)
            owner.kill()
            attempts = 0

            async def try_to_take() -> None:
                nonlocal attempts
                while True:
                    data = await refused_with(rival, "resource.register", resource_ids=["doc:1"])
                    assert data["owner_instance_id"] == "store-1"
                    attempts += 1

            async with trio.open_nursery() as nursery:
                await wait_suspended(router)
                nursery.start_soon(try_to_take)
                asked = {
                    session: await session.start(
                        "instance.register",
                        service_name="store",
                        instance_id="store-1",
                        resume_token=token,
                        resume_grace_seconds=60,
                    )
                    for session in (first, second, third)
                }
                for pending in asked.values():
                    await pending.wait_settled()
                page = await caller.ask("instance.query", instance_id="store-1")
                [info] = page["instances"]
                assert (info["status"], info["resources"]) == ("healthy", len(IDS))
                left = []
                for session, pending in asked.items():
                    result = None if pending.message is None else await pending.wait()
                    if result is not None and result["session_id"] == info["session_id"]:
                        assert result["resumed_count"] == len(IDS)
                        left.append(session)
                    else:
                        await session.closed.wait()
                        assert session.close_code == 4009
                assert len(left) == 1
                nursery.cancel_scope.cancel()
            assert attempts
        await router.wait_baseline()
