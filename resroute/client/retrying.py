"""What is asked again, and when. Pure: it knows no time, and is given its chance.

What decides is whether it can have taken effect. Of calls the router says so (``not_delivered``), or it has refused to
take them at all. A call that may have run is made again only if its caller says that this does no harm. What the callee
itself has answered is never an occasion: that call has run. Whatever else is asked of the router is asked again where
that has refused to take it, and says when it may.
"""

from collections.abc import Callable

import attrs
from attrs.validators import gt

from resroute.client.pauses import Pauses
from resroute.errors import (
    ConnectionLost,
    OwnerDisconnected,
    RateLimited,
    ResrouteError,
    TooManyCalls,
    Unavailable,
)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How patiently a client makes calls, and what else it asks of the router, again, in seconds.

    Attributes:
        first_seconds: the longest pause before the first repetition; a random part of it is waited for. It doubles from
            there.
        max_seconds: the longest pause.
        total_seconds: for how long after its beginning something is asked again for which there is no deadline.
    """

    first_seconds: float = attrs.field(default=0.1, validator=gt(0))
    max_seconds: float = attrs.field(default=5.0, validator=gt(0))
    total_seconds: float = attrs.field(default=30.0, validator=gt(0))


class Retrying:
    """One call, or one thing that is asked of the router, and how often it has failed.

    Args:
        can_be_repeated: whether it may be asked again after this error.
        random: makes numbers from 0 up to 1.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        can_be_repeated: Callable[[ResrouteError], bool],
        random: Callable[[], float],
    ) -> None:
        self._can_be_repeated = can_be_repeated
        self._pauses = Pauses(policy.first_seconds, policy.max_seconds, random)

    def pause_after(self, error: ResrouteError, left_seconds: float) -> float | None:
        """How long to wait before it is asked again. None: it is not, and the error stands.

        Args:
            left_seconds: the time that whoever asks has left. A pause that would take it all is not begun.
        """
        if not self._can_be_repeated(error):
            return None
        pause = self._pauses.next(getattr(error, "retry_after_seconds", None) or 0.0)
        return pause if pause < left_seconds else None


def was_refused_for_now(error: ResrouteError) -> bool:
    """Whether the router has refused to take this at all, whatever it was, and says when to ask again."""
    match error:
        case TooManyCalls() | RateLimited() | Unavailable(delivery=None):
            return error.retry_after_seconds is not None
        case _:
            return False


def can_be_repeated(error: ResrouteError, *, idempotent: bool) -> bool:
    """Whether a call that failed with this may be made again: it has not run, or running twice does no harm.

    Not what is over by its time, or by the caller's will; and not what the router cannot be asked again, because what
    makes it fail stays as it is.
    """
    match error:
        case TooManyCalls() | RateLimited() | Unavailable(delivery=None):
            return was_refused_for_now(error)
        case ConnectionLost(
            code=1009, delivery="unknown"
        ):  # too large: it would end the next connection as well
            return False
        case ConnectionLost() | Unavailable() | OwnerDisconnected():
            return idempotent or error.delivery == "not_delivered"
        case _:
            return False
