"""Notifications: which of them an owner has pushed, and who wants those. No I/O."""

from typing import Any

import attrs
from msgspec import UNSET

from resroute.client.arrivals import Arrivals
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


class Listeners:
    """Whoever wants what owners push. Each gets all of it, until it falls behind."""

    def __init__(self) -> None:
        self._all: set[Arrivals[Notification]] = set()

    def add(self, listener: Arrivals[Notification]) -> None:
        """Tell it from now on."""
        self._all.add(listener)

    def remove(self, listener: Arrivals[Notification]) -> None:
        """Tell it no more."""
        self._all.discard(listener)
        listener.finish()

    def finish(self) -> None:
        """There is nothing more to tell."""
        for listener in self._all:
            listener.finish()

    def tell(self, message: Message, method: str) -> None:
        """Pass on what was pushed. Raises DECODE_ERRORS for params that cannot be built."""
        if not self._all:
            return
        meta = _no_meta if message.meta is UNSET else message.meta
        params = b"null" if message.params is UNSET else message.params
        notification = Notification(method, read_payload(params), meta.resource_id, meta.instance_id)
        for listener in self._all:
            listener.put(notification, len(params))
