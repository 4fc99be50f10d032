"""A router, its admin server on a port of its own, and a client that says anything to it and believes nothing."""

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import h11
import trio

from resroute.admin import Access, serve_admin
from resroute.audit.trail import Trail
from resroute.ids import Revision
from resroute.protocol.binding import Binding
from resroute.router import Router
from resroute.router.gauges import Gauges
from resroute.router.id_search import IdSearch
from resroute.router.identity import Identity
from resroute.router.instance_calls import CallsView
from resroute.router.latest import LatestChanges
from resroute.security.tokens import AdministratorTokens
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics
from resroute.transport.interface import NDJSON, Transport, TransportEnded
from resroute.transport.memory import MemoryPeer, memory_transport_pair

Json = dict[str, Any]


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case; the last one counts."""
    body: bytes
    cookies: tuple[str, ...] = ()
    """The lines that set some."""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] in ("application/json", "application/problem+json"), self
        return json.loads(self.body)

    def result(self) -> Any:
        """What was asked for."""
        assert self.status == 200, (self.status, self.text)
        return self.json

    def problem(self) -> Json:
        """What went wrong, as RFC 9457 has it."""
        assert self.headers["content-type"] == "application/problem+json", (self.status, self.text)
        told: Json = self.json
        assert told["status"] == self.status
        assert told["title"] and told["detail"] and told["trace_id"]
        return told

    def problem_type(self) -> tuple[int, str]:
        """The status, and the type of what went wrong."""
        return self.status, self.problem()["type"]


@attrs.define
class Client:
    """Somebody who speaks HTTP to the admin server. Each request has a connection of its own."""

    port: int
    headers: dict[str, str] = attrs.field(factory=dict)
    """Sent with each request."""
    tls: ssl.SSLContext | None = None
    """To speak TLS with."""

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        with trio.fail_after(20):
            async with await self.begin(method, path, body, headers=headers) as exchange:
                return await exchange.answer()

    async def begin(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> "Exchange":
        """Send a request, and leave it to the caller to wait for what comes."""
        told = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **self.headers, **(headers or {})}
        if body is None:
            data = b""
        elif isinstance(body, bytes):
            data = body
        else:
            data = json.dumps(body).encode()
            told.setdefault("Content-Type", "application/json")
        told.setdefault("Content-Length", str(len(data)))
        exchange = Exchange(await self.connect(), method)
        lines = [(name.encode(), value.encode("latin1")) for name, value in told.items()]
        try:
            await exchange.send(h11.Request(method=method, target=path, headers=lines))
            if data:
                await exchange.send(h11.Data(data=data))
            await exchange.send(h11.EndOfMessage())
        except BaseException:
            await trio.aclose_forcefully(exchange.stream)
            raise
        return exchange

    async def connect(self) -> trio.abc.Stream:
        """A connection of one's own."""
        if self.tls is None:
            return await trio.open_tcp_stream("127.0.0.1", self.port)
        return await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", self.port, ssl_context=self.tls, https_compatible=True
        )

    async def get(self, path: str, **headers: str) -> Any:
        """The result of asking for this."""
        return (await self.ask("GET", path, headers=headers)).result()


class Exchange:
    """One request that is on its way."""

    def __init__(self, stream: trio.abc.Stream, method: str) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self.head: h11.Response | None = None

    async def __aenter__(self) -> "Exchange":
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, event: h11.Event) -> None:
        await self.stream.send_all(self._http.send(event) or b"")

    async def data(self) -> bytes:
        """The next piece of the body; empty at its end."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.Response):
                self.head = event
            elif isinstance(event, h11.Data):
                return bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return b""

    async def answer(self) -> Answer:
        """All of it."""
        body = b""
        while piece := await self.data():
            body += piece
        assert self.head is not None
        lines = [(name.decode(), value.decode()) for name, value in self.head.headers]
        cookies = tuple(value for name, value in lines if name == "set-cookie")
        return Answer(self.head.status_code, dict(lines), body, cookies)


@attrs.define
class Seen:
    """A router as its admin server sees it."""

    router: Router
    state_name: str = "ready"

    @property
    def metrics(self) -> Metrics:
        return self.router.metrics

    @property
    def calls(self) -> CallsView:
        return self.router.calls

    @property
    def changes(self) -> LatestChanges:
        return self.router.changes

    @property
    def search(self) -> IdSearch:
        return self.router.search

    @property
    def revision(self) -> Revision:
        return self.router.log.state.revision

    @property
    def trail(self) -> Trail:
        return self.router.trail

    @property
    def settings(self) -> Settings:
        return self.router.settings

    @property
    def gauges(self) -> Gauges:
        return self.router.gauges

    async def serve_transport(
        self, transport: Transport, binding: Binding | None = None, *, identity: Identity | None = None
    ) -> None:
        await self.router.serve_transport(transport, binding, identity=identity)


class Owner:
    """A session with the router that answers each call with what it was given."""

    def __init__(self, peer: MemoryPeer) -> None:
        self.peer = peer
        self.heard: list[Json] = []
        self._answers: dict[int, Json] = {}
        self._changed = trio.Event()
        self._last = 0

    async def run(self) -> None:
        """Listen until the session has ended."""
        try:
            while True:
                for line in (await self.peer.receive()).split(b"\n"):
                    await self._hear(json.loads(line))
        except TransportEnded:
            pass

    async def _hear(self, message: Json) -> None:
        if "method" not in message:
            self._answers[message["id"]] = message
        else:
            self.heard.append(message)
            if "id" in message:
                await self._answer(message)
        self._changed.set()
        self._changed = trio.Event()

    async def _answer(self, call: Json) -> None:
        told: Json = {"result": call.get("params")}
        if call["method"] == "fail":
            told = {"error": {"code": 7, "message": "no", "data": {"type": "resource_not_found"}}}
        elif call["method"] == "wait":
            return
        await self.peer.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], **told}).encode())

    async def ask(self, method: str, **params: Any) -> Any:
        """Make a request of the router."""
        self._last = number = self._last + 1
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.peer.send(json.dumps(request).encode())
        while number not in self._answers:
            await self._changed.wait()
        return self._answers.pop(number)["result"]

    async def wait_heard(self, method: str) -> Json:
        """Wait for a request or notice of this method."""
        while True:
            for message in self.heard:
                if message["method"] == method:
                    return message
            await self._changed.wait()


@attrs.define
class Place:
    """A router with an admin server."""

    router: Router
    seen: Seen
    client: Client
    access: Access
    nursery: trio.Nursery

    async def instance(
        self, instance_id: str, *resource_ids: str, service: str = "rooms", grace: float = 0
    ) -> Owner:
        """One more instance, and what it owns. It may come back within its grace, in seconds."""
        transport, peer = memory_transport_pair(subprotocol=NDJSON)
        owner = Owner(peer)
        self.nursery.start_soon(self.router.serve_transport, transport)
        self.nursery.start_soon(owner.run)
        names = {"service_name": service, "instance_id": instance_id}
        await owner.ask("instance.register", **names, resume_grace_seconds=grace)
        if resource_ids:
            await owner.ask("resource.register", resource_ids=list(resource_ids))
        return owner


@asynccontextmanager
async def open_place(
    settings: Settings | None = None,
    *,
    tokens: AdministratorTokens | None = None,
    access: Access | None = None,
    patience_seconds: float = 60,
    **options: Any,
) -> AsyncGenerator[Place]:
    """A router and its admin server, for the length of a block.

    Args:
        settings: of the router.
        tokens: without them there is no authentication.
        access: lets administrators in, if it is not said by these tokens alone.
        patience_seconds: how long the block may take.
        options: of the router.
    """
    router = Router(settings or Settings(), **options)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(patience_seconds):
        async with trio.open_nursery() as nursery:
            seen = Seen(router)
            await nursery.start(router.serve)
            access = access or Access(tokens)
            await nursery.start(serve_admin, seen, listeners, access)
            yield Place(router, seen, Client(port), access, nursery)
            nursery.cancel_scope.cancel()
