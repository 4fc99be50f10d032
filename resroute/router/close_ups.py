"""Which instances have their calls counted apart, because somebody looks at them."""

from resroute.router.session import Session
from resroute.telemetry.close_up import CloseUp

MAX_CLOSE_UPS = 32
"""So many at a time: for one more, the one ends that nobody has looked at for longest."""

KEPT_SECONDS = 120.0
"""A close-up ends when nobody has looked for so long."""


class CloseUps:
    """All of them. While there is one it stands at its session, in the place of the counters of its service."""

    def __init__(self) -> None:
        # in the order they were last looked at
        self._open: dict[Session, CloseUp] = {}

    def __len__(self) -> int:
        return len(self._open)

    def look_at(self, session: Session, now: float) -> CloseUp:
        """The close-up of an instance whose session has not ended. It begins now if there was none."""
        close_up = self._open.pop(session, None)
        if close_up is None:
            close_up = CloseUp(session.traffic, now)
            session.traffic = close_up
            if len(self._open) >= MAX_CLOSE_UPS:
                self.end(next(iter(self._open)))
        close_up.looked_at = now
        self._open[session] = close_up
        return close_up

    def rotate(self, now: float) -> None:
        """One more window is over. Those that nobody looks at any more end."""
        for session, close_up in list(self._open.items()):
            if now - close_up.looked_at >= KEPT_SECONDS:
                self.end(session)
            else:
                close_up.rotate()

    def end(self, session: Session) -> None:
        """The calls of an instance are counted with those of its service again. Does nothing if they are."""
        close_up = self._open.pop(session, None)
        if close_up is not None:
            session.traffic = close_up.service
