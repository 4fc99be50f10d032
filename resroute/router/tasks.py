"""The tasks that live as long as a router's sessions."""

from collections.abc import Awaitable, Callable

import structlog
import trio
from trio import TaskStatus

_log = structlog.get_logger("resroute.router")


class Tasks:
    """Starts tasks that nobody waits for, and hears of the bugs that cost no session anything."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    async def serve(self, task_status: TaskStatus[None]) -> None:
        """Have tasks run until cancelled. They can be started once this has started."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def start(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start one. What it raises ends the router, so it raises nothing."""
        assert self._nursery is not None, "serve() comes first"
        self._nursery.start_soon(task)

    def report(self, error: Exception) -> None:
        """A bug that cost one request, or one notice."""
        _log.error("an answer or a notice failed", exc_info=error)
