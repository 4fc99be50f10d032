"""What all have in common that move resources of others in several steps."""

from collections.abc import Awaitable, Callable, Mapping

import trio

from resroute.cluster.log import Log
from resroute.core.commands import AnyCommand
from resroute.core.facts import Outcome
from resroute.core.records import OwnerRecord
from resroute.errors import InternalError
from resroute.ids import SessionId
from resroute.router.means import Means
from resroute.router.request import Request
from resroute.router.session import Session

DECIDING_SECONDS = 2.0
"""How long who is cancelled waits for what the log decides about the last step."""


async def work(
    means: Means,
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
        means.tasks.report(error)
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
