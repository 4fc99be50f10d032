"""A router in memory, the network that leads to it, and the faults that both can have."""

import difflib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio

from resroute.client import Client, ReconnectPolicy, open_client_over
from resroute.client.nurseries import open_transparent_nursery
from resroute.errors import ConnectionFailed, ConnectionLost
from resroute.router.identity import Identity
from resroute.router.router import Router
from resroute.settings import Heartbeat, Settings
from resroute.testing.checking import Checker
from resroute.testing.links import Link
from resroute.transport.interface import TransportEnded
from resroute.transport.memory import MemoryPeer, memory_transport_pair

SOON: Final = ReconnectPolicy(first_seconds=0.5, max_seconds=2.0)
"""How clients of a test connect again, unless it says otherwise."""


class ForeignClient(ValueError):
    """A fault was asked for on the connection of a client that this router did not open, or whose block has ended."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.client = client

    def __str__(self) -> str:
        return (
            "only clients that were opened with open_client() of this router, and whose blocks still run, have "
            "connections of their own here; without a client the fault is that of all connections"
        )


class MemoryRouter:
    """A real router, without sockets. Made by :func:`open_test_router`.

    Attributes:
        checker: what services under test tell what they do. See :class:`Checker`.
        dialled: how often somebody has tried to connect.
        is_reachable: whether that can succeed. It may be set.
        links: the connections that were made since all were dropped last, in the order in which they came.
    """

    def __init__(self, nursery: trio.Nursery, settings: Settings) -> None:
        self.checker = Checker()
        self.dialled = 0
        self.is_reachable = True
        self.links: list[Link] = []
        self._nursery = nursery
        self._settings = settings
        self._router: Router | None = None
        self._running = trio.CancelScope()
        # client -> its connections, each of which may have ended
        self._links_of: dict[Client, list[Link]] = {}

    # --- using it -------------------------------------------------------------------------------------------------

    def open_client(self, **options: Any) -> AbstractAsyncContextManager[Client]:
        """A client of this router, that finds it again after faults.

        Args:
            options: as for :func:`resroute.open_client_over`.
        """
        return self._open_client({"reconnect": SOON, **options})

    @asynccontextmanager
    async def _open_client(self, options: Mapping[str, Any]) -> AsyncGenerator[Client]:
        links: list[Link] = []

        async def open_transport() -> trio.abc.Stream:
            links.append(await self._connect())
            return links[-1].ours

        async with open_client_over(open_transport, **options) as client:
            self._links_of[client] = links
            try:
                yield client
            finally:
                del self._links_of[client]

    async def open_transport(self) -> trio.abc.Stream:
        """Connect, for whoever calls :func:`resroute.open_client_over` itself: with this, as its ``transport``.

        Raises:
            ConnectionFailed: the router does not run.
        """
        return (await self._connect()).ours

    async def _connect(self) -> Link:
        await trio.lowlevel.checkpoint()
        self.dialled += 1
        if self._router is None or not self.is_reachable:
            raise ConnectionFailed("memory", "connection refused")
        link = Link()
        self.links.append(link)
        self._nursery.start_soon(self._router.serve_stream, link.theirs)
        return link

    @property
    def router(self) -> Router:
        """The router that runs.

        Raises:
            RuntimeError: none does.
        """
        if self._router is None:
            raise RuntimeError("the router does not run")
        return self._router

    # --- faults of the router -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run another router, that knows of nothing before it."""
        if self._router is not None:
            raise RuntimeError("the router runs already")
        router, self._running = Router(self._settings), trio.CancelScope()
        await self._nursery.start(self._serve, router, self._running)
        self._router = router

    async def _serve(  # noqa: ASYNC128  # the router says it
        self, router: Router, running: trio.CancelScope, *, task_status: trio.TaskStatus[None]
    ) -> None:
        with running:
            await router.serve(task_status=task_status)

    async def kill(self) -> None:
        """End the router without a goodbye. Nobody listens any more: see :meth:`start`."""
        self._router = None
        await self.drop()
        self._running.cancel()

    async def stop(self) -> None:
        """End the router as SIGTERM does: its sessions are told, and calls in flight have their time.

        Another one can be started meanwhile.
        """
        router, running, self._router = self.router, self._running, None
        await router.drain()
        running.cancel()

    async def lose(self, *resource_ids: str) -> None:
        """Take resources away from whoever owns them, as an administrator would. The owners are told.

        Raises:
            ResourceNotFound: nobody owns one of them.
        """
        transport, peer = memory_transport_pair()
        identity = Identity("test", frozenset({"caller", "instance", "admin"}))
        self._nursery.start_soon(partial(self.router.serve_transport, transport, identity=identity))
        async with open_client_over(_OverMemory(peer)) as administrator:
            await administrator.release_resources(*resource_ids)

    # --- faults of the network ------------------------------------------------------------------------------------

    async def drop(self, client: Client | None = None) -> None:
        """Break the connection of a client, or of all. They notice, and connect again.

        Raises:
            ForeignClient: it is none of this router's, and so with all of the following.
        """
        for link in self._links(client):
            await link.drop()
        if client is None:
            self.links.clear()

    def stall(self, client: Client | None = None) -> None:
        """Nothing arrives any more on the connections there are, either way; nobody is told. New ones work."""
        for link in self._links(client):
            link.stall()

    def go_on(self, client: Client | None = None) -> None:
        """What was held up arrives now, where that is of use to anybody still."""
        for link in self._links(client):
            link.go_on()

    def slow_down(self, delay_seconds: float, client: Client | None = None) -> None:
        """Whatever is sent on the connections there are takes so long, either way. 0 ends that.

        Raises:
            ValueError: less than 0.
        """
        if not delay_seconds >= 0:
            raise ValueError(f"delay_seconds must be at least 0, not {delay_seconds}")
        for link in self._links(client):
            link.delay_seconds = delay_seconds

    def _links(self, client: Client | None) -> Sequence[Link]:
        if client is None:
            return self.links.copy()
        try:
            return self._links_of[client].copy()
        except KeyError:
            raise ForeignClient(client) from None


class _OverMemory:
    """See :class:`resroute.client.Connection`."""

    subprotocol = "resroute.v1.ndjson"
    heard_at = float("inf")

    def __init__(self, peer: MemoryPeer) -> None:
        self._peer = peer

    async def send(self, text: str) -> None:
        try:
            await self._peer.send(text.encode())
        except TransportEnded:
            raise ConnectionLost(reason="the router has ended the session") from None

    async def receive(self) -> str:
        try:
            return (await self._peer.receive()).decode()
        except TransportEnded:
            raise ConnectionLost(reason="the router has ended the session") from None

    async def aclose(self) -> None:
        await self._peer.aclose()


@asynccontextmanager
async def open_test_router(**settings: Any) -> AsyncGenerator[MemoryRouter]:
    """Run a router in memory for as long as the block runs, and at the end look at what the checker has found.

    ```python
    async def test_documents_outlive_the_router(autojump_clock):
        async with open_test_router() as router, router.open_client() as client:
            async with client.open_instance("documents", documents) as instance:
                await instance.register("doc:1")
                await router.kill()
                await router.start()
                assert await client.call("read", resource_id="doc:1", wait_for_owner_seconds=10)
    ```

    With Trio's ``MockClock(autojump_threshold=0)``, which pytest-trio has as the fixture ``autojump_clock``, pauses and
    timeouts take no time. What the block raises leaves it as it is.

    Whoever connects has the roles that ``anonymous_roles`` says: with ``["caller", "instance", "admin"]`` clients may do what
    administrators may.

    Args:
        settings: of the router, by their names in the configuration, such as ``max_resources_per_instance``; ``heartbeat``
            is an object, such as ``{"interval_seconds": 1, "timeout_seconds": 3}``.

    Raises:
        AssertionError: the checker has found something.
        ValueError: a setting is out of bounds.
        TypeError: there is no such setting.
    """
    async with open_transparent_nursery() as nursery:
        router = MemoryRouter(nursery, _settings_of(settings))
        await router.start()
        try:
            yield router
        finally:
            nursery.cancel_scope.cancel()
    router.checker.check()


def _settings_of(given: Mapping[str, Any]) -> Settings:
    heartbeat = given.get("heartbeat")
    if isinstance(heartbeat, Mapping):
        _check_names(Heartbeat, heartbeat, "heartbeat.")
        given = {**given, "heartbeat": Heartbeat(**heartbeat)}
    _check_names(Settings, given)
    return Settings(**given)


def _check_names(settings: type[Settings | Heartbeat], given: Mapping[str, Any], prefix: str = "") -> None:
    known = [field.name for field in attrs.fields(settings)]
    for name in given:
        if name not in known:
            alike = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {prefix}{alike[0]}?" if alike else ""
            raise TypeError(f"a router has no setting {prefix}{name}{hint}")
