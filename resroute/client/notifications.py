"""What owners push to this session, for whoever wants it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from resroute.client.feeds import Feed, open_arrivals
from resroute.client.link import Link
from resroute.client.notices import Notification


class Notifications(Feed[Notification]):
    """What owners push, in the order in which it arrives. See :meth:`resroute.Client.open_notifications`."""


@asynccontextmanager
async def open_notifications(link: Link) -> AsyncGenerator[Notifications]:
    """Listen to one session for as long as the block runs. See :meth:`resroute.Client.open_notifications`."""
    session = await link.ready()
    async with open_arrivals(session, session.listeners) as arrived:
        yield Notifications(session, arrived)
