"""What all have in common that move resources of others in several steps."""

import random
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from resroute.cluster.log import Log
from resroute.core.commands import AnyCommand
from resroute.core.facts import Outcome
from resroute.core.records import OwnerRecord
from resroute.errors import InternalError
from resroute.ids import SessionId
from resroute.router.auditing import Auditor
from resroute.router.request import Request
from resroute.router.session import Session
from resroute.settings import Settings

DECIDING_SECONDS = 2.0
"""How long who is cancelled waits for what the log decides about the last step."""


@attrs.frozen(eq=False)
class Means:
    """What it needs of the router.

    Attributes:
        log: where commands go.
        sessions: the sessions that have not ended.
        auditor: told of each step that was applied.
        randomness: for the names of transfers.
        wall_clock: seconds since 1970.
        turn_clock: seconds on any clock, for how long a slice may hold the loop.
        start_task: starts a task that lives as long as the router's sessions.
        report: told of exceptions that are bugs and cost one request its answer.
    """

    settings: Settings
    log: Log
    sessions: Mapping[SessionId, Session]
    auditor: Auditor
    randomness: random.Random
    wall_clock: Callable[[], float]
    turn_clock: Callable[[], float]
    start_task: Callable[[Callable[[], Awaitable[object]]], None]
    report: Callable[[Exception], None]

    async def work(
        self,
        request: Request,
        scope: trio.CancelScope,
        move: Callable[[], Awaitable[object]],
        answer: Callable[[], None],
    ) -> None:
        """Do what a request asks for, until its scope is cancelled, and answer it then; a bug costs it that."""
        try:
            with scope:
                await move()
        except Exception as error:
            self.report(error)
            request.refuse(InternalError())
        else:
            answer()


def takes_resources(owner: OwnerRecord, sessions: Mapping[SessionId, Session]) -> bool:
    """Whether an instance is there to be given resources now."""
    session = sessions.get(owner.session_id)
    return owner.alive and not owner.is_draining and session is not None and session.is_responsive


async def decided(log: Log, command: AnyCommand, note: Callable[[Outcome], None]) -> None:
    """Submit a command, and wait until the log has decided and that is noted.

    Who is cancelled meanwhile waits all the same, up to :data:`DECIDING_SECONDS`, since what was moved is to be counted.
    """
    is_decided = trio.Event()

    def decide(outcome: Outcome) -> None:
        note(outcome)
        is_decided.set()

    log.submit(command, decide)
    try:
        await is_decided.wait()
    except trio.Cancelled:
        with trio.move_on_after(DECIDING_SECONDS, shield=True):
            await is_decided.wait()
        raise
