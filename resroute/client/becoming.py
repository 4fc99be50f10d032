"""Making a session an instance, for as long as a block runs: what it takes from the router, and how it leaves."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from msgspec import UNSET, Raw

from resroute.client.draining import get_nothing_new
from resroute.client.hooks import HookRunner
from resroute.client.instance import Instance
from resroute.client.link import Link
from resroute.client.messages import Message, MessageId
from resroute.client.notices import ROUTERS_OWN
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.owned import Owned
from resroute.client.presence import Presence
from resroute.client.service import parts_of
from resroute.client.serving import Calls
from resroute.client.session import Session
from resroute.errors import ConnectionLost, MethodNotFound, ResrouteError, StaleEpoch

LEAVING_SECONDS = 5.0
"""How long leaving waits for the router to confirm it."""

_log = logging.getLogger("resroute.client")


class _Cancel(msgspec.Struct):
    id: MessageId


_read_cancel = msgspec.json.Decoder(_Cancel).decode


class Inbox:
    """What an instance does with all that the router sends it. See :class:`resroute.client.inbound.Inbound`."""

    def __init__(self, link: Link, calls: Calls, owned: Owned) -> None:
        self._link = link
        self._calls = calls
        self._owned = owned

    def receive(self, message: Message) -> None:
        """Take a request or a notification from the session's reader."""
        method = message.method
        assert method is not UNSET
        is_notification = message.id is UNSET or message.id is None
        if is_notification and method.startswith(ROUTERS_OWN):
            if message.params is not UNSET:
                self._take_notice(method, message.params)
            return
        meta = message.meta
        if meta is not UNSET and meta.resource_id is not None and meta.epoch is not None:
            if not self._owned.take_epoch(meta.resource_id, meta.epoch):
                self._calls.refuse_one(message, StaleEpoch())
                return
        self._calls.receive(message)

    def _take_notice(self, method: str, params: Raw) -> None:
        match method:
            case "$/cancelRequest":
                self._calls.cancel(_read_cancel(params).id)
            case "resource.lost":
                self._owned.take_lost(params)
            case "resource.acquired":
                self._owned.take_acquired(params)

    @property
    def calls_serving(self) -> int:
        """Calls that are being worked on."""
        return self._calls.in_flight

    def refuse(self) -> None:
        """Take no more calls. Those at work go on."""
        self._calls.refuse()

    def connection_ended(self) -> None:
        """Stop at once: nothing is owned any more, and nobody waits for an answer."""
        if self._link.lost is None:
            self._owned.interrupt(self._link.last_failure)
        else:
            self._owned.clear("session_ended")
        self._calls.refuse()
        self._calls.cancel_all()


@asynccontextmanager
async def open_instance(
    link: Link, service_name: str, service: object, params: Mapping[str, Any]
) -> AsyncGenerator[Instance]:
    """Be an instance for as long as the block runs. See :meth:`resroute.Client.open_instance`."""
    handler, its_hooks = parts_of(service)
    owned = Owned()
    hooks = HookRunner(its_hooks, owned)
    async with open_transparent_nursery() as nursery:

        def receive(session: Session) -> Inbox:
            calls = Calls(
                session, handler, presence, owned.epochs, max_concurrency=params.get("max_concurrency")
            )
            calls.begin(nursery)
            hooks.follow(session, calls)
            presence.calls = calls
            return Inbox(link, calls, owned)

        presence = Presence(link, owned, params, receive)
        leaving = _Leaving(presence, owned, hooks)
        hooks.begin(nursery)
        try:
            joined = await presence.come()
            nursery.start_soon(presence.keep)
            yield Instance(presence, owned, hooks, service_name, joined)
            presence.leave()
            if hooks.has_before_release:
                await leaving.take_time()
        except BaseException:
            _refuse_calls(link)
            nursery.cancel_scope.cancel()
            raise
        finally:
            presence.leave()
            with trio.move_on_after(LEAVING_SECONDS, shield=True):
                await leaving.insist()
            _refuse_calls(link)


def _refuse_calls(link: Link) -> None:
    if link.session is not None and link.session.inbound is not None:
        link.session.inbound.refuse()


class _Leaving:
    """Owning nothing any more and getting no more calls. Does nothing once that is so."""

    def __init__(self, presence: Presence, owned: Owned, hooks: HookRunner) -> None:
        self._presence = presence
        self._link = presence.link
        self._owned = owned
        self._hooks = hooks
        self._has_left = False

    @property
    def _session(self) -> Session | None:
        """The one that is to be left, if there is one."""
        session = self._link.usable
        return None if session is None or session.inbound is None else session

    async def take_time(self) -> None:
        """Leave in the time that calls at work and the hooks take. Cancelling it leaves the rest to :meth:`insist`."""
        await self._leave()

    async def insist(self) -> None:
        """Leave, in time that the caller bounds. A session that cannot be brought to that is ended."""
        try:
            await self._leave()
            if self._presence.may_be_kept and not self._has_left:
                await self._leave_after_all()
        finally:
            self._owned.clear("released")
            if (session := self._session) is not None and not self._has_left:
                session.end(ConnectionLost(reason="the router did not confirm that the instance has left"))

    async def _leave(self) -> None:
        session = self._session
        if self._has_left or session is None:
            return
        try:
            if self._hooks.has_before_release:  # what came while it runs would go unsaved
                await get_nothing_new(session)
                self._hooks.take_nothing()
            async with self._hooks.giving_up(list(self._owned.epochs), "drain", insists=True):
                await _drain(session, self._owned)
                self._has_left = True
                self._owned.clear("released")
        except ConnectionLost:
            pass
        except ResrouteError as error:
            _log.warning("leaving_failed reason=%r", str(error))

    async def _leave_after_all(self) -> None:
        """Cut off, and what it owned is kept for it: give that up as soon as there is a connection."""
        try:
            await _drain(await self._presence.come_to_leave(), self._owned)
            self._has_left = True
        except ConnectionLost:
            pass
        except ResrouteError as error:
            _log.warning("leaving_failed reason=%r", str(error))


async def _drain(session: Session, owned: Owned) -> None:
    try:
        await session.request("instance.drain", {"hand_over_to": "nobody"}, bytes)
    except MethodNotFound:
        # a router that knows no drains: it goes on sending calls by service, which are refused
        if owned.epochs:
            params = {"resource_ids": list(owned.epochs), "partial": True}
            await session.request("resource.release", params, bytes)
