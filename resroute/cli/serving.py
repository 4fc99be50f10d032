"""A router and its admin pages, put together and run until they are told to stop."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import click
import structlog
import trio

from resroute.admin import Access, Administrable, serve_admin
from resroute.audit.file_trail import FileTrail
from resroute.audit.trail import MemoryTrail, Trail
from resroute.cli.descriptors import make_room_for_sessions
from resroute.cli.exits import CANNOT_START, DONE, FAULT
from resroute.cli.listening import CannotListen, open_listeners, show_address
from resroute.cli.manager import ServiceManager
from resroute.cli.output import complain
from resroute.cli.rereading import Rereader
from resroute.cluster.ceiling import CannotKeep, RevisionCeiling
from resroute.cluster.data_dir import CannotHold, hold_data_dir
from resroute.ids import Revision
from resroute.protocol.binding import Binding
from resroute.router import Router
from resroute.router.gauges import Gauges
from resroute.router.id_search import IdSearch
from resroute.router.identity import Identity
from resroute.router.instance_calls import CallsView
from resroute.router.latest import LatestChanges
from resroute.router.router import CoreFault, genesis_base
from resroute.security.certificates import CannotReadCertificate
from resroute.security.tokens import CannotReadTokens
from resroute.settings import Settings
from resroute.telemetry.garbage import timing_collections
from resroute.telemetry.logs import configure_logging
from resroute.telemetry.metrics import Metrics
from resroute.transport.interface import Transport

if TYPE_CHECKING:
    from resroute.telemetry.tracing import Tracer

_log = structlog.get_logger("resroute")


@attrs.frozen
class Addresses:
    """Where a router takes sessions, and where its admin pages are."""

    url: str
    admin_url: str


@attrs.define
class _Seen:
    """A router as its admin pages see it: whether it listens is known only here, where it is told to."""

    router: Router
    listens: bool = False

    @property
    def state_name(self) -> str:
        if self.router.is_draining:
            return "draining"
        return "ready" if self.listens else "starting"

    @property
    def metrics(self) -> Metrics:
        return self.router.metrics

    @property
    def gauges(self) -> Gauges:
        return self.router.gauges

    @property
    def calls(self) -> CallsView:
        return self.router.calls

    @property
    def search(self) -> IdSearch:
        return self.router.search

    @property
    def changes(self) -> LatestChanges:
        return self.router.changes

    @property
    def revision(self) -> Revision:
        return self.router.log.state.revision

    @property
    def trail(self) -> Trail:
        return self.router.trail

    @property
    def settings(self) -> Settings:
        return self.router.settings

    async def serve_transport(
        self, transport: Transport, binding: Binding | None = None, *, identity: Identity | None = None
    ) -> None:
        await self.router.serve_transport(transport, binding, identity=identity)


async def serve(
    router: Router,
    ceiling: RevisionCeiling | None = None,
    access: Access | None = None,
    *,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run ``router`` and its admin pages, where its settings say, until cancelled.

    Has started once both really listen. Cancelling cuts sessions off: drain the router first.

    Args:
        router: not served yet.
        ceiling: what its revisions begin above, if that is kept on disk.
        access: lets administrators in. By default everybody on this machine is one.

    Raises:
        CannotListen: if an address is not to be had; then nothing was started.
        CannotKeep: if the ceiling cannot be raised; in a group.
        CoreFault: if the router had to give up; in a group, like all that its tasks raise.
    """
    settings = router.settings
    async with (
        open_listeners(settings.host, settings.port) as listeners,
        open_listeners(settings.admin_host, settings.admin_port) as admin_listeners,
        trio.open_nursery() as nursery,
    ):
        scheme = "http" if access is None or access.tls is None else "https"
        addresses = Addresses(
            f"ws://{_shown(settings.host, listeners)}/",
            f"{scheme}://{_shown(settings.admin_host, admin_listeners)}/",
        )
        seen = _Seen(router)
        shown: Administrable = seen  # said, for what a nursery starts is not checked
        router.admin_port = admin_listeners[0].socket.getsockname()[1]
        await nursery.start(serve_admin, shown, admin_listeners, access)
        if ceiling is not None:
            await nursery.start(ceiling.keep_above, lambda: router.log.state.revision, _report_ceiling)
        await nursery.start(router.serve)
        for listener in listeners:
            await nursery.start(router.serve_listener, listener)
        seen.listens = True
        task_status.started(addresses)


def run(settings: Settings, read: Callable[[], Settings]) -> int:
    """Make this process a router until a signal ends it. Returns the exit code.

    Args:
        read: reads the settings again when SIGHUP asks for it; may raise SettingsMistake.
    """
    configure_logging(settings.log_level, sys.stderr)
    possible = make_room_for_sessions(settings)
    with ExitStack() as held:
        ceiling: RevisionCeiling | None = None
        base: int | None = None
        trail: Trail = MemoryTrail()
        try:
            access = Access.read(settings)
        except (CannotReadTokens, CannotReadCertificate) as error:
            return _cannot_start(error)
        if settings.data_dir is not None:
            try:
                held.enter_context(hold_data_dir(settings.data_dir))
                ceiling = RevisionCeiling(settings.data_dir)
            except (CannotHold, CannotKeep) as error:
                return _cannot_start(error)
            base = genesis_base(time.time(), ceiling.value)
            trail = FileTrail(settings.data_dir, time.time)
        try:
            tracer = _make_tracer(settings)
        except ModuleNotFoundError as error:
            return _cannot_start(CannotTrace(error))
        router = Router(possible, base=base, trail=trail, tracer=tracer)
        manager = ServiceManager.from_environment(os.environ)
        rereader = Rereader(router, settings, read, access)
        return run_router(router, ceiling, rereader.reread, manager, access)


def run_router(
    router: Router,
    ceiling: RevisionCeiling | None = None,
    reread: Callable[[], None] | None = None,
    manager: ServiceManager | None = None,
    access: Access | None = None,
) -> int:
    """Run ``router`` until a signal ends it, calling ``reread`` at each SIGHUP. Returns the exit code."""
    code = DONE
    try:
        with timing_collections(router.metrics.garbage_collections):
            trio.run(_serve_until_told, router, ceiling, reread, manager or ServiceManager(), access)
    except* (CannotListen, CannotKeep) as group:
        code = _cannot_start(group.exceptions[0])
    except* CoreFault:  # the log has it
        code = FAULT
    return code


class CannotTrace(Exception):
    """Traces are wanted, and a package for them is not there."""

    def __init__(self, missing: ModuleNotFoundError) -> None:
        super().__init__(missing.name)

    def __str__(self) -> str:
        return f"traces_endpoint needs the package {self.args[0]}: pip install 'resroute[otel]'"


def _make_tracer(settings: Settings) -> "Tracer | None":
    """What makes traces, if they are wanted.

    Raises:
        ModuleNotFoundError: they are, and the extra is not there.
    """
    if settings.traces_endpoint is None:
        return None
    from resroute.telemetry.otlp import make_otlp_tracer

    return make_otlp_tracer(
        settings.traces_endpoint,
        sample_ratio=settings.traces_sample_ratio,
        max_per_second=settings.traces_max_per_second,
        max_queued=settings.traces_max_queued,
    )


def _cannot_start(why: Exception) -> int:
    complain(str(why))
    return CANNOT_START


def _report_ceiling(error: OSError | None) -> None:
    if error is None:
        _log.info("the highest revision is kept again")
    else:
        _log.error("the highest revision cannot be kept", reason=error.strerror, path=error.filename)


async def _serve_until_told(
    router: Router,
    ceiling: RevisionCeiling | None,
    reread: Callable[[], None] | None,
    manager: ServiceManager,
    access: Access | None,
) -> None:
    had_terminal = sys.stderr.isatty()
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if reread is not None else [])]
    async with trio.open_nursery() as nursery:
        if reread is not None:  # what Trio puts back before the drain: a SIGHUP must not cut that short
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with trio.open_signal_receiver(*numbers) as signals:
            at = await nursery.start(serve, router, ceiling, access)
            _settle_garbage_collector()
            click.echo(f"resroute listens on {at.url} (admin pages on {at.admin_url})", err=True)
            if router.settings.data_dir is None:
                _log.info("the audit log is in memory, and ends with the router: there is no data_dir")
            await manager.tell_ready(at.url)
            async for number in signals:
                # a terminal that closes sends SIGHUP, too, and whoever closed it wants no router left behind
                if number != signal.SIGHUP or reread is None or (had_terminal and not sys.stderr.isatty()):
                    break
                await manager.tell_reloading()
                reread()
                await manager.tell_ready(at.url)
        # Trio has put back what a second SIGTERM does; the same for Ctrl-C, instead of a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        await manager.tell_stopping()
        await router.drain()
        nursery.cancel_scope.cancel()


def _shown(host: str, listeners: list[trio.SocketListener]) -> str:
    return show_address(host, listeners[0].socket.getsockname()[1])


def _settle_garbage_collector() -> None:
    """Have the collector leave alone what does not change, and hold the loop rarely.

    What was made so far lives as long as the process. A full collection looks at every session and takes some 100 ms with
    ten thousand of them; sessions and calls leave no cycles behind, so hardly anything waits for one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2000, 5, 1000)
