"""An instance: a client's session that answers calls and owns resources."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from msgspec import UNSET, Raw

from resroute.client.messages import Message, MessageId
from resroute.client.methods import handler_for
from resroute.client.notices import ROUTERS_OWN
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.owned import Owned
from resroute.client.requests import Params, given, notify
from resroute.client.results import (
    MetadataFields,
    Registered,
    Released,
    Renewed,
    ResourceInfo,
    read_renewed,
    read_updated,
)
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


class Instance:
    """A program that answers calls, and owns resources for as long as its session lives.

    Made by :meth:`resroute.Client.open_instance`. Its methods may be called from any task.

    Attributes:
        service_name: the service it belongs to.
        instance_id: its name, the router's choice unless you gave one.
    """

    def __init__(self, session: Session, owned: Owned, service_name: str, instance_id: str) -> None:
        self.service_name = service_name
        self.instance_id = instance_id
        self._session = session
        self._owned = owned

    @property
    def resources(self) -> Mapping[str, int]:
        """What this instance owns, and the epoch of each. A live view: it follows what the router says."""
        return self._owned.epochs

    async def register(
        self,
        *resource_ids: str,
        partial: bool = False,
        metadata: Mapping[str, MetadataFields] | None = None,
    ) -> Registered:
        """Take resources: calls to them come here from now on.

        All of them or none; with ``partial`` those that no other instance owns. Registering what this instance owns
        already succeeds and keeps its epoch. If it is cancelled, it may have happened nevertheless: register again, or
        release.

        Args:
            metadata: what they say of themselves, by their ids; those that are left out keep what they have.

        Raises:
            ResourceConflict: another instance owns one of them, and none was registered. Not with ``partial``.
            ResourceLimitExceeded: this instance would own more than one may.
            InvalidParams: not a valid id, or metadata that is wrong or too large.
        """
        params = given(resource_ids=resource_ids, partial=partial, metadata=metadata)
        return await self._session.request("resource.register", params, self._owned.take_registered)

    async def release(self, *resource_ids: str, partial: bool = False) -> Released:
        """Give resources up: anybody may register them now.

        All of them or none; with ``partial`` those that this instance owns. Calls that have arrived go on.

        Raises:
            ResourceNotFound: nobody owns one of them. Not with ``partial``.
            NotOwner: another instance owns one of them. Not with ``partial``.
        """
        params = {"resource_ids": resource_ids, "partial": partial}
        return await self._session.request("resource.release", params, self._owned.take_released)

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
        params = given(
            resource_id=resource_id, metadata=metadata, merge=merge, expected_version=expected_version
        )
        return await self._session.request("resource.update", params, read_updated)

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
        return await self._session.request("resource.renew", params, read_renewed)

    async def notify(
        self, session_id: str, resource_id: str, method: str, params: Params | None = None
    ) -> None:
        """Push a notification to a session that has called a resource of this instance, or is bound to it.

        As :meth:`resroute.Caller.notify`, for who has noted the ``session_id``.

        Raises:
            SessionNotFound: there is no such session, or it has nothing to do with the resource.
            NotOwner: another instance owns the resource.
            ResourceNotFound: nobody owns it.
            Unavailable: too much waits for that session already.
        """
        await notify(self._session, session_id, resource_id, method, params)


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
        self._owned.clear()
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
        owned.clear()
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
