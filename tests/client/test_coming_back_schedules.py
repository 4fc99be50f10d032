"""Instances that register, release and hand over while routers die and connections break, at moments of chance.

Whatever happens: in the end each instance knows exactly what it owns, by the word of the router that there is; and what it
was told in between makes sense.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Call, Changes, Client, Disconnected, Instance, Lost, Regained
from resroute.testing import MemoryRouter
from tests.client.networks import open_network

INSTANCES = 3
RESOURCES = [f"r:{number}" for number in range(6)]
STEPS = 25


@attrs.define
class Member:
    """An instance, and what it was told."""

    client: Client
    instance: Instance
    told: list[Acquired | Lost | Disconnected | Regained] = attrs.field(factory=list)

    async def listen(self, changes: Changes) -> None:
        async for change in changes:
            self.told.append(change)

    def faults(self) -> list[str]:
        """What it was told that makes no sense."""
        faults = []
        epochs: dict[str, int] = {}  # the highest that it was told of
        settled: set[str] = set()  # told of since the connection ended last
        for change in self.told:
            match change:
                case Disconnected():
                    settled.clear()
                case Regained(resource_id=name, epoch=epoch, previous_epoch=previous):
                    if epoch <= previous or epoch <= epochs.get(name, 0):
                        faults.append(f"{name} was regained under an old epoch")
                    if name in settled:
                        faults.append(f"{name} was regained twice")
                    settled.add(name)
                    epochs[name] = epoch
                case Acquired(resource_id=name, epoch=epoch):
                    if epoch <= epochs.get(name, 0):
                        faults.append(f"{name} was acquired under an old epoch")
                    epochs[name] = epoch
                case Lost(resource_id=name, cause="session_ended", new_owner=owner):
                    if owner == self.instance.instance_id:
                        faults.append(f"{name} was lost to whom it was lost by")
                    if name in settled:
                        faults.append(f"{name} was told of twice")
                    settled.add(name)
        return faults


class Schedule:
    """What happens, by chance."""

    def __init__(self, seed: int, network: MemoryRouter, members: list[Member]) -> None:
        self._random = random.Random(seed)
        self._network = network
        self._members = members
        self._steps: list[Callable[[Member], Awaitable[object]]] = [
            self._register, self._register, self._bulk, self._release, self._transfer, self._own,
            self._drop, self._drop_all, self._kill, self._stall, self._lose, self._cut_off, self._cancel,
        ]  # fmt: skip

    async def run(self) -> None:
        """Some steps at a time, some one after the other."""
        async with trio.open_nursery() as nursery:
            for _ in range(STEPS):
                nursery.start_soon(self._take, self._random.choice(self._steps))
                await trio.sleep(self._random.choice((0, 0, 0.01, 0.5, 3)))

    async def _take(self, step: Callable[[Member], Awaitable[object]]) -> None:
        member = self._random.choice(self._members)
        try:
            with trio.move_on_after(60):
                await step(member)
        except (resroute.RouterError, resroute.ConnectionLost, resroute.ResourceLost, trio.BusyResourceError):
            pass  # there are many reasons

    def _names(self) -> list[str]:
        return self._random.sample(RESOURCES, self._random.randint(1, 3))

    async def _register(self, member: Member) -> None:
        await member.instance.register(*self._names(), partial=self._random.random() < 0.7)

    async def _bulk(self, member: Member) -> None:
        await member.instance.bulk_register(self._names(), continue_on_error=self._random.random() < 0.5)

    async def _release(self, member: Member) -> None:
        await member.instance.release(*self._names(), partial=True)

    async def _transfer(self, member: Member) -> None:
        heir = self._random.choice(self._members).instance.instance_id
        await member.instance.transfer(*self._names(), to=heir, reason="chance", partial=True)

    async def _own(self, member: Member) -> None:
        async with member.instance.own(self._names()[0], wait_seconds=self._random.choice((0, 5))):
            await trio.sleep(self._random.random())

    async def _drop(self, member: Member) -> None:
        await self._network.drop(member.client)

    async def _drop_all(self, _member: Member) -> None:
        await self._network.drop()

    async def _kill(self, _member: Member) -> None:
        try:
            await self._network.kill()
            await trio.sleep(self._random.random())
            await self._network.start()
        except RuntimeError:
            pass  # another one does it just now

    async def _stall(self, member: Member) -> None:
        self._network.stall(member.client)
        await trio.sleep(self._random.choice((1, 20, 50)))
        self._network.go_on(member.client)

    async def _lose(self, _member: Member) -> None:
        try:
            await self._network.lose(self._random.choice(RESOURCES))
        except RuntimeError:
            pass  # there is no router just now

    async def _cut_off(self, member: Member) -> None:
        self._network.is_reachable = False
        await self._network.drop(member.client)
        await trio.sleep(self._random.random() * 3)
        self._network.is_reachable = True

    async def _cancel(self, member: Member) -> None:
        with trio.move_on_after(self._random.random() / 100):
            await member.instance.register(*self._names(), wait_seconds=1)


def echo(call: Call) -> object:
    return call.epoch


async def hold(seed: int, *, grace_seconds: float) -> None:
    async with open_network() as network, AsyncExitStack() as stack:
        members = []
        for number in range(INSTANCES):
            client = await stack.enter_async_context(network.open_client())
            instance = await stack.enter_async_context(
                client.open_instance("s", echo, instance_id=f"i{number}", resume_grace_seconds=grace_seconds)
            )
            members.append(Member(client, instance))
        nursery = await stack.enter_async_context(trio.open_nursery())
        for member in members:
            changes = await stack.enter_async_context(member.instance.open_changes())
            nursery.start_soon(member.listen, changes)
        await Schedule(seed, network, members).run()
        network.is_reachable = True
        await trio.sleep(200)
        for member in members:
            assert member.client.state == "connected"
            owned = {
                info.resource_id: info.epoch
                async for info in member.client.all_resources(instance_id=member.instance.instance_id)
            }
            assert owned == member.instance.resources, f"{member.instance.instance_id} after seed {seed}"
            assert member.faults() == [], f"{member.instance.instance_id} after seed {seed}: {member.told}"
            for name, epoch in owned.items():
                assert await member.client.call("m", resource_id=name) == epoch
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("grace_seconds", [0, 60])
@pytest.mark.parametrize("seed", range(10))
async def test_each_knows_what_it_owns(seed: int, grace_seconds: float, autojump_clock: MockClock) -> None:
    await hold(seed, grace_seconds=grace_seconds)


@pytest.mark.slow
async def test_each_knows_what_it_owns_after_many_schedules(autojump_clock: MockClock) -> None:
    for seed in range(1000, 1300):
        await hold(seed, grace_seconds=seed % 2 * 60)
