"""How far a router is in its life."""

import math
from collections.abc import Callable

import trio

from resroute.router.endings import Ending


class Life:
    """It serves; then it drains and takes nothing new, and in the end closes its sessions. Or it fails before.

    Attributes:
        is_draining: whether it takes nothing new.
        is_closing: whether all sessions end.
        fault: why it has failed.
    """

    def __init__(self) -> None:
        self.is_draining = False
        self.is_closing = False
        self.fault: Exception | None = None
        self._serving_since = math.inf
        self._when_draining: list[Callable[[], None]] = []

    def begin(self) -> None:
        """It serves from here on."""
        self._serving_since = trio.current_time()

    def uptime_seconds(self) -> float:
        """How long it has been serving."""
        return trio.current_time() - self._serving_since

    def when_draining(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called when it begins to drain."""
        self._when_draining.append(stop)

    def drain(self) -> None:
        """Take nothing new from here on."""
        self.is_draining = True
        for stop in self._when_draining:
            stop()

    def ending(self) -> Ending:
        """Why a session ends that nothing else has ended."""
        if self.fault is not None:
            return Ending(1011, "the router failed")
        return Ending(1001, "the router is going away")
