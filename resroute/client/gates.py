"""Calls that wait while their resource comes or goes. No I/O.

A resource has a gate while one of its hooks runs, and for as long as it takes until calls may begin again or never will.
"""

from collections.abc import Callable

import trio


class Gate[T]:
    """What has arrived for one resource meanwhile, in order; and how many calls from before are still at work.

    Attributes:
        held: has not begun.
        settled: it is a gate no more.
    """

    def __init__(self) -> None:
        self.held: list[T] = []
        self.settled = trio.Event()
        self._at_work = 0
        self._idle = trio.Event()

    def enter(self) -> None:
        """One call is at work that had begun before."""
        self._at_work += 1

    def leave(self) -> None:
        """It has ended."""
        self._at_work -= 1
        if not self._at_work:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until those that had begun before have ended."""
        if self._at_work:
            await self._idle.wait()


class Gates[T]:
    """The gates that there are.

    Args:
        begin: begins what was held.
        refuse: says that what was held has not begun, and will not.
    """

    def __init__(self, begin: Callable[[T], None], refuse: Callable[[T], None]) -> None:
        self._begin = begin
        self._refuse = refuse
        # resource -> its gate; removed by open or refuse, or with all that is owned
        self._gates: dict[str, Gate[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._gates)

    def get(self, resource_id: str | None) -> Gate[T] | None:
        """The gate of a resource, if it has one."""
        return None if resource_id is None else self._gates.get(resource_id)

    def close(self, resource_id: str) -> Gate[T]:
        """Hold what arrives for a resource from now on."""
        return self._gates.setdefault(resource_id, Gate())

    def open(self, resource_id: str) -> None:
        """Begin what was held, in order, and hold nothing more. Does nothing without a gate."""
        self._settle(resource_id, self._begin)

    def refuse(self, resource_id: str) -> None:
        """Refuse what was held, and hold nothing more. Does nothing without a gate."""
        self._settle(resource_id, self._refuse)

    def _settle(self, resource_id: str, what: Callable[[T], None]) -> None:
        gate = self._gates.pop(resource_id, None)
        if gate is not None:
            gate.settled.set()
            for held in gate.held:
                what(held)
