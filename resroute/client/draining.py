"""Having an instance leave: what it asks of the router, and what comes of it."""

from collections.abc import Callable, Sequence
from typing import Literal

import attrs
import msgspec
from msgspec import Raw

from resroute.client.requests import given
from resroute.client.session import Session
from resroute.errors import InvalidParams, MethodNotFound

HandOverTo = Literal["service", "nobody"] | Sequence[str]
"""Who gets what an instance owned: all other instances of its service, nobody, or these."""


@attrs.frozen(kw_only=True)
class Drained:
    """What became of what an instance owned.

    Attributes:
        handed_over: how many resources others own now.
        released: how many nobody owns now.
        in_flight: how many calls it was handed and has not answered yet.
    """

    handed_over: int
    released: int
    in_flight: int
    trace_id: str | None = None


@attrs.frozen(kw_only=True)
class DrainProgress:
    """What is told after each batch: how many of ``total`` resources are ``done``, and how."""

    done: int
    total: int
    handed_over: int
    released: int


read_drained = msgspec.json.Decoder(Drained).decode
_read_progress = msgspec.json.Decoder(DrainProgress).decode


async def ask_to_drain(
    session: Session,
    instance_id: str | None,
    hand_over_to: HandOverTo,
    *,
    deadline_seconds: float | None,
    batch_size: int | None,
    on_progress: Callable[[DrainProgress], object] | None,
) -> Drained:
    """Have the router move all that an instance owns: without any state, for it knows of none.

    Args:
        instance_id: None for the session's own instance.
    """
    error: Exception | None = None

    def take_progress(value: Raw) -> None:
        nonlocal error
        told = _read_progress(value)
        if on_progress is not None and error is None:
            try:
                on_progress(told)
            except Exception as raised:  # it is theirs, and must not end the session
                error = raised

    with session.listening_to_progress(take_progress) as token:
        params = given(
            instance_id=instance_id,
            hand_over_to=hand_over_to if isinstance(hand_over_to, str) else list(hand_over_to),
            deadline_seconds=deadline_seconds,
            batch_size=batch_size,
            progress_token=None if on_progress is None else token,
        )
        drained = await session.request("instance.drain", params, read_drained)
    if error is not None:
        raise error
    return drained


async def get_nothing_new(session: Session) -> None:
    """Have the router give this instance nothing any more, and leave it what it owns.

    A router that knows no such thing may go on with both.
    """
    try:
        await session.request("instance.drain", {"hand_over_to": "keep"}, bytes)
    except (InvalidParams, MethodNotFound):
        pass
