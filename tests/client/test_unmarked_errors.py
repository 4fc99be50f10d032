"""Errors that the router does not vouch for, where only the router answers: something in between, or none at all."""

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, RemoteError, Service
from tests.client.networks import open_reconnecting
from tests.client.scripted import CALLER, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_instance import start_instance


def answer(_call: Call) -> int:
    return 1


async def fail(router: ScriptedRouter, request: Json) -> None:
    """Answer with an error that is not the router's."""
    error = {"code": -32000, "message": "bad gateway"}
    await router.send({"jsonrpc": "2.0", "id": request["id"], "error": error})


async def grant(router: ScriptedRouter, epoch: int = 5) -> None:
    """Answer a registration."""
    answered = {"success": True, "registered": ["a"], "conflicts": {}, "epochs": {"a": epoch}}
    await router.answer(await router.expect("resource.register"), answered)


async def test_an_instance_that_is_not_taken_back_so_has_come_to_the_end_and_its_block_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", answer) as instance:
            await router.cut()
            again = await network.next_router()
            await fail(again, await again.expect("instance.register"))
            assert "bad gateway" in (await client.wait_closed()).reason
            with pytest.raises(resroute.ConnectionLost):
                await instance.register("a")


async def test_so_has_one_that_says_more_than_the_next_router_takes(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", answer, metadata={"text": "x" * 2000}):
            network.options = {"limits": {"max_message_bytes": 1000}}
            await router.cut()
            assert "the router takes 1000" in (await client.wait_closed()).reason


async def test_who_owns_something_and_renews_it_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, answer)
        done = trio.Event()

        async def own() -> None:
            async with instance.own("a", metadata={"ttl_seconds": 3}):
                await trio.sleep(1.5)
            done.set()

        nursery.start_soon(own)
        await grant(router)
        await fail(router, await router.expect("resource.renew"))
        for _ in range(2):  # it insists
            await fail(router, await router.expect("resource.release"))
        released = {"success": True, "released": ["a"], "failed": {}}
        await router.answer(await router.expect("resource.release"), released)
        await done.wait()
        life.leave()
        await router.expect_leaving()
        await life.done.wait()
        assert life.error is None
        said = [record.message.split()[0] for record in caplog.records if record.levelno == logging.WARNING]
        assert said == ["renewal_refused", "release_refused", "release_refused"]


async def test_leaving_ends_the_session_and_raises_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, answer)
        life.leave(ValueError("mine"))
        for _ in range(2):
            await fail(router, await router.expect("instance.drain"))
            await wait_all_tasks_blocked()
            if life.done.is_set():
                break
        await life.done.wait()
        assert isinstance(life.error, ValueError)
        assert "leaving_failed" in caplog.text
        assert (await client.wait_closed()).reason == "the router did not confirm that the instance has left"


async def test_whoever_asks_gets_it_as_it_is(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RemoteError, match="bad gateway"):
                await client.ping()

        nursery.start_soon(ask)
        await fail(router, await router.expect("session.ping"))


@pytest.mark.parametrize("has_both", [False, True])
async def test_what_is_granted_to_an_instance_that_has_left_does_no_harm(
    autojump_clock: MockClock, has_both: bool
) -> None:
    service = Service(answer)
    loaded: list[str] = []
    service.after_acquire(lambda acquired: loaded.append(acquired.resource_id))
    if has_both:
        service.before_release(lambda _releasing: None)
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, service)
        life.leave()
        while not life.done.is_set():
            drained = {"handed_over": 0, "released": 0, "in_flight": 0}
            await router.answer(await router.expect("instance.drain"), drained)
            await wait_all_tasks_blocked()
        grant = {"resources": [{"resource_id": "a", "epoch": 5, "metadata": {}}], "cause": "transfer"}
        await router.send({"jsonrpc": "2.0", "method": "resource.acquired", "params": grant})
        await router.send(delivered(1, "m", resource_id="b", epoch=6, service_name="s", caller=CALLER))
        assert "error" in await router.receive()
        await wait_all_tasks_blocked()
        assert (loaded, dict(instance.resources), client.state) == ([], {}, "connected")
