"""The router: it owns the nursery in which every session lives, and the clocks that they share."""

import errno
import itertools
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, cast

import attrs
import structlog
import trio
from trio import TaskStatus
from websockets.http11 import Request

from resroute.audit.trail import MemoryTrail, Retention, Trail
from resroute.cluster.local import LocalLog
from resroute.cluster.log import Log
from resroute.core.commands import End, Open
from resroute.core.facts import (
    Applied,
)
from resroute.ids import CorrelationId, SessionId
from resroute.protocol.arrays import prepare
from resroute.protocol.binding import Binding, read_target
from resroute.protocol.envelope import notification_message
from resroute.router.admission import refusal_of
from resroute.router.alarm import Alarm
from resroute.router.assembling import make_operations
from resroute.router.auditing import Auditor
from resroute.router.close_ups import CloseUps
from resroute.router.dispatch import Dispatch
from resroute.router.expiring import Expirer
from resroute.router.feeding import Feeder
from resroute.router.flapping import Flapping
from resroute.router.following import OwnershipFollower
from resroute.router.gauges import Gauges
from resroute.router.history import History
from resroute.router.identity import Identity
from resroute.router.instance_calls import CallsView
from resroute.router.lag import measure_lag
from resroute.router.liveness import LivenessWatch
from resroute.router.lookback import Lookback
from resroute.router.outbox import Memory
from resroute.router.owner_changes import OwnerChanges
from resroute.router.probing import Prober
from resroute.router.reclaiming import Reclaimer
from resroute.router.rerouting import Rerouting
from resroute.router.routing import Routing
from resroute.router.session import Ending, Session
from resroute.router.statistics import RouterStatistics, statistics_of
from resroute.router.suspending import Graces
from resroute.router.tally import Tally
from resroute.router.telling import EventWriter
from resroute.router.tokens import make_token
from resroute.router.tracing import Tracing
from resroute.router.turnstile import Turnstile
from resroute.router.waiting import WaitingRegistrations
from resroute.router.watches import Watches
from resroute.router.windows import rotate_windows
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.transport.interface import Transport, TransportEnded
from resroute.transport.websocket import Refusal, WebSocketTransport

if TYPE_CHECKING:
    from resroute.telemetry.tracing import Tracer

_log = structlog.get_logger("resroute.router")

GOODBYE_SECONDS = 2.0
"""How long a session's peer may take to say goodbye."""

CONNECTIONS_BEYOND_SESSIONS = 64
"""How many more connections than ``max_sessions`` there may be: in their handshake, or about to close. What the process
can open beside its sessions must be enough for them and for all else."""

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_NO_ROOM_SECONDS = 0.1  # until it may be better

CHANGEABLE = (
    "admin_tls_certificate_file",
    "admin_tls_key_file",
    "admin_tokens",
    "admin_tokens_file",
    "admin_trusted_proxies",
    "allowed_origins",
    "audit_max_bytes",
    "audit_retention_days",
    "drain_seconds",
    "log_level",
    "traces_sample_ratio",
)
"""The settings that :meth:`Router.change_settings` takes: read at each use, here or by whoever runs the router, and told to
no client as a limit."""


class CoreFault(Exception):
    """The state of who owns what cannot be trusted any more: the router has closed its sessions and must not go on."""


class Router:
    """Calls to resources, routed to their owners.

    Args:
        settings: limits and times.
        wall_clock: seconds since 1970, for what people read.
        turn_clock: seconds on any clock, for how long one session's messages may hold the loop.
        randomness: for trace and session ids.
        make_token: makes a secret for each instance, by which it can be resumed.
        base: the revision to begin at, above every revision of earlier runs. By default from the wall clock.
        make_log: where the log of commands lives. By default in this process alone.
        trail: where the audit log is kept. By default in memory, the last of it.
        tracer: makes traces. By default there are none.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
        turn_clock: Callable[[], float] = time.perf_counter,
        randomness: random.Random | None = None,
        make_token: Callable[[], str] = make_token,
        base: int | None = None,
        make_log: "Callable[[Router, int], Log] | None" = None,
        trail: Trail | None = None,
        tracer: "Tracer | None" = None,
    ) -> None:
        self.settings = settings or Settings()
        self.admin_port: int | None = None
        """Where its admin pages are, once they are served: pages from there may connect."""
        self.metrics = Metrics(self.settings.metrics_max_services)
        self._wall_clock = wall_clock
        self._turn_clock = turn_clock
        self._random = randomness or random.Random(secrets.randbits(256))
        self.router_id = f"router-{self._random.getrandbits(48):012x}"
        self._fault: Exception | None = None
        self._scope = trio.CancelScope()
        self._sessions_nursery: trio.Nursery | None = None
        self._is_draining = False
        self._is_closing = False  # a drain has come to where all sessions end
        self._serving_since = math.inf
        self._connections = 0  # over streams, from before the handshake to after the goodbye
        self._all_gone = trio.Event()
        self._when_draining: list[Callable[[], None]] = []
        # the sessions that have not ended
        self._sessions: dict[SessionId, Session] = {}
        self._turnstile = Turnstile()
        self._deadline_alarm = Alarm()
        self._liveness = LivenessWatch(self._sessions)
        self._next_number: Callable[[], CorrelationId] = cast(
            "Iterator[CorrelationId]", itertools.count(1)
        ).__next__
        self._owner_changes = OwnerChanges()
        self._memory = Memory(self.settings.max_outbox_total_bytes, self._relieve_memory)
        base = base if base is not None else genesis_base(wall_clock())
        self.log: Log = (
            make_log(self, base)
            if make_log is not None
            else LocalLog(base=base, follower=self, on_fault=self.fail, on_error=self.report)
        )
        self.trail: Trail = trail if trail is not None else MemoryTrail()
        self._auditor = Auditor(self.trail, wall_clock)
        self._reclaimer = Reclaimer(self.log, turn_clock)
        self._expirer = Expirer(self.log, turn_clock, wall_clock)
        self._graces = Graces(self.log, wall_clock)
        prober = Prober(self.settings, self._start_task, self.report)
        self._tracer = tracer
        tracing = None if tracer is None else Tracing(tracer)
        tally = Tally(self.log.state, self.metrics, wall_clock)
        self.routing = Routing(
            self.settings,
            self.log.state,
            self._sessions,
            self.metrics,
            tally,
            next_number=self._next_number,
            randomness=self._random,
            on_deadline=self._deadline_alarm.no_later_than,
            tracing=tracing,
        )
        history = History(
            self.log.state.revision,
            max_facts=self.settings.watch_history_events,
            max_bytes=self.settings.watch_history_bytes,
        )
        self._lookback = Lookback(history, turn_clock, self.report)
        self._watches = Watches(history, self.settings, self._memory)
        self._feeder = Feeder(
            self._watches,
            history,
            EventWriter(self._sessions, lambda at: wall_clock() - trio.current_time() + at),
            self.settings,
            self._memory,
            self.metrics,
            turn_clock,
        )
        self._waiting = WaitingRegistrations(self.log, self._sessions, prober, tally, wall_clock)
        self._rerouting = Rerouting(self.routing.flights, self.routing.pools, tally)
        flapping = Flapping(self.settings.flap_threshold, self.metrics, trio.current_time)
        self._follower = OwnershipFollower(
            self.settings,
            self.log.state,
            self.metrics,
            self._sessions,
            self._rerouting,
            history,
            self._owner_changes,
            self._reclaimer,
            self._expirer,
            self._graces,
            self._watches,
            self._waiting,
            self._auditor,
            flapping,
            wall_clock,
        )
        operations = make_operations(
            self.settings,
            self.log,
            self._sessions,
            self.routing,
            self.metrics,
            tally,
            self._lookback,
            self._watches,
            prober,
            self._waiting,
            self._auditor,
            flapping,
            router_id=self.router_id,
            wall_clock=wall_clock,
            turn_clock=turn_clock,
            randomness=self._random,
            make_token=make_token,
            uptime_seconds=lambda: trio.current_time() - self._serving_since,
            is_draining=lambda: self._is_draining,
            start_task=self._start_task,
            report=self.report,
            tidy=self._reclaimer.wake,
            when_draining=self._when_draining.append,
        )
        self.gauges = Gauges(
            self.settings,
            self.log.state,
            self._sessions,
            self.metrics,
            count_calls=lambda: len(self.routing.flights.deadlines),
            count_watches=lambda: len(self._watches),
            count_memory=lambda: self._memory.total_bytes,
        )
        self._close_ups = CloseUps()
        self.calls = CallsView(self.log.state, self._sessions, self._close_ups)
        self._dispatch = Dispatch(self.settings, self.routing, operations, self.metrics, tracing)

    # --- what administrators see ------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether the router takes nothing new because it is about to stop."""
        return self._is_draining

    def statistics(self) -> RouterStatistics:
        """The size of every table right now."""
        return statistics_of(
            self.log.state,
            self._sessions.values(),
            self.routing,
            self._owner_changes,
            self._memory,
            len(self._expirer),
            len(self._watches),
            len(self._auditor),
        )

    # --- its life ---------------------------------------------------------------------------------------------

    def change_settings(self, settings: Settings) -> None:
        """Go on with those of the settings that can change while a router runs: :data:`CHANGEABLE`."""
        changed = {name: getattr(settings, name) for name in CHANGEABLE}
        self.settings = attrs.evolve(self.settings, **changed)
        if self._tracer is not None:
            self._tracer.sample(self.settings.traces_sample_ratio)

    async def serve(  # noqa: ASYNC128  # _serve_sessions says when it has started
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run until cancelled. Sessions can be served once this has started.

        Cancelling it ends every session with 1001, and waits for their goodbyes, at most :data:`GOODBYE_SECONDS`.

        Raises:
            CoreFault: the state cannot be trusted any more; all sessions were ended with 1011.
        """
        self._serving_since = trio.current_time()
        prepare(self.settings.max_bulk_items + 1)
        async with trio.open_nursery() as keeping:
            keeping.start_soon(self.trail.run, self._retention)
            if self._tracer is not None:
                self.metrics.spans = self._tracer.sink.counts
                keeping.start_soon(self._tracer.sink.run)
            try:
                await self._serve_sessions(task_status)
            finally:
                for session in list(self._sessions.values()):  # those that others' tasks serve
                    session.end(self._planned_ending())
                await self._record_the_last()  # noqa: ASYNC102  # shielded, and bounded, itself
        if self._fault is not None:
            raise CoreFault("the state machine failed; see the log for the traceback") from self._fault

    async def _serve_sessions(self, task_status: TaskStatus[None]) -> None:
        with self._scope:
            async with trio.open_nursery() as timers:
                timers.start_soon(self._turnstile.run)
                timers.start_soon(self._watch_deadlines)
                timers.start_soon(self._liveness.run)
                timers.start_soon(self._reclaimer.run)
                timers.start_soon(self._expirer.run)
                timers.start_soon(self._graces.run)
                timers.start_soon(self._waiting.watch_deadlines)
                timers.start_soon(self._waiting.serve)
                timers.start_soon(self._lookback.run)
                timers.start_soon(self._follower.run)
                timers.start_soon(self._feeder.run)
                timers.start_soon(rotate_windows, self.metrics, self._close_ups)
                timers.start_soon(measure_lag, self.metrics.loop_lag)
                async with trio.open_nursery() as self._sessions_nursery:
                    task_status.started()
                    await trio.sleep_forever()

    async def _record_the_last(self) -> None:
        """Tell the audit log of what sessions owned when they ended a moment ago, and that this was all."""
        try:
            if self._fault is None:
                self._graces.end_all()
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._reclaimer.reclaim_all()
                self._follower.record_the_rest()
        finally:
            self.trail.finish()
            if self._tracer is not None:
                self._tracer.sink.finish()

    def _retention(self) -> Retention:
        return Retention(self.settings.audit_retention_days, self.settings.audit_max_bytes)

    async def serve_listener(
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        *,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections until cancelled. The sessions live in the router's nursery, not here."""
        assert self._sessions_nursery is not None, "serve() comes first"
        async with listener:
            task_status.started()
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    _log.error("connections cannot be accepted", reason=error.strerror)
                    await trio.sleep(_NO_ROOM_SECONDS)
                else:
                    self._sessions_nursery.start_soon(self.serve_stream, stream)
                    await self._turnstile.wait_turn()

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over a stream that has just opened, until it ends. Closes the stream; never raises."""
        if self._connections >= self.settings.max_sessions + CONNECTIONS_BEYOND_SESSIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        transport = WebSocketTransport(stream, max_message_bytes=self.settings.max_message_bytes)
        try:
            target = None
            with trio.move_on_after(self.settings.handshake_timeout_seconds):
                target = await transport.handshake(self._refusal_of)
            if target is not None:
                binding = read_target(target, self.settings.max_timeout_seconds)
                await self._turnstile.wait_turn()
                await self.serve_transport(transport, binding)
        except* TransportEnded:
            pass
        except* Exception:
            _log.exception("a handshake failed", remote_address=transport.remote_address)
        finally:
            self._connections -= 1
            await transport.aclose_forcefully()  # noqa: ASYNC102  # it waits for nothing

    def _refusal_of(self, request: Request) -> Refusal | None:
        if self._is_draining:
            return 503, "This router is shutting down: connect again in a moment.\n"
        return refusal_of(request, self.settings, self.admin_port)

    async def serve_transport(
        self, transport: Transport, binding: Binding | None = None, *, identity: Identity | None = None
    ) -> None:
        """Serve one session, whose handshake is done, until it ends. Closes the transport; never raises.

        Args:
            binding: what :func:`~resroute.protocol.binding.read_target` made of the handshake's target.
            identity: who it is. By default anonymous. Administrators get in when there are too many sessions, too.
        """
        is_admin = identity is not None and "admin" in identity.roles
        if len(self._sessions) >= self.settings.max_sessions and not is_admin:
            with trio.move_on_after(GOODBYE_SECONDS):
                await transport.aclose(4029, "too many sessions")
            return
        now = trio.current_time()
        session = Session(
            SessionId(f"session-{self._random.getrandbits(64):016x}"),
            transport,
            self.settings,
            handler=self._dispatch,
            next_number=self._next_number,
            memory=self._memory,
            turn_clock=self._turn_clock,
            turnstile=self._turnstile,
            round_trips=self.metrics.round_trips,
            now=now,
            opened_at=self._wall_clock(),
            binding=binding,
            identity=identity,
        )
        self._sessions[session.id] = session
        self._liveness.add(session)
        self._owner_changes.add(session)
        self.log.submit(Open(session.id))
        session.log.debug("session opened", protocol=transport.subprotocol)
        if self._is_draining:  # its handshake was done when that began
            self._announce_closing(session)
        if self._is_closing:
            session.finish(self._planned_ending())
        try:
            await session.run()
            await self._turnstile.wait_turn()
        except* Exception:
            session.log.exception("session failed")
            session.end(Ending(1011, "the router failed"))
        finally:
            ending = session.ending or self._planned_ending()
            owner = session.owner
            owned = len(owner.resources) if owner is not None else 0
            # those who may come back take memory too, so there are no more of them than there may be sessions
            may_return = ending.is_unclean and self.log.state.suspended_count < self.settings.max_sessions
            is_suspended = may_return and owner is not None and owner.may_return
            self._close_session(session, ending, may_return=may_return)
            session.log.info(
                "session ended",
                code=ending.code,
                reason=ending.reason,
                cause=ending.cause,
                resources_freed=0 if is_suspended else owned,
                duration_ms=round((trio.current_time() - now) * 1000, 3),
            )
            with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                await transport.aclose(ending.close_code, ending.reason)

    def _planned_ending(self) -> Ending:
        if self._fault is not None:
            return Ending(1011, "the router failed")
        return Ending(1001, "the router is going away")

    def _close_session(self, session: Session, ending: Ending, *, may_return: bool) -> None:
        """The state first: in one step nobody owns what the session owned, and each of its calls has its answer."""
        del self._sessions[session.id]
        if self._fault is None:
            self.log.submit(End(session.id, ending.cause, self._wall_clock(), unclean=may_return))
        self._owner_changes.remove(session)
        self._watches.remove_all(session)
        try:
            self._dispatch.session_ended(session)
            self._rerouting.session_ended(session)
        finally:  # whatever bug there may be in what becomes of its calls, its own end comes to an end
            if session.owner is not None:
                self._close_ups.end(session)
                self.metrics.instance_left(session.traffic)
            session.close()
        self._memory.max_bytes = self.settings.max_outbox_total_bytes
        if not self._sessions:
            self._all_gone.set()
            self._all_gone = trio.Event()

    def _start_task(self, task: Callable[[], Awaitable[object]]) -> None:
        assert self._sessions_nursery is not None, "sessions are served within serve()"
        self._sessions_nursery.start_soon(task)

    async def drain(self, seconds: float | None = None) -> None:
        """Take nothing new, let calls in flight finish, and end every session with 1001.

        Args:
            seconds: how long calls may take. By default the setting ``drain_seconds``.

        Returns when all sessions are gone. Safe to cancel, which leaves the router draining.
        """
        self._is_draining = True
        began = trio.current_time()
        seconds = self.settings.drain_seconds if seconds is None else seconds
        in_flight = len(self.routing.flights.deadlines)
        _log.info(
            "drain begins", sessions=len(self._sessions), calls_in_flight=in_flight, drain_seconds=seconds
        )
        for session in list(self._sessions.values()):
            self._announce_closing(session)
        self.routing.flights.drain()
        for stop in self._when_draining:
            stop()
        await self._waiting.drain()  # which comes to an end by itself
        with trio.move_on_after(seconds):
            await self._waiting.wait_none()
            await self.routing.flights.wait_idle()
        cut_off = len(self.routing.flights.deadlines)
        self._turnstile.open()  # all leave, so nobody has to be spared
        self._is_closing = True
        with trio.move_on_after(GOODBYE_SECONDS):
            for session in list(self._sessions.values()):
                session.finish(Ending(1001, "the router is going away"))
            while self._sessions:
                await self._all_gone.wait()
        while self._sessions:
            for session in list(self._sessions.values()):
                session.end(Ending(1001, "the router is going away"))
            await self._all_gone.wait()
        duration_ms = round((trio.current_time() - began) * 1000, 3)
        _log.info("drain ended", calls_cut_off=cut_off, duration_ms=duration_ms)

    def _announce_closing(self, session: Session) -> None:
        reconnect_after = round(self._random.uniform(0.1, 2.0), 3)
        closing = {"reason": "the router is shutting down", "reconnect_after_seconds": reconnect_after}
        session.post(notification_message("session.closing", closing))

    def fail(self, fault: Exception) -> None:
        """The core has failed: end everything, at once."""
        _log.critical("the state machine failed: closing every session", exc_info=fault)
        self._fault = fault
        self._scope.cancel()

    def report(self, error: Exception) -> None:
        """A bug that cost one request, or one notice."""
        _log.error("an answer or a notice failed", exc_info=error)

    def _relieve_memory(self) -> None:
        """Have the sessions that take most end, until what the others take fits."""
        excess = self._memory.total_bytes - self._memory.max_bytes
        excess -= sum(
            session.memory_bytes for session in self._sessions.values() if session.ending is not None
        )
        while excess > 0:
            staying = (session for session in self._sessions.values() if session.ending is None)
            largest = max(staying, key=lambda session: session.memory_bytes, default=None)
            if largest is None:
                return
            largest.end(Ending(4008, "slow consumer: the router is over max_outbox_total_bytes"))
            excess -= largest.memory_bytes
        # what they held is freed when they have closed: until then, do not look again for every message
        self._memory.max_bytes = self._memory.total_bytes + self.settings.max_outbox_total_bytes // 64

    async def _watch_deadlines(self) -> None:
        while True:
            await self._deadline_alarm.wait_until(self.routing.flights.deadlines.next_at())
            self.routing.flights.expire(trio.current_time())

    # --- what follows from facts ------------------------------------------------------------------------------

    def before_answer(self, applied: Applied) -> None:
        """See :class:`resroute.cluster.log.Follower`."""
        self._follower.before_answer(applied)

    def after_answer(self, applied: Applied) -> None:
        """See :class:`resroute.cluster.log.Follower`."""
        self._follower.after_answer(applied)


def genesis_base(wall_seconds: float, highest_known: int = 0) -> int:
    """The revision to begin at: above every revision of earlier runs, whose clock may have been ahead."""
    return max(int(wall_seconds * 1000) << 10, highest_known + 1)
