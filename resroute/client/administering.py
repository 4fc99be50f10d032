"""What an administrator does with what others own, and with others."""

from collections.abc import Callable
from typing import Literal

from resroute.client.draining import Drained, DrainProgress, HandOverTo, ask_to_drain
from resroute.client.link import Link
from resroute.client.repeating import repeat
from resroute.client.requests import given, ignore, transfer, update
from resroute.client.results import (
    MetadataFields,
    Rebalanced,
    Released,
    ResourceInfo,
    Transferred,
    read_rebalanced,
    read_released,
)
from resroute.client.retrying import was_refused_for_now


class Administration:
    """The part of :class:`resroute.Client` that is for sessions with the role ``admin``."""

    _link: Link

    async def update_resource(
        self,
        resource_id: str,
        metadata: MetadataFields,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> ResourceInfo:
        """Say something else of a resource, whoever owns it: as :meth:`resroute.Instance.update`, for administrators.

        If it is cancelled, it may have happened nevertheless.

        Raises:
            Forbidden: this session has not the role ``admin``.
            VersionConflict: it has another version by now.
            ResourceNotFound: nobody owns it.
            InvalidParams: metadata that is wrong or too large.
        """
        return await update(self._link, resource_id, metadata, merge=merge, expected_version=expected_version)

    async def release_resources(self, *resource_ids: str, partial: bool = False) -> Released:
        """Take resources away from whoever owns them, for administrators. The owners are told that they have lost them.

        All of them or none; with ``partial`` those that anybody owns. If it is cancelled, it may have happened
        nevertheless.

        Raises:
            Forbidden: this session has not the role ``admin``.
            ResourceNotFound: nobody owns one of them. Not with ``partial``.
        """
        request = {"resource_ids": resource_ids, "partial": partial}
        return await self._link.request("resource.release", request, read_released)

    async def transfer_resources(
        self,
        *resource_ids: str,
        to: str,
        reason: str,
        source: str | None = None,
        partial: bool = False,
    ) -> Transferred:
        """Hand resources that others own to an instance: as :meth:`resroute.Instance.transfer`, for administrators.

        Args:
            to: the ``instance_id`` of the new owner.
            source: that of the instance that is to own all of them; None for whoever owns them.

        Raises:
            Forbidden: this session has not the role ``admin``.
            NotOwner: another instance than ``source`` owns one of them. Not with ``partial``, nor are the others of
                :meth:`resroute.Instance.transfer`.
        """
        return await transfer(
            self._link,
            resource_ids,
            source=source or to,
            to=to,
            reason=reason,
            state=None,
            partial=partial,
            verify_ownership=source is not None,
        )

    async def drain_instance(
        self,
        instance_id: str,
        *,
        hand_over_to: HandOverTo = "service",
        deadline_seconds: float | None = None,
        batch_size: int | None = None,
        on_progress: Callable[[DrainProgress], object] | None = None,
    ) -> Drained:
        """Have an instance leave, for administrators: it gets nothing new, and all that it owns goes to others.

        What the router moves travels without state: an instance that has some to give drains itself, with
        :meth:`resroute.Instance.drain`. This returns once all is moved; calls that the instance was handed may still be
        at work there. It stays connected, and drains until it has left. Cancelling this leaves the rest with it.

        Args:
            hand_over_to: ``"service"``: the other instances of its service, whoever owns least first. Or the ids of those
                that may get it, or ``"nobody"``. What finds no heir is released.
            deadline_seconds: what is not handed over by then is released. None: the router's ``max_timeout_seconds``.
            batch_size: how many resources go at a time, from 1 to 1000; the router's default is 100.
            on_progress: called after each batch. What it raises is raised once the answer is there.

        Raises:
            Forbidden: this session has not the role ``admin``.
            InstanceNotFound: there is no such instance, or no such heir.
            ServiceMismatch: an heir belongs to another service.
            InvalidParams: a number that is out of bounds, or the instance is among its heirs.
        """

        async def ask() -> Drained:
            return await ask_to_drain(
                await self._link.ready(),
                instance_id,
                hand_over_to,
                deadline_seconds=deadline_seconds,
                batch_size=batch_size,
                on_progress=on_progress,
            )

        return await repeat(self._link.retry, ask, was_refused_for_now)

    async def end_session(self, session_id: str, *, reason: str) -> None:
        """End a session, for administrators: its connection is closed with 4010, and all that it owned is free.

        If it is cancelled, it may have happened nevertheless.

        Args:
            reason: for people: the session is told, and it is logged.

        Raises:
            Forbidden: this session has not the role ``admin``.
            SessionNotFound: there is no such session.
        """
        await self._link.request("session.end", {"session_id": session_id, "reason": reason}, ignore)

    async def rebalance_service(
        self,
        service_name: str,
        *,
        by: Literal["count", "calls"] = "count",
        max_moves: int | None = None,
        dry_run: bool = False,
    ) -> Rebalanced:
        """Have the instances of a service share what they own, for administrators: who has least is given some.

        Resources of the lowest priority go first. Both sides are told of each, as of a transfer. If it is cancelled, what
        was moved until then stays moved.

        Args:
            by: what is to be even: ``count``, how many resources each owns; ``calls``, how many calls there are for them.
            max_moves: at most so many. The router has a limit of its own: ``has_more`` says whether it was met.
            dry_run: only say what would be moved.

        Raises:
            Forbidden: this session has not the role ``admin``.
            ServiceNotFound: no instance of it is connected.
        """
        request = given(service_name=service_name, by=by, max_moves=max_moves, dry_run=dry_run or None)
        return await self._link.request("service.rebalance", request, read_rebalanced)
