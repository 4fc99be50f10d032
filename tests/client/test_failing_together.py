"""When several things fail in the same moment, whoever asked for them gets one error and no group."""

import signal

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Call, Client, DrainProgress, Instance, Releasing, Service
from resroute.testing import MemoryRouter
from tests.client.networks import open_network

NAMES = [f"doc:{number}" for number in range(10)]


def answer(_call: Call) -> int:
    return 1


def saving(service: Service) -> Service:
    """A service that has something to hand on."""

    @service.before_release
    def save(_releasing: Releasing) -> int:
        return 1

    return service


async def owners(client: Client) -> set[str]:
    return {info.owner_instance_id async for info in client.all_resources()}


@pytest.mark.parametrize("seconds", [0.31, 0.36, 0.41, 0.46])
async def test_an_instance_that_stops_while_its_connection_ends_hands_over_all_the_same(
    autojump_clock: MockClock, seconds: float
) -> None:
    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client() as other,
        network.open_client() as another,
        other.open_instance("documents", answer, instance_id="a"),
        another.open_instance("documents", answer, instance_id="b"),
        client.open_instance("documents", saving(Service(answer)), resume_grace_seconds=30) as instance,
    ):
        await instance.register(*NAMES)
        network.slow_down(0.05, client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drop_after, network, client, seconds)
            await instance.stop()
        assert await owners(another) == {"a", "b"}


async def drop_after(network: MemoryRouter, client: Client, seconds: float) -> None:
    await trio.sleep(seconds)
    await network.drop(client)


async def test_what_serves_until_it_is_stopped_says_once_that_it_is_over(autojump_clock: MockClock) -> None:
    async def hold(_call: Call) -> None:
        await trio.sleep_forever()

    async with (
        open_network() as network,
        network.open_client(reconnect=None) as client,
        network.open_client() as caller,
        client.open_instance("documents", hold) as instance,
        trio.open_nursery() as nursery,
    ):
        await instance.register("doc:1")
        nursery.start_soon(call_in_vain, caller)
        await trio.sleep(1)
        network.slow_down(0.5, client)

        async def end_it() -> None:
            await trio.sleep(0.1)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep(0.1)
            await network.drop(client)

        nursery.start_soon(end_it)
        with pytest.raises(resroute.ConnectionLost):
            await instance.serve_until_stopped()


async def call_in_vain(caller: Client) -> None:
    with pytest.raises((resroute.OwnerDisconnected, resroute.RemoteError)):
        await caller.call("m", resource_id="doc:1")


async def test_hooks_that_take_too_long_or_fail_together_raise_one_error(autojump_clock: MockClock) -> None:
    async def refuse(_releasing: Releasing) -> None:
        raise OSError("the disk is full")

    async def dawdle(_releasing: Releasing) -> None:
        await trio.sleep(10)

    async def give_up(instance: Instance) -> None:
        await instance.release("doc:1", "doc:2")

    async def hand_over(instance: Instance) -> None:
        await instance.transfer("doc:1", "doc:2", to="a", reason="moving")

    for hook, error in ((refuse, OSError), (dawdle, trio.TooSlowError)):
        service = Service(answer, hook_seconds=2)
        service.before_release(hook)
        async with (
            open_network() as network,
            network.open_client() as client,
            client.open_instance("documents", service) as instance,
        ):
            await instance.register("doc:1", "doc:2")
            for attempt in (give_up, hand_over):
                with pytest.raises(error):
                    await attempt(instance)
                assert sorted(instance.resources) == ["doc:1", "doc:2"]


async def test_what_listens_to_a_drain_raises_one_error(autojump_clock: MockClock) -> None:
    def refuse(_progress: DrainProgress) -> None:
        raise ValueError("enough")

    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client() as other,
        network.open_client() as another,
        other.open_instance("documents", answer),
        another.open_instance("documents", answer),
        client.open_instance("documents", saving(Service(answer))) as instance,
    ):
        await instance.register(*NAMES)
        with pytest.raises(ValueError, match="enough"):
            await instance.drain(on_progress=refuse)
