"""Peers that misbehave over real sockets, and an owner and a caller beside them who must notice nothing."""

import json
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import ormsgpack
import trio

from tests.fuzz import said
from tests.fuzz.peer import Peer
from tests.processes.independent import Session, open_nursery
from tests.processes.running import TABLES, Serving


@attrs.define
class Bystanders:
    """An owner and a caller who call on and on."""

    owner: Session
    caller: Session
    answered: int = 0
    longest_seconds: float = 0.0
    _more: trio.Event = attrs.field(factory=trio.Event)

    async def answer(self) -> None:
        """Answer every call, until cancelled."""
        while True:
            request = await self.owner.next_request()
            await self.owner.answer(request, request["params"])

    async def call(self) -> None:
        """Make one call after the other, until cancelled."""
        while True:
            began = trio.current_time()
            answer = await self.caller.call("echo", {"number": self.answered}, resource_id="good:1")
            assert answer["number"] == self.answered
            self.longest_seconds = max(self.longest_seconds, trio.current_time() - began)
            self.answered += 1
            self._more.set()
            self._more = trio.Event()
            await trio.sleep(0.002)

    async def wait_served(self) -> None:
        """Wait until calls that began after now have been answered."""
        until = self.answered + 2
        while self.answered < until:
            await self._more.wait()


@asynccontextmanager
async def open_bystanders(router: Serving) -> AsyncGenerator[Bystanders]:
    """Those who behave. At the end nothing is left of whoever was here beside them, and the log tells of no bug."""
    async with (
        router.open_instance("good-1", "good:1") as owner,
        router.open_session() as caller,
        open_nursery() as nursery,
    ):
        baseline = await router.metrics()
        bystanders = Bystanders(owner, caller)
        nursery.start_soon(bystanders.answer)
        nursery.start_soon(bystanders.call)
        yield bystanders
        await bystanders.wait_served()
        print(f"{bystanders.answered} calls, the longest {bystanders.longest_seconds * 1000:.1f} ms")
        quiet = {name: baseline[name] for name in TABLES if name not in ("calls_in_flight", "outbox_bytes")}
        await router.wait_metrics(lambda now: {name: now[name] for name in quiet} == quiet)
        nursery.cancel_scope.cancel()
    for line in router.program.lines:
        assert b"Traceback" not in line and b'"error"' not in line and b'"critical"' not in line, line


class SocketPeer(Peer):
    """Somebody with a TCP connection who may say anything. See :class:`tests.fuzz.peer.Peer`."""

    def __init__(self, stream: trio.SocketStream, *, takes_lines: bool, speaks_msgpack: bool) -> None:
        super().__init__(stream, takes_lines=takes_lines, speaks_msgpack=speaks_msgpack)
        self.socket = stream.socket

    def vanish(self) -> None:
        """Leave without a word: the end of the stream."""
        self.socket.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Have the connection reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def say(self, *texts: str) -> None:
        """Say each as a text message."""
        for text in texts:
            await self.send(said.text(text.encode()))

    async def hear(self, count: int = 1) -> list[Any]:
        """Wait for so many messages more, and return them."""
        while len(self.heard) < count and not self.over.is_set():
            await self.wait_more()
        heard, self.heard = self.heard[:count], self.heard[count:]
        return heard

    async def ask(self, method: str, /, **params: Any) -> Any:
        """Ask for something and wait for the answer, which must be the next message."""
        message = {"jsonrpc": "2.0", "id": "ask", "method": method, "params": params}
        if self.speaks_msgpack:
            await self.send(said.frame(said.BINARY, ormsgpack.packb(message)))
        else:
            await self.say(json.dumps(message))
        [answer] = await self.hear()
        assert answer["id"] == "ask", answer
        return answer

    async def wait_pong(self) -> None:
        """Wait until the router has read all that was sent."""
        before = self.pongs
        await self.send(said.frame(said.PING, b"p"))
        while self.pongs == before and not self.over.is_set():
            await self.wait_more()

    async def wait_closed(self) -> int | None:
        """Wait until the router has hung up. Returns the code of its Close."""
        await self.over.wait()
        return self.close.code if self.close is not None else None


@asynccontextmanager
async def connect(
    router: Serving, *, takes_lines: bool = False, speaks_msgpack: bool = False
) -> AsyncGenerator[SocketPeer]:
    """A peer that has said nothing yet. At the end it has left."""
    async with await trio.open_tcp_stream("127.0.0.1", router.port) as stream, open_nursery() as nursery:
        peer = SocketPeer(stream, takes_lines=takes_lines, speaks_msgpack=speaks_msgpack)
        nursery.start_soon(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def shake_hands(router: Serving, subprotocol: str = "resroute.v1") -> AsyncGenerator[SocketPeer]:
    """A peer that has a session."""
    async with connect(
        router,
        takes_lines=subprotocol == "resroute.v1.ndjson",
        speaks_msgpack=subprotocol == "resroute.v1.msgpack",
    ) as peer:
        await peer.send(said.handshake(subprotocol))
        while not peer.has_opened:
            assert peer.refusal is None and not peer.over.is_set(), peer.refusal
            await peer.wait_more()
        yield peer
