"""Who looks after the sessions' heartbeats: one task for all of them."""

import heapq
import math
from collections.abc import Mapping

import trio

from resroute.ids import SessionId
from resroute.router.alarm import Alarm
from resroute.router.session import Session


class LivenessWatch:
    """Looks at each session when its time comes: to ping it, or to end it because nobody is there any more."""

    def __init__(self, sessions: Mapping[SessionId, Session]) -> None:
        self._sessions = sessions
        # when to look at which session next; an ended one leaves when its time comes
        self._checks: list[tuple[float, SessionId]] = []
        self._alarm = Alarm()

    def add(self, session: Session) -> None:
        """A session has begun."""
        self._look_again(session, trio.current_time())
        if self._checks:
            self._alarm.no_later_than(self._checks[0][0])

    async def run(self) -> None:
        """Watch until cancelled."""
        checks = self._checks
        while True:
            await self._alarm.wait_until(checks[0][0] if checks else math.inf)
            now = trio.current_time()
            while checks and checks[0][0] <= now:
                session = self._sessions.get(heapq.heappop(checks)[1])
                if session is not None:
                    self._look_again(session, now)

    def _look_again(self, session: Session, now: float) -> None:
        at = session.check_liveness(now)
        if at < math.inf:
            heapq.heappush(self._checks, (at, session.id))
