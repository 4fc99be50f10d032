"""The router: its life from the first session to the last, and what administrators see of it."""

import random
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import structlog
import trio
from trio import TaskStatus
from websockets.http11 import Request

from resroute.audit.trail import MemoryTrail, Retention, Trail
from resroute.cluster.local import LocalLog
from resroute.cluster.log import Log
from resroute.core.facts import Applied
from resroute.ids import SessionId
from resroute.protocol.arrays import prepare
from resroute.protocol.binding import Binding
from resroute.router.accepting import Acceptor
from resroute.router.admission import refusal_of
from resroute.router.assembling import Parts
from resroute.router.auditing import Auditor
from resroute.router.clocks import Clocks
from resroute.router.hosting import GOODBYE_SECONDS
from resroute.router.id_search import IdSearch
from resroute.router.identity import Identity
from resroute.router.lag import measure_lag
from resroute.router.latest import LatestChanges
from resroute.router.life import Life
from resroute.router.means import Means
from resroute.router.names import Names
from resroute.router.session import Session
from resroute.router.statistics import RouterStatistics, statistics_of
from resroute.router.tally import Tally
from resroute.router.tasks import Tasks
from resroute.router.tokens import make_token
from resroute.router.tracing import Tracing
from resroute.router.windows import rotate_windows
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.transport.interface import Transport
from resroute.transport.websocket import Refusal

if TYPE_CHECKING:
    from resroute.telemetry.tracing import Tracer

_log = structlog.get_logger("resroute.router")

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
        self.trail: Trail = trail if trail is not None else MemoryTrail()
        self._tracer = tracer
        self._scope = trio.CancelScope()
        self._life = Life()
        self._tasks = Tasks()
        # the sessions that have not ended
        self._sessions: dict[SessionId, Session] = {}
        randomness = randomness or random.Random(secrets.randbits(256))
        base = base if base is not None else genesis_base(wall_clock())
        self.log: Log = (
            make_log(self, base)
            if make_log is not None
            else LocalLog(base=base, follower=self, on_fault=self.fail, on_error=self.report)
        )
        self._means = Means(
            settings=self.settings,
            log=self.log,
            sessions=self._sessions,
            metrics=self.metrics,
            tally=Tally(self.log.state, self.metrics, wall_clock),
            auditor=Auditor(self.trail, wall_clock),
            clocks=Clocks(wall_clock, turn_clock),
            names=Names(randomness, make_token),
            randomness=randomness,
            tasks=self._tasks,
            life=self._life,
        )
        self._parts = Parts(self._means, self._sessions, None if tracer is None else Tracing(tracer))
        self._follower = self._parts.follower
        self.routing = self._parts.routing
        self.gauges = self._parts.gauges
        self.calls = self._parts.calls
        self.search = IdSearch(self.log.state, turn_clock)
        self.changes = LatestChanges(self._parts.watching.history)
        self._acceptor = Acceptor(
            self.settings, self._tasks, self._parts.turnstile, self._refusal_of, self._parts.host.serve
        )

    # --- what administrators see ------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether the router takes nothing new because it is about to stop."""
        return self._life.is_draining

    def statistics(self) -> RouterStatistics:
        """The size of every table right now."""
        return statistics_of(self._means, self._parts)

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
        self._life.begin()
        prepare(self.settings.max_bulk_items + 1)
        async with trio.open_nursery() as keeping:
            keeping.start_soon(self.trail.run, self._retention)
            if self._tracer is not None:
                self.metrics.spans = self._tracer.sink.counts
                keeping.start_soon(self._tracer.sink.run)
            try:
                await self._serve_sessions(task_status)
            finally:
                self._parts.host.end_all()
                await self._record_the_last()  # noqa: ASYNC102  # shielded, and bounded, itself
        if self._life.fault is not None:
            raise CoreFault("the state machine failed; see the log for the traceback") from self._life.fault

    async def _serve_sessions(self, task_status: TaskStatus[None]) -> None:  # noqa: ASYNC128  # Tasks.serve says it
        parts = self._parts
        with self._scope:
            async with trio.open_nursery() as timers:
                timers.start_soon(parts.turnstile.run)
                timers.start_soon(self._watch_deadlines)
                timers.start_soon(parts.host.liveness.run)
                timers.start_soon(parts.upkeep.run)
                timers.start_soon(parts.waiting.watch_deadlines)
                timers.start_soon(parts.waiting.serve)
                timers.start_soon(parts.watching.run)
                timers.start_soon(parts.follower.run)
                timers.start_soon(rotate_windows, self.metrics, parts.close_ups)
                timers.start_soon(measure_lag, self.metrics.loop_lag)
                await self._tasks.serve(task_status)

    async def _watch_deadlines(self) -> None:
        flights = self.routing.flights
        while True:
            await self._parts.deadline_alarm.wait_until(flights.deadlines.next_at())
            flights.expire(trio.current_time())

    async def _record_the_last(self) -> None:
        """Tell the audit log of what sessions owned when they ended a moment ago, and that this was all."""
        try:
            if self._life.fault is None:
                with trio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._parts.upkeep.finish()
                self._parts.follower.record_the_rest()
        finally:
            self.trail.finish()
            if self._tracer is not None:
                self._tracer.sink.finish()

    def _retention(self) -> Retention:
        return Retention(self.settings.audit_retention_days, self.settings.audit_max_bytes)

    async def serve_listener(  # noqa: ASYNC128  # the acceptor says when it has started
        self,
        listener: trio.abc.Listener[trio.abc.Stream],
        *,
        task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections until cancelled. The sessions live in the router's nursery, not here."""
        await self._acceptor.serve_listener(listener, task_status)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over a stream that has just opened, until it ends. Closes the stream; never raises."""
        await self._acceptor.serve_stream(stream)

    def _refusal_of(self, request: Request) -> Refusal | None:
        if self._life.is_draining:
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
        await self._parts.host.serve(transport, binding, identity)

    async def drain(self, seconds: float | None = None) -> None:
        """Take nothing new, let calls in flight finish, and end every session with 1001.

        Args:
            seconds: how long calls may take. By default the setting ``drain_seconds``.

        Returns when all sessions are gone. Safe to cancel, which leaves the router draining.
        """
        flights, waiting, host = self.routing.flights, self._parts.waiting, self._parts.host
        began = trio.current_time()
        seconds = self.settings.drain_seconds if seconds is None else seconds
        _log.info(
            "drain begins",
            sessions=len(self._sessions),
            calls_in_flight=flights.in_flight,
            drain_seconds=seconds,
        )
        host.announce_closing()
        flights.drain()
        self._life.drain()
        await waiting.drain()  # which comes to an end by itself
        with trio.move_on_after(seconds):
            await waiting.wait_none()
            await flights.wait_idle()
        cut_off = flights.in_flight
        self._parts.turnstile.open()  # all leave, so nobody has to be spared
        self._life.is_closing = True
        await host.close_all()
        duration_ms = round((trio.current_time() - began) * 1000, 3)
        _log.info("drain ended", calls_cut_off=cut_off, duration_ms=duration_ms)

    def fail(self, fault: Exception) -> None:
        """The core has failed: end everything, at once."""
        _log.critical("the state machine failed: closing every session", exc_info=fault)
        self._life.fault = fault
        self._scope.cancel()

    def report(self, error: Exception) -> None:
        """A bug that cost one request, or one notice."""
        self._tasks.report(error)

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
