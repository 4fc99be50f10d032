"""What commands ask of a router, and the two ways to it: its own port, and its admin API. Its URL says which."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, Unpack

from resroute.cli.filters import ResourceFilters
from resroute.cli.interrupts import Interruption
from resroute.cli.output import note
from resroute.cli.remote.address import is_admin_url
from resroute.client import (
    Drained,
    DrainProgress,
    Explanation,
    InstancePage,
    MetadataFields,
    Ranking,
    Rebalanced,
    Released,
    ResourceEvent,
    ResourceInfo,
    ResourcePage,
    RouterStatistics,
    Transferred,
    open_client,
)
from resroute.client.draining import HandOverTo
from resroute.client.requests import Params

if TYPE_CHECKING:
    from resroute.cli.remote.api import AdminApi


class Events(Protocol):
    """What becomes of resources, in order."""

    @property
    def revision(self) -> int:
        """Up to here everything has been taken."""
        ...

    def __aiter__(self) -> AsyncIterator[ResourceEvent]: ...


class RouterAccess(Protocol):
    """A router that can be asked. Each method is that of :class:`resroute.Client`."""

    async def query_resources(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **filters: Unpack[ResourceFilters],
    ) -> ResourcePage: ...

    async def query_instances(
        self,
        *,
        service_name: str | None = None,
        instance_id: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> InstancePage: ...

    async def explain(
        self, *, resource_id: str | None = None, service_name: str | None = None
    ) -> Explanation: ...

    async def top(
        self, what: Literal["busiest", "unowned", "conflicts"], *, limit: int | None = None
    ) -> Ranking: ...

    async def router_statistics(self) -> RouterStatistics: ...

    async def call(
        self,
        method: str,
        params: Params | None = None,
        *,
        resource_id: str | None = None,
        service_name: str | None = None,
    ) -> Any: ...

    async def update_resource(
        self,
        resource_id: str,
        metadata: MetadataFields,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> ResourceInfo: ...

    async def release_resources(self, *resource_ids: str, partial: bool = False) -> Released: ...

    async def transfer_resources(
        self, *resource_ids: str, to: str, reason: str, source: str | None = None, partial: bool = False
    ) -> Transferred: ...

    async def drain_instance(
        self,
        instance_id: str,
        *,
        hand_over_to: HandOverTo = "service",
        deadline_seconds: float | None = None,
        batch_size: int | None = None,
        on_progress: Callable[[DrainProgress], object] | None = None,
    ) -> Drained: ...

    async def end_session(self, session_id: str, *, reason: str) -> None: ...

    async def rebalance_service(
        self,
        service_name: str,
        *,
        by: Literal["count", "calls"] = "count",
        max_moves: int | None = None,
        dry_run: bool = False,
    ) -> Rebalanced: ...

    def open_watch(
        self, *, from_revision: int | None = None, **filters: Unpack[ResourceFilters]
    ) -> AbstractAsyncContextManager[Events]: ...


@asynccontextmanager
async def open_access(url: str, *, token: str | None) -> AsyncGenerator[RouterAccess]:
    """Connect to a router, for as long as the block runs.

    Raises:
        ResrouteError: nobody is there, or the router lets nobody in with this token.
    """
    if is_admin_url(url):
        from resroute.cli.remote.api import open_admin_api

        async with open_admin_api(url, token=token, when_away=_say_away) as api:
            yield api
    else:
        async with open_client(url, token=token, reconnect=None, retry=None) as client:
            yield client


async def ask(
    url: str,
    token: str | None,
    interruption: Interruption,
    question: Callable[[RouterAccess], Awaitable[int]],
) -> int:
    """Ask a router something, and return the exit code: that of the question, or that of a signal that broke it off.

    Raises:
        ResrouteError: the router refuses it, or cannot be asked.
        OutputLost: nobody reads what comes of it.
    """
    async with open_access(url, token=token) as router:
        with interruption.breakable():
            return await question(router)
        return interruption.code


async def ask_admin(
    url: str, token: str | None, interruption: Interruption, question: "Callable[[AdminApi], Awaitable[int]]"
) -> int:
    """The same for what is to be had at an admin API alone."""
    from resroute.cli.remote.api import open_admin_api

    async with open_admin_api(url, token=token, when_away=_say_away) as api:
        with interruption.breakable():
            return await question(api)
        return interruption.code


def _say_away(error: Exception) -> None:
    note(f"{error}; trying to go on from there")
