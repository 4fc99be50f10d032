"""The clocks that a router is given beside Trio's."""

from collections.abc import Callable

import attrs
import trio


@attrs.frozen(eq=False)
class Clocks:
    """What time it is.

    Attributes:
        wall: seconds since 1970, for what people read.
        turn: seconds on any clock, for how long a slice of work may hold the loop.
    """

    wall: Callable[[], float]
    turn: Callable[[], float]

    def wall_time_of(self, at: float) -> float:
        """The wall-clock time of a time on Trio's clock."""
        return self.wall() - trio.current_time() + at
