"""Asking again what the router has refused for a while, within the time that whoever asks has left."""

import math
import random
from collections.abc import Awaitable, Callable

import trio

from resroute.client.retrying import Retrying, RetryPolicy
from resroute.errors import ConnectionLost, ResrouteError, RouterError


class Repeating:
    """The clock of one :class:`resroute.client.retrying.Retrying`.

    Args:
        began_at: when it was asked for the first time.
    """

    def __init__(
        self, policy: RetryPolicy, can_be_repeated: Callable[[ResrouteError], bool], began_at: float
    ) -> None:
        self._retrying = Retrying(policy, can_be_repeated=can_be_repeated, random=random.random)
        self._gives_up_at = began_at + policy.total_seconds

    def pause_after(self, error: ResrouteError) -> float | None:
        """How long to wait before it is asked again. None: it is not, and the error stands."""
        ends_at = trio.current_effective_deadline()
        if ends_at == math.inf:
            ends_at = self._gives_up_at
        return self._retrying.pause_after(error, ends_at - trio.current_time())


async def repeat[T](
    policy: RetryPolicy | None,
    ask: Callable[[], Awaitable[T]],
    can_be_repeated: Callable[[ResrouteError], bool],
) -> T:
    """Ask, and again after a pause where the error allows that. With no policy it is asked once."""
    repeating: Repeating | None = None
    began_at = trio.current_time()
    while True:
        try:
            return await ask()
        except (RouterError, ConnectionLost) as error:
            if policy is None:
                raise
            repeating = repeating or Repeating(policy, can_be_repeated, began_at)
            pause = repeating.pause_after(error)
            if pause is None:
                raise
        await trio.sleep(pause)
