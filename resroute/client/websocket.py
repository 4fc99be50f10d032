"""WebSocket on Trio, the client's side: the only module of the SDK that knows a WebSocket library.

trio-websocket has ways of its own, and this module is where they end: it never notices a stream that ends within the
handshake, nor a refusal that only such an end completes, keeps the socket when the peer breaks the protocol, waits for
ever for a silent peer's goodbye, and lets errors of wsproto and h11 through.
"""

import logging
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from resroute.client.address import Address, parse_url
from resroute.client.connection import SUBPROTOCOLS, Connection
from resroute.client.dialing import CLOSING_SECONDS, NO_ANSWER, OPENING_SECONDS, open_stream
from resroute.client.nurseries import open_transparent_nursery
from resroute.client.tokens import check_token
from resroute.errors import ConnectionFailed, ConnectionLost, connection_lost

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Above whatever a router delivers, also one whose ``max_message_bytes`` was raised."""

QUEUED_MESSAGES = 16
"""Read ahead of us by the library. While its queue is full it answers no Ping."""

_RECEIVE_BYTES = 64 * 1024
_MAX_REFUSAL_BYTES = 16 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})\b")
_ABNORMAL = 1006  # RFC 6455, section 7.4.1: never sent; the end came without a Close

_log = logging.getLogger("resroute.client")


def _headers(token: str | None) -> list[tuple[bytes, bytes]]:
    check_token(token)
    if token is None:
        return []
    return [(b"Authorization", b"Bearer " + token.encode())]


@asynccontextmanager
async def open_websocket(
    url: str, *, token: str | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncGenerator[Connection]:
    """Connect to a router, and close the connection at the end of the block.

    Raises:
        ConnectionFailed: nobody answers in time, or not as a router does.
        ValueError: the URL or the token cannot be one.
    """
    address = parse_url(url)
    if ssl_context is not None and not address.is_secure:
        raise ValueError("an ssl_context goes with a wss:// URL")
    headers = _headers(token)
    stream = await open_stream(address, ssl_context)
    async with _open_over(stream, address, headers) as connection:
        yield connection


@asynccontextmanager
async def open_websocket_over(
    stream: trio.abc.Stream, *, url: str = "ws://localhost/", token: str | None = None
) -> AsyncGenerator[Connection]:
    """The same over a stream that leads to a router already. The stream is closed at the end.

    Args:
        url: what to call the router in the handshake; nothing is looked up.
    """
    async with _open_over(stream, parse_url(url), _headers(token)) as connection:
        yield connection


@asynccontextmanager
async def _open_over(
    stream: trio.abc.Stream, address: Address, headers: list[tuple[bytes, bytes]]
) -> AsyncGenerator[Connection]:
    try:
        async with open_transparent_nursery() as nursery:
            watched = _Watched(stream)
            websocket, carrying = await nursery.start(_carry, watched, address, headers)
            # who cancels the block does not take the reader away that is to receive the peer's goodbye
            carrying.shield = True
            connection = _WebSocket(websocket, watched)
            try:
                yield connection
            finally:
                with trio.move_on_after(CLOSING_SECONDS, shield=True):
                    await connection.aclose()
                carrying.cancel()
    finally:
        # the library forgets its stream after some errors
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await trio.aclose_forcefully(stream)


async def _carry(
    stream: "_Watched",
    address: Address,
    headers: list[tuple[bytes, bytes]],
    *,
    task_status: trio.TaskStatus[tuple[WebSocketConnection, trio.CancelScope]],
) -> None:
    """Shake hands, then hold the task in which the library reads; its failures end the connection, and nothing else.

    It tells the connection, and the scope to cancel when the task is to end.
    """
    websocket: WebSocketConnection | None = None
    failure = ""
    status: int | None = None
    retry_after: float | None = None
    cause: Exception | None = None
    try:
        async with open_transparent_nursery() as nursery:
            with trio.move_on_after(OPENING_SECONDS) as opening:
                stream.when_ended = opening.cancel
                websocket = await wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # any stream does
                    address.host_header,
                    address.target,
                    subprotocols=SUBPROTOCOLS,
                    extra_headers=headers,
                    message_queue_size=QUEUED_MESSAGES,
                    max_message_size=MAX_MESSAGE_BYTES,
                    receive_buffer_size=_RECEIVE_BYTES,
                )
            if websocket is None:
                late = trio.current_time() >= opening.deadline
                failure = NO_ANSWER if late else "the peer closed the connection, or does not speak WebSocket"
                if (refusal := _refusal_in(stream.said)) is not None:
                    status, retry_after, failure = refusal
                nursery.cancel_scope.cancel()
            else:
                stream.stop_keeping()
                task_status.started((websocket, nursery.cancel_scope))
    except ConnectionRejected as rejected:
        status, retry_after = rejected.status_code, _retry_after(rejected.headers)
        failure = _refused(status, rejected.body or b"")
    except Exception as error:
        # whatever the libraries below did not foresee (wsproto's and h11's errors come through) ends this connection
        if websocket is None:
            failure, cause = "the peer does not speak WebSocket", error
        else:
            _log.debug("websocket_failed", exc_info=error)
    if failure:
        raise ConnectionFailed(address.url, failure, status, retry_after) from cause


def _refused(status: int, body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    return f"refused with HTTP {status}" + (f": {text[:200]}" if text else "")


def _refusal_in(said: bytes | bytearray) -> tuple[int, float | None, str] | None:
    """Status, Retry-After and words of an HTTP response that has no end of its own, or did not come to it."""
    head, separator, body = bytes(said).partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.match(line)
    if status is None or not separator:
        return None
    headers = [(name.strip(), value.strip()) for name, _, value in (each.partition(b":") for each in lines)]
    return int(status[1]), _retry_after(headers), _refused(int(status[1]), body)


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Retry-After in seconds, RFC 9110, section 10.2.3. A date is not looked at: clocks differ."""
    said = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return float(said) if said.isdigit() and len(said) <= 9 else None


class _WebSocket:
    """See :class:`resroute.client.connection.Connection`."""

    def __init__(self, websocket: WebSocketConnection, stream: "_Watched") -> None:
        self._websocket = websocket
        self._stream = stream

    @property
    def subprotocol(self) -> str | None:
        return self._websocket.subprotocol

    @property
    def heard_at(self) -> float:
        return self._stream.heard_at

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_message(text)
        except ConnectionClosed:
            raise self._lost() from None

    async def receive(self) -> str:
        try:
            message = await self._websocket.get_message()
        except ConnectionClosed:
            raise self._lost() from None
        if isinstance(message, bytes):
            raise ConnectionLost(reason="the router sent a binary message")
        return message

    async def aclose(self) -> None:
        await self._websocket.aclose()

    def _lost(self) -> ConnectionLost:
        closed = self._websocket.closed
        if closed is None or closed.code == _ABNORMAL:
            return ConnectionLost(reason="the connection broke")
        return connection_lost(closed.code, closed.reason or "")


class _Watched(trio.abc.Stream):
    """A stream that tells when it has ended, and when something last arrived.

    The library does not: it misses an end while it waits for the handshake's answer, and shows nobody the peer's Pings.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.when_ended: Callable[[], None] = lambda: None
        self.heard_at = trio.current_time()
        self.said = bytearray()
        """What has arrived, up to a bound and :meth:`stop_keeping`."""
        self._keeps = True
        self._stream = stream

    def stop_keeping(self) -> None:
        """Drop ``said``, and keep nothing more of what arrives."""
        self._keeps = False
        self.said.clear()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.when_ended()
            raise
        self.heard_at = trio.current_time()
        if self._keeps:
            self.said += data[: _MAX_REFUSAL_BYTES - len(self.said)]
        if not data:
            self.when_ended()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.when_ended()
        await self._stream.aclose()
