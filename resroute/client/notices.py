"""Notifications: which of them an owner has pushed, and what it says. No I/O."""

from typing import Any

import attrs
from msgspec import UNSET

from resroute.client.messages import Message, Meta, read_payload

_no_meta = Meta()

ROUTERS_OWN = ("$/", "resource.", "session.")
"""How the names of notifications begin that only the router may send."""


@attrs.frozen
class Notification:
    """What the owner of a resource has sent to this session, unasked.

    Attributes:
        method: what it is, as the owner names it.
        params: an object, a list, or None if there are none.
        resource_id: the resource that it is about, in the router's word.
        instance_id: the owner that sent it, in the router's word.
    """

    method: str
    params: Any = None
    resource_id: str | None = None
    instance_id: str | None = None


def is_pushed(message: Message, method: str) -> bool:
    """Whether a notification was pushed by an owner, and is neither the router's own nor a call that nobody waits for.

    Of calls the router says who the caller is, of what is pushed who the owner is.
    """
    if method.startswith(ROUTERS_OWN):
        return False
    return message.meta is UNSET or message.meta.caller is None


def read_notification(message: Message, method: str) -> tuple[Notification, int]:
    """What was pushed, and how many bytes that counts. Raises DECODE_ERRORS for params that cannot be built."""
    meta = _no_meta if message.meta is UNSET else message.meta
    params = b"null" if message.params is UNSET else message.params
    notification = Notification(method, read_payload(params), meta.resource_id, meta.instance_id)
    return notification, len(method) + len(params)
