"""What users test their services against: a real router in memory, faults when they are wanted, and a checker."""

from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, Lost, Regained, StaleEpoch
from resroute.testing import Checker, ForeignClient, MemoryRouter, open_test_router
from resroute.testing.fixtures import resroute_router

__all__ = ["resroute_router"]


async def echo(call: Call) -> object:
    return call.params


async def test_a_service_can_be_tried_with_the_fixture(
    resroute_router: MemoryRouter, autojump_clock: MockClock
) -> None:
    async with resroute_router.open_client() as client, client.open_instance("documents", echo) as instance:
        await instance.register("doc:1")
        assert await client.call("read", [1], resource_id="doc:1") == [1]


async def test_settings_are_the_routers(autojump_clock: MockClock) -> None:
    async with open_test_router(max_resources_per_instance=1) as router, router.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            with pytest.raises(resroute.ResourceLimitExceeded):
                await instance.register("doc:1", "doc:2")
    with pytest.raises(ValueError):
        async with open_test_router(max_sessions=0):
            pass
    beat = {"interval_seconds": 1, "timeout_seconds": 3}
    async with open_test_router(heartbeat=beat) as router, router.open_client() as client:
        assert (await client.info()).heartbeat.interval_seconds == 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_resource_per_instance": 1}, "did you mean max_resources_per_instance?"),
        ({"heartbeat": {"interval": 1}}, r"no setting heartbeat.interval: did you mean heartbeat.interval_"),
        ({"colour": "blue"}, "a router has no setting colour$"),
    ],
)
async def test_a_setting_that_does_not_exist_is_named(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        async with open_test_router(**settings):
            pass


async def test_clients_may_be_administrators(autojump_clock: MockClock) -> None:
    roles = ["caller", "instance", "admin"]
    async with open_test_router(anonymous_roles=roles) as router, router.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            await instance.register("doc:1")
            released = await client.release_resources("doc:1")
            assert released.released == ("doc:1",)


async def test_faults_are_for_clients_of_this_router(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, open_test_router() as other:
        async with router.open_client() as over:
            pass
        async with (
            other.open_client() as foreign,
            resroute.open_client_over(router.open_transport) as by_hand,
            router.open_client() as ours,
        ):
            for client in (over, foreign, by_hand):
                with pytest.raises(ForeignClient, match="opened with open_client") as caught:
                    await router.drop(client)
                assert caught.value.client is client
                for fault in (router.stall, router.go_on, partial(router.slow_down, 1)):
                    with pytest.raises(ForeignClient):
                        fault(client)
            await router.drop()
            for client in (ours, by_hand):
                await client.ping()
                assert client.statistics().connections == 2, "without a client it is that of all"
            await foreign.ping()
            assert foreign.statistics().connections == 1


async def test_faults_come_at_any_time(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        for _ in range(2):
            await router.kill()
            await router.drop()
            await router.drop(client)
            router.stall(client)
            router.go_on()
        with pytest.raises(RuntimeError, match="does not run"):
            await router.stop()
        with pytest.raises(RuntimeError, match="does not run"):
            await router.lose("doc:1")
        await router.start()
        await client.ping()
        with pytest.raises(ValueError, match="at least 0"):
            router.slow_down(-1)


async def test_a_block_ends_while_all_stands_still(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            await instance.register("doc:1")
            router.stall()
        began_at = trio.current_time()
    assert trio.current_time() - began_at <= 5


async def test_a_dropped_client_comes_back_and_others_notice_nothing(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as one, router.open_client() as two:
        async with one.open_instance("documents", echo) as instance:
            await instance.register("doc:1")
            await router.drop(one)
            assert await two.call("read", [1], resource_id="doc:1", wait_for_owner_seconds=10) == [1]
            assert (one.statistics().connections, two.statistics().connections) == (2, 1)


async def test_a_killed_router_comes_back_and_knows_nothing(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        async with client.open_instance("documents", echo) as instance, instance.open_changes() as changes:
            await instance.register("doc:1")
            await router.kill()
            with pytest.raises(RuntimeError, match="does not run"):
                router.router  # noqa: B018
            with pytest.raises(resroute.ConnectionFailed):
                await router.open_transport()
            await router.start()
            with pytest.raises(RuntimeError, match="already"):
                await router.start()
            await anext(changes)
            assert isinstance(await anext(changes), Regained)


async def test_a_lost_resource_is_lost_as_to_an_administrator(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        async with client.open_instance("documents", echo) as instance, instance.open_changes() as changes:
            await instance.register("doc:1")
            await router.lose("doc:1")
            lost = await anext(changes)
            assert isinstance(lost, Lost)
            assert lost.cause == "released_by_admin"
            with pytest.raises(resroute.ResourceNotFound):
                await router.lose("doc:1")
        await wait_all_tasks_blocked()
        assert router.router.statistics().sessions == 1


async def test_a_stalled_connection_is_left_after_its_time_and_another_one_works(
    autojump_clock: MockClock,
) -> None:
    async with open_test_router() as router, router.open_client() as client:
        await client.ping()
        router.stall(client)
        began_at = trio.current_time()
        await client.ping()
        assert 20 <= trio.current_time() - began_at <= 30
        assert client.statistics().connections == 2


async def test_a_stall_that_ends_in_time_loses_nothing(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client, trio.open_nursery() as nursery:
        router.stall()

        async def end_it() -> None:
            await trio.sleep(5)
            router.go_on()

        nursery.start_soon(end_it)
        await client.ping()
        assert trio.current_time() == 5
        assert client.statistics().connections == 1


async def test_what_is_stalled_twice_goes_on_all_the_same(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client, trio.open_nursery() as nursery:
        router.stall(client)
        nursery.start_soon(client.ping)
        await trio.sleep(1)
        router.stall()
        await trio.sleep(1)
        router.go_on()
        await wait_all_tasks_blocked()
    assert trio.current_time() == 2
    assert client.statistics().connections == 1


async def test_a_slow_link_takes_its_time_each_way(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        router.slow_down(0.5, client)
        await client.ping()
        assert trio.current_time() == 1
        router.slow_down(0.0)
        await client.ping()
        assert trio.current_time() == 1


async def test_a_router_that_stops_in_order_is_followed(autojump_clock: MockClock) -> None:
    async with open_test_router() as router, router.open_client() as client:
        await router.stop()
        await router.start()
        await client.ping()
        assert client.statistics().connections == 2


async def test_what_a_test_raises_leaves_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with open_test_router() as router, router.open_client():
            raise KeyError("mine")


# --- the checker --------------------------------------------------------------------------------------------------


async def test_two_owners_at_once_fail_the_test(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="'doc:1' was worked on under epoch 2 while it was under 1"):
        async with open_test_router() as router:
            with router.checker.working("doc:1", 1), router.checker.working("doc:1", 2):
                pass


def test_work_under_one_epoch_may_overlap_and_that_of_different_resources() -> None:
    checker = Checker()
    with checker.working("a", 1), checker.working("a", 1), checker.working("b", 2):
        pass
    with checker.working("a", 2):
        pass
    checker.check()
    assert checker.faults == ()


def test_a_database_that_looks_at_epochs_keeps_late_writes_out() -> None:
    checker = Checker()
    checker.write("a", 2)
    checker.write("a", 2)
    with pytest.raises(StaleEpoch):
        checker.write("a", 1)
    checker.write("b", 1)
    checker.check()


def test_a_call_of_no_resource_cannot_be_checked() -> None:
    checker = Checker()
    for write in (checker.write, checker.write_unfenced):
        with pytest.raises(TypeError, match="no call for a resource"):
            write(None, None)
    with pytest.raises(TypeError, match="no call for a resource"), checker.working("a", None):
        pass


def test_without_fencing_late_writes_are_faults() -> None:
    checker = Checker()
    checker.write_unfenced("a", 2)
    checker.write_unfenced("a", 1)
    checker.write_unfenced("a", 2)
    with pytest.raises(AssertionError, match="'a' was written under epoch 1 after it was under 2"):
        checker.check()


async def test_the_checker_finds_an_owner_that_goes_on_after_it_was_cut_off(
    autojump_clock: MockClock,
) -> None:
    """The fault that fencing is for: it does not notice that it is no owner any more."""

    def service(router: MemoryRouter, seconds: float) -> resroute.Service:
        service = resroute.Service()

        @service.method
        async def save(call: Call) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
                router.checker.write_unfenced(call.resource_id, call.epoch)

        return service

    with pytest.raises(AssertionError, match="was written under epoch"):
        async with open_test_router() as router, router.open_client() as old, router.open_client() as new:
            async with (
                old.open_instance("documents", service(router, 10)) as first,
                new.open_instance("documents", service(router, 0)) as second,
                trio.open_nursery() as nursery,
            ):
                await first.register("doc:1")

                async def call_old() -> None:
                    with pytest.raises(resroute.OwnerDisconnected):
                        await new.call("save", resource_id="doc:1")

                nursery.start_soon(call_old)
                await wait_all_tasks_blocked()
                router.is_reachable = False
                await router.drop(old)
                await second.register("doc:1", wait_seconds=5)
                await new.call("save", resource_id="doc:1")
                router.is_reachable = True
                await trio.sleep(20)
