"""Over sockets: a router that died comes back, and all its instances come back to it at once."""

import signal
from pathlib import Path
from typing import Self

import attrs
import pytest
import trio

from resroute import (
    Call,
    Client,
    ConnectionLost,
    OwnerDisconnected,
    ReconnectPolicy,
    ResourceNotFound,
    ServiceNotFound,
    open_client,
)
from tests.processes.running import Peer, Program, open_router, start_peer

EACH = 50
LONGEST_SECONDS = 20.0
"""Two thousand instances are back by then, on two cores that have nothing else to do."""
SOON = ReconnectPolicy(first_seconds=0.2, max_seconds=0.5)


def answer(_call: Call) -> int:
    return 8


async def wait_complete(crowd: Peer, times: int) -> None:
    """Wait until all of them have owned all they should that often."""
    await crowd.program.wait_until(lambda: sum("complete" in event for event in crowd.events) >= times)


@attrs.frozen
class Cores:
    """What the main thread of a program has had of the cores, in seconds. Nothing where the system does not say.

    Attributes:
        had: how long it has run.
        missed: how long it could have run, had others not.
    """

    had: float = 0.0
    missed: float = 0.0

    @classmethod
    def of(cls, program: Program) -> Self:
        told = Path(f"/proc/{program.process.pid}/schedstat")
        had, missed = told.read_text().split()[:2] if told.exists() else ("0", "0")
        return cls(int(had) / 1e9, int(missed) / 1e9)

    def since(self, earlier: Self) -> "Cores":
        return Cores(self.had - earlier.had, self.missed - earlier.missed)


class Others:
    """Calls of somebody who has nothing to do with the storm, to an owner of its own and to those that come back."""

    def __init__(self, caller: Client) -> None:
        self._caller = caller
        self.answered = 0
        self.missed = 0

    async def keep_calling(self, instances: int) -> None:
        """One call after the other."""
        number = 0
        while True:
            number += 1
            for resource_id in ("calm:1", f"crowd:{number * 7 % instances}:{number % EACH}"):
                try:
                    await self._caller.call("m", resource_id=resource_id)
                except (ResourceNotFound, ServiceNotFound):
                    self.missed += 1  # its owner is not there yet
                except (ConnectionLost, OwnerDisconnected) as error:
                    if error.delivery != "unknown":  # it was not in flight, and so is made again
                        raise
                else:
                    self.answered += 1
            await trio.sleep(0.02)


async def storm(instances: int) -> None:
    """Have that many come back, in time. On a machine that does other things, too, it counts what that alone would take."""
    async with (
        open_router(max_sessions=instances + 100) as first,
        start_peer("crowd", url=first.url, instances=instances, each=EACH) as crowd,
        open_client(first.url, reconnect=SOON) as owner,
        open_client(first.url, reconnect=SOON) as caller,
        owner.open_instance("calm", answer) as instance,
        trio.open_nursery() as nursery,
    ):
        await instance.register("calm:1")
        await wait_complete(crowd, 1)
        others = Others(caller)
        nursery.start_soon(others.keep_calling, instances)
        first.program.send_signal(signal.SIGKILL)
        await first.program.process.wait()
        async with open_router(port=first.port, max_sessions=instances + 100) as second:
            began_at, before = trio.current_time(), [Cores.of(crowd.program), Cores.of(second.program)]
            await wait_complete(crowd, 2)
            took_seconds = trio.current_time() - began_at
            theirs = Cores.of(crowd.program).since(before[0])
            routers = Cores.of(second.program).since(before[1])
            assert not any("lost" in event for event in crowd.events)
            metrics = await second.metrics()
            assert metrics["resources"] == instances * EACH + 1
            assert others.answered > 0
        nursery.cancel_scope.cancel()
    print(
        f"{instances} instances were back after {took_seconds:.1f} s; of a core the router had {routers.had:.1f} s and "
        f"missed {routers.missed:.1f} s, they {theirs.had:.1f} s and {theirs.missed:.1f} s; calls of others meanwhile: "
        f"{others.answered} answered, {others.missed} without an owner yet"
    )
    assert max(routers.had, theirs.had) <= LONGEST_SECONDS, "each has a core of its own"
    assert took_seconds - routers.missed - theirs.missed <= LONGEST_SECONDS


async def test_a_hundred_instances_come_back_at_once() -> None:
    await storm(100)


@pytest.mark.slow
async def test_two_thousand_instances_come_back_at_once() -> None:
    await storm(2000)
