"""The one ordered log of commands, as the rest of the router sees it, wherever it lives."""

from collections.abc import Callable
from typing import Protocol

from resroute.core.commands import AnyCommand
from resroute.core.facts import Applied, Outcome
from resroute.core.state import State

Answer = Callable[[Outcome], None]


class Follower(Protocol):
    """Who acts on facts. Both methods are synchronous and may submit further commands."""

    def before_answer(self, applied: Applied) -> None:
        """A command was applied; who submitted it has not been told yet. Whoever lost something is told here."""

    def after_answer(self, applied: Applied) -> None:
        """The same command, once its submitter has its answer. What the answer allows may start here."""


class Log(Protocol):
    """Commands in, the same order for everyone out."""

    state: State
    """Read freely and synchronously; only applying writes."""
    origin: str
    """Who submits here, in every command's place in the log. Never reused."""

    def submit(self, command: AnyCommand, answer: Answer | None = None) -> None:
        """Put a command into the log. Never waits.

        The order of calls is the order in the log. ``answer`` is called exactly once, now or later, with the outcome; by
        then the session that asked may have ended. It is never called in the middle of another command's.
        """

    async def barrier(self) -> None:
        """Wait until the state is at least as new as it was for anyone at the time of the call."""

    def live(self) -> bool:
        """Whether this router may still act for the owners in its state. Ask again after any wait."""
