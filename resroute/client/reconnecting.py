"""When and where to connect again, and whether at all. Pure: it knows no time, and is given its chance.

Every attempt after an end waits for a pause of chance (see :mod:`resroute.client.pauses`), the first one too: the clients of
a router that has died all notice in the same moment. What the router itself asks for comes on top of that.
"""

from collections.abc import Callable, Sequence

import attrs
import msgspec
from attrs.validators import gt

from resroute.client.address import parse_url
from resroute.client.pauses import Pauses
from resroute.errors import (
    ConnectionFailed,
    ConnectionLost,
    Forbidden,
    ResrouteError,
    TokenRejected,
    Unauthenticated,
)

_RESERVED_CODES = range(4000, 4100)
_PASSING_CODES = (4008, 4011, 4029)
_BROKEN_CODES = (1002, 1003, 1007)  # the router says that this program breaks the protocol
_TOO_MANY_SESSIONS = 4029
_REFUSED = (401, 403)  # HTTP


@attrs.frozen(kw_only=True)
class ReconnectPolicy:
    """How patiently a client connects again, in seconds.

    Attributes:
        first_seconds: the longest pause before the first attempt after a connection has ended. It doubles from there.
        max_seconds: the longest pause of all. A connection that has lasted for longer than that lets the pauses begin
            anew.
    """

    first_seconds: float = attrs.field(default=1.0, validator=gt(0))
    max_seconds: float = attrs.field(default=15.0, validator=gt(0))


class Closing(msgspec.Struct):
    """The params of ``session.closing``: the router is about to end the connection, and asks for something."""

    reason: str = ""
    reconnect_after_seconds: float = 0.0
    url: str | None = None


@attrs.frozen
class Attempt:
    """Connect to this, after that pause."""

    url: str
    delay_seconds: float = 0.0


def is_final(error: Exception) -> bool:
    """Whether it is in vain, or forbidden, to connect again after this."""
    match error:
        case ConnectionLost(code=int(code)):
            return code in _BROKEN_CODES or (code in _RESERVED_CODES and code not in _PASSING_CODES)
        case ConnectionFailed(http_status=int(status)):
            return status in _REFUSED
        case _:
            return isinstance(error, Unauthenticated | Forbidden)


def _is_about_the_token(error: Exception) -> bool:
    match error:
        case ConnectionFailed(http_status=401) | Unauthenticated() | TokenRejected():
            return True
        case _:
            return False


class Reconnecting:
    """What a client has tried, and so what it tries next: its URLs in turn.

    Args:
        urls: at least one.
        policy: None: nothing is tried again.
        random: makes numbers from 0 up to 1.
        renews_tokens: each attempt has a fresh token, so that one was refused is final only if the next one is, too.
    """

    def __init__(
        self,
        urls: Sequence[str],
        policy: ReconnectPolicy | None,
        random: Callable[[], float],
        *,
        renews_tokens: bool = False,
    ) -> None:
        self.urls = tuple(urls)
        self._policy = policy
        self._pauses = None if policy is None else Pauses(policy.first_seconds, policy.max_seconds, random)
        self._renews_tokens = renews_tokens
        self._refused_before = False
        self._turn = 0

    def first(self) -> Attempt:
        """Where to begin."""
        return Attempt(self._next_url())

    def alternative(self, error: Exception) -> Attempt | None:
        """Where else to begin, at once, while there has never been a connection. None: every URL has been tried."""
        if is_final(error) or self._turn >= len(self.urls):
            return None
        return Attempt(self._next_url())

    def after(
        self, error: ResrouteError, *, lasted_seconds: float = 0.0, closing: Closing | None = None
    ) -> Attempt | None:
        """What to do after an attempt has failed, or a connection has ended. None: nothing, it is over.

        Args:
            lasted_seconds: how long there was a connection; 0 if there was none.
            closing: what the router asked for before it ended the connection.
        """
        policy, pauses = self._policy, self._pauses
        may_have_expired = self._renews_tokens and _is_about_the_token(error)
        is_first = lasted_seconds > 0 or not self._refused_before
        self._refused_before = may_have_expired
        if policy is None or pauses is None or (is_final(error) and not (may_have_expired and is_first)):
            return None
        if lasted_seconds > policy.max_seconds:
            pauses.begin_anew()
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        url = None
        if closing is not None:
            asked, url = closing.reconnect_after_seconds, self._welcome(closing.url)
        is_full = isinstance(error, ConnectionLost) and error.code == _TOO_MANY_SESSIONS
        # each of several URLs is tried before the pauses become longer
        delay = pauses.next(asked, step=len(self.urls), longest=is_full)
        return Attempt(self._next_url() if url is None else url, delay)

    def _next_url(self) -> str:
        url = self.urls[self._turn % len(self.urls)]
        self._turn += 1
        return url

    def _welcome(self, url: str | None) -> str | None:
        """The URL that the router sends us to; but not from TLS to none, for the token goes along."""
        if url is None:
            return None
        try:
            address = parse_url(url)
        except ValueError:
            return None
        if not address.is_secure and any(parse_url(known).is_secure for known in self.urls):
            return None
        return url
