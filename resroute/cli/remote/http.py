"""HTTP/1.1 to one router's admin API: one request at a time, each answered in pieces and within bounds.

Nothing is ever followed elsewhere, so that a token goes to the host it is for and to no other.
"""

import select
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

import attrs
import h11
import trio

from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.address import Address
from resroute.client.dialing import CLOSING_SECONDS, open_stream
from resroute.errors import ConnectionLost

MAX_HEAD_BYTES = 64 * 1024
_RECEIVE_BYTES = 64 * 1024

_IDLE_SECONDS = 1.0
"""A connection that has been idle for longer may be one that the router is about to close."""

_KEEP_ALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
"""Some seconds and a number: how the system finds out that a silent peer is not there any more, where it can be told so."""

_NO_ANSWER = "it closed the connection before it had answered"
_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen(kw_only=True)
class Request:
    """What is asked for."""

    verb: str
    target: str
    """Below the path of the API's URL."""
    accept: str
    body: bytes | None = None
    """JSON."""
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Http:
    """Makes requests of one place. What is left open is closed by :meth:`aclose`.

    Args:
        address: where; its target is put before that of each request.
        token: shown with each request.
        dial: opens a stream to there; may raise :class:`resroute.ConnectionFailed`.
    """

    def __init__(
        self,
        address: Address,
        token: str | None = None,
        *,
        dial: Callable[[Address], Awaitable[trio.abc.Stream]] = open_stream,
    ) -> None:
        self.address = address
        self.has_token = token is not None
        self._token = token
        self._dial = dial
        self._idle: _Connection | None = None

    async def connect(self) -> None:
        """Have a connection ready for the next request.

        Raises:
            ConnectionFailed: there is none to be had.
        """
        self._idle = await self._connect()

    async def ask(self, request: Request) -> "Answer":
        """Make a request, and wait for the head of its answer, which is to be closed. The caller bounds the time.

        Raises:
            ConnectionFailed: there is no connection to be had, or what answers does not speak HTTP.
            ConnectionLost: the connection has ended before the answer.
        """
        connection, self._idle = self._idle, None
        if connection is not None:
            answer = await self._ask_again(connection, request)
            if answer is not None:
                return answer
        return await self._ask_over(await self._connect(), request)

    async def aclose(self) -> None:
        """Close what is open."""
        if self._idle is not None:
            await self._idle.aclose()
            self._idle = None

    async def _ask_again(self, connection: "_Connection", request: Request) -> "Answer | None":
        """Over a connection that was there. None: it was there no more, and nothing was done."""
        if not connection.may_be_used(request):
            await connection.aclose()
            return None
        try:
            return await self._ask_over(connection, request)
        except ConnectionLost:
            # it was closed as this was sent; what changes nothing may be asked for again
            if connection.is_new or connection.has_heard or request.verb != "GET":
                raise
            return None

    async def _ask_over(self, connection: "_Connection", request: Request) -> "Answer":
        head = None
        try:
            head = await connection.ask(self._lines(request), request)
        finally:
            if head is None:
                await connection.aclose()
        return Answer(connection, head, self._keep)

    async def _connect(self) -> "_Connection":
        stream = await self._dial(self.address)
        _keep_alive(stream)
        return _Connection(stream, self.address.url)

    def _keep(self, connection: "_Connection") -> None:
        self._idle = connection

    def _lines(self, request: Request) -> h11.Request:
        headers = {
            "Host": self.address.host_header,
            "Accept": request.accept,
            "Accept-Encoding": "identity",
            "User-Agent": "resroute",
            **request.headers,
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(request.body))
        return h11.Request(
            method=request.verb, target=self.address.target + request.target, headers=list(headers.items())
        )


class Answer:
    """The head of an answer; its body comes in pieces. To be closed, as by an ``async with``.

    Attributes:
        status: of HTTP.
        headers: by their names in lower case.
    """

    def __init__(
        self, connection: "_Connection", head: h11.Response, keep: "Callable[[_Connection], None]"
    ) -> None:
        self.status = head.status_code
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers
        }
        self._connection = connection
        self._keep = keep

    @property
    def content_type(self) -> str:
        """Without its parameters; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def receive(self) -> bytes:
        """The next piece of the body; empty at its end.

        Raises:
            ConnectionLost: it was cut off.
        """
        return await self._connection.receive()

    async def read(self, max_bytes: int) -> bytes:
        """All of the body.

        Raises:
            ConnectionLost: it was cut off.
            NoAdminApi: it is longer than ``max_bytes``.
        """
        body = bytearray()
        while piece := await self.receive():
            body += piece
            if len(body) > max_bytes:
                raise NoAdminApi(self._connection.url, f"its answer is longer than {max_bytes} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Let go of it. Where all of it is here, the next request may go over the same connection."""
        if self._connection.take_next():
            self._keep(self._connection)
        else:
            await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Connection:
    """A connection, on which one request follows another."""

    def __init__(self, stream: trio.abc.Stream, url: str) -> None:
        self.url = url
        self.is_new = True
        self.has_heard = False
        self._has_ended = False
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._idle_since = trio.current_time()

    def may_be_used(self, request: Request) -> bool:
        """Whether it is likely to be there still, and no harm if it is not."""
        if not self.is_new and request.verb != "GET":
            return False
        return trio.current_time() - self._idle_since < _IDLE_SECONDS and not _is_readable(self._stream)

    async def ask(self, lines: h11.Request, request: Request) -> h11.Response:
        """Send a request, and receive the head of its answer."""
        self.has_heard = False
        text = self._http.send(lines) or b""
        if request.body:
            text += self._http.send(h11.Data(data=request.body)) or b""
        text += self._http.send(h11.EndOfMessage()) or b""
        # who refuses a request may say so and close before all of it is there
        with suppress(*_BROKEN):
            await self._stream.send_all(text)
        while True:
            try:
                event = await self._next_event()
            except h11.RemoteProtocolError as error:
                if self._has_ended:
                    raise ConnectionLost(reason=_NO_ANSWER) from error
                raise NoAdminApi(self.url, f"what answers there does not speak HTTP: {error}") from error
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionLost(reason=_NO_ANSWER)

    async def receive(self) -> bytes:
        """See :meth:`Answer.receive`."""
        while True:
            try:
                event = await self._next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionLost(reason="its answer was cut off") from error
            if isinstance(event, h11.Data):
                return bytes(event.data)
            return b""

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
            except _BROKEN as error:
                raise ConnectionLost(reason="the connection broke") from error
            self._has_ended = not data
            self.has_heard = self.has_heard or bool(data)
            self._http.receive_data(bytes(data))

    def take_next(self) -> bool:
        """Get ready for another request. False: there can be none."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.is_new = False
        self._idle_since = trio.current_time()
        return True

    async def aclose(self) -> None:
        """Close it. Who does not say goodbye in time is not waited for."""
        with trio.move_on_after(CLOSING_SECONDS, shield=True):
            await trio.aclose_forcefully(self._stream)


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, trio.SocketStream) else None


def _keep_alive(stream: trio.abc.Stream) -> None:
    """Have the system find out if the peer goes without a word while its answer takes long."""
    connection = _socket_of(stream)
    if connection is None:
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE:
            if (option := getattr(socket, name, None)) is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_readable(stream: trio.abc.Stream) -> bool:
    """Whether something has arrived that nobody has asked for, which is its end."""
    connection = _socket_of(stream)
    if connection is None:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
