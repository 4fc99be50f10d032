"""A log whose commands take effect later, as in a cluster, for tests of everything that submits."""

import random
from collections import deque
from collections.abc import Callable

import trio

from resroute.cluster.log import Answer, Log
from resroute.core.commands import AnyCommand


class LaggingLog:
    """Puts off what is submitted for a while, and then has another log apply it, in order, some of it in one go.

    Code that goes on as if its command had been applied, or forgets that its session may have ended when the answer
    comes, fails over this log.

    Args:
        make_inner: makes the log that applies, such as ``partial(LocalLog, base=1, ...)``. Its follower and all answers
            must submit to this log, never to the inner one.
        rng: decides how long each delay is and how much comes at once. Give it a seed, and print that on failure.
        nursery: where a task runs while anything waits to be applied. It must outlive whoever submits; once nothing is
            waiting there is no task, so its block ends when everything has been answered.
        max_lag_seconds: on Trio's clock; give tests the ``autojump_clock``.
    """

    def __init__(
        self,
        make_inner: Callable[[], Log],
        rng: random.Random,
        nursery: trio.Nursery,
        *,
        max_lag_seconds: float = 0.1,
    ) -> None:
        self._inner = make_inner()
        self.state = self._inner.state
        self.origin = self._inner.origin
        self._rng = rng
        self._nursery = nursery
        self._max_lag_seconds = max_lag_seconds
        # in the order of the log; an event is somebody's barrier
        self._waiting: deque[tuple[AnyCommand, Answer | None] | trio.Event] = deque()
        self._delivering = False

    def submit(self, command: AnyCommand, answer: Answer | None = None) -> None:
        """See :meth:`resroute.cluster.log.Log.submit`."""
        self._put((command, answer))

    async def barrier(self) -> None:
        """Wait until everything that was submitted before has been applied."""
        reached = trio.Event()
        self._put(reached)
        await reached.wait()

    def live(self) -> bool:
        """As long as the inner log is."""
        return self._inner.live()

    def _put(self, entry: tuple[AnyCommand, Answer | None] | trio.Event) -> None:
        self._waiting.append(entry)
        if not self._delivering:
            self._delivering = True
            self._nursery.start_soon(self._deliver)

    async def _deliver(self) -> None:
        try:
            while self._waiting:
                await trio.sleep(self._rng.choice((0, self._rng.uniform(0, self._max_lag_seconds))))
                for _ in range(self._rng.randint(1, len(self._waiting))):
                    entry = self._waiting.popleft()
                    if isinstance(entry, trio.Event):
                        entry.set()
                    else:
                        self._inner.submit(*entry)
        finally:
            self._delivering = False
