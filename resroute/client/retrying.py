"""Which calls are made again, and when. Pure: it knows no time, and is given its chance.

What decides is whether the call can have run. The router says so (``not_delivered``), or it has refused to take the call
at all. A call that may have run is made again only if its caller says that this does no harm. What the callee itself has
answered is never an occasion: that call has run.
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
    """How patiently a client makes calls again, in seconds.

    Attributes:
        first_seconds: the longest pause before the first repetition; a random part of it is waited for. It doubles from
            there.
        max_seconds: the longest pause.
        total_seconds: for how long after its beginning a call is made again whose caller has set no deadline.
    """

    first_seconds: float = attrs.field(default=0.1, validator=gt(0))
    max_seconds: float = attrs.field(default=5.0, validator=gt(0))
    total_seconds: float = attrs.field(default=30.0, validator=gt(0))


class Retrying:
    """One call, and how often it has failed.

    Args:
        idempotent: it does no harm to make it again although it may have run.
        random: makes numbers from 0 up to 1.
    """

    def __init__(self, policy: RetryPolicy, *, idempotent: bool, random: Callable[[], float]) -> None:
        self._idempotent = idempotent
        self._pauses = Pauses(policy.first_seconds, policy.max_seconds, random)

    def pause_after(self, error: ResrouteError, left_seconds: float) -> float | None:
        """How long to wait before the call is made again. None: it is not, and the error stands.

        Args:
            left_seconds: the time that the caller has left. A pause that would take it all is not begun.
        """
        if not can_be_repeated(error, idempotent=self._idempotent):
            return None
        pause = self._pauses.next(getattr(error, "retry_after_seconds", None) or 0.0)
        return pause if pause < left_seconds else None


def can_be_repeated(error: ResrouteError, *, idempotent: bool) -> bool:
    """Whether what failed with this may be asked again: it has not run, or running twice does no harm.

    Not what is over by its time, or by the caller's will; and not what the router cannot be asked again, because what
    makes it fail stays as it is.
    """
    match error:
        case TooManyCalls() | RateLimited():
            return error.retry_after_seconds is not None
        case Unavailable(delivery=None):  # not a call
            return error.retry_after_seconds is not None
        case ConnectionLost(
            code=1009, delivery="unknown"
        ):  # too large: it would end the next connection as well
            return False
        case ConnectionLost() | Unavailable() | OwnerDisconnected():
            return idempotent or error.delivery == "not_delivered"
        case _:
            return False
