"""Hypercorn, serving the admin pages in somebody else's nursery."""

import ipaddress
import logging
import socket
from collections.abc import Sequence

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from resroute.admin.app import make_app
from resroute.admin.view import RouterView

_log = structlog.get_logger("resroute.admin")


async def serve_admin(
    router: RouterView,
    listeners: Sequence[trio.SocketListener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the admin pages of ``router`` until cancelled.

    Has started once it accepts connections. Closes the listeners at the end. Requests that are under way when it is
    cancelled are cut off. Whatever goes wrong on a connection ends that connection only: Hypercorn's own server
    would end with the first one that confuses it, and the router with it.
    """
    app = ASGIWrapper(make_app(router, loopback_only=all(map(_is_loopback, listeners))))
    config = Config()
    config.include_server_header = False
    config.errorlog = logging.getLogger("hypercorn.error")  # given one, it adds no handler of its own
    context = WorkerContext(None)

    async def serve_connection(stream: trio.SocketStream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(_close_when_cancelled, stream)
                # annotated for TLS only; it serves plain streams too
                await TCPServer(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
                nursery.cancel_scope.cancel()
        except* Exception:
            _log.warning("an admin connection failed", exc_info=True)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve_connection, listeners)
        task_status.started()


async def _close_when_cancelled(
    stream: trio.SocketStream, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Hypercorn shields its sends, without a bound: who reads nothing must not hold up the end of the router."""
    task_status.started()
    try:
        await trio.sleep_forever()
    finally:
        stream.socket.close()


def _is_loopback(listener: trio.SocketListener) -> bool:
    address = listener.socket.getsockname()
    return listener.socket.family in (socket.AF_INET, socket.AF_INET6) and (
        ipaddress.ip_address(address[0]).is_loopback
    )
