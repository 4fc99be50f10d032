"""One connection to the admin server: HTTP/1.1 by Hypercorn, with a bound for each wait.

HTTP/2 is not spoken. A connection then is one request at a time, so that the number of connections bounds all that is
under way; and what Hypercorn would do with a request to upgrade is none of anybody's business here.
"""

import ssl
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from resroute.admin.problems import CONTENT_TYPE, Problem, new_trace_id
from resroute.security.throttle import network_of

_VERSIONS = (b"1.0", b"1.1")
_TLS_HANDSHAKE = b"\x16"


class _Stream(trio.abc.HalfCloseableStream):
    """Gives up when the peer reads nothing for long: Hypercorn waits for ever."""

    def __init__(
        self, stream: trio.SocketStream, send_seconds: float, when_stuck: Callable[[], object]
    ) -> None:
        self._stream = stream
        self._send_seconds = send_seconds
        self._when_stuck = when_stuck  # what waits for something else on the connection does not notice it
        self._ahead = b""
        self.socket = stream.socket  # of which Hypercorn asks the addresses
        self.sends_since: float | None = None

    async def peek(self) -> bytes:
        """What comes first, which stays to be received."""
        self._ahead = self._ahead or bytes(await self._stream.receive_some())
        return self._ahead

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends_since = trio.current_time()
        try:
            with trio.move_on_after(self._send_seconds):
                await self._stream.send_all(data)
                return
        finally:
            self.sends_since = None
        self._when_stuck()
        raise trio.BrokenResourceError("the peer reads nothing")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._ahead:
            return await self._stream.receive_some(max_bytes)
        some, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes or len(self._ahead) :]
        return some

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Http(H11Protocol):
    """HTTP/1.1, and what is not that is a problem."""

    @property
    def awaits_peer(self) -> bool:
        """Whether it is for the peer to go on: with a request, or with the rest of one."""
        return self.connection.their_state in (h11.IDLE, h11.SEND_BODY)

    @property
    def has_begun_request(self) -> bool:
        """Whether a part of a request has come that is not enough to say what is asked for."""
        connection = self.connection
        return connection.their_state is h11.IDLE and bool(connection.trailing_data[0].strip())

    async def refuse(self, status: int, detail: str) -> None:
        """Answer what is no request."""
        for event in _refusal(status, detail):
            await self._send_h11_event(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """No other protocol is spoken here."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in _VERSIONS:
            await self._send_error_response(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())
            return
        # without this header, which h11 has seen, a WebSocket is a request like any other
        headers = [(name, value) for name, value in request.headers if name != b"connection"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        await self.refuse(status_code, "this is no request in HTTP/1.1 that can be read here")


def _refusal(status: int, detail: str) -> Sequence[h11.Response | h11.Data | h11.EndOfMessage]:
    """The answer to what is no request."""
    body = Problem(status, detail).text(new_trace_id())
    headers = [
        ("content-type", CONTENT_TYPE),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
        ("date", formatdate(usegmt=True)),
    ]
    return h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()


class Connection(TCPServer):
    """One connection.

    Args:
        app: what answers.
        config: of Hypercorn.
        context: of Hypercorn.
        accepted: the connection as it came.
        send_seconds: what the peer may take to read what is sent in one go.
        tls: to speak TLS with; None: it is not spoken.

    Raises:
        OSError: the peer has gone already.
    """

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        accepted: trio.SocketStream,
        *,
        send_seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._scope = trio.CancelScope()
        self._plain = _Stream(accepted, send_seconds, self._scope.cancel)
        self._is_tls = tls is not None
        stream = (
            self._plain
            if tls is None
            else trio.SSLStream(self._plain, tls, server_side=True, https_compatible=True)
        )
        # annotated for TLS only; it serves plain streams too
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
        family = accepted.socket.family
        self._client = parse_socket_addr(family, accepted.socket.getpeername())
        self._server = parse_socket_addr(family, accepted.socket.getsockname())
        self._http: _Http | None = None  # there once it can begin
        self._turned_at = trio.current_time()
        self.network = network_of(str(accepted.socket.getpeername()[0]))

    @property
    def waited_for_since(self) -> float | None:
        """Since when the peer has kept us waiting; None: it does not."""
        if self._plain.sends_since is not None:
            return self._plain.sends_since
        return self._turned_at if self._http is None or self._http.awaits_peer else None

    def drop(self) -> None:
        """Close it at once."""
        self._plain.socket.close()
        self._scope.cancel()

    async def run(self) -> None:
        """Serve it until it ends."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._close_when_cancelled)
                if await self._shake_hands():
                    await self._serve()
                nursery.cancel_scope.cancel()

    async def _shake_hands(self) -> bool:
        """Whether the two speak TLS, if they are to. Who speaks plain HTTP instead is told so."""
        if not self._is_tls:
            return True
        try:
            with trio.fail_after(self.config.ssl_handshake_timeout):
                first = await self._plain.peek()
                if first.startswith(_TLS_HANDSHAKE):
                    await self.stream.do_handshake()
                    return True
                if first:
                    http = h11.Connection(h11.SERVER)
                    for event in _refusal(HTTPStatus.BAD_REQUEST, "TLS is spoken here: https"):
                        await self._plain.send_all(http.send(event) or b"")
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        await trio.aclose_forcefully(self._plain)
        return False

    async def _serve(self) -> None:
        try:
            async with TaskGroup() as self._task_group:
                wrapped = (
                    self.app,
                    self.config,
                    self.context,
                    self._task_group,
                    ConnectionState({}),
                    self._is_tls,
                    self._client,
                    self._server,
                    self.protocol_send,
                )
                self._http = _Http(*wrapped)
                self.protocol = ProtocolWrapper(*wrapped)
                self.protocol.protocol = self._http
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass  # the peer has gone
        finally:
            await self._close()  # noqa: ASYNC102  # of who is cancelled, _close_when_cancelled closes the socket

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated):
            self._turned_at = trio.current_time()
        await super().protocol_send(event)

    async def _idle_timeout(self) -> None:
        with trio.move_on_after(self.config.keep_alive_timeout) as waiting:
            await self.context.terminated.wait()
        # as Hypercorn does: what has been idle for long is closed, even if something comes meanwhile; sends have a bound
        with trio.CancelScope(shield=True):
            if waiting.cancelled_caught and self._http is not None and self._http.has_begun_request:
                await self._http.refuse(
                    HTTPStatus.REQUEST_TIMEOUT, "the rest of the request did not come in time"
                )
            await self._initiate_server_close()

    async def _close_when_cancelled(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hypercorn shields its sends, without a bound: who reads nothing must not hold up the end of the router."""
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._plain.socket.close()
