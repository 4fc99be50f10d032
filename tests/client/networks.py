"""A network in memory that leads to whichever router there is, and that can be cut."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import memory_stream_pair

from resroute import Client, ConnectionFailed, ReconnectPolicy, open_client_over
from resroute.router.router import Router
from resroute.settings import Settings
from tests.client.scripted import ScriptedRouter

SOON = ReconnectPolicy(first_seconds=0.5, max_seconds=2.0)


class Network:
    """Where clients find a router.

    Attributes:
        router: None: nobody listens.
        dialled: how often somebody has tried.
        streams: the ends of the router, in the order in which somebody came.
    """

    def __init__(self, nursery: trio.Nursery, settings: Settings | None) -> None:
        self.router: Router | None = None
        self.dialled = 0
        self._nursery = nursery
        self._settings = settings
        self.streams: list[trio.abc.Stream] = []
        self._running = trio.CancelScope()

    async def open_transport(self) -> trio.abc.Stream:
        """Connect to the router."""
        await trio.lowlevel.checkpoint()
        self.dialled += 1
        if self.router is None:
            raise ConnectionFailed("memory", "connection refused")
        ours, theirs = memory_stream_pair()
        self.streams.append(theirs)
        self._nursery.start_soon(self.router.serve_stream, theirs)
        return ours

    async def start_router(self) -> None:
        """From now on there is another router, that knows of nothing before it."""
        self.router = Router(self._settings)
        self._running = trio.CancelScope()
        await self._nursery.start(self._serve, self.router, self._running)

    async def _serve(
        self, router: Router, running: trio.CancelScope, *, task_status: trio.TaskStatus[None]
    ) -> None:
        with running:
            await router.serve(task_status=task_status)

    async def kill_router(self) -> None:
        """Nobody listens any more, and the router said no goodbye."""
        self.router = None
        await self.cut()
        self._running.cancel()

    async def cut(self) -> None:
        """Break all connections that there are. The router lives, and notices."""
        streams, self.streams = self.streams, []
        for stream in streams:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def open_client(self, **options: Any) -> AsyncGenerator[Client]:
        """A client that connects through this network, again and again."""
        options.setdefault("reconnect", SOON)
        async with open_client_over(self.open_transport, **options) as client:
            yield client


@asynccontextmanager
async def open_network(settings: Settings | None = None) -> AsyncGenerator[Network]:
    """A network with a router."""
    async with trio.open_nursery() as nursery:
        network = Network(nursery, settings)
        await network.start_router()
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
