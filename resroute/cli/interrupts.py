"""Programs that talk to a router, from start to exit code: signals and errors become one, and a line on stderr."""

import math
import signal
from collections.abc import Awaitable, Callable

import trio

from resroute.cli.exits import DONE, SIGNALLED, code_for
from resroute.cli.output import OutputLost, complain, to_json
from resroute.errors import InternalError, RemoteError, ResrouteError


class Interruption:
    """What the first signal breaks off: everything, unless the work has said what; a second one always everything.

    Attributes:
        told: set by the first signal.
        code: the exit code of a program that a signal has ended.
    """

    def __init__(self, everything: trio.CancelScope) -> None:
        self.told = trio.Event()
        self.code = DONE
        self._everything = everything
        self._target: trio.CancelScope | None = everything

    def breakable(self, *, deadline: float = math.inf) -> trio.CancelScope:
        """A scope to enter: the first signal breaks off only that, so that what is around it can end well."""
        self._target = trio.CancelScope(deadline=deadline)
        return self._target

    def wait_for_it(self) -> None:
        """From here on the work looks at :attr:`told` itself."""
        self._target = None

    def signal(self, number: int) -> None:
        """A signal has come."""
        self.code = SIGNALLED + number
        target = self._everything if self.told.is_set() else self._target
        self.told.set()
        if target is not None:
            target.cancel()


def run(work: Callable[[Interruption], Awaitable[int]]) -> int:
    """Run ``work`` until it returns its exit code, or a signal ends it. Returns the exit code."""
    return trio.run(_run, work)


async def _run(work: Callable[[Interruption], Awaitable[int]]) -> int:
    code: int | None = None
    async with trio.open_nursery() as nursery:
        interruption = Interruption(nursery.cancel_scope)
        await nursery.start(_attend, interruption)
        try:
            code = await work(interruption)
        except OutputLost as lost:
            code = lost.settle()
        except ResrouteError as error:
            complain(explain(error))
            code = code_for(error)
        nursery.cancel_scope.cancel()
    return interruption.code if code is None else code


async def _attend(interruption: Interruption, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(*_signals()) as arriving:
        task_status.started()
        async for number in arriving:
            interruption.signal(number)


def _signals() -> list[signal.Signals]:
    """What ends a program. Under nohup a terminal that closes does not."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    return numbers if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*numbers, signal.SIGHUP]


def explain(error: ResrouteError) -> str:
    """An error for somebody who may never have seen one of ours."""
    match error:
        case RemoteError(data=data):
            more = "" if data is None else f": {to_json(data, pretty=False)}"
            return f"the callee answered with an error: {error}{more}"
        case InternalError(trace_id=str()):
            return f"{error}: {error.trace_id}"
        case _:
            return str(error)
