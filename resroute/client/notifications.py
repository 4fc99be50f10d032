"""What owners push to this session, for whoever wants it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import trio

from resroute.client.arrivals import MAX_ARRIVALS_BYTES, Arrivals
from resroute.client.notices import Notification
from resroute.client.session import Session
from resroute.errors import FellBehind


class Notifications:
    """What owners push, in the order in which it arrives. See :meth:`resroute.Client.open_notifications`."""

    def __init__(self, session: Session, arrived: Arrivals[Notification]) -> None:
        self._session = session
        self._arrived = arrived

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        try:
            return await self._arrived.receive()
        except trio.EndOfChannel:
            pass
        if self._arrived.has_overflowed:
            raise FellBehind(MAX_ARRIVALS_BYTES)
        if self._session.lost is not None:
            raise await self._session.wait_ended()
        raise trio.ClosedResourceError("the block of these notifications has ended")


@asynccontextmanager
async def open_notifications(session: Session) -> AsyncGenerator[Notifications]:
    """Listen for as long as the block runs. See :meth:`resroute.Client.open_notifications`."""
    if session.lost is not None:
        raise await session.wait_ended()
    arrived = Arrivals[Notification]()
    session.listeners.add(arrived)
    try:
        yield Notifications(session, arrived)
    finally:
        session.listeners.remove(arrived)
