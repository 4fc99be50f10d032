"""How long to wait before something is tried again. Pure: it is given its chance."""

from collections.abc import Callable

MAX_ASKED_SECONDS = 3600.0
"""The most that the router's wish to be left alone for a while counts."""


class Pauses:
    """Each a random part of a time that doubles, from nothing up to all of it ("full jitter").

    So those who fail in the same moment, because their router has died, do not come again in the same moment.

    Args:
        random: makes numbers from 0 up to 1.
    """

    def __init__(self, first_seconds: float, max_seconds: float, random: Callable[[], float]) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._random = random
        self._failures = 0

    def begin_anew(self) -> None:
        """It has worked: the next pause is short again."""
        self._failures = 0

    def next(self, asked_seconds: float = 0.0, *, step: int = 1, longest: bool = False) -> float:
        """The pause after one more failure.

        Args:
            asked_seconds: what the router asks for. It comes on top.
            step: so many failures double the time.
            longest: this failure is one that takes time to pass.
        """
        doublings = min(self._failures // step, 64)
        self._failures += 1
        bound = self._first_seconds * 2.0**doublings
        bound = self._max_seconds if longest else min(self._max_seconds, bound)
        return min(max(asked_seconds, 0.0), MAX_ASKED_SECONDS) + bound * self._random()
