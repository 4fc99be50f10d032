"""Blocks that own resources, among programs that cancel, lose their connection, fail and take, each as chance has it."""

import random

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

import resroute
from resroute import Client, Instance, MetadataFields, open_client_over
from resroute.settings import Settings
from tests.client.scripted import open_client_of
from tests.client.test_instance import echo
from tests.scenario import Party, Scenario, open_scenario

RESOURCES = ("a", "b")
PROGRAMS = 3
STEPS = 12
SEEDS = 30
QUICK_SEEDS = 12  # of every day

ADMINISTRATORS = Settings(anonymous_roles=("caller", "instance", "admin"), max_waiters_per_resource=3)


@attrs.frozen
class World:
    """What all programs share, and what shows that something went wrong."""

    scenario: Scenario
    administrator: Party
    rng: random.Random
    # resource -> the epoch of the block that began last
    begun: dict[str, int] = attrs.field(factory=dict)
    faults: list[str] = attrs.field(factory=list)
    ends: set[str] = attrs.field(factory=set)

    async def end_session(self, session_id: str) -> None:
        """Have a connection end, in a while."""
        await trio.sleep(self.rng.choice((0, 0.001, 0.1, 1)))
        pending = await self.administrator.start(
            "session.end", {"session_id": session_id, "reason": "why not"}
        )
        await pending.answer()

    def enter(self, name: str, grant: resroute.Grant) -> None:
        """A block begins."""
        resource_id = grant.resource_id
        if grant.epoch <= self.begun.get(resource_id, 0):
            self.faults.append(f"{name} owns {resource_id} at {grant.epoch} after {self.begun[resource_id]}")
        self.begun[resource_id] = grant.epoch


async def live(world: World, name: str) -> None:
    """One program: it connects, owns resources for a while, and starts again when its connection has ended."""
    steps = 0
    while steps < STEPS:
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.scenario.router.serve_stream, theirs)
            async with (
                open_client_over(ours) as client,
                client.open_instance("service", echo) as instance,
            ):
                session_id = (await client.info()).session_id
                while steps < STEPS:
                    steps += 1
                    await trio.sleep(world.rng.choice((0, 0.01, 0.3, 2)))
                    if world.rng.random() < 0.1:
                        world.scenario.start_soon(world.end_session, session_id)
                    try:
                        await step(world, name, instance)
                        left = (await client.query_resources(instance_id=instance.instance_id)).resources
                        if left or instance.resources:
                            world.faults.append(f"{name} still owns {left}, it says {instance.resources}")
                    except resroute.ConnectionLost:
                        world.ends.add("ConnectionLost")
                        break


async def step(world: World, name: str, instance: Instance) -> None:
    """Own something, unless it is somebody else's, until something happens."""
    rng = world.rng
    resource_id = rng.choice(RESOURCES)
    ttl_seconds = rng.choice((None, None, 0.5, 5))
    metadata: MetadataFields | None = None if ttl_seconds is None else {"ttl_seconds": ttl_seconds}
    wait_seconds = rng.choice((None, 0.2, 5))
    with trio.move_on_after(rng.choice((0, 0.001, 0.05, 1, 1000))):
        try:
            async with instance.own(resource_id, metadata=metadata, wait_seconds=wait_seconds) as grant:
                world.enter(name, grant)
                await work(world, instance, resource_id)
        except (resroute.ResourceLost, resroute.RouterError, KeyError) as error:
            end = error.cause if isinstance(error, resroute.ResourceLost) else type(error).__name__
            world.ends.add(end)
        else:
            world.ends.add("released")


async def work(world: World, instance: Instance, resource_id: str) -> None:
    """What happens in a block."""
    await trio.sleep(world.rng.choice((0, 0.01, 0.4)))
    match world.rng.randrange(8):
        case 0:
            raise KeyError(resource_id)
        case 1:
            await instance.release(resource_id)
        case 2:
            await instance.update(resource_id, {"ttl_seconds": 0.1})
            await trio.sleep(1)
        case _:
            await trio.sleep(world.rng.choice((0.01, 3)))


async def disturb(world: World, rival: Client) -> None:
    """Take resources from whoever has them, and give them up again."""
    async with rival.open_instance("service", echo, instance_id="rival") as instance:
        while True:
            await trio.sleep(world.rng.uniform(0, 4))
            resource_id = world.rng.choice(RESOURCES)
            await rival.release_resources(resource_id, partial=True)
            taken = await instance.register(resource_id, partial=True)
            await trio.sleep(world.rng.choice((0, 0.5)))
            if taken.registered:
                await rival.release_resources(resource_id, partial=True)


@pytest.mark.parametrize(
    "seed",
    [*range(QUICK_SEEDS), *(pytest.param(n, marks=pytest.mark.slow) for n in range(QUICK_SEEDS, SEEDS))],
)
async def test_nothing_is_left_of_any_block(seed: int, autojump_clock: MockClock) -> None:
    rng = random.Random(seed)
    async with open_scenario(ADMINISTRATORS, seed=seed, is_lagging=rng.random() < 0.5) as scenario:
        administrator = await scenario.connect("administrator")
        world = World(scenario, administrator, rng)
        async with open_client_of(scenario.router) as rival, trio.open_nursery() as nursery:
            nursery.start_soon(disturb, world, rival)
            async with trio.open_nursery() as programs:
                for number in range(PROGRAMS):
                    programs.start_soon(live, world, f"program-{number}")
            nursery.cancel_scope.cancel()
        await trio.sleep(10)  # what is still on its way to the router
        assert (await administrator.ask("resource.query"))["resources"] == []
        assert world.faults == []
