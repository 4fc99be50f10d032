"""What the admin pages need to know of a router."""

from collections.abc import Iterator
from typing import Protocol

from resroute.audit.trail import TrailStatistics
from resroute.telemetry.metrics import Metrics


class Sizes(Protocol):
    """How large some of the router's tables are at this moment."""

    @property
    def sessions(self) -> int: ...

    @property
    def instances(self) -> int: ...

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
