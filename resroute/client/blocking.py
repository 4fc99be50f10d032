"""Noticing handlers that keep everything else in their program from running."""

import logging
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any

from resroute.client.calls import Call, told

BLOCKED_SECONDS = 0.5
"""From then on it is worth a warning. Pings are not answered meanwhile, and no call is served."""
LONGEST_TURN_SECONDS = 0.1
"""How long handlers, one after the other, keep all others from running."""
_SILENT_SECONDS = 10.0

_log = logging.getLogger("resroute.client")


class Stopwatch:
    """Measures how long handlers go on without letting others run, and warns of those that take long.

    Of many it warns of one in :data:`_SILENT_SECONDS`: who blocks does so again and again.

    Attributes:
        stopped_at: when the last part ended, on its clock.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._silent_until = float("-inf")
        self.stopped_at = clock()

    @coroutine
    def run[T](
        self, running: Coroutine[Any, Any, T], call: Call, pausing: Callable[[], None]
    ) -> Generator[Any, Any, T]:
        """Await what works on a call, in a context of its own, and measure each part of it between two checkpoints.

        Args:
            pausing: told before each of its checkpoints; must not raise.
        """
        step = copy_context().run
        go_on: Callable[[Any], Any] = running.send
        value: Any = None
        while True:
            began_at = self._clock()
            try:
                yielded = step(go_on, value)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self._look(began_at, call)
            pausing()
            try:
                value = yield yielded
                go_on = running.send
            except GeneratorExit:
                step(running.close)
                raise
            except BaseException as error:  # noqa: ASYNC103  # thrown into the handler, which raises it on, or not
                value = error
                go_on = running.throw

    def _look(self, began_at: float, call: Call) -> None:
        now = self.stopped_at = self._clock()
        if now - began_at >= BLOCKED_SECONDS and now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            _log.warning(
                "handler_blocked method=%s seconds=%.3f trace_id=%s",
                told(call.method),
                now - began_at,
                call.trace_id,
            )
