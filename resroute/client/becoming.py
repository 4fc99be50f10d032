"""Making a session an instance, for as long as a block runs: what it takes from the router, and how it leaves."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from msgspec import UNSET, Raw

from resroute.client.instance import Instance
from resroute.client.messages import Message, MessageId
from resroute.client.methods import handler_for
from resroute.client.notices import ROUTERS_OWN
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.owned import Owned
from resroute.client.serving import Calls
from resroute.client.session import Session
from resroute.errors import ConnectionLost, MethodNotFound, ResrouteError, RouterError, StaleEpoch

LEAVING_SECONDS = 5.0
"""How long leaving waits for the router to confirm it."""

_log = logging.getLogger("resroute.client")


class _Identity(msgspec.Struct):
    instance_id: str


class _Cancel(msgspec.Struct):
    id: MessageId


_read_identity = msgspec.json.Decoder(_Identity).decode
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
    calls, owned = Calls(session, handler_for(service)), Owned()
    async with open_transparent_nursery() as nursery:
        calls.begin(nursery)
        session.inbound = Inbox(calls, owned)  # calls may stand right behind the answer
        try:
            yield Instance(session, owned, service_name, await _become(session, params))
        except BaseException:
            calls.refuse()
            nursery.cancel_scope.cancel()
            raise
        finally:
            with trio.move_on_after(LEAVING_SECONDS, shield=True):
                await _leave(session, owned)
            calls.refuse()


async def _become(session: Session, params: Mapping[str, Any]) -> str:
    try:
        identity = await session.request("instance.register", params, _read_identity)
    except (ResrouteError, TypeError, ValueError):
        session.inbound = None  # it was refused: there is nothing to leave, and one may try again
        raise
    return identity.instance_id


async def _leave(session: Session, owned: Owned) -> None:
    """Own nothing any more and get no more calls. A session that cannot be brought to that is ended.

    The caller bounds the time.
    """
    if session.inbound is None or session.lost is not None:
        return
    has_left = False
    try:
        await _drain(session, owned)
        has_left = True
    except RouterError as error:
        _log.warning("leaving_failed reason=%r", str(error))
    except ConnectionLost:
        pass
    finally:
        owned.clear("released")
        if not has_left:
            session.end(ConnectionLost(reason="the router did not confirm that the instance has left"))


async def _drain(session: Session, owned: Owned) -> None:
    try:
        await session.request("instance.drain", {"hand_over_to": "nobody"}, bytes)
    except MethodNotFound:
        # a router that knows no drains: it goes on sending calls by service, which are refused
        if owned.epochs:
            params = {"resource_ids": list(owned.epochs), "partial": True}
            await session.request("resource.release", params, bytes)
