"""Those who come and go get on one after the other, however many do so at once, with turns of everybody else in between."""

from collections.abc import Callable

import trio

PASSES = 3
"""One for whose turn it is; one to read what has arrived meanwhile; one to send what that led to."""

SHORT_SECONDS = 0.00012
"""When the first two passes have taken no longer, the third is left out: what others have waited for was little."""

_Queue = dict[trio.lowlevel.Task, None]


class Turnstile:
    """A queue of which one gets on every two or :data:`PASSES` passes of the loop.

    To shake hands, to open a session, to register it and what it owns and to end it takes some 100 µs each. A thousand that
    do so at once would be one pass of many milliseconds, and a call of somebody else takes four passes.

    Args:
        clock: seconds on any clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: _Queue = {}
        self._outside: _Queue = {}
        self._keeper: trio.lowlevel.Task | None = None  # while it waits for somebody to get on
        self._is_kept = False
        self._is_free = True

    def __len__(self) -> int:
        return len(self._waiting) + len(self._outside)

    async def wait_turn(self, *, behind_all: bool = False) -> None:
        """Wait for one's turn, which lasts until the next checkpoint. The order is that of the calls.

        Args:
            behind_all: whether all others have theirs before, those who come later too. Who lets more of them in does so only
                then: the fewer are under way, the more of what each needs is still in the processor's caches.

        Not a checkpoint for who finds nobody there before. Safe to cancel.
        """
        if self._is_free:
            self._is_free = not self._is_kept
        else:
            await _park(self._outside if behind_all else self._waiting)
        if self._keeper is not None:
            trio.lowlevel.reschedule(self._keeper)
            self._keeper = None

    async def run(self) -> None:
        """Keep the order until cancelled. Before and after, everybody gets on at once."""
        self._is_kept = True
        try:
            while True:
                if self._waiting or self._outside:
                    _unpark(self._waiting or self._outside)
                else:
                    self._is_free = True
                began = self._clock()
                # to wait for who gets on takes the two passes that are always left
                self._keeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_keeping)
                if self._clock() - began > SHORT_SECONDS:
                    await trio.lowlevel.checkpoint()
        finally:
            self.open()

    def _stop_keeping(self, _: object) -> trio.lowlevel.Abort:
        self._keeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def open(self) -> None:
        """Let everybody get on at once from here on."""
        self._is_kept = False
        self._is_free = True
        for queue in (self._waiting, self._outside):
            while queue:
                _unpark(queue)


async def _park(queue: _Queue) -> None:
    """Wait in a queue. A parking lot does the same, with twice as many calls."""
    task = trio.lowlevel.current_task()
    queue[task] = None

    def leave(_: object) -> trio.lowlevel.Abort:
        del queue[task]
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(leave)


def _unpark(queue: _Queue) -> None:
    task = next(iter(queue))
    del queue[task]
    trio.lowlevel.reschedule(task)
