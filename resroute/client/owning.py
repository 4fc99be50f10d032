"""Owning one resource for as long as a block runs."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from resroute.client.claims import Claim
from resroute.client.hooks import HookRunner
from resroute.client.messages import notification_line
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.owned import Owned
from resroute.client.presence import Presence
from resroute.client.registering import time_left
from resroute.client.releasing import release_at_last
from resroute.client.requests import given, ignore
from resroute.client.results import MetadataFields
from resroute.client.session import Session
from resroute.errors import ConnectionLost, ResourceLost, ResrouteError

RELEASE_SECONDS = 5.0
"""How long the end of a block waits for the router."""

_log = logging.getLogger("resroute.client")


@attrs.frozen(eq=False)
class Grant:
    """What a block owns. See :meth:`resroute.Instance.own`.

    Attributes:
        epoch: the fencing token, for whatever the block writes to elsewhere.
        metadata: what the block has said of the resource.
    """

    resource_id: str
    epoch: int
    metadata: MetadataFields | None
    _claim: Claim

    @property
    def lost(self) -> ResourceLost | None:
        """How it was lost, once it was: for code that a cancellation does not reach."""
        return self._claim.lost


@asynccontextmanager
async def own(
    presence: Presence,
    owned: Owned,
    hooks: HookRunner,
    resource_id: str,
    metadata: MetadataFields | None,
    wait_seconds: float | None,
) -> AsyncGenerator[Grant]:
    """Own a resource for as long as the block runs. See :meth:`resroute.Instance.own`."""
    claim = owned.claim(resource_id)
    try:
        session = await presence.ready()
        try:
            async with hooks.taking([resource_id]):
                session, epoch = await _take(presence, owned, claim, metadata, wait_seconds)
            async with _renewing(session, claim, metadata):
                with claim.scope:
                    if claim.lost is None:
                        yield Grant(resource_id, epoch, metadata, claim)
        finally:
            with trio.move_on_after(RELEASE_SECONDS, shield=True) as patience:
                await _release(session, owned, hooks, claim)
            if patience.cancelled_caught:
                _log.warning("release_unconfirmed resource_id=%r", resource_id)
                _release_unheard(session, owned, claim)
    finally:
        owned.disclaim(claim)
    if claim.lost is not None:
        raise claim.lost from (session.lost if claim.lost.cause == "session_ended" else None)


async def _take(
    presence: Presence,
    owned: Owned,
    claim: Claim,
    metadata: MetadataFields | None,
    wait_seconds: float | None,
) -> tuple[Session, int]:
    """Take it, in the session that there is, or in the next one should that end meanwhile. Returns which that was."""
    resource_id = claim.resource_id
    ends_at = trio.current_time() + (wait_seconds or 0.0)

    async def ask(session: Session) -> tuple[Session, int]:
        request = given(
            resource_ids=[resource_id],
            metadata=None if metadata is None else {resource_id: metadata},
            wait_seconds=None if wait_seconds is None else time_left(ends_at, wait_seconds),
        )
        epoch = await session.request(
            "resource.register",
            request,
            partial(owned.take_claimed, claim),
            unheard=lambda: _release_unheard(session, owned, claim),  # should it be granted after all
        )
        return session, epoch

    return await presence.again(ask)


async def _release(session: Session, owned: Owned, hooks: HookRunner, claim: Claim) -> None:
    """Release what the block still owns. The caller bounds the time."""
    if claim.epoch is None or claim.lost is not None:
        return
    async with hooks.giving_up([claim.resource_id], "request", insists=True):
        claim.is_leaving = True
        await release_at_last(session, owned, claim.resource_id, claim.epoch)


def _release_unheard(session: Session, owned: Owned, claim: Claim) -> None:
    """Release it without waiting for what becomes of that."""
    claim.is_leaving = True
    session.answer(notification_line("resource.release", _release_of(claim)))
    owned.drop([claim.resource_id])


def _release_of(claim: Claim) -> dict[str, Any]:
    return {"resource_ids": [claim.resource_id], "partial": True}


@asynccontextmanager
async def _renewing(session: Session, claim: Claim, metadata: MetadataFields | None) -> AsyncGenerator[None]:
    """Renew a resource that says that it expires, for as long as the block runs."""
    ttl_seconds = None if metadata is None else metadata.get("ttl_seconds")
    if ttl_seconds is None:
        yield
        return
    async with open_transparent_nursery() as nursery:
        nursery.start_soon(_renew, session, claim, ttl_seconds / 3)
        yield
        nursery.cancel_scope.cancel()


async def _renew(session: Session, claim: Claim, interval_seconds: float) -> None:
    """Renew until it is lost or this is cancelled."""
    request = {"resource_ids": [claim.resource_id]}
    await trio.sleep(interval_seconds)
    while claim.lost is None:
        with trio.move_on_after(interval_seconds) as interval:
            try:
                await session.request("resource.renew", request, ignore)
            except ConnectionLost:
                return
            except ResrouteError as error:
                if claim.lost is None:
                    _log.warning("renewal_refused resource_id=%r reason=%r", claim.resource_id, str(error))
        await trio.sleep_until(interval.deadline)
