"""An instance whose resources are kept for it while it is cut off leaves: they are given up as soon as that can be said."""

import pytest
import trio
from trio.testing import MockClock

from resroute import Client, Instance
from resroute.client.becoming import LEAVING_SECONDS
from resroute.testing import MemoryRouter
from tests.client.networks import open_network
from tests.client.test_instance import echo

GRACE_SECONDS = 200.0


async def own(instance: Instance) -> None:
    await instance.register("doc:1", "doc:2")


async def is_free(network: MemoryRouter) -> bool:
    async with network.open_client() as other, other.open_instance("documents", echo) as instance:
        return not (await instance.register("doc:1", "doc:2", partial=True)).conflicts


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_it_comes_back_to_give_up_what_is_kept_for_it(
    is_cancelled: bool, autojump_clock: MockClock
) -> None:
    async with open_network() as network, network.open_client() as client:
        with trio.CancelScope() as scope:
            async with client.open_instance(
                "documents", echo, instance_id="one", resume_grace_seconds=GRACE_SECONDS
            ) as instance:
                await own(instance)
                await network.drop(client)
                assert not await is_free(network)
                if is_cancelled:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught == is_cancelled
        assert await is_free(network)
        assert network.router.statistics().suspended == 0


async def test_where_nobody_can_be_reached_it_is_not_held_up_for_long(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        async with network.open_client() as client:
            async with client.open_instance(
                "documents", echo, instance_id="one", resume_grace_seconds=GRACE_SECONDS
            ) as instance:
                await own(instance)
                network.is_reachable = False
                await network.drop(client)
                began_at = trio.current_time()
            assert trio.current_time() - began_at <= LEAVING_SECONDS
        network.is_reachable = True
        assert not await is_free(network), "it is kept"
        await trio.sleep(GRACE_SECONDS)
        assert await is_free(network)


async def test_a_client_that_is_cancelled_connects_no_more_so_nobody_waits_for_that(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network:
        with trio.CancelScope() as scope:
            async with (
                network.open_client() as client,
                client.open_instance("documents", echo, resume_grace_seconds=GRACE_SECONDS) as instance,
            ):
                await own(instance)
                await network.drop(client)
                began_at = trio.current_time()
                scope.cancel()
        assert trio.current_time() == began_at
        assert client.state == "closed"


async def test_who_has_drained_has_nothing_to_come_back_for(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance(
            "documents", echo, instance_id="one", resume_grace_seconds=GRACE_SECONDS
        ) as instance:
            await own(instance)
            await instance.drain(hand_over_to="nobody")
            network.is_reachable = False
            await network.drop(client)
            began_at = trio.current_time()
        assert trio.current_time() == began_at
        network.is_reachable = True
        assert await is_free(network)


async def test_without_a_grace_nothing_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            await own(instance)
            network.is_reachable = False
            await network.drop(client)
            began_at = trio.current_time()
        assert trio.current_time() == began_at


async def test_a_name_that_somebody_else_has_meanwhile_is_theirs(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def take_over(other: Client, *, task_status: trio.TaskStatus[None]) -> None:
        async with other.open_instance("documents", echo, instance_id="one") as heir:
            await heir.register("doc:1")
            task_status.started()
            await trio.sleep_forever()

    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client() as other,
        trio.open_nursery() as nursery,
    ):
        async with client.open_instance(
            "documents", echo, instance_id="one", resume_grace_seconds=2
        ) as instance:
            await own(instance)
            network.is_reachable = False
            await network.drop(client)
            await trio.sleep(3)
            await nursery.start(take_over, other)
            network.is_reachable = True
        assert await other.call("read", [1], resource_id="doc:1") == [1]
        nursery.cancel_scope.cancel()
    assert "leaving_failed" in caplog.text
