"""Programs that talk to a router, from start to exit code: signals and errors become one, and a line on stderr."""

import signal
from collections.abc import Awaitable, Callable

import trio

from resroute.cli.exits import SIGNALLED, code_for
from resroute.cli.output import OutputLost, complain
from resroute.errors import ConnectionFailed, InternalError, RemoteError, ResrouteError


def run(work: Callable[[trio.Event], Awaitable[int]], *, patient: bool = False) -> int:
    """Run ``work`` until it returns its exit code, or a signal ends it. Returns the exit code.

    Args:
        work: is given an event, set by the first signal.
        patient: the first signal only sets the event, and ``work`` goes about its end. A second one cancels it, as
            the first does otherwise.
    """
    return trio.run(_run, work, patient)


async def _run(work: Callable[[trio.Event], Awaitable[int]], patient: bool) -> int:
    told = trio.Event()
    code = 0
    async with trio.open_nursery() as nursery:

        async def attend(*, task_status: trio.TaskStatus[None]) -> None:
            nonlocal code
            with trio.open_signal_receiver(*_signals()) as arriving:
                task_status.started()
                async for number in arriving:
                    if patient and not told.is_set():
                        told.set()
                        continue
                    told.set()
                    code = SIGNALLED + number
                    nursery.cancel_scope.cancel()

        await nursery.start(attend)
        try:
            code = await work(told)
        except OutputLost as lost:
            code = lost.settle()
        except ResrouteError as error:
            complain(explain(error))
            code = code_for(error)
        nursery.cancel_scope.cancel()
    return code


def _signals() -> list[signal.Signals]:
    """What ends a program. Under nohup a terminal that closes does not."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    return numbers if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*numbers, signal.SIGHUP]


def explain(error: ResrouteError) -> str:
    """An error for somebody who may never have seen one of ours."""
    match error:
        case RemoteError():
            return f"the callee answered with an error: {error}"
        case ConnectionFailed() if "refused" in error.reason.lower():
            return f"{error} (does a router run there? `resroute serve` starts one)"
        case InternalError(trace_id=str()):
            return f"{error}: {error.trace_id}"
        case _:
            return str(error)
