"""A client of the router that knows what the protocol's page says and nothing else.

It shares no line with the router or the SDK: another WebSocket library, the standard library's JSON. It is strict: whatever
the page does not allow a router to send fails the test that reads it.
"""

import json
import math
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

Json = dict[str, Any]
Note = Callable[[Literal["said", "heard", "left"], str], None]
"""Told of every message, before it is sent and after it is received, and of the end."""

CLOSING_SECONDS = 2.0


class Refused(Exception):
    """The answer was an error."""

    def __init__(self, error: Json, meta: Json) -> None:
        super().__init__(error)
        self.code: int = error["code"]
        self.data: Json = error.get("data", {})
        self.is_routers = meta.get("origin") == "router"

    @property
    def type(self) -> str | None:
        """The name of the error, if it is the router's own."""
        return self.data.get("type") if self.is_routers else None


class Disconnected(Exception):
    """The connection ended before the answer."""


class Pending:
    """A request that was sent, and its answer once it is there."""

    def __init__(self) -> None:
        self.message: Json | None = None
        self.answered_at = math.inf
        self._settled = trio.Event()

    def settle(self, message: Json | None) -> None:
        """Take the answer; None if none will come."""
        self.message = message
        if message is not None:
            self.answered_at = trio.current_time()
        self._settled.set()

    @property
    def is_settled(self) -> bool:
        """Whether the answer is there, or the connection has ended."""
        return self._settled.is_set()

    async def wait_settled(self) -> None:
        """Wait until the answer is there, or the connection has ended."""
        await self._settled.wait()

    @property
    def refused(self) -> Refused | None:
        """The answer, if it is there and an error."""
        if self.message is None or "error" not in self.message:
            return None
        return Refused(self.message["error"], self.message.get("meta", {}))

    async def wait(self) -> Any:
        """Wait for the result.

        Raises:
            Refused: the answer is an error.
            Disconnected: there is none.
        """
        await self._settled.wait()
        if self.message is None:
            raise Disconnected
        if (refused := self.refused) is not None:
            raise refused
        return self.message["result"]

    async def wait_refused(self) -> Refused:
        """Wait for an answer that must be an error."""
        await self._settled.wait()
        assert self.refused is not None, f"an error was due, not {self.message}"
        return self.refused


class Session:
    """One connection to a router: requests one makes, and requests and notifications that come.

    Attributes:
        close_code: what the router closed with; None if it did not say, or the connection is open.
        closed: set once the connection has ended.
    """

    def __init__(self, connection: WebSocketConnection, note: Note) -> None:
        self.close_code: int | None = None
        self.closed = trio.Event()
        self._connection = connection
        self._note = note
        self._last_id = 0
        self._tag = secrets.token_hex(4)
        self._pending: dict[int, Pending] = {}
        self._requests: deque[Json] = deque()
        self._notices: deque[Json] = deque()
        self._arrived = trio.Event()

    # --- asking ---------------------------------------------------------------------------------------------------

    async def start(self, method: str, /, **params: Any) -> Pending:
        """Send a request; its answer can be waited for later."""
        self._last_id += 1
        request_id, pending = self._last_id, Pending()
        self._pending[request_id] = pending
        try:
            await self.send({"id": request_id, "method": method, "params": params, "meta": {}})
        except ConnectionClosed:
            self._pending.pop(request_id, None)
            pending.settle(None)
        return pending

    async def ask(self, method: str, /, **params: Any) -> Any:
        """Send a request and wait for its result."""
        return await (await self.start(method, **params)).wait()

    async def call(self, method: str, params: Json | None = None, **target: Any) -> Any:
        """Call whoever owns a ``resource_id``, or some instance of a ``service_name``."""
        return await (await self.start_call(method, params, **target)).wait()

    async def start_call(self, method: str, params: Json | None = None, **target: Any) -> Pending:
        """The same, without waiting for the answer. Each call has a tag of its own; those of a session ascend."""
        params = {"tag": f"{self._tag}-{self._last_id + 1:06}", **(params or {})}
        return await self.start("route.call", method=method, params=params, **target)

    async def become(self, service_name: str, *resource_ids: str, **identity: Any) -> str:
        """Be an instance that owns these resources. Returns its id."""
        instance = await self.ask("instance.register", service_name=service_name, **identity)
        if resource_ids:
            await self.ask("resource.register", resource_ids=resource_ids)
        instance_id: str = instance["instance_id"]
        return instance_id

    # --- answering ------------------------------------------------------------------------------------------------

    async def next_request(self) -> Json:
        """Wait for the next request that the router delivers."""
        return await self._next(self._requests)

    async def next_notice(self) -> Json:
        """Wait for the next notification."""
        return await self._next(self._notices)

    async def _next(self, arrived: deque[Json]) -> Json:
        while not arrived:
            if self.closed.is_set():
                raise Disconnected
            await self._arrived.wait()
        return arrived.popleft()

    async def answer(self, request: Json, result: Any) -> None:
        """Answer a request with a result."""
        await self.send({"id": request["id"], "result": result})

    async def send(self, message: Json) -> None:
        """Send a message."""
        text = json.dumps({"jsonrpc": "2.0", **message})
        self._note("said", text)
        await self._connection.send_message(text)

    # --- the connection -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the connection has ended."""
        try:
            while True:
                text = await self._connection.get_message()
                assert isinstance(text, str)
                self._note("heard", text)
                self._take(json.loads(text))
        except ConnectionClosed as ended:
            if ended.reason is not None and ended.reason.code != 1006:  # which stands for none
                self.close_code = ended.reason.code
        finally:
            self._note("left", "")
            self.closed.set()
            self._tell()
            for pending in self._pending.values():
                pending.settle(None)
            self._pending.clear()

    def _take(self, message: Json) -> None:
        assert message["jsonrpc"] == "2.0", message
        if "method" in message:
            assert "result" not in message and "error" not in message, message
            assert isinstance(message.get("params", {}), dict | list), message
            (self._requests if "id" in message else self._notices).append(message)
            self._tell()
            return
        assert ("result" in message) != ("error" in message), message
        pending = self._pending.pop(message["id"], None)
        assert pending is not None, f"an answer that nobody waits for, or the second one: {message}"
        if message.get("meta", {}).get("origin") == "router":
            data = message["error"]["data"]
            assert isinstance(data["type"], str) and data["trace_id"], message
        pending.settle(message)

    def _tell(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    async def aclose(self) -> None:
        """Close with 1000, in bounded time."""
        if not self.closed.is_set():
            self._note("left", "")
        with trio.move_on_after(CLOSING_SECONDS):
            await self._connection.aclose()


@asynccontextmanager
async def open_nursery() -> AsyncGenerator[trio.Nursery]:
    """A nursery that is cancelled at the end of its block. A single exception leaves it in no group."""
    alone: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        alone = group.exceptions[0]
    if alone is not None:
        raise alone


@asynccontextmanager
async def open_session(
    url: str, note: Note = lambda kind, text: None, *, path: str = "/"
) -> AsyncGenerator[Session]:
    """Connect to a router; at the end close the connection, or cut it off if the block fails."""
    authority = url.removeprefix("ws://").rstrip("/")
    host, port = authority.rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        has_said_goodbye = False
        try:
            async with open_nursery() as nursery:
                connection = await wrap_client_stream(nursery, stream, authority, path)
                session = Session(connection, note)
                nursery.start_soon(session.run)
                yield session
                has_said_goodbye = True
                await session.aclose()
        except LocalProtocolError:
            # the library cannot take a Ping after it has sent its Close
            if not has_said_goodbye:
                raise
