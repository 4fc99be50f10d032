"""Taking resources, and waiting for those that others own."""

from collections.abc import Callable, Mapping, Sequence

import trio
from msgspec import Raw

from resroute.client.messages import notification_line
from resroute.client.owned import Owned
from resroute.client.requests import given
from resroute.client.results import MetadataFields, Registered
from resroute.client.session import Session


async def register(
    session: Session,
    owned: Owned,
    resource_ids: Sequence[str],
    *,
    partial: bool,
    force: bool,
    wait_seconds: float,
    metadata: Mapping[str, MetadataFields] | None,
    unheard: Callable[[], None] | None = None,
    give_back: Callable[[Sequence[str]], None] | None = None,
) -> Registered:
    """Take resources. See :meth:`resroute.Instance.register`.

    Args:
        unheard: see :meth:`resroute.client.session.Session.request`.
        give_back: releases what was granted to somebody who waits no more, where that takes more than to say so.
    """
    params = given(
        resource_ids=resource_ids,
        partial=partial,
        force=force or None,
        wait_seconds=wait_seconds or None,
        metadata=metadata,
    )

    def note(result: Raw) -> Registered:
        registered = owned.take_registered(result)
        owned.note_said(metadata or {})
        return registered

    if not wait_seconds:
        return await session.request("resource.register", params, note, unheard=unheard)
    before = {name: owned.epochs[name] for name in resource_ids if name in owned.epochs}
    granted: list[Registered] = []

    def take(result: Raw) -> Registered:
        granted.append(note(result))
        return granted[0]

    def give_back_unheard() -> None:  # should it be granted all the same, that comes before
        _give_back(session, owned, [name for name in resource_ids if name not in owned.epochs])

    try:
        return await session.request("resource.register", params, take, unheard=give_back_unheard)
    except trio.Cancelled:
        for registered in granted:
            new = [name for name, epoch in registered.epochs.items() if before.get(name) != epoch]
            if give_back is None:
                _give_back(session, owned, new)
            else:
                give_back(new)
        raise


def time_left(ends_at: float, wait_seconds: float) -> float:
    """What is left of a wait that may have gone on over several sessions; none is left of none."""
    return min(wait_seconds, max(ends_at - trio.current_time(), 0.0))


def _give_back(session: Session, owned: Owned, resource_ids: Sequence[str]) -> None:
    """Release what nobody knows to own, without waiting for what becomes of that."""
    if resource_ids and session.lost is None:
        params = {"resource_ids": resource_ids, "partial": True}
        session.answer(notification_line("resource.release", params))
        owned.drop(resource_ids)
