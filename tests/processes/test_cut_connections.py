"""Over sockets: connections that break in the midst of frames, whatever was being asked, and an SDK that comes back."""

from collections import Counter
from random import Random

import pytest
import trio

from resroute import (
    Acquired,
    Call,
    Client,
    Instance,
    ReconnectPolicy,
    Releasing,
    ResrouteError,
    Service,
    open_client,
)
from tests.processes.proxy import open_proxy
from tests.processes.running import open_router

NAMES = [f"doc:{number}" for number in range(40)]
SOON = ReconnectPolicy(first_seconds=0.05, max_seconds=0.2)


def serving(random: Random) -> Service:
    """A service that answers what it is told, with hooks or without."""

    def echo(call: Call) -> object:
        return call.params

    service = Service(echo)
    if random.random() < 0.7:

        @service.before_release
        def save(releasing: Releasing) -> int:
            return releasing.epoch

        @service.after_acquire
        def load(_acquired: Acquired) -> None:
            pass

    return service


class Member:
    """A program that takes, gives up, hands over and calls, one after the other."""

    def __init__(self, random: Random, client: Client, instance: Instance, other: str) -> None:
        self.outcomes = Counter[str]()
        self._random = random
        self._client = client
        self._instance = instance
        self._other = other

    async def live(self, seconds: float) -> None:
        """Do so for a while. Each thing has a result or a typed error."""
        ends_at = trio.current_time() + seconds
        while trio.current_time() < ends_at:
            await trio.sleep(self._random.uniform(0, 0.02))
            try:
                await self._do_something()
            except (ResrouteError, trio.BusyResourceError) as error:
                self.outcomes[type(error).__name__] += 1
            else:
                self.outcomes["done"] += 1

    async def _do_something(self) -> None:
        random, instance = self._random, self._instance
        match random.randrange(7):
            case 0:
                await instance.register(*random.sample(NAMES, 5), partial=True)
            case 1:
                await instance.release(*random.sample(NAMES, 2), partial=True)
            case 2:
                await instance.bulk_register(NAMES, continue_on_error=True, batch_size=7)
            case 3:
                names = random.sample(NAMES, 2)
                await instance.transfer(*names, to=self._other, reason="test", partial=True)
            case 4:
                async with instance.own(random.choice(NAMES)):
                    await trio.sleep(0.01)
            case kind:
                text = "x" * random.randrange(3000)
                answer = await self._client.call(
                    "echo", [text], resource_id=random.choice(NAMES), idempotent=kind == 5
                )
                assert answer == [text]


async def hold(seed: int, seconds: float) -> None:
    random = Random(seed)
    with trio.fail_after(seconds + 60):
        async with (
            open_router() as router,
            open_proxy(router.port) as proxy,
            open_client(router.url) as witness,
            open_client(proxy.url, reconnect=SOON) as first,
            open_client(proxy.url, reconnect=SOON) as second,
            first.open_instance(
                "s", serving(random), instance_id="one", resume_grace_seconds=random.choice((0, 5))
            ) as one,
            second.open_instance("s", serving(random), instance_id="two") as two,
        ):
            proxy.breaks_after = lambda: random.randrange(random.choice((200, 800, 3000, 20_000, 200_000)))
            members = [Member(random, first, one, "two"), Member(random, second, two, "one")]
            await proxy.drop()
            async with trio.open_nursery() as nursery:
                for member in members * 3:
                    nursery.start_soon(member.live, seconds)
            proxy.breaks_after = None
            for instance in (one, two):  # it is back, and has what it could get
                await instance.bulk_register(NAMES, continue_on_error=True)
            truth = {
                info.resource_id: (info.owner_instance_id, info.epoch)
                async for info in witness.all_resources()
            }
            owned = {
                name: (each.instance_id, epoch)
                for each in (one, two)
                for name, epoch in each.resources.items()
            }
            assert owned == truth
            assert len(truth) == len(NAMES)
            for client, member in zip((first, second), members, strict=True):
                assert client.statistics().connections > 2
                assert member.outcomes["done"] > 10, member.outcomes


async def test_what_owners_believe_is_so_however_often_they_were_cut_off() -> None:
    await hold(0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 8))
async def test_so_it_is_for_long(seed: int) -> None:
    await hold(seed, 15)
