"""An instance that leaves, with routers that know less or have too much to do."""

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Releasing, Service
from tests.client.scripted import CALLER, INFO, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_instance import echo, register, start_instance

DRAINED = {"handed_over": 0, "released": 0, "in_flight": 0}


def saving() -> Service:
    service = Service(echo)

    @service.before_release
    def save(releasing: Releasing) -> str:
        return f"state of {releasing.resource_id}"

    return service


async def tell_who_is_there(router: ScriptedRouter, *heirs: str) -> None:
    """Answer who is connected: the instance that leaves, and its heirs."""
    request = await router.expect("instance.query")
    instances = [
        {
            "instance_id": name,
            "service_name": "s",
            "session_id": f"session-{name}",
            "connected_at": "2026-01-02T03:04:05Z",
            "status": "healthy",
            "priority": 0,
            "resources": 0,
            "in_flight": 0,
        }
        for name in ("i1", *heirs)
    ]
    await router.answer(request, {"instances": instances, "total_count": len(instances), "has_more": False})


async def expect_transfer(router: ScriptedRouter) -> Json:
    request = await router.expect("resource.transfer")
    assert request["params"]["state"] == {"a": "state of a"}
    return request


async def lose(router: ScriptedRouter, request: Json) -> None:
    """Do a transfer."""
    notice = {"resource_ids": ["a"], "cause": "transfer", "new_owner": "heir"}
    await router.send({"jsonrpc": "2.0", "method": "resource.lost", "params": notice})
    result = {"transferred": ["a"], "failed": {}, "epochs": {"a": 9}, "transfer_id": "t"}
    await router.answer(request, result)


@pytest.mark.parametrize("knows_keep", [True, False])
async def test_what_a_router_does_not_take_at_once_is_tried_again_and_one_that_knows_less_does(
    autojump_clock: MockClock, knows_keep: bool
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, saving())
        await register(nursery, router, instance, {"a": 5})
        drained: list[resroute.Drained] = []

        async def drain() -> None:
            drained.append(await instance.drain())

        nursery.start_soon(drain)
        info = INFO | {"instance": {"service_name": "s", "instance_id": "i1"}}
        await router.answer(await router.expect("session.info"), info)
        await tell_who_is_there(router, "heir")
        request = await router.expect("instance.drain")
        assert request["params"] == {"hand_over_to": "keep"}
        if knows_keep:
            await router.answer(request, DRAINED)
        else:
            await router.refuse(request, -32602, "invalid_params", errors=[])
        await tell_who_is_there(router, "heir")
        await router.refuse(await expect_transfer(router), 429, "too_many_calls", limit=1)
        await tell_who_is_there(router, "heir")
        await lose(router, await expect_transfer(router))
        request = await router.expect("instance.drain")
        assert request["params"]["hand_over_to"] == "service"
        await router.answer(request, DRAINED)
        life.leave()
        await router.answer(await router.expect("instance.drain"), DRAINED)
        await router.expect_leaving()
        await life.done.wait()
        assert [(it.handed_over, it.released) for it in drained] == [(1, 0)]


async def test_what_turns_out_to_be_owned_while_an_instance_leaves_is_not_taken_up(
    autojump_clock: MockClock,
) -> None:
    seen: list[object] = []
    service = Service(seen.append)
    service.before_release(lambda releasing: None)
    service.after_acquire(seen.append)
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        life.leave()
        await router.answer(await router.expect("instance.drain"), DRAINED)
        request = await router.expect("instance.drain")
        assert request["params"] == {"hand_over_to": "nobody"}
        await router.send(delivered(7, "add", resource_id="a", epoch=5, caller=CALLER))
        await trio.sleep(1)
        await router.answer(request, DRAINED)
        refused = await router.receive()
        assert (refused["id"], refused["error"]["data"]["type"]) == (7, "stale_epoch")
        await life.done.wait()
        assert not seen


async def test_a_call_that_waits_for_a_transfer_follows_it_though_all_others_were_cut_off(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, saving())
        await register(nursery, router, instance, {"a": 5})

        async def transfer() -> None:
            await instance.transfer("a", to="heir", reason="test")

        nursery.start_soon(transfer)
        request = await expect_transfer(router)
        await router.send(delivered(7, "m", resource_id="a", epoch=5, caller=CALLER))
        stopped = await instance.stop(drain_seconds=2)
        assert stopped.in_flight == 1
        await lose(router, request)
        while (answer := await router.receive()).get("id") != 7 or "method" in answer:
            pass  # what it has asked while it stopped
        assert answer["error"]["data"]["type"] == "stale_epoch"
        life.leave()
        nursery.cancel_scope.cancel()
