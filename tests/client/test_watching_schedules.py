"""Somebody follows what becomes of resources, while connections, routers and owners come and go, by a seed.

Whatever happens, each change is told once and in order, and in the end the follower knows how things are.
"""

from random import Random

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Call, Client, Instance, ResourceEvent
from resroute.testing import MemoryRouter
from tests.client.networks import open_network

NAMES = [f"doc:{number}" for number in range(12)]
SECONDS = 40.0


@attrs.define
class Mirror:
    """What a follower believes: each resource's owner and epoch."""

    grants: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    _told: set[tuple[int, str, str]] = attrs.field(factory=set)
    _revision: int = 0

    def begin(self, snapshot: tuple[resroute.ResourceInfo, ...]) -> None:
        """Another watch."""
        self.grants = {info.resource_id: (info.owner_instance_id, info.epoch) for info in snapshot}
        self._told.clear()
        self._revision = 0

    def take(self, event: ResourceEvent) -> None:
        name = event.resource.resource_id
        key = (event.revision, name, event.event)
        assert event.revision >= self._revision, "in order"
        assert key not in self._told, "once"
        self._told.add(key)
        self._revision = event.revision
        if event.event == "released":
            assert name in self.grants, "nothing was left out"
            del self.grants[name]
        else:
            self.grants[name] = (event.resource.owner_instance_id, event.resource.epoch)


@attrs.define
class World:
    """Owners, a follower, and what goes wrong, until that ends."""

    random: Random
    network: MemoryRouter
    ends_at: float

    @property
    def goes_on(self) -> bool:
        return trio.current_time() < self.ends_at

    async def own(self, instance: Instance) -> None:
        """Register, release and update."""
        random = self.random
        while self.goes_on:
            await trio.sleep(random.uniform(0, 0.3))
            try:
                match random.randrange(4):
                    case 0:
                        await instance.register(*random.sample(NAMES, 3), partial=True)
                    case 1:
                        await instance.release(*random.sample(NAMES, 3), partial=True)
                    case 2:
                        await instance.bulk_register(NAMES[:6], continue_on_error=True, batch_size=2)
                    case _:
                        await instance.update(random.choice(NAMES), {"priority": random.randrange(5)})
            except resroute.ResrouteError:
                pass  # another one owns it, or the connection has ended

    async def fail(self, *clients: Client) -> None:
        """Have one thing after the other go wrong."""
        random, network = self.random, self.network
        while self.goes_on:
            await trio.sleep(random.uniform(0, 2))
            match random.randrange(6):
                case 0 | 1:
                    await network.drop(random.choice(clients))
                case 2:
                    await network.kill()
                    await trio.sleep(random.uniform(0, 1))
                    await network.start()
                case 3:
                    network.stall(random.choice(clients))
                    await trio.sleep(random.choice((0.5, 30)))
                    network.go_on()
                case 4:
                    network.slow_down(random.uniform(0, 0.2), random.choice(clients))
                case _:
                    await network.stop()
                    await network.start()

    async def follow(self, client: Client, mirror: Mirror) -> None:
        """Follow, and begin again where what happened is forgotten."""
        while True:
            try:
                async with client.open_watch(prefix="doc:", snapshot=True) as events:
                    mirror.begin(events.snapshot)
                    async for event in events:
                        mirror.take(event)
                        if self.random.random() < 0.1:
                            await trio.sleep(self.random.uniform(0, 0.5))
            except resroute.WatchLost:
                pass


async def hold(seed: int) -> None:
    def answer(_call: Call) -> int:
        return 1

    settings = {"watch_history_events": 20} if seed % 3 == 0 else {}
    async with (
        open_network(**settings) as network,
        network.open_client() as first,
        network.open_client() as second,
        network.open_client() as follower,
        first.open_instance("documents", answer) as one,
        second.open_instance("documents", answer) as other,
        trio.open_nursery() as following,
    ):
        world, mirror = World(Random(seed), network, trio.current_time() + SECONDS), Mirror()
        following.start_soon(world.follow, follower, mirror)
        async with trio.open_nursery() as living:
            living.start_soon(world.own, one)
            living.start_soon(world.own, other)
            living.start_soon(world.fail, first, second, follower)
        await trio.sleep(120)  # whoever was stalled is found out, and all are back
        truth = {
            info.resource_id: (info.owner_instance_id, info.epoch) async for info in follower.all_resources()
        }
        assert mirror.grants == truth
        owned = {
            name: (each.instance_id, epoch) for each in (one, other) for name, epoch in each.resources.items()
        }
        assert owned == truth, "what owners believe is so"
        following.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(6))
async def test_a_follower_knows_how_things_are(seed: int, autojump_clock: MockClock) -> None:
    await hold(seed)


@pytest.mark.slow
async def test_it_does_after_many_schedules(autojump_clock: MockClock) -> None:
    for seed in range(6, 150):
        try:
            await hold(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
