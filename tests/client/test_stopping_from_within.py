"""Instances that are told to stop by their own program: by a call, or by another task."""

import signal

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Client, Drained, Instance, RemoteError, Service
from resroute.client.stopping import SIGNALS
from tests.client.networks import open_network


class Stoppable:
    """An instance that stops when it is told to by a call."""

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self.done: list[Drained] = []
        self.may_end = trio.Event()
        self.service = Service(hook_seconds=5)
        self.service.method(self.stop)
        self.service.method(self.work)

    async def stop(self, drain_seconds: float = 25) -> str:
        assert self.instance is not None
        self.done.append(await self.instance.stop(drain_seconds=drain_seconds))
        return "stopped"

    async def work(self) -> str:
        await self.may_end.wait()
        return "done"


@pytest.mark.parametrize("has_hooks", [False, True])
async def test_a_handler_that_stops_its_instance_waits_for_all_calls_but_its_own(
    autojump_clock: MockClock, has_hooks: bool
) -> None:
    stoppable = Stoppable()
    if has_hooks:
        stoppable.service.before_release(lambda _releasing: None)
    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("s", stoppable.service) as instance:
            stoppable.instance = instance
            await instance.register("a")
            answers: list[str] = []

            async def work() -> None:
                answers.append(await caller.call("work", resource_id="a"))

            async def let_end() -> None:
                await trio.sleep(3)
                stoppable.may_end.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                nursery.start_soon(let_end)
                await trio.sleep(1)
                began_at = trio.current_time()
                assert await caller.call("stop", resource_id="a") == "stopped"
                assert trio.current_time() - began_at == 2, "the other call was waited for, and nothing else"
            assert answers == ["done"]
            assert [(it.released, it.in_flight) for it in stoppable.done] == [(1, 0)]


async def stop_in_vain(caller: Client) -> None:
    with pytest.raises(RemoteError, match="stopped serving"):
        await caller.call("work", resource_id="a")


async def test_what_takes_too_long_is_cut_off_but_not_who_asks(autojump_clock: MockClock) -> None:
    stoppable = Stoppable()
    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("s", stoppable.service) as instance, trio.open_nursery() as nursery:
            stoppable.instance = instance
            await instance.register("a")
            nursery.start_soon(stop_in_vain, caller)
            await trio.sleep(1)
            assert await caller.call("stop", [4], resource_id="a") == "stopped"
            assert [it.in_flight for it in stoppable.done] == [1]


async def test_several_that_stop_it_do_not_wait_for_each_other(autojump_clock: MockClock) -> None:
    stoppable = Stoppable()
    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("s", stoppable.service) as instance:
            stoppable.instance = instance
            await instance.register("a")
            answers: list[str] = []

            async def stop() -> None:
                answers.append(await caller.call("stop", resource_id="a"))

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(stop)
                await instance.stop()
            assert answers == ["stopped"] * 3
            assert sum(it.in_flight for it in stoppable.done) == 0
            with pytest.raises(resroute.ResourceNotFound):
                await caller.call("work", resource_id="a")


@pytest.mark.parametrize("signals", [(), SIGNALS])
async def test_what_serves_until_it_is_stopped_has_been_once_it_was(
    autojump_clock: MockClock, signals: tuple[signal.Signals, ...]
) -> None:
    stoppable = Stoppable()
    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("s", stoppable.service) as instance, trio.open_nursery() as nursery:
            stoppable.instance = instance
            await instance.register("a")

            async def stop() -> None:
                await trio.sleep(10)
                assert await caller.call("stop", resource_id="a") == "stopped"

            nursery.start_soon(stop)
            served = await instance.serve_until_stopped(signals=signals)
            assert trio.current_time() == 10
            assert [served] == stoppable.done
            assert served.released == 1
            assert await instance.serve_until_stopped(signals=signals) == served, "it is still so"


async def test_without_signals_too_it_says_when_it_is_over(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client(reconnect=None) as client:
        async with client.open_instance("s", Stoppable().service) as instance, trio.open_nursery() as nursery:

            async def drop() -> None:
                await trio.sleep(1)
                await network.drop()

            nursery.start_soon(drop)
            with pytest.raises(resroute.ConnectionLost):
                await instance.serve_until_stopped(signals=())


async def test_a_signal_stops_it(autojump_clock: MockClock) -> None:
    stoppable = Stoppable()
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", stoppable.service) as instance, trio.open_nursery() as nursery:
            await instance.register("a", "b")

            async def end() -> None:
                await trio.sleep(1)
                signal.raise_signal(signal.SIGTERM)

            nursery.start_soon(end)
            served = await instance.serve_until_stopped()
            assert (served.released, served.in_flight) == (2, 0)
