"""Waiting for a time that may move closer meanwhile."""

import math

import trio


class Alarm:
    """One task waits; others may have it wake earlier. Times are on Trio's clock."""

    __slots__ = ("_at", "_scope")

    def __init__(self) -> None:
        self._at = math.inf
        self._scope: trio.CancelScope | None = None

    def no_later_than(self, at: float) -> None:
        """Wake the waiting task at ``at``, unless it wakes earlier anyway."""
        if at < self._at:
            self._at = at
            if self._scope is not None:
                self._scope.deadline = at

    async def wait_until(self, at: float) -> None:
        """Wait until ``at``, or until the earliest time that somebody asks for meanwhile."""
        self._at = at
        with trio.CancelScope(deadline=at) as self._scope:
            await trio.sleep_forever()
        self._scope = None
        self._at = math.inf
