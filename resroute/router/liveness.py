"""Who looks after the sessions' heartbeats: one task for all of them."""

import heapq
import math
from collections.abc import Mapping

import trio

from resroute.ids import SessionId
from resroute.router.alarm import Alarm
from resroute.router.endings import Ending
from resroute.router.session import Session

_STANDSTILL_SECONDS = 0.2
"""A router that is late by less than this is busy. It is not forgiven: who is gone would never be found out under load."""


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
            if checks:
                self._forgive(now - checks[0][0], now)
            while checks and checks[0][0] <= now:
                session = self._sessions.get(heapq.heappop(checks)[1])
                if session is not None:
                    self._look_again(session, now)

    def _forgive(self, late_seconds: float, now: float) -> None:
        """Leave time out of account in which the router itself stood still, and neither sent a Ping nor read an answer."""
        for session in self._sessions.values():
            heartbeat = session.settings.heartbeat
            spare_seconds = heartbeat.timeout_seconds - heartbeat.interval_seconds
            if late_seconds < max(_STANDSTILL_SECONDS, spare_seconds / 2):
                return  # all sessions have the same settings
            session.stood_still(late_seconds, now)

    def _look_again(self, session: Session, now: float) -> None:
        at = look_at(session, now)
        if at < math.inf:
            heapq.heappush(self._checks, (at, session.id))


def look_at(session: Session, now: float) -> float:
    """Ping the peer if it is time, and end the session if the peer is gone. Returns when to look again."""
    heartbeat, settings = session.settings.heartbeat, session.settings
    alive_at = session.alive_at
    stuck_since = max(session.writing_since, session.transport.progressed_at)
    if now >= alive_at + heartbeat.timeout_seconds:
        lack = f"no sign of life for {now - alive_at:.0f} s"
    elif now >= session.unanswered_since + 3 * heartbeat.timeout_seconds:
        lack = f"no Ping answered for {now - session.unanswered_since:.0f} s"
    else:
        lack = ""
    if lack:
        session.end(Ending(4011, f"heartbeat lost: {lack}", "heartbeat_lost"))
        return math.inf
    if session.writing_since < math.inf and now >= stuck_since + settings.write_timeout_seconds:
        session.end(Ending(4008, "slow consumer: it has read nothing for write_timeout_seconds"))
        return math.inf
    if now >= session.next_ping_at:
        session.next_ping_at = now + heartbeat.interval_seconds
        session.ping(now)
    at = min(
        session.next_ping_at,
        alive_at + heartbeat.timeout_seconds,
        session.unanswered_since + 3 * heartbeat.timeout_seconds,
    )
    # a send that begins right after this look may be stuck as early as that
    stuck_since = now if session.writing_since == math.inf else stuck_since
    return min(at, stuck_since + settings.write_timeout_seconds)
