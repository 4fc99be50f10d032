"""The log of a single router: a counter, applied on the spot."""

from collections import deque
from collections.abc import Callable

from resroute.cluster.log import Answer, Follower
from resroute.core.commands import AnyCommand, Genesis
from resroute.core.facts import Applied
from resroute.core.state import State


class LocalLog:
    """Applies each command at once, unless one is being applied: then right after it.

    Args:
        base: the revision to begin at, above every revision of earlier runs.
        follower: acts on facts.
        on_fault: called with an exception of the core, after which the state is not used any more; it must stop
            everything. Commands submitted later are dropped, unanswered.
        on_error: called with an exception of a follower or an answer, which are bugs that cost nobody else anything.
    """

    def __init__(
        self,
        *,
        base: int,
        follower: Follower,
        on_fault: Callable[[Exception], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.state = State()
        self.origin = "local"
        self._follower = follower
        self._on_fault = on_fault
        self._on_error = on_error
        self._number = 0
        self._pending: deque[tuple[AnyCommand, Answer | None]] = deque()
        self._applying = False
        self._faulty = False
        self.submit(Genesis(base))

    def submit(self, command: AnyCommand, answer: Answer | None = None) -> None:
        """See :meth:`resroute.cluster.log.Log.submit`."""
        self._pending.append((command, answer))
        if self._applying:
            return
        self._applying = True
        try:
            while self._pending and not self._faulty:
                self._apply(*self._pending.popleft())
        finally:
            self._applying = False

    def _apply(self, command: AnyCommand, answer: Answer | None) -> None:
        self._number += 1
        try:
            outcome = self.state.apply(self.origin, self._number, command)
        except Exception as fault:
            self._faulty = True
            self._on_fault(fault)
            return
        assert outcome is not None, "the numbers of a local log never repeat"
        told = outcome if isinstance(outcome, Applied) and (outcome.facts or outcome.answered) else None
        if told is not None:
            self._guarded(self._follower.before_answer, told)
        if answer is not None:
            self._guarded(answer, outcome)
        if told is not None:
            self._guarded(self._follower.after_answer, told)

    def _guarded[T](self, act: Callable[[T], None], about: T) -> None:
        try:
            act(about)
        except Exception as error:
            self._on_error(error)

    async def barrier(self) -> None:
        """Nothing to wait for."""

    def live(self) -> bool:
        """Always: there is no other router."""
        return True
