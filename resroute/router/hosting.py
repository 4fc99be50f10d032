"""Serving sessions: how each begins, and the one way in which all of them end."""

import trio

from resroute.core.commands import End, Open
from resroute.ids import SessionId
from resroute.protocol.binding import Binding
from resroute.protocol.envelope import notification_message
from resroute.router.close_ups import CloseUps
from resroute.router.dispatch import Dispatch
from resroute.router.endings import Ending
from resroute.router.identity import Identity
from resroute.router.liveness import LivenessWatch
from resroute.router.means import Means
from resroute.router.outbox import Memory
from resroute.router.owner_changes import OwnerChanges
from resroute.router.rerouting import Rerouting
from resroute.router.session import Session
from resroute.router.session_means import SessionMeans
from resroute.router.turnstile import Turnstile
from resroute.router.watches import Watches
from resroute.transport.interface import Transport

GOODBYE_SECONDS = 2.0
"""How long a session's peer may take to say goodbye."""


class Host:
    """Serves sessions, and tells the parts of a router that one has begun or ended.

    Args:
        sessions: those that have not ended, which nobody else adds to or takes from.
    """

    def __init__(
        self,
        means: Means,
        sessions: dict[SessionId, Session],
        memory: Memory,
        turnstile: Turnstile,
        dispatch: Dispatch,
        rerouting: Rerouting,
        owner_changes: OwnerChanges,
        watches: Watches,
        close_ups: CloseUps,
    ) -> None:
        self._means = means
        self._settings = means.settings
        self._log = means.log
        self._life = means.life
        self._sessions = sessions
        self._memory = memory
        self._turnstile = turnstile
        self._session_means = SessionMeans(
            settings=means.settings,
            handler=dispatch,
            next_number=means.names.next_number,
            memory=memory,
            turn_clock=means.clocks.turn,
            turnstile=turnstile,
            round_trips=means.metrics.round_trips,
        )
        self._dispatch = dispatch
        self._rerouting = rerouting
        self._owner_changes = owner_changes
        self._watches = watches
        self._close_ups = close_ups
        self._all_gone = trio.Event()
        self.liveness = LivenessWatch(sessions)

    async def serve(
        self, transport: Transport, binding: Binding | None = None, identity: Identity | None = None
    ) -> None:
        """Serve one session, whose handshake is done, until it ends. Closes the transport; never raises."""
        is_admin = identity is not None and "admin" in identity.roles
        if len(self._sessions) >= self._settings.max_sessions and not is_admin:
            with trio.move_on_after(GOODBYE_SECONDS):
                await transport.aclose(4029, "too many sessions")
            return
        session = self._begin(transport, binding, identity)
        began = session.now
        try:
            await session.run()
            await self._turnstile.wait_turn()
        except* Exception:
            session.log.exception("session failed")
            session.end(Ending(1011, "the router failed"))
        finally:
            ending = session.ending or self._life.ending()
            resources_freed = self._end(session, ending)
            session.log.info(
                "session ended",
                code=ending.code,
                reason=ending.reason,
                cause=ending.cause,
                resources_freed=resources_freed,
                duration_ms=round((trio.current_time() - began) * 1000, 3),
            )
            if not transport.close_if_gone():
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await transport.aclose(ending.close_code, ending.reason)

    def _begin(self, transport: Transport, binding: Binding | None, identity: Identity | None) -> Session:
        means = self._means
        session = Session(
            means.names.session(),
            transport,
            self._session_means,
            now=trio.current_time(),
            opened_at=means.clocks.wall(),
            binding=binding,
            identity=identity,
        )
        self._sessions[session.id] = session
        self.liveness.add(session)
        self._owner_changes.add(session)
        self._log.submit(Open(session.id))
        session.log.debug("session opened", protocol=transport.subprotocol)
        if self._life.is_draining:  # its handshake was done when that began
            self._announce_closing(session)
        if self._life.is_closing:
            session.finish(self._life.ending())
        return session

    def _end(self, session: Session, ending: Ending) -> int:
        """The state first: in one step nobody owns what the session owned, and each of its calls has its answer.

        Returns how many resources are free, not counting what it may come back to.
        """
        owner = session.owner
        owned = len(owner.resources) if owner is not None else 0
        # those who may come back take memory too, so there are no more of them than there may be sessions
        may_return = ending.is_unclean and self._log.state.suspended_count < self._settings.max_sessions
        is_suspended = may_return and owner is not None and owner.may_return
        del self._sessions[session.id]
        if self._life.fault is None:
            self._log.submit(End(session.id, ending.cause, self._means.clocks.wall(), unclean=may_return))
        self._owner_changes.remove(session)
        self._watches.remove_all(session)
        try:
            self._dispatch.session_ended(session)
            self._rerouting.session_ended(session)
        finally:  # whatever bug there may be in what becomes of its calls, its own end comes to an end
            if owner is not None:
                self._close_ups.end(session)
                self._means.metrics.instance_left(session.traffic)
            session.close()
        self._memory.max_bytes = self._settings.max_outbox_total_bytes
        if not self._sessions:
            self._all_gone.set()
            self._all_gone = trio.Event()
        return 0 if is_suspended else owned

    # --- the end of all of them -------------------------------------------------------------------------------

    def announce_closing(self) -> None:
        """Tell all sessions that the router is about to end them."""
        for session in list(self._sessions.values()):
            self._announce_closing(session)

    def _announce_closing(self, session: Session) -> None:
        reconnect_after = round(self._means.randomness.uniform(0.1, 2.0), 3)
        closing = {"reason": "the router is shutting down", "reconnect_after_seconds": reconnect_after}
        session.post(notification_message("session.closing", closing))

    def end_all(self) -> None:
        """Have all sessions end at once, those that others' tasks serve too."""
        for session in list(self._sessions.values()):
            session.end(self._life.ending())

    async def close_all(self) -> None:
        """Have each session end once its outbox is empty, and at once when that takes too long. Returns when all are gone."""
        with trio.move_on_after(GOODBYE_SECONDS):
            for session in list(self._sessions.values()):
                session.finish(self._life.ending())
            while self._sessions:
                await self._all_gone.wait()
        while self._sessions:
            self.end_all()
            await self._all_gone.wait()
