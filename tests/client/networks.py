"""Networks in memory: to a real router that may end and come back, and to scripted ones."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import memory_stream_pair

from resroute import Client, ConnectionFailed, open_client_over
from resroute.testing import SOON, MemoryRouter, open_test_router
from tests.client.scripted import ScriptedRouter


@asynccontextmanager
async def open_network(**settings: Any) -> AsyncGenerator[MemoryRouter]:
    """A network with a router."""
    async with open_test_router(**settings) as network, trio.open_nursery() as nursery:
        nursery.start_soon(_watch_for_hangs)
        yield network
        nursery.cancel_scope.cancel()


async def _watch_for_hangs() -> None:
    await trio.sleep(10_000)
    raise AssertionError("the test hangs")


class ScriptedNetwork:
    """Leads to scripted routers, one after the other: a new one for each connection.

    Attributes:
        options: of the next router; None: nobody listens.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.options: dict[str, Any] | None = {}
        self.dialled_at: list[float] = []
        self._nursery = nursery
        self._send, self._receive = trio.open_memory_channel[ScriptedRouter](100)

    async def open_transport(self) -> trio.abc.Stream:
        """Connect to a new router."""
        await trio.lowlevel.checkpoint()
        self.dialled_at.append(trio.current_time())
        if self.options is None:
            raise ConnectionFailed("memory", "connection refused")
        ours, theirs = memory_stream_pair()
        router = ScriptedRouter(theirs, **self.options)
        self._nursery.start_soon(router.run)
        self._send.send_nowait(router)
        return ours

    async def next_router(self) -> ScriptedRouter:
        """The router of the next connection."""
        return await self._receive.receive()


@asynccontextmanager
async def open_scripted_network() -> AsyncGenerator[ScriptedNetwork]:
    """A network of scripted routers."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_for_hangs)
        yield ScriptedNetwork(nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_reconnecting(**options: Any) -> AsyncGenerator[tuple[Client, ScriptedRouter, ScriptedNetwork]]:
    """A client of scripted routers, the first of them, and the way to the next."""
    async with open_scripted_network() as network:
        async with open_client_over(network.open_transport, reconnect=SOON, **options) as client:
            yield client, await network.next_router(), network
