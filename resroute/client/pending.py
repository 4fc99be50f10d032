"""A request that waits for its answer."""

from collections.abc import Callable
from typing import Any

import trio
from msgspec import Raw

from resroute.client.arrivals import MAX_ARRIVALS_BYTES, Arrivals
from resroute.client.messages import DECODE_ERRORS, read_payload
from resroute.client.outbox import Entry
from resroute.errors import FellBehind, InvalidAnswer


class Pending:
    """What the reader knows of a request, and what it leaves there for whoever asked. Settled once.

    Attributes:
        chunks: partial results, if they were asked for. They end when the request is settled.
    """

    __slots__ = ("chunks", "entry", "error", "is_settled", "read", "settled", "value")

    def __init__(self, entry: Entry, read: Callable[[Raw], Any], chunks: Arrivals[Any] | None = None) -> None:
        self.entry = entry
        self.read = read
        self.chunks = chunks
        self.settled = trio.Event()
        self.is_settled = False
        self.value: Any = None
        self.error: Exception | None = None

    def take_chunk(self, chunk: Raw) -> bool:
        """Keep a partial result. False: it cannot be kept, or not be built, and so the request has failed."""
        assert self.chunks is not None
        try:
            if self.chunks.put(read_payload(chunk), len(chunk)):
                return True
            self.fail(FellBehind(MAX_ARRIVALS_BYTES))
        except DECODE_ERRORS:
            self.fail(InvalidAnswer(delivery="unknown"))
        return False

    def settle(self, result: Raw) -> None:
        """The answer is a result."""
        try:
            self.value = self.read(result)
        except DECODE_ERRORS:
            self.error = InvalidAnswer(delivery="unknown")
        self._wake()

    def fail(self, error: Exception) -> None:
        """There is no result, and this is why."""
        self.error = error
        self._wake()

    def _wake(self) -> None:
        self.is_settled = True
        self.settled.set()
        if self.chunks is not None:
            self.chunks.finish()
