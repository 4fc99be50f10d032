"""The router's side of one connection, said word by word by a test, and a real router for whole stories."""

import json
from collections import deque
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Any

import trio
from opentelemetry.trace import Tracer
from trio.testing import memory_stream_pair
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from resroute.client import Client, RetryPolicy, open_client_over
from resroute.client.opening import DEFAULT_RETRY
from resroute.router.router import Router
from resroute.settings import Settings
from resroute.telemetry.tracing import Tracer as RouterTracer

INFO = {
    "session_id": "session-1",
    "router_id": "router-1",
    "protocol": "resroute.v1.ndjson",
    "features": [],
    "subject": "anonymous",
    "roles": ["caller", "instance"],
    "limits": {"max_timeout_seconds": 600, "max_message_bytes": 1024 * 1024},
    "heartbeat": {"interval_seconds": 50_000, "timeout_seconds": 100_000},
    "trace_id": "t",
}

Json = dict[str, Any]

CALLER = {"session_id": "session-2"}
"""Who made a call, in ``meta`` of every call that is delivered."""


class ScriptedRouter:
    """Shakes hands and answers ``session.info`` by itself; all else a test reads and says.

    Attributes:
        frames: the text messages that arrived, after the greeting.
        request: the handshake's.
        close_code: what the client said when it closed.
        pongs: what it has answered Pings with.
        is_silent: it answers no Close.
        stream: its end of it.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        subprotocols: Collection[str] = ("resroute.v1.ndjson", "resroute.v1"),
        refuse: tuple[int, str] | None = None,
        greets: bool = True,
        limits: Json | None = None,
        heartbeat: Json | None = None,
        is_silent: bool = False,
    ) -> None:
        self.frames: list[str] = []
        self.request: Request | None = None
        self.close_code: int | None = None
        self.pongs: list[bytes] = []
        self.is_silent = is_silent
        self._info = INFO | {"limits": limits or INFO["limits"], "heartbeat": heartbeat or INFO["heartbeat"]}
        self.stream = stream
        self._refuse = refuse
        self._greets = greets
        self._protocol = ServerProtocol(
            subprotocols=[Subprotocol(name) for name in subprotocols], select_subprotocol=None
        )
        self._messages: deque[Json] = deque()
        self._some = trio.Event()
        self._reading = trio.CancelScope()
        self.ended = trio.Event()

    def stop_reading(self) -> None:
        """Take nothing any more."""
        self._reading.cancel()

    async def run(self) -> None:
        """Read until the client has gone."""
        try:
            with self._reading:
                await self._read()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.ended.set()
            self._some.set()

    async def _read(self) -> None:
        while data := await self.stream.receive_some(65536):
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    await self._shake_hands(event)
                elif isinstance(event, Frame):
                    await self._take(event)
            await self._flush()
            if self._protocol.handshake_exc is not None:
                break

    async def _shake_hands(self, request: Request) -> None:
        self.request = request
        response = self._protocol.accept(request)
        if self._refuse is not None:
            response = self._protocol.reject(*self._refuse)
        self._protocol.send_response(response)

    async def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.close_code = int.from_bytes(frame.data[:2])
        elif frame.opcode is Opcode.PONG:
            self.pongs.append(bytes(frame.data))
        if frame.opcode is not Opcode.TEXT:
            return
        text = bytes(frame.data).decode()
        for line in text.split("\n"):
            message = json.loads(line)
            if self._greets:
                self._greets = False
                await self.send({"jsonrpc": "2.0", "id": message["id"], "result": self._info})
                return
            self._messages.append(message)
        self.frames.append(text)
        self._some.set()

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        closes = self._protocol.state in (State.CLOSING, State.CLOSED)
        if closes and self.is_silent:
            return
        if data:
            await self.stream.send_all(data)
        if closes and self._protocol.close_expected():
            await self.stream.aclose()

    # --- what tests say -------------------------------------------------------------------------------------------

    async def receive(self) -> Json:
        """The client's next message."""
        while not self._messages:
            assert not self.ended.is_set(), "the client has gone"
            self._some = trio.Event()
            await self._some.wait()
        return self._messages.popleft()

    async def expect(self, method: str) -> Json:
        """The client's next message, which is a request or notification of that method."""
        message = await self.receive()
        assert message.get("method") == method, message
        return message

    async def send(self, *messages: Json) -> None:
        """Say messages, each a line of one text message."""
        await self.send_text("\n".join(json.dumps(message) for message in messages))

    async def send_text(self, text: str) -> None:
        """Say something, as it is."""
        self._protocol.send_text(text.encode())
        await self._flush()

    async def send_binary(self, data: bytes) -> None:
        """Say something that is no text."""
        self._protocol.send_binary(data)
        await self._flush()

    async def ping(self, data: bytes = b"") -> None:
        """Say Ping."""
        self._protocol.send_ping(data)
        await self._flush()

    async def send_raw(self, data: bytes) -> None:
        """Put bytes on the stream that need not be WebSocket."""
        await self.stream.send_all(data)

    async def answer(self, request: Json, result: Any) -> None:
        """Answer a request."""
        await self.send(answer_to(request, result))

    async def refuse(self, request: Json, code: int, kind: str, **data: Any) -> None:
        """Answer a request with an error of the router's own."""
        await self.send(refusal_of(request, code, kind, **data))

    async def close(self, code: int, reason: str) -> None:
        """Close the connection with a goodbye."""
        self._protocol.send_close(code, reason)
        await self._flush()

    async def cut(self) -> None:
        """Close the connection without one."""
        await trio.aclose_forcefully(self.stream)

    async def expect_register_instance(self, **answer: Any) -> Json:
        """Take the client for an instance. Returns the params it asked with."""
        request = await self.expect("instance.register")
        await self.answer(
            request, {"instance_id": "i1", "service_name": "s", "session_id": "session-1"} | answer
        )
        params: Json = request["params"]
        return params

    async def expect_leaving(self) -> None:
        """Confirm that an instance leaves."""
        request = await self.expect("instance.drain")
        assert request["params"] == {"hand_over_to": "nobody"}
        await self.answer(request, {"handed_over": 0, "released": 0, "in_flight": 0})


def answer_to(request: Json, result: Any) -> Json:
    """An answer."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def refusal_of(request: Json, code: int, kind: str, **data: Any) -> Json:
    """An answer that is an error of the router's own."""
    error = {"code": code, "message": kind, "data": {"type": kind, "trace_id": "t", **data}}
    return {"jsonrpc": "2.0", "id": request["id"], "error": error, "meta": {"origin": "router"}}


def delivered(call_id: int | str | None, method: str, params: Any = None, **meta: Any) -> Json:
    """A call as the router delivers it; without an id, a notification."""
    message: Json = {"jsonrpc": "2.0", "method": method, "meta": meta}
    if call_id is not None:
        message["id"] = call_id
    if params is not None:
        message["params"] = params
    return message


@asynccontextmanager
async def open_scripted_router(**options: Any) -> AsyncGenerator[tuple[trio.abc.Stream, ScriptedRouter]]:
    """A scripted router that reads, and the client's end of the stream to it."""
    ours, theirs = memory_stream_pair()
    router = ScriptedRouter(theirs, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.run)
        nursery.start_soon(_watch_for_hangs)
        yield ours, router
        nursery.cancel_scope.cancel()


async def _watch_for_hangs() -> None:
    """A bound in time that calls do not see as their deadline."""
    await trio.sleep(10_000)
    raise AssertionError("the test hangs")


@asynccontextmanager
async def open_scripted(
    *, retry: RetryPolicy | None = DEFAULT_RETRY, **options: Any
) -> AsyncGenerator[tuple[Client, ScriptedRouter]]:
    """A client of a scripted router."""
    async with open_scripted_router(**options) as (stream, router):
        async with open_client_over(stream, retry=retry) as client:
            yield client, router


@asynccontextmanager
async def open_router(
    settings: Settings | None = None, *, tracer: RouterTracer | None = None
) -> AsyncGenerator[Router]:
    """A real router, in memory."""
    async with trio.open_nursery() as nursery:
        router = Router(settings, tracer=tracer)
        await nursery.start(router.serve)
        nursery.start_soon(_watch_for_hangs)
        yield router
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_client_of(
    router: Router, *, retry: RetryPolicy | None = DEFAULT_RETRY, tracer: Tracer | None = None
) -> AsyncGenerator[Client]:
    """A client of a router in memory."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(router.serve_stream, theirs)
        async with open_client_over(ours, retry=retry, tracer=tracer) as client:
            yield client
