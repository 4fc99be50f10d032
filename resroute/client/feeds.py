"""What arrives unasked, for whoever wants it: iterating over it, and how that ends."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import trio

from resroute.client.arrivals import MAX_ARRIVALS_BYTES, Arrivals, Listeners
from resroute.client.session import Session
from resroute.errors import FellBehind


class Feed[T]:
    """Values in the order in which they arrived. Its tasks may be several: each value goes to one of them."""

    def __init__(self, session: Session, arrived: Arrivals[T]) -> None:
        self._session = session
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
        if self._session.lost is not None:
            raise await self._session.wait_ended()
        raise trio.ClosedResourceError("what this iterates over has been closed")


@asynccontextmanager
async def open_arrivals[T](session: Session, listeners: Listeners[T]) -> AsyncGenerator[Arrivals[T]]:
    """Keep what is told to listeners, for as long as the block runs.

    Raises:
        ConnectionLost: the connection has ended.
    """
    if session.lost is not None:
        raise await session.wait_ended()
    arrived = Arrivals[T]()
    listeners.add(arrived)
    try:
        yield arrived
    finally:
        listeners.remove(arrived)
