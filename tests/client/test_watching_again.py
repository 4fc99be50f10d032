"""A watch outlives the connection: it tells everything once, in order, or says that it cannot."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call
from tests.client.networks import open_network, open_reconnecting
from tests.client.scripted import Json


def echo(call: Call) -> object:
    return call.params


async def test_it_goes_on_from_where_it_was(autojump_clock: MockClock) -> None:
    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client(reconnect=None) as owner,
        client.open_watch(prefix="doc:", snapshot=True) as events,
        trio.open_nursery() as nursery,
    ):
        told: list[tuple[str, str]] = []

        async def listen() -> None:
            async for event in events:
                told.append((event.event, event.resource.resource_id))

        nursery.start_soon(listen)
        async with owner.open_instance("documents", echo) as instance:
            await instance.register("doc:1")
            await wait_all_tasks_blocked()
            await network.drop(client)
            await instance.register("doc:2", "doc:3")
            await instance.register("other:1")
            await trio.sleep(5)
            await instance.release("doc:2")
            await wait_all_tasks_blocked()
        assert client.statistics().connections == 2
        await trio.sleep(1)
        assert told[:4] == [
            ("registered", "doc:1"),
            ("registered", "doc:2"),
            ("registered", "doc:3"),
            ("released", "doc:2"),
        ]
        assert sorted(told[4:]) == [("released", "doc:1"), ("released", "doc:3")]
        nursery.cancel_scope.cancel()


async def test_what_is_forgotten_meanwhile_is_said(autojump_clock: MockClock) -> None:
    """A router that has started again remembers nothing of before."""
    async with open_network() as network, network.open_client() as client:
        async with client.open_watch(prefix="doc:") as events:
            await network.kill()
            await network.start()
            with pytest.raises(resroute.WatchLost):
                await anext(events)
        async with client.open_watch(prefix="doc:", snapshot=True) as events:
            assert events.snapshot == ()


async def test_a_history_that_is_too_short_is_said(autojump_clock: MockClock) -> None:
    async with open_network(watch_history_events=10) as network:
        async with network.open_client() as client, network.open_client(reconnect=None) as owner:
            async with client.open_watch() as events, owner.open_instance("documents", echo) as instance:
                await network.drop(client)
                await instance.register(*(f"doc:{n}" for n in range(50)))
                with pytest.raises(resroute.WatchLost):
                    await anext(events)


def told(watch_id: str, revision: int, index: int, count: int, *names: str) -> Json:
    resource = {
        "owner_instance_id": "i",
        "service_name": "s",
        "registered_at": "2026-01-01T00:00:00Z",
        "epoch": 1,
        "is_healthy": True,
    }
    events = [
        {"event": "registered", "resource": {"resource_id": name, **resource}, "cause": "request"}
        for name in names
    ]
    params = {"watch_id": watch_id, "revision": revision, "index": index, "count": count, "events": events}
    return {"jsonrpc": "2.0", "method": "resource.events", "params": params}


@pytest.mark.parametrize("heard", [(1,), (2,), (2, 1), (2, 0), (1, 2), (2, 1, 1)])
async def test_a_revision_that_was_told_in_part_is_told_once(
    heard: tuple[int, ...], autojump_clock: MockClock
) -> None:
    """Over so many connections that broke, each after so many parts."""
    parts = [("a", "b"), ("c",), ("d", "e")]
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        names: list[str] = []

        async def listen() -> None:
            async with client.open_watch() as events:
                async for event in events:
                    names.append(event.resource.resource_id)

        nursery.start_soon(listen)
        await router.answer(await router.expect("resource.watch"), {"watch_id": "w1", "revision": 7})
        await router.send(told("w1", 8, 0, 1, "z"))
        for count in heard:
            for index in range(count):
                await router.send(told("w1", 9, index, 3, *parts[index]))
            await router.cut()
            router = await network.next_router()
            request = await router.expect("resource.watch")
            assert request["params"] == {"from_revision": 8}
            await router.answer(request, {"watch_id": "w1", "revision": 8})
        for index, part in enumerate(parts):
            await router.send(told("w1", 9, index, 3, *part))
        await router.send(told("w1", 10, 0, 1, "f"))
        await wait_all_tasks_blocked()
        assert "".join(names) == "zabcdef"
        nursery.cancel_scope.cancel()


async def test_several_who_take_from_one_watch_have_it_go_on_once(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        names: list[str] = []
        started = trio.Event()

        async def listen() -> None:
            async with client.open_watch() as events, trio.open_nursery() as takers:

                async def take() -> None:
                    async for event in events:
                        names.append(event.resource.resource_id)

                for _ in range(3):
                    takers.start_soon(take)
                started.set()

        nursery.start_soon(listen)
        await router.answer(await router.expect("resource.watch"), {"watch_id": "w1", "revision": 7})
        await started.wait()
        await wait_all_tasks_blocked()
        await router.cut()
        again = await network.next_router()
        await again.answer(await again.expect("resource.watch"), {"watch_id": "w2", "revision": 7})
        await again.send(told("w2", 8, 0, 1, "a"), told("w2", 9, 0, 1, "b"))
        await wait_all_tasks_blocked()
        assert sorted(names) == ["a", "b"]
        assert len(again.frames) == 1, "it was asked for once"
        nursery.cancel_scope.cancel()


async def test_it_is_ended_whenever_its_block_is_cancelled(autojump_clock: MockClock) -> None:
    for ticks in range(30):
        async with open_network() as network, network.open_client() as client:
            with trio.CancelScope() as scope:

                async def cancel(ticks: int = ticks, scope: trio.CancelScope = scope) -> None:
                    await client.wait_connected()
                    for _ in range(ticks):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                async with trio.open_nursery() as nursery:
                    async with client.open_watch() as events:
                        await network.drop()
                        await wait_all_tasks_blocked()
                        nursery.start_soon(cancel)
                        await anext(events)
            await client.ping()
            assert network.router.statistics().watches == 0
