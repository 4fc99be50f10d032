"""Taking resources, waiting for those that others own, and giving them up when asked to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from msgspec import Raw

from resroute.client.hooks import HookRunner
from resroute.client.messages import notification_line
from resroute.client.owned import Owned
from resroute.client.presence import Presence
from resroute.client.repeating import repeat
from resroute.client.requests import given
from resroute.client.results import MetadataFields, Registered, Released
from resroute.client.retrying import was_refused_for_now
from resroute.client.session import Session


async def take(
    presence: Presence,
    owned: Owned,
    hooks: HookRunner,
    resource_ids: Sequence[str],
    *,
    partial: bool,
    force: bool,
    wait_seconds: float,
    metadata: Mapping[str, MetadataFields] | None,
) -> Registered:
    """Take resources, and run the hooks around it. See :meth:`resroute.Instance.register`."""
    ends_at = trio.current_time() + wait_seconds
    give_back = hooks.release_soon if hooks.has_before_release else None

    async def ask(session: Session) -> Registered:
        params = given(
            resource_ids=resource_ids,
            partial=partial,
            force=force or None,
            wait_seconds=time_left(ends_at, wait_seconds) or None,
            metadata=metadata,
        )
        return await _register(session, owned, params, unheard=hooks.unheard, give_back=give_back)

    before = {name: owned.epochs.get(name) for name in resource_ids}
    registered: Registered | None = None
    try:
        async with hooks.taking(resource_ids):
            registered = await presence.again(ask)
    except trio.Cancelled:
        if wait_seconds and registered is not None:  # it was the hooks that were waited for
            hooks.release_soon(_news(registered, before))
        raise
    return registered


async def _register(
    session: Session,
    owned: Owned,
    params: Mapping[str, Any],
    *,
    unheard: Callable[[], None] | None,
    give_back: Callable[[Sequence[str]], None] | None,
) -> Registered:
    """Ask for them in one session.

    Args:
        unheard: see :meth:`resroute.client.session.Session.request`.
        give_back: releases what was granted to somebody who waits no more, where that takes more than to say so.
    """
    resource_ids: Sequence[str] = params["resource_ids"]

    def note(result: Raw) -> Registered:
        registered = owned.take_registered(result)
        owned.note_said(params.get("metadata", {}))
        return registered

    if "wait_seconds" not in params:
        return await session.request("resource.register", params, note, unheard=unheard)
    before = {name: owned.epochs[name] for name in resource_ids if name in owned.epochs}
    granted: list[Registered] = []

    def take_granted(result: Raw) -> Registered:
        granted.append(note(result))
        return granted[0]

    def give_back_unheard() -> None:  # should it be granted all the same, that comes before
        _give_back(session, owned, [name for name in resource_ids if name not in owned.epochs])

    try:
        return await session.request("resource.register", params, take_granted, unheard=give_back_unheard)
    except trio.Cancelled:
        for registered in granted:
            new = _news(registered, before)
            if give_back is None:
                _give_back(session, owned, new)
            else:
                give_back(new)
        raise


def _news(registered: Registered, before: Mapping[str, int | None]) -> list[str]:
    """What was not owned before, or under another epoch."""
    return [name for name, epoch in registered.epochs.items() if before.get(name) != epoch]


def time_left(ends_at: float, wait_seconds: float) -> float:
    """What is left of a wait that may have gone on over several sessions; none is left of none."""
    return min(wait_seconds, max(ends_at - trio.current_time(), 0.0))


def _give_back(session: Session, owned: Owned, resource_ids: Sequence[str]) -> None:
    """Release what nobody knows to own, without waiting for what becomes of that."""
    if resource_ids and session.lost is None:
        params = {"resource_ids": resource_ids, "partial": True}
        session.answer(notification_line("resource.release", params))
        owned.drop(resource_ids)


async def release(
    presence: Presence, owned: Owned, hooks: HookRunner, resource_ids: Sequence[str], *, partial: bool
) -> Released:
    """Give resources up, and run the hooks around it. See :meth:`resroute.Instance.release`."""
    params = {"resource_ids": resource_ids, "partial": partial}
    session = await presence.ready()

    async def ask() -> Released:
        return await session.request("resource.release", params, owned.take_released, unheard=hooks.unheard)

    async with hooks.giving_up(resource_ids, "request"):
        with owned.leaving(resource_ids):
            return await repeat(presence.link.retry, ask, was_refused_for_now)
