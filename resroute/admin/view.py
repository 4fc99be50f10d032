"""What the admin pages need to know of a router."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from resroute.audit.records import Entry, Source
from resroute.audit.trail import TrailStatistics
from resroute.core.filters import Filter
from resroute.ids import InstanceId, Revision
from resroute.protocol.binding import Binding
from resroute.router.id_search import FoundIds, Rank
from resroute.router.identity import Identity
from resroute.router.instance_calls import InstanceCalls
from resroute.router.latest import Change
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.transport.interface import Transport


class Sizes(Protocol):
    """How large some of the router's tables are at this moment."""

    @property
    def sessions(self) -> int: ...

    @property
    def instances(self) -> int: ...

    @property
    def suspended_instances(self) -> int: ...

    @property
    def resources(self) -> int: ...

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def waiters(self) -> int: ...

    @property
    def watches(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def max_sessions(self) -> int: ...

    @property
    def max_memory_bytes(self) -> int: ...


class GaugesView(Protocol):
    """What is there right now."""

    def sizes(self) -> Sizes: ...

    def outbox_sizes(self) -> Iterator[int]:
        """How many bytes wait for each session: to be read bit by bit."""

    def resource_counts(self) -> Iterator[tuple[str, str, int]]:
        """Service, instance and how many resources it owns: to be read bit by bit."""


class TrailView(Protocol):
    """How the audit log is doing."""

    def statistics(self) -> TrailStatistics: ...


class RouterView(Protocol):
    """A router, read only. All of it is synchronous and cheap enough for each request."""

    @property
    def state_name(self) -> str:
        """``starting``, ``ready`` or ``draining``."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def gauges(self) -> GaugesView: ...

    @property
    def trail(self) -> TrailView:
        """The audit log."""


class ReadableTrail(TrailView, Protocol):
    """The audit log, to be read and written."""

    def add(self, item: Entry) -> None:
        """Record something. Never waits, never raises."""

    async def read[T](self, look: Callable[[Source], T]) -> T:
        """What ``look`` finds in it, which must not take long.

        Raises:
            CannotRead: it cannot be read.
        """
        ...


class CallsView(Protocol):
    """The calls that instances have to answer."""

    async def of(self, instance_id: InstanceId, *, limit: int, offset: int = 0) -> InstanceCalls | None:
        """Some of those of one instance. See :meth:`resroute.router.instance_calls.CallsView.of`."""
        ...


class SearchView(Protocol):
    """Resources by any part of their ids."""

    async def find(self, wanted: Filter, fragment: str, *, limit: int, after: Rank | None = None) -> FoundIds:
        """A page of those that match. See :meth:`resroute.router.id_search.IdSearch.find`."""
        ...


class ChangesView(Protocol):
    """What has become of resources lately."""

    def of(self, wanted: Filter, limit: int) -> Sequence[Change]:
        """The latest first. See :meth:`resroute.router.latest.LatestChanges.of`."""
        ...


class Administrable(RouterView, Protocol):
    """A router whose administrators do something with it."""

    @property
    def trail(self) -> ReadableTrail: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def revision(self) -> Revision:
        """How far its log of commands has come."""
        ...

    @property
    def calls(self) -> CallsView:
        """What instances have to do."""

    @property
    def search(self) -> SearchView:
        """For resources."""

    @property
    def changes(self) -> ChangesView:
        """Of resources."""

    async def serve_transport(
        self, transport: Transport, binding: Binding | None = None, *, identity: Identity | None = None
    ) -> None:
        """Serve one session until it ends. See :meth:`resroute.router.router.Router.serve_transport`."""
        ...
