"""Several clients do all that they can, while connections and routers fail and what they do is cancelled, by a seed.

Nothing comes of it but results and typed errors, and when they have gone nothing of them is left.
"""

from collections.abc import AsyncIterator
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Acquired, Call, Client, Instance, Releasing, Service
from resroute.testing import MemoryRouter
from tests.client.networks import open_network
from tests.client.typed import Asking, ask, go_through

RESOURCES = [f"doc:{number}" for number in range(5)]
CLIENTS = 3
GRACE_SECONDS = 5.0


class HookFailed(Exception):
    """A hook's own error goes to who has asked for what it is around."""


@attrs.frozen
class Chaos:
    """What happens, by chance."""

    random: Random
    network: MemoryRouter

    @property
    def resource(self) -> str:
        return self.random.choice(RESOURCES)

    @property
    def other(self) -> str:
        return f"i{self.random.randrange(CLIENTS)}"

    async def fail(self) -> None:
        """Have one thing after the other go wrong, until this is cancelled."""
        network, random = self.network, self.random
        while True:
            await trio.sleep(random.uniform(0, 3))
            match random.randrange(7):
                case 0:
                    await network.drop()
                case 1:
                    network.stall()
                    await trio.sleep(random.choice((1, 30)))
                    network.go_on()
                case 2:
                    await network.kill()
                    await trio.sleep(random.uniform(0, 2))
                    await network.start()
                case 3:
                    await network.stop()
                    await network.start()
                case 4:
                    network.slow_down(random.uniform(0, 0.3))
                case 5:
                    network.slow_down(0)
                case _:
                    try:
                        await network.lose(self.resource)
                    except resroute.ResourceNotFound:
                        pass

    def service(self) -> Service:
        random, service = self.random, Service()

        async def take_time() -> None:
            await trio.sleep(random.uniform(0, 0.2))
            if random.random() < 0.1:
                raise HookFailed

        if random.random() < 0.5:

            @service.before_release
            async def save(releasing: Releasing) -> str:
                await take_time()
                return releasing.resource_id

            @service.after_acquire
            async def load(acquired: Acquired) -> None:
                await take_time()

        @service.fenced
        async def work(call: Call, seconds: float) -> str | None:
            await trio.sleep(seconds)
            await call.caller.notify("done", [seconds])
            return call.resource_id

        @service.method
        async def count() -> AsyncIterator[int]:
            for number in range(3):
                yield number
                await trio.sleep(0.05)

        return service

    def actions(self, client: Client, instance: Instance) -> list[Asking]:
        random = self.random

        async def own() -> None:
            metadata: Any = random.choice((None, {"ttl_seconds": 2}))
            wait_seconds = random.choice((None, 0, 2))
            async with instance.own(self.resource, wait_seconds=wait_seconds, metadata=metadata):
                await trio.sleep(random.uniform(0, 2))

        async def work() -> None:
            is_patient, idempotent = random.random() < 0.5, random.random() < 0.3
            await client.call(
                "work",
                [random.random()],
                resource_id=self.resource,
                wait_for_owner_seconds=1 if is_patient else None,
                idempotent=idempotent,
            )

        is_by_batch = random.random() < 0.5
        return [
            client.info,
            own,
            own,
            partial(client.drain_instance, self.other),
            partial(client.query_resources),
            partial(client.rebalance_service, "documents"),
            partial(client.transfer_resources, self.resource, to=self.other, reason="test"),
            partial(instance.bulk_register, RESOURCES, batch_size=2, continue_on_error=is_by_batch),
            partial(instance.bulk_release, RESOURCES),
            partial(instance.register, self.resource),
            partial(instance.register, self.resource, force=True),
            partial(instance.register, *RESOURCES, partial=True),
            partial(instance.register, *random.sample(RESOURCES, 2), wait_seconds=1),
            partial(instance.release, self.resource),
            partial(instance.release, *RESOURCES, partial=True),
            partial(instance.renew, self.resource),
            partial(instance.transfer, self.resource, to=self.other, reason="test"),
            partial(instance.update, self.resource, {"tags": ["a"]}),
            work,
            work,
            lambda: go_through(client.open_notifications()),
            lambda: go_through(client.open_stream("count", service_name="documents")),
            lambda: go_through(client.open_watch(snapshot=True)),
            lambda: go_through(instance.open_changes()),
        ]

    async def attempt(self, asking: Asking) -> None:
        await ask(asking, self.random.choice((0.05, 0.3, 1, 5, 40)), HookFailed)

    async def live(self, number: int) -> None:
        """One client, from its beginning to its end."""
        random = self.random
        async with self.network.open_client() as client:

            async def be_an_instance() -> None:
                async with client.open_instance(
                    "documents",
                    self.service(),
                    instance_id=random.choice((None, f"i{number}")),
                    resume_grace_seconds=random.choice((0, 0, GRACE_SECONDS)),
                ) as instance:
                    for _ in range(random.randrange(1, 6)):
                        async with trio.open_nursery() as nursery:
                            for asking in random.sample(
                                self.actions(client, instance), random.randrange(1, 7)
                            ):
                                nursery.start_soon(self.attempt, asking)
                    if random.random() < 0.3:
                        await self.attempt(random.choice((instance.drain, instance.stop)))

            await self.attempt(be_an_instance)
            await self.attempt(client.ping)


async def hold(seed: int) -> None:
    random = Random(seed)
    settings: dict[str, Any] = {
        "anonymous_roles": ["caller", "instance", "admin"],
        "max_calls_in_flight": random.choice((2, 1024)),
    }
    async with open_network(**settings) as network:
        chaos = Chaos(random, network)
        async with trio.open_nursery() as failing:
            failing.start_soon(chaos.fail)
            async with trio.open_nursery() as living:
                for number in range(CLIENTS):
                    living.start_soon(chaos.live, number)
            failing.cancel_scope.cancel()
        try:
            router = network.router
        except RuntimeError:
            return  # it was just about to begin anew
        await trio.sleep(60)  # graces are over, and whoever was stalled is found out
        await wait_all_tasks_blocked()
        assert set(attrs.astuple(router.statistics())) == {0}, router.statistics()


@pytest.mark.parametrize("seed", range(30))
async def test_nothing_but_typed_errors_comes_of_it_and_nothing_is_left(
    seed: int, autojump_clock: MockClock
) -> None:
    await hold(seed)


@pytest.mark.slow
async def test_so_it_is_for_long(autojump_clock: MockClock) -> None:
    for seed in range(30, 400):
        try:
            await hold(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
