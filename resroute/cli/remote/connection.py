"""One connection to an admin API, on which one request follows another, by h11."""

import select
import socket
from collections.abc import Mapping
from contextlib import suppress

import attrs
import h11
import trio

from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.dialing import CLOSING_SECONDS
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


class Connection:
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


def keep_alive(stream: trio.abc.Stream) -> None:
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
