"""What owners push to this session, for whoever wants it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from resroute.client.feeds import Feed, open_arrivals
from resroute.client.notices import Notification
from resroute.client.session import Session


class Notifications(Feed[Notification]):
    """What owners push, in the order in which it arrives. See :meth:`resroute.Client.open_notifications`."""


@asynccontextmanager
async def open_notifications(session: Session) -> AsyncGenerator[Notifications]:
    """Listen for as long as the block runs. See :meth:`resroute.Client.open_notifications`."""
    async with open_arrivals(session, session.listeners) as arrived:
        yield Notifications(session, arrived)
