"""HTTP/1.1 to one router's admin API: one request at a time, each answered in pieces and within bounds.

Nothing is ever followed elsewhere, so that a token goes to the host it is for and to no other.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import h11
import trio

from resroute.cli.remote.connection import Connection, Request, keep_alive
from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.address import Address
from resroute.client.dialing import open_stream
from resroute.errors import ConnectionLost


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
        self._idle: Connection | None = None

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

    async def _ask_again(self, connection: "Connection", request: Request) -> "Answer | None":
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

    async def _ask_over(self, connection: "Connection", request: Request) -> "Answer":
        head = None
        try:
            head = await connection.ask(self._lines(request), request)
        finally:
            if head is None:
                await connection.aclose()
        return Answer(connection, head, self._keep)

    async def _connect(self) -> "Connection":
        stream = await self._dial(self.address)
        keep_alive(stream)
        return Connection(stream, self.address.url)

    def _keep(self, connection: "Connection") -> None:
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
        self, connection: "Connection", head: h11.Response, keep: "Callable[[Connection], None]"
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
