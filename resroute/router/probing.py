"""Before an owner that has fallen silent stands in somebody's way, it is asked whether it is still there."""

from collections.abc import Callable, Iterable

import trio

from resroute.router.endings import Ending
from resroute.router.session import Session
from resroute.router.tasks import Tasks
from resroute.settings import Settings


class Prober:
    """Pings silent sessions on behalf of those they are in conflict with."""

    def __init__(self, settings: Settings, tasks: Tasks) -> None:
        self._settings = settings
        self._tasks = tasks

    def probe(self, rivals: Iterable[Session | None], then: Callable[[], None]) -> bool:
        """Ask those of the rivals that are silent, and call ``then`` once they have answered or are gone.

        Returns False, and does nothing, if none of them is silent.
        """
        silent = list(
            dict.fromkeys(rival for rival in rivals if rival is not None and not rival.is_responsive)
        )
        if not silent:
            return False

        async def ask() -> None:
            try:
                await self._ask_all(silent)
            except Exception as error:
                self._tasks.report(error)
            then()  # whatever became of it, somebody waits for an answer

        self._tasks.start(ask)
        return True

    async def _ask_all(self, sessions: list[Session]) -> None:
        began = trio.current_time()
        for session in sessions:
            session.ping(began)
        with trio.move_on_after(self._settings.probe_timeout_seconds):
            for session in sessions:
                await session.wait_heard_since(began)
        for session in sessions:
            # not who reads so slowly that the Ping is still on its way
            if session.alive_at < began and session.ending is None:
                silence = trio.current_time() - session.alive_at
                session.log.warning("silent owner ended by a probe", silent_seconds=round(silence, 1))
                session.end(
                    Ending(
                        4011, f"heartbeat lost: silent for {silence:.0f} s, and asked for", "heartbeat_lost"
                    )
                )
            if session.ending is not None:
                # its teardown is under way: state first, then a goodbye with a bound
                await session.closed.wait()
