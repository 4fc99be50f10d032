"""Instances of the SDK that are told to stop, as processes of their own: nobody who calls them notices."""

import itertools
import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from resroute import Client, RemoteError, ResrouteError, open_client
from resroute.errors import OwnerDisconnected
from tests.processes.running import Peer, open_router, start_peer


@attrs.define
class Load:
    """Callers that never let up, and what they have seen.

    Attributes:
        counts: what the next call for a resource must count beyond: each is called by one task, one call at a time.
        keys: the idempotency keys of the calls that were answered as they should be.
        failures: what became of the others.
    """

    counts: dict[str, int]
    keys: list[str] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    slowest_seconds: float = 0.0
    _next_key: "itertools.count[int]" = attrs.field(factory=itertools.count)

    async def call_again_and_again(
        self, url: str, names: Sequence[str], calls_per_second: float, until: trio.Event
    ) -> None:
        """Call some of them, one after the other, at a constant pace."""
        rng = random.Random(names[0])
        async with open_client(url, reconnect=None, retry=None) as client:  # so that nothing is made up for
            due = trio.current_time()
            while not until.is_set():
                await self._call(client, rng.choice(names))
                due += 1 / calls_per_second
                await trio.sleep_until(due)

    async def _call(self, client: Client, name: str) -> None:
        key = f"call-{next(self._next_key)}"
        began = trio.current_time()
        try:
            count = await client.call("add", resource_id=name, idempotency_key=key)
        except ResrouteError as error:
            self.failures.append(f"{name}: {error!r}")
            return
        self.slowest_seconds = max(self.slowest_seconds, trio.current_time() - began)
        self.counts[name] += 1
        self.keys.append(key)
        if count != self.counts[name]:
            self.failures.append(f"{name} counts {count} and not {self.counts[name]}")
            self.counts[name] = count


@asynccontextmanager
async def open_load(
    url: str, names: Sequence[str], *, callers: int, calls_per_second: float
) -> AsyncGenerator[Load]:
    """Call resources for as long as the block runs, so many times a second in all."""
    load = Load(dict.fromkeys(names, 0))
    until = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(callers):
            nursery.start_soon(
                load.call_again_and_again, url, names[number::callers], calls_per_second / callers, until
            )
        yield load
        until.set()


@attrs.define
class Fleet:
    """Instances, each a process that lives as long as the block of its fleet at most."""

    url: str
    nursery: trio.Nursery

    async def start(self, instance_id: str, names: Sequence[str] = (), **wishes: float) -> Peer:
        """One more, which is ready."""
        replica: Peer = await self.nursery.start(
            self._run, {"instance_id": instance_id, "resource_ids": names, **wishes}
        )
        return replica

    async def _run(self, wishes: dict[str, object], *, task_status: trio.TaskStatus[Peer]) -> None:
        async with start_peer("replica", url=self.url, **wishes) as replica:
            await replica.wait_event("ready")
            task_status.started(replica)
            await trio.sleep_forever()


@asynccontextmanager
async def open_fleet() -> AsyncGenerator[Fleet]:
    """A router, and no instance yet."""
    async with open_router() as serving, trio.open_nursery() as nursery:
        yield Fleet(serving.url, nursery)
        nursery.cancel_scope.cancel()


async def stop(replica: Peer) -> int:
    """Tell it to stop, and wait until it has. Returns how many resources it handed over."""
    replica.program.send_signal(signal.SIGTERM)
    assert await replica.program.wait_ended() == 0
    told = await replica.wait_event("handed_over")
    assert told["cut_off"] == 0
    return int(told["handed_over"])


async def restart_all(instances: int, resources: int, calls_per_second: float) -> None:
    """Start a service, replace each of its instances, one after the other, while it is called; look what was run."""
    names = [f"count:{number}" for number in range(resources)]
    share = resources // instances
    async with open_fleet() as fleet:
        old: list[Peer] = []

        async def start_old(number: int) -> None:
            old.append(await fleet.start(f"old-{number}", names[number * share : (number + 1) * share]))

        async with trio.open_nursery() as nursery:
            for number in range(instances):
                nursery.start_soon(start_old, number)
        new: list[Peer] = []
        async with open_load(fleet.url, names, callers=10, calls_per_second=calls_per_second) as load:
            for number, replica in enumerate(old):
                new.append(await fleet.start(f"new-{number}"))
                assert await stop(replica) >= share
            await trio.sleep(0.5)
        for replica in new[:-1]:
            await stop(replica)
        assert await stop(new[-1]) == 0
        ran: Counter[str] = Counter()
        for replica in (*old, *new):
            ran.update((await replica.wait_event("ran"))["ran"])
        assert load.failures == []
        assert len(load.keys) > 20
        assert ran == Counter(load.keys)
        print(f"{len(load.keys)} calls, the slowest after {1000 * load.slowest_seconds:.0f} ms")


async def test_a_rolling_restart_of_three_instances_fails_no_call_and_runs_none_twice() -> None:
    await restart_all(instances=3, resources=150, calls_per_second=150)


@pytest.mark.slow
async def test_a_rolling_restart_of_ten_instances_fails_no_call_and_runs_none_twice() -> None:
    await restart_all(instances=10, resources=5000, calls_per_second=300)


# --- one instance that is told to stop ------------------------------------------------------------------------------


async def test_told_to_stop_an_instance_finishes_its_calls_and_what_it_counted_goes_along() -> None:
    async with open_fleet() as fleet, open_client(fleet.url) as client:
        first = await fleet.start("first", ["a", "b"])
        await fleet.start("second")
        assert await client.call("add", resource_id="b") == 1
        answers: list[int] = []

        async def linger() -> None:
            answers.append(await client.call("linger", {"seconds": 2}, resource_id="a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(linger)
            await first.wait_event("lingers")
            assert await stop(first) == 2
        assert answers == [1]
        assert await client.call("add", resource_id="a") == 2
        assert await client.call("add", resource_id="b") == 2


async def test_a_call_that_takes_longer_than_stopping_may_is_cut_off() -> None:
    async with open_fleet() as fleet, open_client(fleet.url) as client:
        first = await fleet.start("first", ["a"], drain_seconds=1)
        async with trio.open_nursery() as nursery:

            async def linger() -> None:
                with pytest.raises(RemoteError, match="stopped serving"):
                    await client.call("linger", {"seconds": 25}, resource_id="a")

            nursery.start_soon(linger)
            await first.wait_event("lingers")
            first.program.send_signal(signal.SIGTERM)
            assert await first.program.wait_ended() == 0
            assert (await first.wait_event("cut_off"))["cut_off"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_program_at_once(number: signal.Signals) -> None:
    async with open_fleet() as fleet, open_client(fleet.url) as client:
        first = await fleet.start("first", ["a"])
        async with trio.open_nursery() as nursery:

            async def linger() -> None:
                with pytest.raises(OwnerDisconnected):
                    await client.call("linger", {"seconds": 25}, resource_id="a")

            nursery.start_soon(linger)
            await first.wait_event("lingers")
            first.program.send_signal(number)
            while (await client.query_instances()).instances[0].status != "draining":  # noqa: ASYNC110
                await trio.sleep(0.01)
            first.program.send_signal(number)
            assert await first.program.wait_ended() == -number
