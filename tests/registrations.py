"""Registrations that waited: a part of the checker."""

from collections.abc import Callable, Iterable
from decimal import Decimal

from tests.records import INSTANT_SECONDS, Request

EARLY_SECONDS = 0.0101
"""Deadlines are looked at in ticks: one may be held to have passed this much too early, with the rounding."""

PROBING_SECONDS = 2 * 3.0
"""Before a conflict is told, an owner that has fallen silent is asked: at the beginning of a wait and at its end."""


def check_registrations(requests: Iterable[Request], complain: Callable[..., None]) -> None:
    """None that waits is refused for a conflict before its time is up, or is without an answer much later.

    Limits: nothing is said of who may hear things late, or asks in a batch.
    """
    for request in requests:
        said, answer = request.said, request.answer
        asked = said.params.get("wait_seconds")
        if said.method != "resource.register" or type(asked) not in (int, float, Decimal) or not asked:
            continue
        if (
            answer is None
            or answer.is_batched
            or not request.is_certain
            or said.record.late_since is not None
        ):
            continue
        seconds = float(asked)
        took = answer.at - said.at
        is_conflict = answer.is_routers_error and answer.error_data.get("type") == "resource_conflict"
        if is_conflict and took < seconds - EARLY_SECONDS:
            complain("a registration was refused before it had waited long enough", said, answer)
        if took > seconds + PROBING_SECONDS + INSTANT_SECONDS:
            complain("a registration waited longer than it asked for", said, answer)
