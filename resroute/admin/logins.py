"""Who has logged in with a browser: kept here, so that logging out ends it wherever its cookie is."""

import secrets
from collections.abc import Callable, Container
from hashlib import sha256

import attrs

from resroute.security.tokens import KnownToken

IDLE_SECONDS = 2 * 3600.0
"""A login that nobody has used for so long is over."""

MAX_SECONDS = 12 * 3600.0
"""So is one that has lasted so long."""

MAX_LOGINS = 1000
"""The one that was used least lately ends for another."""


@attrs.define(eq=False)
class Login:
    """One login, and the token that it was begun with."""

    token: KnownToken
    csrf_token: str = attrs.field(repr=False)
    begun_at: float
    used_at: float
    is_over: bool = False
    # what to do when it ends; each entry is removed by who made it
    _endings: dict[Callable[[], object], None] = attrs.field(factory=dict, repr=False)

    def when_over(self, act: Callable[[], object]) -> Callable[[], object]:
        """Have something done when it ends. Returns what undoes that."""
        self._endings[act] = None
        return lambda: self._endings.pop(act, None)

    def end(self) -> None:
        """It is over."""
        self.is_over = True
        endings = list(self._endings)
        self._endings.clear()
        for act in endings:
            act()


class Logins:
    """All logins, by what their cookies hold; of that only a digest is kept.

    Args:
        clock: seconds on any clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # digest -> login, the one that was used least lately first
        self._logins: dict[bytes, Login] = {}

    def __len__(self) -> int:
        return len(self._logins)

    def begin(self, token: KnownToken) -> str:
        """One more login. Returns what its cookie holds."""
        now = self._clock()
        self._end_all(lambda login: self._has_expired(login, now))
        if len(self._logins) >= MAX_LOGINS:
            self._end(next(iter(self._logins)))
        value = secrets.token_urlsafe(32)
        self._logins[_digest(value)] = Login(token, secrets.token_urlsafe(32), now, now)
        return value

    def find(self, value: str) -> Login | None:
        """The login of a cookie, if there is one, which is used by that."""
        key, now = _digest(value), self._clock()
        login = self._logins.pop(key, None)
        if login is None:
            return None
        if self._has_expired(login, now):
            login.end()
            return None
        login.used_at = now
        self._logins[key] = login
        return login

    def end(self, value: str) -> None:
        """Log out. Does nothing if nobody is logged in by this cookie."""
        self._end(_digest(value))

    def keep_only(self, tokens: Container[KnownToken]) -> None:
        """End those that were begun with any other token."""
        self._end_all(lambda login: login.token not in tokens)

    def expire(self) -> None:
        """End those whose time is over, for what listens to them."""
        now = self._clock()
        self._end_all(lambda login: self._has_expired(login, now))

    def _end_all(self, is_to_end: Callable[[Login], bool]) -> None:
        for key in [key for key, login in self._logins.items() if is_to_end(login)]:
            self._end(key)

    def _end(self, key: bytes) -> None:
        login = self._logins.pop(key, None)
        if login is not None:
            login.end()

    @staticmethod
    def _has_expired(login: Login, now: float) -> bool:
        return now - login.used_at > IDLE_SECONDS or now - login.begun_at > MAX_SECONDS


def _digest(value: str) -> bytes:
    return sha256(value.encode(errors="surrogateescape")).digest()
