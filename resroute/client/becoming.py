"""Making a session an instance, for as long as a block runs: what it takes from the router, and how it leaves."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from msgspec import UNSET, Raw

from resroute.client.hooks import HookRunner
from resroute.client.instance import Instance
from resroute.client.joining import Joined, join, learn_rest
from resroute.client.messages import Message, MessageId
from resroute.client.methods import handler_for
from resroute.client.notices import ROUTERS_OWN
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.owned import Owned
from resroute.client.service import parts_of
from resroute.client.serving import Calls
from resroute.client.session import Session
from resroute.errors import ConnectionLost, MethodNotFound, ResrouteError, RouterError, StaleEpoch

LEAVING_SECONDS = 5.0
"""How long leaving waits for the router to confirm it."""

_log = logging.getLogger("resroute.client")


class _Cancel(msgspec.Struct):
    id: MessageId


_read_cancel = msgspec.json.Decoder(_Cancel).decode


class Inbox:
    """What an instance does with all that the router sends it. See :class:`resroute.client.inbound.Inbound`."""

    def __init__(self, calls: Calls, owned: Owned) -> None:
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

    def connection_ended(self) -> None:
        """Stop at once: nothing is owned any more, and nobody waits for an answer."""
        self._owned.clear("session_ended")
        self._calls.refuse()
        self._calls.cancel_all()


@asynccontextmanager
async def open_instance(
    session: Session, service_name: str, service: object, params: Mapping[str, Any]
) -> AsyncGenerator[Instance]:
    """Make a session an instance for as long as the block runs. See :meth:`resroute.Client.open_instance`."""
    target, its_hooks = parts_of(service)
    calls, owned = Calls(session, handler_for(target)), Owned()
    hooks = HookRunner(its_hooks, session, calls, owned)
    leaving = _Leaving(session, owned, hooks)
    async with open_transparent_nursery() as nursery:
        calls.begin(nursery)
        hooks.begin(nursery)
        session.inbound = Inbox(calls, owned)  # calls may stand right behind the answer
        try:
            joined = await _become(session, owned, params)
            await learn_rest(session, owned, joined)
            yield Instance(session, calls, owned, hooks, service_name, joined)
            if hooks.has_before_release:
                await leaving.take_time()
        except BaseException:
            calls.refuse()
            nursery.cancel_scope.cancel()
            raise
        finally:
            with trio.move_on_after(LEAVING_SECONDS, shield=True):
                await leaving.insist()
            calls.refuse()


async def _become(session: Session, owned: Owned, params: Mapping[str, Any]) -> Joined:
    try:
        return await join(session, owned, params)
    except (ResrouteError, TypeError, ValueError):
        session.inbound = None  # it was refused: there is nothing to leave, and one may try again
        raise


class _Leaving:
    """Owning nothing any more and getting no more calls. Does nothing once that is so."""

    def __init__(self, session: Session, owned: Owned, hooks: HookRunner) -> None:
        self._session = session
        self._owned = owned
        self._hooks = hooks
        self._has_left = False

    async def take_time(self) -> None:
        """Leave in the time that calls at work and the hooks take. Cancelling it leaves the rest to :meth:`insist`."""
        await self._leave()

    async def insist(self) -> None:
        """Leave, in time that the caller bounds. A session that cannot be brought to that is ended."""
        try:
            await self._leave()
        finally:
            self._owned.clear("released")
            if self._session.inbound is not None and not self._has_left:
                self._session.end(
                    ConnectionLost(reason="the router did not confirm that the instance has left")
                )

    async def _leave(self) -> None:
        if self._has_left or self._session.inbound is None or self._session.lost is not None:
            return
        try:
            async with self._hooks.giving_up(list(self._owned.epochs), "drain", insists=True):
                await _drain(self._session, self._owned)
                self._has_left = True
                self._owned.clear("released")
        except RouterError as error:
            _log.warning("leaving_failed reason=%r", str(error))
        except ConnectionLost:
            pass


async def _drain(session: Session, owned: Owned) -> None:
    try:
        await session.request("instance.drain", {"hand_over_to": "nobody"}, bytes)
    except MethodNotFound:
        # a router that knows no drains: it goes on sending calls by service, which are refused
        if owned.epochs:
            params = {"resource_ids": list(owned.epochs), "partial": True}
            await session.request("resource.release", params, bytes)
