"""What a client asks of the router, as params; and the time that goes along with a call."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import trio
from msgspec import Raw

from resroute.client.results import MetadataFields, ResourceInfo, Transferred, read_transferred, read_updated

Params = Mapping[str, Any] | list[Any] | tuple[Any, ...]
"""What a call carries: an object, or a list."""


class Asking(Protocol):
    """Who can ask the router something."""

    async def request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        unheard: Callable[[], None] | None = None,
    ) -> T:
        """See :meth:`resroute.client.session.Session.request`."""
        ...


def given(**members: Any) -> dict[str, Any]:
    """Params without those that were not given."""
    return {name: value for name, value in members.items() if value is not None}


def ignore(_result: Raw) -> None:
    """Read nothing out of a result."""


async def take_time(request: dict[str, Any], max_timeout_seconds: float) -> float:
    """Note in a call the time that Trio's deadline leaves for it.

    Returns:
        The deadline, if the router knows of it: then the router's ``CallTimeout`` means that it has come, by the
        router's clock. See :func:`wait_own_deadline`. Infinity if there is none, or the router goes by its maximum.
    """
    deadline = trio.current_effective_deadline()
    if deadline == math.inf:
        return deadline
    seconds = deadline - trio.current_time()
    if seconds <= 0:
        await trio.lowlevel.checkpoint()  # Trio cancels here
    request["timeout_seconds"] = min(seconds, max_timeout_seconds)
    return deadline if seconds <= max_timeout_seconds else math.inf


async def wait_own_deadline(deadline: float) -> None:
    """After a ``CallTimeout``: whichever clock is first, the caller is to see its own deadline.

    Returns if that has been put off meanwhile, or there was none.
    """
    if deadline < math.inf:
        await trio.sleep_until(deadline)


class _Notified(msgspec.Struct):
    delivered_to_outbox: bool


_read_notified = msgspec.json.Decoder(_Notified).decode


async def notify(
    router: Asking, session_id: str, resource_id: str, method: str, params: Params | None
) -> None:
    """Push a notification to another session, as the owner of a resource that it has to do with."""
    request = given(session_id=session_id, resource_id=resource_id, method=method, params=params)
    await router.request("session.notify", request, _read_notified)


async def update(
    router: Asking,
    resource_id: str,
    metadata: MetadataFields,
    *,
    merge: bool,
    expected_version: int | None,
) -> ResourceInfo:
    """Say something else of a resource, as its owner or as an administrator."""
    request = given(
        resource_id=resource_id, metadata=metadata, merge=merge, expected_version=expected_version
    )
    return await router.request("resource.update", request, read_updated)


async def transfer(
    router: Asking,
    resource_ids: Sequence[str],
    *,
    source: str,
    to: str,
    reason: str,
    state: Mapping[str, Any] | None,
    partial: bool,
    verify_ownership: bool = True,
    unheard: Callable[[], None] | None = None,
) -> Transferred:
    """Hand resources from one instance to another, as their owner or as an administrator."""
    request = given(
        resource_ids=resource_ids,
        from_instance_id=source,
        to_instance_id=to,
        reason=reason,
        state=state,
        partial=partial,
        verify_ownership=verify_ownership,
    )
    return await router.request("resource.transfer", request, read_transferred, unheard=unheard)
