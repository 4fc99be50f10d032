"""A client's way to its router: the session that there is now, and after it the next one.

This is where it is decided that a client connects again, and for how long whoever wants to ask something waits for that.
What is asked over a session stands and falls with it: see :mod:`resroute.client.session`.
"""

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio
from msgspec import Raw

from resroute.client.address import parse_url
from resroute.client.connection import Connection
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.reconnecting import Attempt, Reconnecting, is_final
from resroute.client.repeating import repeat
from resroute.client.retrying import RetryPolicy, was_refused_for_now
from resroute.client.session import Session
from resroute.client.tokens import Tokens
from resroute.errors import (
    AccessDenied,
    ConnectionFailed,
    ConnectionLost,
    Delivery,
    Forbidden,
    InvalidAnswer,
    MethodNotFound,
    ResourceNotFound,
    ResrouteError,
    ServiceNotFound,
    TokenRejected,
    Unauthenticated,
)

if TYPE_CHECKING:
    from resroute.client.tracing import ClientTracing

WAIT_SECONDS = 30.0
"""How long whoever asks something without a deadline waits for a connection."""

MAX_ATTEMPTS = 5
"""How many connections what is asked may outlive."""

_BOUND_PATHS = ("/resources/", "/services/")

ClientState = Literal["connected", "connecting", "closed"]

Dial = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Opens a connection to a URL."""

_log = logging.getLogger("resroute.client")


def patience() -> trio.CancelScope:
    """How long whoever asks something waits: as long as its own deadline allows; if it has none, not for ever."""
    has_deadline = trio.current_effective_deadline() < math.inf
    return trio.move_on_after(math.inf if has_deadline else WAIT_SECONDS)  # noqa: ASYNC122  # counts from its entry


@attrs.define
class Counts:
    """What earlier sessions have seen."""

    connections: int = 0
    late_answers: int = 0
    unreadable_messages: int = 0
    dropped_notifications: int = 0


class Link:
    """Sessions, one after the other. :meth:`run` does the work; everything else is for any task.

    Attributes:
        lost: why there is no session any more, once there will never be one again.
        session: the last one there was; it may have ended.
        counts: of those before it.
        retry: how what the router refuses for a while is asked again. None: not at all.
    """

    def __init__(
        self,
        dial: Dial,
        plan: Reconnecting,
        tokens: Tokens,
        *,
        retry: RetryPolicy | None = None,
        keep_trying: bool = False,
        tracing: "ClientTracing | None" = None,
    ) -> None:
        self.lost: ConnectionLost | None = None
        self.session: Session | None = None
        self.counts = Counts()
        self.retry = retry
        self._dial = dial
        self._plan = plan
        self._tokens = tokens
        self._keep_trying = keep_trying
        self._tracing = tracing
        self._began_at = 0.0
        self._next: Attempt | None = None
        self._is_closing = False
        self._first_failure: ResrouteError | None = None
        self._last_failure: ResrouteError | None = None
        # set when there is a session, or never will be; another one for the time after each end
        self._settled = trio.Event()
        self._ended = trio.Event()
        self._running = trio.CancelScope()

    @property
    def state(self) -> ClientState:
        """Whether there is a session."""
        if self.lost is not None:
            return "closed"
        return "connecting" if self.usable is None else "connected"

    @property
    def last_failure(self) -> str:
        """Why there was no connection when there was none last."""
        return "" if self._last_failure is None else str(self._last_failure)

    @property
    def usable(self) -> Session | None:
        """The session that there is now, if there is one."""
        session = self.session
        return session if session is not None and session.lost is None else None

    async def ready(self) -> Session:
        """The session that there is, or the next one. No checkpoint if there is one.

        Waits as long as the caller's deadline allows, and :data:`WAIT_SECONDS` if that has none.

        Raises:
            ConnectionLost: there is none, and will never be, or not in time; ``not_delivered``.
        """
        if (session := self.usable) is not None:
            return session
        with patience():
            return await self.next_session()
        reason = f"no connection for {WAIT_SECONDS:g} seconds: {self.last_failure}"
        raise ConnectionLost(reason=reason, delivery="not_delivered")

    async def next_session(self) -> Session:
        """As :meth:`ready`, however long it takes."""
        while True:
            if (session := self.usable) is not None:
                return session
            if self.lost is not None:
                raise self.why_lost("not_delivered")
            await self._settled.wait()

    async def request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        harmless: bool = False,
        unheard: Callable[[], None] | None = None,
    ) -> T:
        """Ask the router something: see :meth:`resroute.client.session.Session.request`.

        What was in flight when the connection ended is asked again if it cannot have been taken, or if that is
        ``harmless``. What the router refuses to take for now is asked again after a pause.
        """

        async def ask() -> T:
            return await self._request(method, params, read, harmless=harmless, unheard=unheard)

        return await repeat(self.retry, ask, was_refused_for_now)

    async def _request[T](
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Raw], T],
        *,
        harmless: bool,
        unheard: Callable[[], None] | None,
    ) -> T:
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            session = await self.ready()
            try:
                return await session.request(method, params, read, unheard=unheard)
            except ConnectionLost as lost:
                is_safe = harmless or lost.delivery == "not_delivered"
                if not attempts_left or self.lost is not None or not is_safe:
                    raise
        raise AssertionError

    async def wait_ended(self) -> ConnectionLost:
        """Wait until there is no session and will never be one again, and say why."""
        await self._ended.wait()
        return self.why_lost("unknown")

    def why_lost(self, delivery: Delivery) -> ConnectionLost:
        """Why there will be no session any more: an exception of one's own for each task."""
        assert self.lost is not None
        return type(self.lost)(self.lost.code, self.lost.reason, delivery)

    # --- connecting -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128  # _live says it
        """Connect, and again after each end, until it is over. Says so once there is the first session.

        Raises:
            ResrouteError: there could not be a first one.
        """
        try:
            with self._running:
                self._next = self._plan.first()
                while self._next is not None:
                    await trio.sleep(self._next.delay_seconds)
                    try:
                        await self._live(self._next.url, task_status)
                    except ResrouteError as error:
                        self._failed(error)
        finally:
            self.give_up(_closed())  # whoever is cancelled connects no more, and nobody is to wait for that

    async def aclose(self) -> None:
        """Send what was said already, in bounded time, and end :meth:`run`."""
        self._is_closing = True
        if self.session is not None:
            await self.session.aclose()
        self.give_up(_closed())

    def give_up(self, lost: ConnectionLost) -> None:
        """Never connect again. The first reason stands."""
        if self.lost is not None:
            return
        self.lost = lost
        self._next = None
        self._settled.set()
        self._ended.set()
        if self.session is not None:
            self.session.end(lost)
        self._running.cancel()

    async def _live(self, url: str, task_status: trio.TaskStatus[None]) -> None:
        """Have a session over one connection, from dialling to its end.

        Raises:
            ResrouteError: there was none.
        """
        async with self._dial(url) as connection:
            session = Session(connection)
            session.tracing = self._tracing
            async with open_transparent_nursery() as nursery:
                nursery.start_soon(session.run)
                try:
                    await _greet(session, url)
                    if session.lost is not None:
                        raise session.lost
                    self._take(session, url)
                    if self.counts.connections == 1:
                        task_status.started()
                    nursery.start_soon(session.watch_silence)
                    nursery.start_soon(self._tokens.renew, session, url)
                    await session.wait_ended()
                    nursery.cancel_scope.cancel()
                finally:
                    await session.aclose()

    def _take(self, session: Session, url: str) -> None:
        if self.session is not None:
            self.counts.late_answers += self.session.late_answers
            self.counts.unreadable_messages += self.session.unreadable_messages
            self.counts.dropped_notifications += self.session.dropped_notifications
            _log.info("connected_again url=%r", url)
        self.counts.connections += 1
        self.session = session
        self._began_at = trio.current_time()
        session.when_ended = self._session_ended
        self._settled.set()

    def _session_ended(self, lost: ConnectionLost) -> None:
        """What follows is settled before anybody learns of the end."""
        assert self.session is not None
        self._settled = trio.Event()
        self._last_failure = lost
        if not self._is_closing and self.lost is None:
            lasted_seconds = trio.current_time() - self._began_at
            self._next = self._plan.after(lost, lasted_seconds=lasted_seconds, closing=self.session.closing)
        if self._next is None or self._is_closing:
            self.give_up(lost)
            self._settled.set()
        else:
            delay = self._next.delay_seconds
            _log.info("connection_lost reason=%r next_attempt_in_seconds=%.3f", str(lost), delay)

    def _failed(self, error: ResrouteError) -> None:
        """An attempt has failed."""
        is_first = self.session is None
        self._first_failure = self._first_failure or error
        self._last_failure = error
        if is_first and not self._keep_trying:
            self._next = self._plan.alternative(error)
        else:
            self._next = self._plan.after(error)
        if self._next is not None:
            _log.info(
                "connecting_failed reason=%r next_attempt_in_seconds=%.3f",
                str(error),
                self._next.delay_seconds,
            )
        elif is_first:
            raise error if is_final(error) else self._first_failure
        else:
            self.give_up(_as_lost(error))


def _closed() -> ConnectionLost:
    return ConnectionLost(reason="this client was closed")


async def _greet(session: Session, url: str) -> None:
    try:
        await session.greet()
    except (InvalidAnswer, MethodNotFound, ResourceNotFound, ServiceNotFound) as error:
        reason = "what answers there is no resroute router"
        if parse_url(url).target.startswith(_BOUND_PATHS):
            reason = "its path binds the connection to one resource or service, for other JSON-RPC clients; leave it out"
        raise ConnectionFailed(url, reason) from error


def _as_lost(error: ResrouteError) -> ConnectionLost:
    """Why there will be no connection any more, in the terms of one that has ended."""
    match error:
        case ConnectionLost():
            return error
        case Unauthenticated() | ConnectionFailed(http_status=401):
            return TokenRejected(reason=str(error))
        case Forbidden() | ConnectionFailed(http_status=403):
            return AccessDenied(reason=str(error))
        case _:
            return ConnectionLost(reason=str(error))
