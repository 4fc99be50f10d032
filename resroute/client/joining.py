"""Becoming an instance, a new one or one that goes on for an earlier session: what the router says about that."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from resroute.client.owned import Owned
from resroute.client.requests import given
from resroute.client.results import ResourcePage, read_resource_page
from resroute.client.session import Session
from resroute.errors import Forbidden

_log = logging.getLogger("resroute.client")


class Joined(msgspec.Struct):
    """The answer to ``instance.register``. A router that knows of no resuming says nothing of it."""

    instance_id: str
    resume_token: str | None = None
    resumed_count: int = 0
    resumed: dict[str, int] = {}


_read_joined = msgspec.json.Decoder(Joined).decode


async def join(session: Session, owned: Owned, params: Mapping[str, Any]) -> Joined:
    """Become an instance. What it takes over is owned from the moment on in which the answer arrives."""

    def take(result: Raw) -> Joined:
        joined = _read_joined(result)
        owned.resumed_at = min(joined.resumed.values(), default=0)  # all have one epoch
        owned.take_granted(joined.resumed)
        return joined

    return await session.request("instance.register", params, take)


async def learn_rest(session: Session, owned: Owned, joined: Joined) -> None:
    """Ask for the rest of what was taken over, where that is more than an answer names.

    Who may not ask, having no role ``caller``, learns of each with its first call.
    """
    if joined.resumed_count <= len(joined.resumed):
        return

    def take(result: Raw) -> ResourcePage:
        page = read_resource_page(result)
        epochs = {resource.resource_id: resource.epoch for resource in page.resources}
        owned.take_granted(epochs)
        joined.resumed |= {name: epoch for name, epoch in epochs.items() if epoch == owned.resumed_at}
        return page

    cursor: str | None = None
    while True:
        params = given(instance_id=joined.instance_id, include_metadata=False, limit=1000, cursor=cursor)
        try:
            page = await session.request("resource.query", params, take)
        except Forbidden:
            _log.warning("resumed_not_all_known count=%d known=%d", joined.resumed_count, len(joined.resumed))
            return
        cursor = page.next_cursor
        if cursor is None:
            return
