"""What the admin pages need to know of a router."""

from typing import Protocol

from resroute.audit.trail import TrailStatistics
from resroute.telemetry.metrics import Metrics


class RouterStatistics(Protocol):
    """How large each of the router's tables is at this moment."""

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
    def outbox_bytes(self) -> int: ...


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
    def trail(self) -> TrailView:
        """The audit log."""

    def statistics(self) -> RouterStatistics: ...
