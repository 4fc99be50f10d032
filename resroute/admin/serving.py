"""Hypercorn, serving the admin pages in somebody else's nursery."""

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from resroute.admin.access import Access
from resroute.admin.app import make_app
from resroute.admin.connection import Connection
from resroute.admin.description import Description
from resroute.admin.logins import Logins
from resroute.admin.rendering import Templates
from resroute.admin.room import Room
from resroute.admin.sampling import Sampler
from resroute.admin.sessions import AdminSessions
from resroute.admin.view import Administrable

MAX_CONNECTIONS = 48
"""At a time: the process must have descriptors for sessions first of all."""

EXPIRE_SECONDS = 20.0
"""Logins whose time is over are looked for this often; no request gets through with one before."""

_log = structlog.get_logger("resroute.admin")


async def serve_admin(
    router: Administrable,
    listeners: Sequence[trio.SocketListener],
    access: Access | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the admin pages of ``router`` until cancelled.

    Args:
        router: whose pages they are.
        listeners: where; closed at the end.
        access: lets administrators in. By default everybody who is on this machine is one.

    Has started once it accepts connections. Requests that are under way when it is
    cancelled are cut off. Whatever goes wrong on a connection ends that connection only: Hypercorn's own server
    would end with the first one that confuses it, and the router with it.
    """
    sessions = AdminSessions(router)
    access = access or Access()
    access.is_local = all(map(_is_loopback, listeners))
    templates = Templates(router.settings)
    description = Description(router.settings, access, templates)
    sampler = Sampler(router)
    app = ASGIWrapper(make_app(router, sessions, access, templates, description, sampler))
    config = Config()
    config.include_server_header = False
    config.keep_alive_timeout = router.settings.handshake_timeout_seconds
    config.ssl_handshake_timeout = router.settings.handshake_timeout_seconds
    config.errorlog = logging.getLogger("hypercorn.error")  # given one, it adds no handler of its own
    context = WorkerContext(None)

    room = Room(MAX_CONNECTIONS)

    async def serve_connection(accepted: trio.SocketStream) -> None:
        try:
            connection = Connection(
                app,
                config,
                context,
                accepted,
                send_seconds=router.settings.write_timeout_seconds,
                tls=access.tls,
            )
        except OSError:  # the peer has gone
            await trio.aclose_forcefully(accepted)
            return
        if not room.enter(connection):
            await trio.aclose_forcefully(accepted)
            return
        try:
            await connection.run()
        except* Exception:
            _log.warning("an admin connection failed", exc_info=True)
        finally:
            room.leave(connection)

    async with trio.open_nursery() as nursery:
        await nursery.start(sessions.run)
        nursery.start_soon(_guarded, partial(_expire_logins, access.logins))
        nursery.start_soon(_guarded, sampler.run)
        nursery.start_soon(_guarded, partial(_prepare, templates, description))
        await nursery.start(trio.serve_listeners, serve_connection, listeners)
        task_status.started()


async def _guarded(task: Callable[[], Awaitable[None]]) -> None:
    """Have a bug in what goes on beside the pages cost that alone, and not the router."""
    try:
        await task()
    except Exception:
        _log.exception("the admin server goes on without a part of it")


async def _prepare(templates: Templates, description: Description) -> None:
    """What takes long to make, and is made once."""
    await templates.prepare()
    await description.prepare()


async def _expire_logins(logins: Logins) -> None:
    while True:
        await trio.sleep(EXPIRE_SECONDS)
        logins.expire()


def _is_loopback(listener: trio.SocketListener) -> bool:
    address = listener.socket.getsockname()
    return listener.socket.family in (socket.AF_INET, socket.AF_INET6) and (
        ipaddress.ip_address(address[0]).is_loopback
    )
