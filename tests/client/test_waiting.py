"""Registrations that wait, and what is left of them when nobody wants them any more."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute.client.session import ANSWER_SECONDS
from resroute.settings import Settings
from tests.client.scripted import Json, open_client_of, open_router, open_scripted
from tests.client.test_calls import start_call
from tests.client.test_instance import echo, register, start_instance


def granted(**epochs: int) -> Json:
    return {"success": True, "registered": list(epochs), "conflicts": {}, "epochs": epochs, "trace_id": "t"}


async def test_a_wait_is_said_only_where_there_is_one(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        result = start_call(nursery, lambda: instance.register("a", wait_seconds=5))
        request = await router.expect("resource.register")
        assert request["params"] == {"resource_ids": ["a"], "partial": False, "wait_seconds": 5}
        await router.answer(request, granted(a=7))
        await wait_all_tasks_blocked()
        assert result.value.epochs == {"a": 7}
        start_call(nursery, lambda: instance.register("b"))
        request = await router.expect("resource.register")
        assert request["params"] == {"resource_ids": ["b"], "partial": False}
        await router.answer(request, granted(b=8))
        life.leave()
        await router.expect_leaving()


async def test_what_was_granted_in_spite_of_a_cancel_is_released_but_not_what_was_owned_before(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"mine": 5})
        result = start_call(nursery, lambda: instance.register("mine", "a", "b", wait_seconds=60), seconds=1)
        request = await router.expect("resource.register")
        assert (await router.expect("$/cancelRequest"))["params"] == {"id": request["id"]}
        await wait_all_tasks_blocked()
        await router.answer(request, granted(mine=5, a=7, b=7))
        released = await router.expect("resource.release")
        assert released["params"] == {"resource_ids": ["a", "b"], "partial": True}
        await wait_all_tasks_blocked()
        assert result.was_cancelled
        assert instance.resources == {"mine": 5}
        life.leave()
        await router.expect_leaving()


async def test_a_cancelled_wait_that_the_router_ends_leaves_nothing_to_do(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        result = start_call(nursery, lambda: instance.register("a", wait_seconds=60), seconds=1)
        request = await router.expect("resource.register")
        await router.expect("$/cancelRequest")
        await router.refuse(request, 499, "call_cancelled")
        await wait_all_tasks_blocked()
        assert result.was_cancelled
        life.leave()
        await router.expect_leaving()


async def test_without_any_answer_it_is_released_on_suspicion(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router)
        await register(nursery, router, instance, {"mine": 5})
        result = start_call(nursery, lambda: instance.register("mine", "a", wait_seconds=60), seconds=1)
        await router.expect("resource.register")
        await router.expect("$/cancelRequest")
        await trio.sleep(ANSWER_SECONDS + 1)
        assert result.was_cancelled
        assert (await router.expect("resource.release"))["params"] == {
            "resource_ids": ["a"],
            "partial": True,
        }
        life.leave()
        await router.expect_leaving()


async def test_instances_take_turns(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as first, open_client_of(router) as second:
        async with second.open_instance("s", echo, instance_id="second") as waiting:
            async with first.open_instance("s", echo) as owner:
                await owner.register("leader")
                with pytest.raises(resroute.ResourceConflict):
                    await waiting.register("leader", wait_seconds=2)
                with trio.move_on_after(2):
                    await waiting.register("leader", wait_seconds=60)
                assert (await first.explain(resource_id="leader")).waiters == 0
                assert waiting.resources == {}
                async with trio.open_nursery() as nursery:
                    result = start_call(nursery, lambda: waiting.register("leader", wait_seconds=60))
                    await trio.sleep(1)
                    assert (await first.explain(resource_id="leader")).waiters == 1
                    await owner.release("leader")
            assert waiting.resources == result.value.epochs
            assert list(waiting.resources) == ["leader"]


async def test_too_many_who_wait_are_told(autojump_clock: MockClock) -> None:
    settings = Settings(max_waiters_per_session=1)
    async with open_router(settings) as router, open_client_of(router) as one, open_client_of(router) as two:
        async with one.open_instance("s", echo) as owner, two.open_instance("s", echo) as waiting:
            await owner.register("a", "b")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: waiting.register("a", wait_seconds=60))
                await trio.sleep(1)
                with pytest.raises(resroute.TooManyWaiters):
                    await waiting.register("b", wait_seconds=60)
                nursery.cancel_scope.cancel()
