"""What arrives unasked, for whoever wants it: iterating over it, and how that ends."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol, Self

import trio

from resroute.client.arrivals import MAX_ARRIVALS_BYTES, Arrivals, Listeners
from resroute.errors import ConnectionLost, FellBehind


class Lasting(Protocol):
    """What ends once, and then for good: a session, or all that a client has."""

    @property
    def lost(self) -> ConnectionLost | None:
        """Why it has ended, once it has."""
        ...

    async def wait_ended(self) -> ConnectionLost:
        """Wait until it has ended, and say why."""
        ...


class Feed[T]:
    """Values in the order in which they arrived. Its tasks may be several: each value goes to one of them."""

    def __init__(self, source: Lasting, arrived: Arrivals[T]) -> None:
        self._source = source
        self._arrived = arrived

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._arrived.receive()
        except trio.EndOfChannel:
            pass
        if self._arrived.has_overflowed:
            raise FellBehind(MAX_ARRIVALS_BYTES)
        if self._source.lost is not None:
            raise await self._source.wait_ended()
        raise trio.ClosedResourceError("what this iterates over has been closed")


@asynccontextmanager
async def open_arrivals[T](source: Lasting, listeners: Listeners[T]) -> AsyncGenerator[Arrivals[T]]:
    """Keep what is told to listeners, for as long as the block runs.

    Raises:
        ConnectionLost: the connection has ended.
    """
    if source.lost is not None:
        raise await source.wait_ended()
    arrived = Arrivals[T]()
    listeners.add(arrived)
    try:
        yield arrived
    finally:
        listeners.remove(arrived)
