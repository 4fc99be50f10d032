"""Hooks, where the connection ends in the middle of it all and the instance comes back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Client, Instance, Releasing, Service
from resroute.testing import MemoryRouter
from tests.client.networks import open_network
from tests.client.test_hooks_with_a_router import Counter

GRACE_SECONDS = 60.0


@attrs.define
class World:
    """An instance that counts, its network, and who calls."""

    network: MemoryRouter
    instance: Instance
    counter: Counter
    caller: Client


@asynccontextmanager
async def open_world(
    *, grace_seconds: float, loading_seconds: float = 0.0, saving_seconds: float = 0.0
) -> AsyncGenerator[World]:
    counter = Counter()
    service = Service(counter)

    @service.before_release
    async def save(releasing: Releasing) -> int:
        await trio.sleep(saving_seconds)
        counter.log.append(f"save {releasing.resource_id}")
        return counter.counts.pop(releasing.resource_id)

    @service.after_acquire
    async def load(acquired: Acquired) -> None:
        await trio.sleep(loading_seconds)
        counter.log.append(f"load {acquired.resource_id} {acquired.cause} {acquired.state}")
        counter.counts[acquired.resource_id] = acquired.state or 0

    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client() as caller,
        client.open_instance(
            "counters", service, instance_id="owner", resume_grace_seconds=grace_seconds
        ) as instance,
    ):
        yield World(network, instance, counter, caller)


async def add(world: World) -> object:
    """Count, once somebody owns it."""
    return await world.caller.call("add", resource_id="a", wait_for_owner_seconds=20)


async def test_what_is_resumed_goes_on_as_if_nothing_had_been(autojump_clock: MockClock) -> None:
    async with open_world(grace_seconds=GRACE_SECONDS) as world:
        await world.instance.register("a")
        assert [await add(world) for _ in range(3)] == [1, 2, 3]
        epoch = world.instance.resources["a"]
        await world.network.drop()
        assert await add(world) == 4
        assert world.instance.resources["a"] > epoch
        assert [line for line in world.counter.log if "load" in line] == ["load a request None"]


async def test_what_others_may_have_had_meanwhile_is_loaded_anew(autojump_clock: MockClock) -> None:
    async with open_world(grace_seconds=0) as world:
        await world.instance.register("a")
        assert [await add(world) for _ in range(3)] == [1, 2, 3]
        await world.network.kill()
        await world.network.start()
        assert await add(world) == 1
        assert [line for line in world.counter.log if "load" in line] == ["load a request None"] * 2


async def test_what_was_not_loaded_yet_is_loaded_once_it_is_back(autojump_clock: MockClock) -> None:
    async with (
        open_world(grace_seconds=GRACE_SECONDS, loading_seconds=5) as world,
        world.network.open_client(reconnect=None) as other,
        other.open_instance("counters", print, instance_id="other") as giver,
    ):
        await giver.register("a")
        await giver.transfer("a", to="owner", reason="moving", state={"a": 40})
        await trio.sleep(1)
        assert not world.counter.log
        await world.network.drop()
        assert await add(world) == 41
        assert world.counter.log == ["load a transfer 40", "add a"]


async def test_a_transfer_that_the_end_of_the_connection_breaks_off_loses_no_count(
    autojump_clock: MockClock,
) -> None:
    for saving_seconds in (0.0, 5.0):
        async with (
            open_world(grace_seconds=GRACE_SECONDS, saving_seconds=saving_seconds) as world,
            trio.open_nursery() as nursery,
        ):
            await world.instance.register("a")
            assert [await add(world) for _ in range(3)] == [1, 2, 3]
            broken: list[str | None] = []

            async def transfer(world: World = world, broken: list[str | None] = broken) -> None:
                try:
                    await world.instance.transfer("a", to="nobody", reason="moving")
                except resroute.ConnectionLost as lost:
                    broken.append(lost.delivery)

            world.counter.log.clear()
            nursery.start_soon(transfer)
            if saving_seconds:
                await trio.sleep(1)
            else:
                while "save a" not in world.counter.log:  # noqa: ASYNC110  # the very moment after
                    await trio.lowlevel.checkpoint()
            await world.network.drop()
            assert await add(world) == 4
            assert len(broken) == 1
            expected = ["add a"] if saving_seconds else ["save a", "load a kept 3", "add a"]
            assert world.counter.log == expected


async def test_an_instance_that_is_told_to_stop_while_its_connection_ends_hands_over_what_it_takes_back(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_world(grace_seconds=0, saving_seconds=3) as world,
        world.network.open_client() as another,
        another.open_instance("counters", Counter(), instance_id="heir") as heir,
    ):
        await world.instance.register("a", "b")
        stopped: list[resroute.Drained] = []

        async def stop() -> None:
            stopped.append(await world.instance.stop())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            await trio.sleep(1)
            await world.network.drop()
            with trio.fail_after(60):
                while not stopped:  # noqa: ASYNC110  # nothing tells of it
                    await trio.sleep(0.1)
        owners = {it.resource_id: it.owner_instance_id async for it in world.caller.all_resources()}
        assert (stopped[0].handed_over, owners) in (
            (0, {}),  # it had not come back yet
            (2, {"a": "heir", "b": "heir"}),
        )
        assert sorted(heir.resources) == sorted(owners)
        assert not world.instance.resources


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_an_earlier_program_has_left_is_loaded(autojump_clock: MockClock, is_known: bool) -> None:
    seen: list[tuple[str, str]] = []
    service = Service(print)

    @service.after_acquire
    def load(acquired: Acquired) -> None:
        seen.append((acquired.resource_id, acquired.cause))

    async with open_network() as network:
        async with network.open_client(reconnect=None) as first:
            async with first.open_instance(
                "s", print, instance_id="one", resume_grace_seconds=GRACE_SECONDS
            ) as instance:
                await instance.register("a")
                token = instance.resume_token
                await network.drop()
                await first.wait_closed()
        async with network.open_client() as second:
            async with second.open_instance(
                "s",
                service,
                instance_id="one" if is_known else "two",
                resume_token=token if is_known else None,
            ) as instance:
                await trio.sleep(1)
                assert seen == ([("a", "resume")] if is_known else [])
