"""Somebody in memory who answers HTTP as a script says, byte for byte; and an admin API as the command line sees it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import h11
import trio
import trio.testing

from resroute.cli.remote.address import parse_admin_url
from resroute.cli.remote.api import AdminApi
from resroute.cli.remote.http import Http
from resroute.client.address import Address
from resroute.errors import ConnectionFailed

URL = "http://router.example/"


@attrs.frozen
class Asked:
    """A request as it came."""

    verb: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, head: h11.Request, body: bytes) -> "Asked":
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return cls(head.method.decode(), head.target.decode(), headers, body)


Script = Callable[[trio.abc.Stream, Asked], Awaitable[None]]
"""Answers one request. Then the next may come, unless it has closed the stream."""


def saying(*pieces: bytes, then_close: bool = True) -> Script:
    """Say this, and close."""

    async def say(stream: trio.abc.Stream, _: Asked) -> None:
        for piece in pieces:
            await stream.send_all(piece)
        if then_close:
            await stream.aclose()

    return say


def answering(
    body: bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = ""
) -> bytes:
    """An answer, whole."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@attrs.define
class Peer:
    """Answers each request by the next script; there is no connection for one that has none."""

    nursery: trio.Nursery
    scripts: list[Script]
    asked: list[Asked] = attrs.field(factory=list)
    connections: int = 0

    async def dial(self, address: Address) -> trio.abc.Stream:
        if not self.scripts:
            raise ConnectionFailed(address.url, "nobody is there")
        self.connections += 1
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with stream:
            while True:
                http = h11.Connection(h11.SERVER)
                head: h11.Request | None = None
                body = b""
                while True:
                    event = http.next_event()
                    if event is h11.NEED_DATA:
                        try:
                            data = await stream.receive_some()
                        except (trio.BrokenResourceError, trio.ClosedResourceError):
                            return
                        if not data:
                            return
                        http.receive_data(bytes(data))
                    elif isinstance(event, h11.Request):
                        head = event
                    elif isinstance(event, h11.Data):
                        body += event.data
                    else:
                        break
                assert head is not None
                asked = Asked.of(head, body)
                self.asked.append(asked)
                script = self.scripts.pop(0)
                try:
                    await script(stream, asked)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return


@attrs.frozen
class Place:
    """A peer, and the API that commands take it for."""

    peer: Peer
    api: AdminApi
    away: list[str]
    """What the API has said of connections that were lost."""


@asynccontextmanager
async def open_peer(*scripts: Script, token: str | None = None) -> AsyncGenerator[Place]:
    """For the length of a block."""
    async with trio.open_nursery() as nursery:
        peer = Peer(nursery, list(scripts))
        away: list[str] = []
        http = Http(parse_admin_url(URL), token, dial=peer.dial)
        yield Place(peer, AdminApi(http, lambda error: away.append(str(error))), away)
        await http.aclose()
        nursery.cancel_scope.cancel()
