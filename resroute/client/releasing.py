"""Giving up one resource, however long that takes."""

import logging

import trio

from resroute.client.owned import Owned
from resroute.client.session import Session
from resroute.errors import ConnectionLost, ResrouteError

RETRY_SECONDS = 0.1
"""How long to wait before asking again, where the router had too much to do."""

_log = logging.getLogger("resroute.client")


async def release_at_last(session: Session, owned: Owned, resource_id: str, epoch: int) -> None:
    """Release a resource, again and again until this grant of it is over. The caller bounds the time.

    It may be registered anew right behind that: then it stays.
    """
    params = {"resource_ids": [resource_id], "partial": True}
    while owned.epochs.get(resource_id) == epoch:
        try:
            released = await session.request("resource.release", params, owned.take_released)
        except ConnectionLost:
            return
        except ResrouteError as error:
            reason = str(error)
        else:
            if owned.epochs.get(resource_id) != epoch:
                return
            reason = released.failed.get(resource_id, "")  # such as a bulk request that has it just now
        _log.warning("release_refused resource_id=%r reason=%r", resource_id, reason)
        await trio.sleep(RETRY_SECONDS)
