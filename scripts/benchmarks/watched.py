"""The router with an eye on its event loop: what held it and for how long, garbage collection included.

    python -m benchmarks.watched serve --port=0

It is ``resroute``, and takes what that takes; a Trio instrument makes it a little slower. On SIGUSR1 it prints what it
has seen as one line of JSON; on SIGUSR2 it makes a full garbage collection, which is seen too.
"""

import gc
import signal
import time
from functools import partial
from typing import Any

import orjson
import trio

from resroute import cli

LEAST_SECONDS = 0.0005
"""Shorter holds are not kept."""


class Watch(trio.abc.Instrument):
    """What held the loop. How long is told in seconds of this thread's CPU: what other programs took is not in them.

    A *step* is a task from one checkpoint to the next: nothing else can run meanwhile. A *pass* is all that is ready
    to run, each for one step: what has just arrived has to wait for its end. Each is (when it ended, on the clock of
    :func:`time.perf_counter`; how long it took; which task or generation).
    """

    def __init__(self) -> None:
        self._step_began = self._pass_began = self._collection_began = time.thread_time()
        self.steps: list[tuple[float, float, str]] = []
        self.passes: list[tuple[float, float, str]] = []
        self.collections: list[tuple[float, float, str]] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        self._step_began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Called by Trio."""
        took = time.thread_time() - self._step_began
        if took > LEAST_SECONDS:
            self.steps.append((time.perf_counter(), took, _where(task)))

    def after_io_wait(self, timeout: float) -> None:
        """Called by Trio."""
        self._pass_began = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        """Called by Trio."""
        took = time.thread_time() - self._pass_began
        if took > LEAST_SECONDS:
            self.passes.append((time.perf_counter(), took, ""))

    def note_collection(self, phase: str, info: dict[str, int]) -> None:
        """Called by the garbage collector."""
        if phase == "start":
            self._collection_began = time.thread_time()
        else:
            took = time.thread_time() - self._collection_began
            self.collections.append((time.perf_counter(), took, str(info["generation"])))

    def seen(self) -> dict[str, Any]:
        """All of it."""
        return {"steps": self.steps, "passes": self.passes, "collections": self.collections}


def _where(task: trio.lowlevel.Task) -> str:
    """Where in the router a task stands at the end of its step; the name of the task if it stands elsewhere."""
    found = task.name
    coroutine: Any = task.coro
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        if frame.f_globals["__name__"].startswith("resroute.router"):
            found = coroutine.__qualname__
        coroutine = coroutine.cr_await
    return found


def main() -> None:
    """Be the router, with an instrument besides."""
    watch = Watch()

    def tell(*_: object) -> None:
        print(orjson.dumps(watch.seen()).decode(), flush=True)

    def collect(*_: object) -> None:
        gc.collect()

    gc.callbacks.append(watch.note_collection)
    signal.signal(signal.SIGUSR1, tell)
    signal.signal(signal.SIGUSR2, collect)
    vars(trio)["run"] = partial(trio.run, instruments=(watch,))
    cli.main()


if __name__ == "__main__":
    main()
