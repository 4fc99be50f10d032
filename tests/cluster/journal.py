"""Writes down what a log does, in the order in which it does it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Answer
from resroute.core.facts import Applied, Outcome
from resroute.core.state import State
from resroute.ids import Revision

BASE = 1000


class Entry(NamedTuple):
    """``what`` is ``before``, ``after``, or the name of the answer."""

    what: str
    revision: Revision


class Journal:
    """The follower of a log, the maker of answers to be written down, and where its faults and errors go.

    ``before`` and ``after`` are what to do beside writing. ``state`` is the log's, once there is one: whatever a log
    calls must find it at the revision that it is told of.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.outcomes: list[Outcome] = []
        self.faults: list[Exception] = []
        self.errors: list[Exception] = []
        self.before: Callable[[Applied], None] = ignore
        self.after: Callable[[Applied], None] = ignore
        self.state: State | None = None

    def make_log(self) -> LocalLog:
        log = LocalLog(base=BASE, follower=self, on_fault=self.faults.append, on_error=self.errors.append)
        self.state = log.state
        return log

    def before_answer(self, applied: Applied) -> None:
        self._write("before", applied)
        self.before(applied)

    def after_answer(self, applied: Applied) -> None:
        self._write("after", applied)
        self.after(applied)

    def answer(self, name: str, act: Callable[[Outcome], None] | None = None) -> Answer:
        """An answer that is written down under ``name``, and then does ``act``."""
        return partial(self._answer, name, act or ignore)

    def _answer(self, name: str, act: Callable[[Outcome], None], outcome: Outcome) -> None:
        self._write(name, outcome)
        self.outcomes.append(outcome)
        act(outcome)

    def _write(self, what: str, outcome: Outcome) -> None:
        self.entries.append(Entry(what, outcome.revision))
        assert self.state is not None
        assert self.state.revision == outcome.revision

    def told(self) -> list[str]:
        """All that was written, in order."""
        return [entry.what for entry in self.entries]


def ignore(_: Outcome) -> None:
    """Nothing to do."""
