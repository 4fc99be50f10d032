"""What the sessions of a router have in common."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from resroute.router.outbox import Memory
from resroute.router.turnstile import Turnstile
from resroute.settings import Settings
from resroute.telemetry.histograms import Histogram

if TYPE_CHECKING:
    from resroute.router.session import Session


class MessageHandler(Protocol):
    """What a session hands its messages to."""

    def handle(self, session: "Session", message: bytes) -> Iterator[None] | None:
        """Handle one JSON-RPC message, synchronously and without raising.

        What takes long, a batch for instance, is left to the iterator that is returned: each step of it does a little.
        """

    def handle_parts(self, session: "Session", messages: Sequence[bytes]) -> Iterator[bool]:
        """Handle messages that begin as partial results do, likewise. Each step says whether it leads to a write."""


@attrs.frozen(eq=False, kw_only=True)
class SessionMeans:
    """What each session needs of its router.

    Attributes:
        handler: what is to be done with messages.
        next_number: the next correlation id and outbox number.
        memory: what all sessions take together.
        turn_clock: seconds on any clock, for how long messages of one session may hold the loop.
        turnstile: for the first messages of each.
        round_trips: told how long each Ping and its Pong took.
    """

    settings: Settings
    handler: MessageHandler
    next_number: Callable[[], int]
    memory: Memory
    turn_clock: Callable[[], float]
    turnstile: Turnstile
    round_trips: Histogram
