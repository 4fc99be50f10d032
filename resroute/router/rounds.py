"""Answers that take some work, done once for all who ask for them at a time."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from resroute.errors import InternalError
from resroute.protocol import results as r
from resroute.router.request import Request


class Rounds[T]:
    """Does a piece of work in rounds. Who asks during a round joins the next one, so no answer is older than its question.

    Args:
        work: one round; it comes to a checkpoint often enough to hold nobody up.
        start_task: starts a task that lives as long as the router's sessions.
        report: told of an exception in the work, which is a bug that costs those who joined their answer.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        start_task: Callable[[Callable[[], Awaitable[object]]], None],
        report: Callable[[Exception], None],
    ) -> None:
        self._work = work
        self._start_task = start_task
        self._report = report
        self._joined: list[tuple[Request, Callable[[T], r.Result]]] = []
        self._is_running = False

    def join(self, request: Request, make: Callable[[T], r.Result]) -> None:
        """Answer a request with what ``make`` makes of the work, once a round is done that begins from here on."""
        self._joined.append((request, make))
        if not self._is_running:
            self._is_running = True
            self._start_task(self._run)

    async def _run(self) -> None:
        while self._joined:
            joined, self._joined = self._joined, []
            try:
                result = await self._work()
            except Exception as error:
                self._report(error)
                for request, _ in joined:
                    request.refuse(InternalError())
                continue
            for request, make in joined:
                request.answer_from(partial(make, result))
                await trio.lowlevel.checkpoint()
        self._is_running = False
