"""How a client comes to be: connections, sessions that run over them, and the facade."""

import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trio

from resroute.client.address import parse_url
from resroute.client.client import Client
from resroute.client.connection import Connection
from resroute.client.dialing import CLOSING_SECONDS
from resroute.client.link import Dial, Link
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.reconnecting import Reconnecting, ReconnectPolicy
from resroute.client.retrying import RetryPolicy
from resroute.client.tokens import Token, Tokens
from resroute.client.websocket import open_websocket, open_websocket_over

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from resroute.client.tracing import ClientTracing

DEFAULT_RECONNECT = ReconnectPolicy()
DEFAULT_RETRY = RetryPolicy()

Transport = trio.abc.Stream | Connection


@asynccontextmanager
async def open_client(
    url: str | Sequence[str],
    *,
    token: Token | None = None,
    ssl_context: ssl.SSLContext | None = None,
    reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    keep_trying: bool = False,
    tracer: "Tracer | None" = None,
) -> AsyncGenerator[Client]:
    """Connect to a router, and stay connected for as long as the block runs.

    When the connection ends, the client connects again, after a pause of chance that becomes longer with each attempt that
    fails. Meanwhile whatever is asked waits, as long as the deadline around it allows (30 seconds if there is none). What was
    in flight fails with :class:`resroute.ConnectionLost`, or is made again where that is safe: see
    :meth:`resroute.Client.call`.

    It is over when the router, or an administrator, does not want this client back, or another one has taken its place:
    everything then raises :class:`resroute.TokenRejected`, :class:`resroute.AccessDenied`,
    :class:`resroute.SessionEnded` or :class:`resroute.SessionReplaced`. That does not end the block: see
    :meth:`resroute.Client.wait_closed`.

    What the block raises leaves it as it is, in no exception group. Leaving the block sends what was said already and
    closes the connection, in a few seconds even if the router is silent.

    Args:
        url: such as ``ws://localhost:8765/``, or ``wss://`` for TLS. Of several each is tried in turn.
        token: a bearer token. Or a function, async or not, that gives a fresh one: it is asked for each connection, and each
            time that the router says that the last one ends soon. What it raises fails that attempt.
        ssl_context: for TLS other than with the system's certificates.
        reconnect: how long the pauses are. None: never connect again.
        retry: how calls are made again, and what else the router refuses for a while is asked again. None: never.
        keep_trying: go on trying, too, where there has been no connection yet. Otherwise each URL is tried once, and a
            first connection that cannot be had is raised.
        tracer: of OpenTelemetry's. With one, each request has a span, whose context goes along with it; and so has each call
            that an instance of this client answers, below that of its caller. Needs the extra ``otel``.

    Raises:
        ConnectionFailed: nobody answers in time, or not as a router does; of several URLs, what the first one met.
        ConnectionLost: the router closed the connection at once; its code says why.
        RouterError: the router refuses this session.
        ValueError: a URL or the token cannot be one.
        TypeError: they are no text.
    """
    urls = _texts_of(url)
    tokens = Tokens(token)
    if not urls:
        raise ValueError("a client needs at least one URL of a router")
    for each in urls:
        if ssl_context is not None and not parse_url(each).is_secure:
            raise ValueError("an ssl_context goes with a wss:// URL")
        parse_url(each)

    dial = partial(_dial_url, tokens, ssl_context)
    plan = Reconnecting(urls, reconnect, random.random, renews_tokens=tokens.are_fresh)
    async with _open_on(
        Link(dial, plan, tokens, retry=retry, keep_trying=keep_trying, tracing=_tracing(tracer))
    ) as client:
        yield client


@asynccontextmanager
async def open_client_over(
    transport: Transport | Callable[[], Awaitable[Transport]],
    *,
    url: str = "ws://localhost/",
    token: Token | None = None,
    reconnect: ReconnectPolicy | None = DEFAULT_RECONNECT,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    keep_trying: bool = False,
    tracer: "Tracer | None" = None,
) -> AsyncGenerator[Client]:
    """Be a client over something that leads to a router already; see :func:`open_client`.

    Args:
        transport: a stream, over which the WebSocket handshake is done, or a connection that needs none. It is closed
            at the end. Or a function that opens such a one: it is called again for each connection. May raise
            :class:`resroute.ConnectionFailed`. Without such a function the end of the connection is the end.
        url: what to call the router in the handshake; nothing is looked up.
        token: a bearer token, for the handshake.
        reconnect: as for :func:`open_client`, and so are all others.
    """
    tokens = Tokens(token)
    parse_url(url)
    dial: Dial
    if callable(transport):
        dial = partial(_dial_through, transport, tokens)
    else:
        dial, reconnect = partial(_dial_once, transport, tokens), None
    plan = Reconnecting([url], reconnect, random.random, renews_tokens=tokens.are_fresh)
    async with _open_on(
        Link(dial, plan, tokens, retry=retry, keep_trying=keep_trying, tracing=_tracing(tracer))
    ) as client:
        yield client


def _texts_of(url: object) -> list[str]:
    urls: list[str] = []
    for each in url if isinstance(url, Iterable) and not isinstance(url, str) else (url,):
        if not isinstance(each, str):
            raise TypeError(f"the URL of a router is text, and so is each of several, not {url!r}")
        urls.append(each)
    return urls


def _tracing(tracer: "Tracer | None") -> "ClientTracing | None":
    if tracer is None:
        return None
    from resroute.client.tracing import ClientTracing

    return ClientTracing(tracer)


@asynccontextmanager
async def _dial_url(
    tokens: Tokens, ssl_context: ssl.SSLContext | None, url: str
) -> AsyncGenerator[Connection]:
    token = await tokens.get(url)
    async with open_websocket(url, token=token, ssl_context=ssl_context) as connection:
        yield connection


@asynccontextmanager
async def _dial_through(
    open_transport: Callable[[], Awaitable[Transport]], tokens: Tokens, url: str
) -> AsyncGenerator[Connection]:
    token = await tokens.get(url)
    async with _dial_over(await open_transport(), token, url) as connection:
        yield connection


@asynccontextmanager
async def _dial_once(transport: Transport, tokens: Tokens, url: str) -> AsyncGenerator[Connection]:
    try:
        token = await tokens.get(url)
    except BaseException:
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await transport.aclose()
        raise
    async with _dial_over(transport, token, url) as connection:
        yield connection


@asynccontextmanager
async def _dial_over(transport: Transport, token: str | None, url: str) -> AsyncGenerator[Connection]:
    if not isinstance(transport, trio.abc.Stream):
        yield transport
        return
    async with open_websocket_over(transport, url=url, token=token) as connection:
        yield connection


@asynccontextmanager
async def _open_on(link: Link) -> AsyncGenerator[Client]:
    async with open_transparent_nursery() as nursery:
        await nursery.start(link.run)
        try:
            yield Client(link)
        finally:
            await link.aclose()
