"""An instance: a client's session that answers calls and owns resources."""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any

from resroute.client.bulk import (
    BatchProgress,
    BulkProgress,
    BulkRegistered,
    BulkReleased,
    BulkRequest,
    BulkResource,
    ids_of,
    items_of,
)
from resroute.client.changes import Changes, open_changes
from resroute.client.draining import Drained, DrainProgress, HandOverTo
from resroute.client.emptying import drain
from resroute.client.hooks import HookRunner
from resroute.client.joining import Joined
from resroute.client.owned import Owned
from resroute.client.owning import Grant, own
from resroute.client.presence import Presence
from resroute.client.registering import release, take
from resroute.client.repeating import repeat
from resroute.client.requests import Params, given, notify, transfer, update
from resroute.client.results import (
    MetadataFields,
    Registered,
    Released,
    Renewed,
    ResourceInfo,
    Transferred,
    fields_of,
    read_renewed,
)
from resroute.client.retrying import was_refused_for_now
from resroute.client.session import Session
from resroute.client.stopping import DRAIN_SECONDS, SIGNALS, Stopped, serve_until_stopped, stop


class Instance:
    """A program that answers calls, and owns resources for as long as its session lives. It outlives its sessions.

    Made by :meth:`resroute.Client.open_instance`. Its methods may be called from any task. What holds for all that a
    :class:`resroute.Client` asks holds here, too: deadlines, waiting for a connection, and errors.

    Attributes:
        service_name: the service it belongs to.
        instance_id: its name, the router's choice unless you gave one.
        resumed: what this one has taken over so from an earlier session, and the epochs.
    """

    def __init__(
        self, presence: Presence, owned: Owned, hooks: HookRunner, service_name: str, joined: Joined
    ) -> None:
        self.service_name = service_name
        self.instance_id = joined.instance_id
        self.resumed: Mapping[str, int] = MappingProxyType(joined.resumed)
        self._presence = presence
        self._owned = owned
        self._hooks = hooks
        self._stopped = Stopped()

    @property
    def resume_token(self) -> str | None:
        """With it a later session takes the place of this one, and all it owns; a secret.

        None from a router that knows of none. Each connection has another one. When this client connects again it uses it
        by itself.
        """
        return self._presence.resume_token

    @property
    def resources(self) -> Mapping[str, int]:
        """What this instance owns, and the epoch of each. A live view: it follows what the router says."""
        return self._owned.epochs

    async def register(
        self,
        *resource_ids: str,
        partial: bool = False,
        force: bool = False,
        wait_seconds: float = 0.0,
        metadata: Mapping[str, MetadataFields] | None = None,
    ) -> Registered:
        """Take resources: calls to them come here from now on.

        All of them or none; with ``partial`` those that no other instance owns. Registering what this instance owns
        already succeeds and keeps its epoch. Should the connection end before the answer, it is asked again over the next
        one. If it is cancelled, it may have happened nevertheless: register again, or
        release. With ``wait_seconds`` nothing has happened then: what was granted all the same is released, and to find
        that out takes a moment in which nothing cancels it, 5 seconds at most.

        Args:
            force: for administrators: take them from whoever owns them, who is told. Nobody is waited for.
            wait_seconds: how long to wait, in line with others, until all of them are to be had. Not with ``partial``.
            metadata: what they say of themselves, by their ids; those that are left out keep what they have.

        Raises:
            ResourceConflict: another instance owns one of them, at the end of the time if it waited, and none was
                registered. Not with ``partial`` or ``force``.
            Forbidden: ``force``, and this session has not the role ``admin``.
            TooManyWaiters: as many wait for one of them, or for this instance, as may.
            Unavailable: this instance is about to stop; or the router is, and takes longer than the deadline around this, or
                30 seconds if there is none. Otherwise the next one is asked.
            ResourceLimitExceeded: this instance would own more than one may.
            InvalidParams: not a valid id, or metadata that is wrong or too large.
        """
        return await take(
            self._presence,
            self._owned,
            self._hooks,
            resource_ids,
            partial=partial,
            force=force,
            wait_seconds=wait_seconds,
            metadata=metadata,
        )

    async def release(self, *resource_ids: str, partial: bool = False) -> Released:
        """Give resources up: anybody may register them now.

        All of them or none; with ``partial`` those that this instance owns. Calls that have arrived go on. If it is
        cancelled, it may have happened nevertheless. Should the connection end before the answer, they are not taken back.

        Raises:
            ResourceNotFound: nobody owns one of them. Not with ``partial``.
            NotOwner: another instance owns one of them. Not with ``partial``.
        """
        return await release(self._presence, self._owned, self._hooks, resource_ids, partial=partial)

    async def bulk_register(
        self,
        resources: Iterable[str | BulkResource],
        *,
        batch_size: int = 100,
        continue_on_error: bool = False,
        progress: BulkProgress | None = None,
        on_progress: Callable[[BatchProgress], object] | None = None,
    ) -> BulkRegistered:
        """Take many resources, up to the router's ``max_bulk_items``: all of them in one step, or none.

        What cannot be had is no error: ``failed`` of the result says what and why, and ``rolled_back`` that nothing was
        registered. If it is cancelled, it may have happened nevertheless; doing it again is harmless.

        Args:
            resources: their ids, or with metadata as :class:`resroute.BulkResource`. Of an id that is there twice the later
                counts.
            batch_size: from 1 to 1000.
            continue_on_error: each batch takes effect by itself, without what fails.
            progress: remembers what is done. Given to the next attempt, that goes on from the first batch that is not.
            on_progress: called after each batch, in order. What it raises is raised once the answer is there.

        Raises:
            InvalidParams: not a valid id, or metadata that is wrong; too many; a ``batch_size`` out of bounds.
            TypeError: what is given are no ids, or a single one; or metadata is not JSON.
            ValueError: all of it does not fit into one message, the router's ``max_message_bytes``: ask for it in parts.
            Unavailable: the router, or this instance, drains.
        """
        items = items_of(resources)

        async def ask(session: Session) -> BulkRegistered:
            request = BulkRequest(
                session,
                self._owned,
                items,
                batch_size=batch_size,
                continue_on_error=continue_on_error,
                progress=progress,
                on_progress=on_progress,
            )
            return await request.register(unheard=self._hooks.unheard)

        async with self._hooks.taking(items):
            return await self._presence.again(ask)

    async def bulk_release(
        self,
        resource_ids: Iterable[str],
        *,
        batch_size: int = 100,
        continue_on_error: bool = False,
        progress: BulkProgress | None = None,
        on_progress: Callable[[BatchProgress], object] | None = None,
    ) -> BulkReleased:
        """Give many resources up, all of them in one step or none. As :meth:`bulk_register`."""
        items = ids_of(resource_ids)
        session = await self._presence.ready()

        async def ask() -> BulkReleased:
            request = BulkRequest(
                session,
                self._owned,
                items,
                batch_size=batch_size,
                continue_on_error=continue_on_error,
                progress=progress,
                on_progress=on_progress,
            )
            return await request.release(unheard=self._hooks.unheard)

        async with self._hooks.giving_up(items, "request"):
            with self._owned.leaving(items):
                return await repeat(self._presence.link.retry, ask, was_refused_for_now)

    async def update(
        self,
        resource_id: str,
        metadata: MetadataFields,
        *,
        merge: bool = False,
        expected_version: int | None = None,
    ) -> ResourceInfo:
        """Say something else of a resource of this instance. If it is cancelled, it may have happened nevertheless.

        Args:
            metadata: replaces all that was said. With ``merge`` it leaves what it does not mention; of ``attributes`` it
                sets the members that are given, and removes those that are None.
            expected_version: the ``version`` that was read, 0 if there was no metadata. Somebody else's change in between
                is not overwritten then.

        Raises:
            VersionConflict: it has another version by now.
            ResourceNotFound: nobody owns it.
            NotOwner: another instance owns it. Administrators may update it all the same.
            InvalidParams: metadata that is wrong or too large.
        """
        updated = await update(
            self._presence, resource_id, metadata, merge=merge, expected_version=expected_version
        )
        if updated.metadata is not None:
            self._owned.note_said({resource_id: fields_of(updated.metadata)})
        return updated

    async def renew(self, *resource_ids: str, ttl_seconds: float | None = None) -> Renewed:
        """Have the time to live of resources of this instance begin anew: of all of them or none.

        What expires is lost: ``resources`` does not have it any more. If it is cancelled, it may have happened nevertheless.

        Args:
            ttl_seconds: how long this once, instead of what their metadata says. Those that do not expire stay so.

        Raises:
            ResourceNotFound: nobody owns one of them; it may have expired.
            NotOwner: another instance owns one of them.
        """
        params = given(resource_ids=resource_ids, ttl_seconds=ttl_seconds)
        return await self._presence.request("resource.renew", params, read_renewed)

    async def transfer(
        self,
        *resource_ids: str,
        to: str,
        reason: str,
        state: Mapping[str, Any] | None = None,
        partial: bool = False,
    ) -> Transferred:
        """Hand resources of this instance to another one, with no moment in which nobody owns them.

        All of them or none; with ``partial`` those that can be. Calls that have arrived here go on here, later ones are
        delivered there. Metadata stays, and a time to live runs on. ``resources`` does not have them any more when this
        returns. If it is cancelled, it may have happened nevertheless.

        Args:
            to: the ``instance_id`` of the new owner: connected, of the same service, not draining.
            reason: for people.
            state: by resource, whatever the new owner needs to go on: its :class:`resroute.Acquired` has it. Anything that
                JSON can say, up to 512 KiB each unless the router is set otherwise.

        Raises:
            ResourceNotFound: nobody owns one of them. Neither this nor the following errors with ``partial``.
            NotOwner: another instance owns one of them.
            InstanceNotFound: there is no such instance.
            ServiceMismatch: it belongs to another service.
            Unavailable: it drains, and takes nothing more.
            ResourceLimitExceeded: it would own more than one may.
            InvalidParams: not a valid id, or a state that is too large.
        """
        # what has been saved in one session is out of date in the next
        session = await self._presence.ready() if self._hooks.has_before_release else self._presence
        async with self._hooks.giving_up(resource_ids, "transfer", to) as saved:
            return await transfer(
                session,
                resource_ids,
                source=self.instance_id,
                to=to,
                reason=reason,
                state={**saved, **(state or {})} or None,
                partial=partial,
                unheard=self._hooks.unheard,
            )

    # --- leaving --------------------------------------------------------------------------------------------------

    async def drain(
        self,
        *,
        hand_over_to: HandOverTo = "service",
        deadline_seconds: float | None = None,
        batch_size: int | None = None,
        on_progress: Callable[[DrainProgress], object] | None = None,
    ) -> Drained:
        """Get nothing new from now on, and hand all that this instance owns to others, with no moment in between.

        Whoever owns least gets the next. With a hook ``before_release`` (see :class:`resroute.Service`) each resource goes
        with what that returns, as soon as its calls have ended; what finds no heir is saved, too, and released. Without
        one the router moves all of it.

        When this returns, this instance owns nothing; calls that it has may still be at work, and it goes on answering
        them. There is no way back, and this instance does not register again should the connection end: leave the block
        then. While there is no connection there is nothing to hand over. Cancelling this leaves the rest here, until the
        block ends.

        Args:
            hand_over_to: ``"service"``: the other instances of its service. Or the ids of those that may get it, or
                ``"nobody"``.
            deadline_seconds: what has not been handed over by then goes as it is: to others if it can be in 5 more seconds,
                without state then. At most the router's ``max_timeout_seconds``, and that by default.
            batch_size: how many resources go at a time, from 1 to 1000; 100 by default.
            on_progress: called after each batch. What it raises is raised here.

        Raises:
            InstanceNotFound: one of those who are named is not connected.
            ServiceMismatch: one of them belongs to another service.
            InvalidParams: one of them is this instance, or a number is out of bounds.
        """
        if self._presence.has_nothing_to_leave:
            self._presence.leave()
            return Drained(handed_over=0, released=0, in_flight=0)
        drained = await drain(
            await self._presence.ready(),
            self._owned,
            self._hooks,
            hand_over_to,
            deadline_seconds=deadline_seconds,
            batch_size=batch_size,
            on_progress=on_progress,
        )
        self._presence.leave()
        self._presence.has_left = True
        return drained

    async def stop(
        self, *, hand_over_to: HandOverTo = "service", drain_seconds: float = DRAIN_SECONDS
    ) -> Drained:
        """Drain, and wait until the calls at work have ended. Leave the block then.

        If it is cancelled, what is left is given up at the end of the block, as without it.

        A handler may do this for its own instance, say when it is told to by a call: that call is not waited for.

        Args:
            hand_over_to: as for :meth:`drain`.
            drain_seconds: how long this takes at most. Calls that are still at work then are cancelled, and answered
                with an error; ``in_flight`` says how many. Seven tenths of it are for moving.

        Raises:
            InstanceNotFound: as :meth:`drain`, and so are all others.
        """
        drained = await stop(
            self._presence.link,
            lambda: self._presence.calls,
            lambda seconds: self.drain(hand_over_to=hand_over_to, deadline_seconds=seconds),
            drain_seconds,
        )
        self._stopped.set(drained)
        return drained

    async def serve_until_stopped(
        self,
        *,
        signals: Sequence[signal.Signals] = SIGNALS,
        hand_over_to: HandOverTo = "service",
        drain_seconds: float = DRAIN_SECONDS,
    ) -> Drained:
        """Serve until this program is told to stop, then :meth:`stop`: for the end of the block of a program's instance.

        If another task, or a handler, calls :meth:`stop`, this returns once that is done.

        ```python
        async with client.open_instance("documents", service) as instance:
            await instance.register(*names)
            await instance.serve_until_stopped()
        ```

        If it is cancelled before a signal has come, nothing is handed over. A second signal ends the process at once, as if
        nobody had asked for it: its connection breaks, and calls at work are ``owner_disconnected`` to their callers.

        Args:
            signals: what tells it to stop; none: only :meth:`stop` does, and handling signals is up to you.
            hand_over_to: as for :meth:`drain`.
            drain_seconds: as for :meth:`stop`.

        Returns:
            What has become of what it owned. ``in_flight`` is how many calls were cut off.

        Raises:
            ConnectionLost: the connection has ended, and the client does not connect again.
            RuntimeError: this is not the main thread, which alone hears of signals.
        """
        return await serve_until_stopped(
            self._presence.link,
            signals,
            lambda: self.stop(hand_over_to=hand_over_to, drain_seconds=drain_seconds),
            self._stopped,
        )

    # --- owning for as long as a block runs ---------------------------------------------------------------------------

    def own(
        self,
        resource_id: str,
        *,
        metadata: MetadataFields | None = None,
        wait_seconds: float | None = None,
    ) -> AbstractAsyncContextManager[Grant]:
        """Own one resource for as long as the block runs, and cancel the block if it is lost.

        ```python
        async with instance.own("user:42", metadata={"ttl_seconds": 10}) as grant:
            await serve_alone(grant.epoch)
        ```

        When the router takes the resource away, or the connection ends, what runs in the block is cancelled, and the
        block raises :class:`resroute.ResourceLost`. It does so, too, when its body has ended by itself before it could
        hear of the loss. So a block that ends without an exception has owned the resource from its first line to its
        last, by the router's word. An exception of the body's own leaves as it is, whatever became of the resource;
        ``grant.lost`` tells that. So does a cancellation from around the block.

        At the end the resource is released, also when the block is cancelled: that takes a moment in which nothing
        cancels it, 5 seconds at most. Should the router not confirm it in that time, it is logged, and the release is
        still on its way.

        A resource with a ``ttl_seconds`` in ``metadata`` is renewed after each third of it, for as long as the block runs.
        So it expires when this program hangs, and not before. (A ``ttl_seconds`` that the resource has from elsewhere is
        left alone.)

        What this instance owns already, by a transfer or a registration, can be owned by a block as well: it keeps its
        epoch, and is released at the end of the block. If this instance releases it meanwhile, that is a loss.

        Args:
            metadata: what the resource says of itself. Without any it keeps what it has.
            wait_seconds: how long to wait in line while another instance owns it. Whoever is cancelled, or whose own
                deadline comes first, is in the line no more.

        Raises:
            ResourceConflict: another instance owns it, still at the end of ``wait_seconds``; the block did not begin.
            ResourceLost: see above. Also if it was lost before the block could begin.
            trio.BusyResourceError: another block of this instance owns it, or is about to.
            ResourceLimitExceeded: this instance would own more than one may.
            TooManyWaiters: the line is full.
            InvalidParams: not a valid id, metadata that is wrong or too large, or a time that is too long.
        """
        return own(self._presence, self._owned, self._hooks, resource_id, metadata, wait_seconds)

    def open_changes(self) -> AbstractAsyncContextManager[Changes]:
        """Hear what is handed over to this instance and what is taken away from it, for as long as the block runs.

        ```python
        async with instance.open_changes() as changes:
            async for change in changes:
                match change:
                    case resroute.Acquired():
                        start_work(change.resource_id, change.epoch, change.metadata)
                    case resroute.Lost():
                        stop_work(change.resource_id, change.cause)
                    case resroute.Disconnected():
                        pause_all_work()
                    case resroute.Regained():
                        go_on_with_work(change.resource_id, change.epoch)
        ```

        What this instance registers and releases itself is not told. Everything else that happens while the block runs
        is there, in order; several blocks at a time get everything each. ``resources`` is ahead of what was not taken yet.

        Up to 4 MiB wait here to be taken; the connection is never held up. Who falls further behind gets those and then
        :class:`resroute.FellBehind`; compare with ``resources`` then, in a new block.

        Raises:
            ConnectionLost: the connection has ended, and the client does not connect again. In the iteration, once all has
                been taken that arrived before.
            FellBehind: in the iteration: see above.
            trio.ClosedResourceError: in the iteration, when the instance has left.
        """
        return open_changes(self._presence.link, self._owned.listeners)

    async def notify(
        self, session_id: str, resource_id: str, method: str, params: Params | None = None
    ) -> None:
        """Push a notification to a session that has called a resource of this instance, or is bound to it.

        As :meth:`resroute.Caller.notify`, for who has noted the ``session_id``. If it is cancelled, it may be on its way.

        Raises:
            SessionNotFound: there is no such session, or it has nothing to do with the resource.
            NotOwner: another instance owns the resource.
            ResourceNotFound: nobody owns it.
            Unavailable: too much waits for that session already.
        """
        await notify(self._presence, session_id, resource_id, method, params)
