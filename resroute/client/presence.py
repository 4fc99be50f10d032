"""An instance over the sessions that its client has, one after the other: it comes back after each end.

What it owned is free, or suspended, from the end of a session on, and others may be faster. So it registers again, takes in
bulk what it can get back, and whoever listens to its changes hears what that is and what others have.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson
import trio
from msgspec import Raw

from resroute.client.bulk import BulkRequest
from resroute.client.inbound import Inbound
from resroute.client.joining import Joined, join, learn_rest
from resroute.client.link import MAX_ATTEMPTS, Link, patience
from resroute.client.messages import notification_line
from resroute.client.owned import Owned
from resroute.client.pauses import Pauses
from resroute.client.repeating import repeat
from resroute.client.retrying import was_refused_for_now
from resroute.client.serving import Calls
from resroute.client.session import Session
from resroute.errors import (
    AlreadyRegistered,
    ConnectionLost,
    InstanceConflict,
    InternalError,
    RateLimited,
    ResrouteError,
    TooManyCalls,
    Unavailable,
)

BATCH_SIZE = 100
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 5.0

_PASSING = (InstanceConflict, InternalError, RateLimited, TooManyCalls, Unavailable)
"""Refusals that may pass. An instance of our name may be our own session, dead already and still to be found out."""

_log = logging.getLogger("resroute.client")


class Presence:
    """See :mod:`resroute.client.presence`.

    Attributes:
        instance_id: empty until the router has said or confirmed it.
        session: the one in which it is registered and has back what it could get; it may have ended.
        calls: what it works on of the last session.
        has_left: it owns nothing any more, and the router keeps nothing for it.

    Args:
        params: what it registers with.
        receive: makes what takes the calls of one session.
    """

    def __init__(
        self, link: Link, owned: Owned, params: Mapping[str, Any], receive: Callable[[Session], Inbound]
    ) -> None:
        self.calls: Calls
        self.instance_id = ""
        self.has_left = False
        self.session: Session | None = None
        self.link = link
        self._owned = owned
        self._params = dict(params)
        self._receive = receive
        self._changed = trio.Event()
        self._keeping = trio.CancelScope()

    # --- asking ---------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> Session | None:
        """The session in which the instance is all that it can be, if there is one now."""
        session = self.session
        return session if session is not None and session.lost is None else None

    @property
    def has_nothing_to_leave(self) -> bool:
        """There is no connection, and nothing is kept for it meanwhile."""
        return self.usable is None and not self.may_be_kept

    @property
    def may_be_kept(self) -> bool:
        """What it owned may be kept for it while it is cut off."""
        return self.session is not None and not self.has_left and "resume_grace_seconds" in self._params

    async def ready(self) -> Session:
        """That session, or the next one: see :meth:`resroute.client.link.Link.ready`.

        Raises:
            ConnectionLost: there will be none, or none in time; ``not_delivered``.
        """
        if (session := self.usable) is not None:
            return session
        with patience():
            while self.link.lost is None and not self._keeping.cancel_called:
                if (session := self.usable) is not None:
                    return session
                if self._changed.is_set():
                    self._changed = trio.Event()
                await self._changed.wait()
            if self.link.lost is not None:
                raise self.link.why_lost("not_delivered")
            raise ConnectionLost(reason="the instance has left", delivery="not_delivered")
        reason = "the instance is not registered again yet"
        if self.link.usable is None:
            reason = f"no connection: {self.link.last_failure}"
        raise ConnectionLost(reason=reason, delivery="not_delivered")

    async def request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        unheard: Callable[[], None] | None = None,
    ) -> T:
        """Ask the router something as this instance: see :meth:`resroute.client.session.Session.request`.

        What cannot have been taken when the connection ended is asked again, and what the router refuses for now.
        """

        async def ask() -> T:
            return await self._request(method, params, read, unheard=unheard)

        return await repeat(self.link.retry, ask, was_refused_for_now)

    async def _request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        unheard: Callable[[], None] | None,
    ) -> T:
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            session = await self.ready()
            try:
                return await session.request(method, params, read, unheard=unheard)
            except ConnectionLost as lost:
                if not attempts_left or self.link.lost is not None or lost.delivery == "unknown":
                    raise
        raise AssertionError

    async def again[T](self, ask: Callable[[Session], Awaitable[T]]) -> T:
        """Ask something that does no harm twice; once more in the next session, should this one end before the answer.

        So too if the router takes nothing more because it is about to stop: then the next one is waited for. And after
        a pause, if it refuses to take this for now.
        """

        async def ask_over_sessions() -> T:
            return await self._again(ask)

        return await repeat(self.link.retry, ask_over_sessions, was_refused_for_now)

    async def _again[T](self, ask: Callable[[Session], Awaitable[T]]) -> T:
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            session = await self.ready()
            try:
                return await ask(session)
            except (ConnectionLost, Unavailable) as error:
                # whoever is cancelled meanwhile wants no error
                again = attempts_left > 0 and await _is_over(session, error)  # noqa: ASYNC120
                if not again or self.link.lost is not None:
                    raise
        raise AssertionError

    # --- coming and coming back -----------------------------------------------------------------------------------

    @property
    def resume_token(self) -> str | None:
        """With it this instance registers next time."""
        token: str | None = self._params.get("resume_token")
        return token

    async def come(self) -> Joined:
        """Register for the first time.

        Raises:
            RouterError: the router refuses that.
            ConnectionLost: it is over with the client.
        """
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            session = await self.link.ready()
            try:
                joined = await self._register(session)
            except (ConnectionLost, Unavailable) as error:
                # whoever is cancelled meanwhile wants no error
                again = attempts_left > 0 and await _is_over(session, error)  # noqa: ASYNC120
                if not again or self.link.lost is not None:
                    raise
            else:
                self.session = session
                return joined
        raise AssertionError

    async def keep(self) -> None:
        """Come back after each end, until :meth:`leave` or until it is over with the client."""
        assert self.session is not None
        with self._keeping:
            await self.session.wait_ended()
            while True:
                try:
                    session = await self.link.next_session()
                except ConnectionLost:
                    break
                await self._come_back(session)
                await session.wait_ended()
        if self.link.lost is not None:
            self._owned.clear("session_ended")
        self._changed.set()

    def leave(self) -> None:
        """Come back no more."""
        self._keeping.cancel()
        self._changed.set()

    async def come_to_leave(self) -> Session:
        """Be this instance once more, in the next session, so that it can give up what is kept for it. Gets no calls.

        Raises:
            RouterError: the router refuses that.
            ConnectionLost: it is over with the client.
        """
        session = await self.link.next_session()
        session.inbound = self._receive(session)
        session.inbound.refuse()
        try:
            await join(session, self._owned, self._params)
        except AlreadyRegistered:
            pass  # it was about to come back when it was told to leave
        return session

    async def _come_back(self, session: Session) -> None:
        """Be in a session what this instance was in the last one. Returns when it is, or the session has ended."""
        pauses = Pauses(FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS, random.random)
        while session.lost is None:
            try:
                if session.inbound is None:
                    wanted = self._owned.wanted_items()
                    joined = await self._register(session)
                    unwanted = [name for name in joined.resumed if name not in wanted]
                    self._give_back(session, unwanted)
                await self._take_back(session)
            except ConnectionLost:
                return
            except (ResrouteError, ValueError) as error:
                _log.warning("instance_not_taken_back instance_id=%r reason=%r", self.instance_id, str(error))
                if not isinstance(error, _PASSING):
                    reason = f"the router does not take instance {self.instance_id!r} back: {error}"
                    self.link.give_up(ConnectionLost(reason=reason))
                    return
                await trio.sleep(pauses.next(getattr(error, "retry_after_seconds", None) or 0.0))
            else:
                self.session = session
                self._changed.set()
                return

    async def _register(self, session: Session) -> Joined:
        session.inbound = self._receive(session)  # calls may stand right behind the answer
        try:
            joined = await join(session, self._owned, self._params)
        except (ResrouteError, TypeError, ValueError):
            session.inbound = None  # it was refused: there is nothing to leave, and one may try again
            raise
        self.instance_id = self._params["instance_id"] = joined.instance_id
        if joined.resume_token is not None:
            self._params["resume_token"] = joined.resume_token
        await learn_rest(session, self._owned, joined)
        return joined

    # --- what it owned --------------------------------------------------------------------------------------------

    def _give_back(self, session: Session, resource_ids: Iterable[str]) -> None:
        """Release what has moved over from the last session and nobody here knows of, or wants any more."""
        for some in _portions(session, dict.fromkeys(resource_ids, "")):
            params = {"resource_ids": list(some), "partial": True}
            session.answer(notification_line("resource.release", params))
            self._owned.drop(some)

    async def _take_back(self, session: Session) -> None:
        """Take what it owned, and is not owned by others now."""
        for some in _portions(session, self._owned.wanted_items()):
            await self._take_some_back(session, some)

    async def _take_some_back(self, session: Session, items: Mapping[str, Any]) -> None:
        while items:
            result = await BulkRequest(
                session,
                self._owned,
                items,
                batch_size=BATCH_SIZE,
                continue_on_error=True,
                progress=None,
                on_progress=None,
            ).register()
            if any(failure.error_code == Unavailable.type for failure in result.failed):
                raise Unavailable("draining")
            for failure in result.failed:
                self._owned.miss(failure.resource_id, failure.current_owner, failure.reason)
            left = {name: item for name, item in items.items() if self._owned.is_wanted(name)}
            if len(left) == len(items) or not result.has_more:
                for resource_id in left:
                    self._owned.miss(resource_id, None, None)
                return
            items = left  # what became of them did not fit into the answer


async def _is_over(session: Session, error: ConnectionLost | Unavailable) -> bool:
    """Whether a session has ended, after this error in it; that of a router that is about to stop is waited for."""
    if isinstance(error, ConnectionLost):
        return True
    if session.closing is not None:
        with patience():
            await session.wait_ended()
    return session.lost is not None


def _portions(session: Session, items: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """As many at a time as fit into one request."""
    portion: dict[str, Any] = {}
    size = 0
    for resource_id, item in items.items():
        item_size = len(orjson.dumps(item)) + len(resource_id) + 16
        if portion and (
            len(portion) >= session.max_bulk_items or size + item_size > session.max_message_bytes / 2
        ):
            yield portion
            portion, size = {}, 0
        portion[resource_id] = item
        size += item_size
    if portion:
        yield portion
