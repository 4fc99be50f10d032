"""When to ask again: what the router says of its own refusals. Pure.

A refusal that passes says after how long it is worth while to ask again. What passes as soon as something is answered is
soon over; what takes a program to come, or to leave, takes longer. These are times to spread those who ask again, and
no promises. What may have run, what does not pass, and what can be sent again at once says nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from resroute.errors import (
    RouterError,
    TooManyCalls,
    TooManyWaiters,
    TooManyWatches,
    Unavailable,
    UnavailableReason,
)

ANSWER_SECONDS: Final = 0.1
"""For what passes with the next answers."""

PROGRAM_SECONDS: Final = 1.0
"""For what passes when a program comes, comes back, or leaves."""

_BY_TYPE: Mapping[type[RouterError], float] = {
    TooManyCalls: ANSWER_SECONDS,
    TooManyWaiters: PROGRAM_SECONDS,
    TooManyWatches: PROGRAM_SECONDS,
}

# of what was not delivered; `moved` can be sent again at once
_BY_REASON: Mapping[UnavailableReason, float] = {
    "overloaded": ANSWER_SECONDS,
    "draining": PROGRAM_SECONDS,
    "no_healthy_instance": PROGRAM_SECONDS,
    "suspended": PROGRAM_SECONDS,
}


def router_stops() -> Unavailable:
    """The router is about to stop and takes nothing more. Not for calls, nor for an instance that leaves."""
    return Unavailable("draining", PROGRAM_SECONDS)


def wire_data(error: RouterError) -> dict[str, Any]:
    """The wire's ``error.data``, with ``retry_after_seconds`` where it is worth while to ask again."""
    data = error.data()
    if "retry_after_seconds" not in data and (seconds := _retry_after_seconds(error)) is not None:
        data["retry_after_seconds"] = seconds
    return data


def _retry_after_seconds(error: RouterError) -> float | None:
    if isinstance(error, Unavailable):
        return _BY_REASON.get(error.reason) if error.delivery == "not_delivered" else None
    return _BY_TYPE.get(type(error))
