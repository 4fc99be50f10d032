"""How a client comes to be: a connection, a session that runs over it, and the facade."""

import math
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from resroute.client.client import Client
from resroute.client.connection import Connection
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.results import read_session_info
from resroute.client.session import Session
from resroute.client.websocket import open_websocket, open_websocket_over
from resroute.errors import ConnectionLost

GREETING_SECONDS = 10.0
"""How long a router may take for the first answer."""


@asynccontextmanager
async def open_client(
    url: str, *, token: str | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[Client]:
    """Connect to a router.

    What the block raises leaves it as it is, in no exception group. A connection that ends makes every call fail with
    :class:`resroute.ConnectionLost`, at once, but does not end the block: see :meth:`resroute.Client.wait_closed`.
    Leaving the block sends what was said already and closes the connection, in a few seconds even if the router is
    silent.

    Args:
        url: such as ``ws://localhost:8765/``, or ``wss://`` for TLS.
        token: a bearer token.
        ssl_context: for TLS other than with the system's certificates.

    Raises:
        ConnectionFailed: nobody answers in time, or not as a router does.
        ConnectionLost: the router closed the connection at once; its code says why.
        ValueError: the URL or the token cannot be one.
    """
    async with open_websocket(url, token=token, ssl_context=ssl_context) as connection:
        async with _open_on(connection) as client:
            yield client


@asynccontextmanager
async def open_client_over(
    transport: trio.abc.Stream | Connection, *, url: str = "ws://localhost/", token: str | None = None
) -> AsyncGenerator[Client]:
    """Be a client over something that leads to a router already; see :func:`open_client`.

    Args:
        transport: a stream, over which the WebSocket handshake is done, or a connection that needs none. It is closed
            at the end.
        url: what to call the router in the handshake; nothing is looked up.
        token: a bearer token, for the handshake.
    """
    if not isinstance(transport, trio.abc.Stream):
        async with _open_on(transport) as client:
            yield client
        return
    async with open_websocket_over(transport, url=url, token=token) as connection:
        async with _open_on(connection) as client:
            yield client


@asynccontextmanager
async def _open_on(connection: Connection) -> AsyncGenerator[Client]:
    session = Session(connection)
    async with open_transparent_nursery() as nursery:
        nursery.start_soon(session.run)
        try:
            yield await _greet(session)
        finally:
            await session.aclose()


async def _greet(session: Session) -> Client:
    """Learn the router's limits, which also shows that it takes this session."""
    with trio.move_on_after(GREETING_SECONDS) as greeting:
        limits = (await session.request("session.info", {}, read_session_info)).limits
        session.max_message_bytes = limits.get("max_message_bytes", math.inf)
        return Client(session, max_timeout_seconds=limits.get("max_timeout_seconds", math.inf))
    assert greeting.cancelled_caught
    raise ConnectionLost(reason="the router does not answer")
