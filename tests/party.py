"""One session with a router in memory, as anybody would hold it: JSON-RPC by hand, every word on record."""

import itertools
import json
from collections import deque
from typing import TYPE_CHECKING, Any

import ormsgpack
import trio

from resroute.transport.interface import MSGPACK, NDJSON, Subprotocol, TransportEnded
from resroute.transport.memory import BUFFER_BYTES, memory_transport_pair
from tests.packed import read_packed
from tests.records import Word, read_json

if TYPE_CHECKING:
    from tests.scenario import Scenario

Json = dict[str, Any]


class Refused(Exception):
    """The answer is an error."""

    def __init__(self, message: Json) -> None:
        super().__init__(message)
        self.error: Json = message["error"]
        self.code: int = self.error["code"]
        self.data: Json = self.error.get("data") or {}
        self.type: str | None = self.data.get("type")
        self.is_routers = message.get("meta", {}).get("origin") == "router"


class Left(Exception):
    """The session has ended, and what was waited for will not come."""


class Pending:
    """A request that was sent, and its answer once it is there."""

    def __init__(self, request_id: int | str) -> None:
        self.id = request_id
        self.message: Json | None = None
        self._settled = trio.Event()

    @property
    def is_settled(self) -> bool:
        """Whether the answer is there, or the session has ended."""
        return self._settled.is_set()

    def settle(self, message: Json | None) -> None:
        """Take the answer; None if none will come."""
        if not self.is_settled:
            self.message = message
            self._settled.set()

    async def answer(self) -> Json:
        """Wait for the whole answer.

        Raises:
            Left: there is none.
        """
        await self._settled.wait()
        if self.message is None:
            raise Left
        return self.message

    async def result(self) -> Any:
        """Wait for the result.

        Raises:
            Refused: the answer is an error.
            Left: there is none.
        """
        answer = await self.answer()
        if "error" in answer:
            raise Refused(answer)
        return answer["result"]

    async def refusal(self) -> Refused:
        """Wait for the error."""
        answer = await self.answer()
        assert "error" in answer, answer
        return Refused(answer)


class Party:
    """One session with the router, on the side of whoever connects.

    Attributes:
        ended: why the connection is closed, once it is.
        strays: answers without an id, and answers that nobody waits for.
    """

    def __init__(
        self, scenario: "Scenario", name: str, *, subprotocol: Subprotocol, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        transport, peer = memory_transport_pair(
            subprotocol=subprotocol,
            max_message_bytes=scenario.router.settings.max_message_bytes,
            buffer_bytes=buffer_bytes,
        )
        self.name = name
        self.transport = transport
        self.peer = peer
        self.record = scenario.checker.open_record(
            name,
            takes_lines=subprotocol == NDJSON,
            read=read_packed if subprotocol == MSGPACK else read_json,
        )
        self.ended: TransportEnded | None = None
        self.strays: list[Json] = []
        self.pending: dict[tuple[type, int | str], Pending] = {}
        self._scenario = scenario
        self._next_id = itertools.count(1).__next__
        self._inbox: deque[Json] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._sending = trio.Lock()

    async def run(self) -> None:
        """Read until the connection is closed."""
        try:
            while True:
                self._hear(await self.peer.receive())
        except TransportEnded as ended:
            self._end(ended)

    def _hear(self, text: bytes) -> None:
        for word in self.record.heard(text):
            message = json.loads(json.dumps(word.message, default=float))
            if not word.is_answer:
                self._inbox.append(message)
                continue
            pending = self.pending.pop(word.id, None) if word.has_id else None
            if pending is None:
                self.strays.append(message)
            else:
                pending.settle(message)
        self._changed.unpark_all()
        self._scenario.wake()

    def _end(self, ended: TransportEnded) -> None:
        if self.ended is None:
            self.ended = ended
        self.record.left()
        for pending in self.pending.values():
            pending.settle(None)
        self._changed.unpark_all()
        self._scenario.wake()

    # --- saying things --------------------------------------------------------------------------------------------

    async def say(self, *messages: Json) -> None:
        """Send messages as they are; with ndjson in one text."""
        texts = [self.encode({"jsonrpc": "2.0"} | message) for message in messages]
        if self.transport.subprotocol == NDJSON:
            texts = [b"\n".join(texts)]
        for text in texts:
            await self.say_text(text)

    async def say_batch(self, *messages: Json) -> None:
        """Send messages as one JSON-RPC batch."""
        await self.say_value([{"jsonrpc": "2.0"} | message for message in messages])

    async def say_value(self, value: Any) -> None:
        """Send any value as a message."""
        await self.say_text(self.encode(value))

    def encode(self, value: Any) -> bytes:
        """A value in the encoding of the session."""
        if self.transport.subprotocol == MSGPACK:
            return ormsgpack.packb(value)
        return json.dumps(value).encode()

    async def say_text(self, text: bytes | str) -> None:
        """Send a text as it is. Does nothing once the connection is closed."""
        text = text if isinstance(text, bytes) else text.encode()
        async with self._sending:
            if self.ended is None:
                self.record.said(text)
                try:
                    await self.peer.send(text)
                except TransportEnded as ended:
                    self._end(ended)

    def expect(self, request_id: int | str) -> Pending:
        """The answer to a request that is about to be sent."""
        pending = Pending(request_id)
        self.pending[type(request_id), request_id] = pending
        if self.ended is not None:
            pending.settle(None)
        return pending

    async def start(
        self, method: str, params: Json | None = None, *, id: int | str | None = None, **members: Any
    ) -> Pending:
        """Send a request, and return where its answer will be. ``members`` go beside ``params``."""
        request_id = self._next_id() if id is None else id
        pending = self.expect(request_id)
        message: Json = {"id": request_id, "method": method, **members}
        if params is not None:
            message["params"] = params
        await self.say(message)
        return pending

    async def ask(self, method: str, /, **params: Any) -> Any:
        """Send a request to the router and wait for the result."""
        return await (await self.start(method, params)).result()

    async def refused(self, method: str, /, **params: Any) -> Refused:
        """Send a request to the router and wait for the error."""
        return await (await self.start(method, params)).refusal()

    async def notify(self, method: str, /, **params: Any) -> None:
        """Send a notification."""
        await self.say({"method": method, "params": params})

    async def start_call(
        self,
        resource_id: str | None = None,
        method: str = "work",
        params: Any = None,
        *,
        id: int | str | None = None,
        meta: Json | None = None,
        **more: Any,
    ) -> Pending:
        """Send a ``route.call`` and return where its answer will be. ``more`` are further parameters of it."""
        routed = self.call_params(resource_id, method, params, **more)
        return await self.start("route.call", routed, id=id, **({} if meta is None else {"meta": meta}))

    def call_params(
        self, resource_id: str | None = None, method: str = "work", params: Any = None, **more: Any
    ) -> Json:
        """The parameters of a ``route.call``, with a trace id by which the checker follows it."""
        asked: Json = {"method": method, "trace_id": self._scenario.next_trace_id(), **more}
        if resource_id is not None:
            asked["resource_id"] = resource_id
        if params is not None:
            asked["params"] = params
        return asked

    async def call(self, resource_id: str | None = None, method: str = "work", **more: Any) -> Any:
        """Call and wait for the result."""
        return await (await self.start_call(resource_id, method, **more)).result()

    async def cancel(self, pending: Pending) -> None:
        """Ask for a request to be cancelled."""
        await self.notify("$/cancelRequest", id=pending.id)

    # --- hearing things -------------------------------------------------------------------------------------------

    async def next(self, method: str | None = None) -> Json:
        """Wait for the next request or notification, which must be for that method if one is given.

        Raises:
            Left: none will come.
        """
        while not self._inbox:
            if self.ended is not None:
                raise Left(
                    f"{self.name} waits for {method or 'something'}, and its session has ended: {self.ended}"
                )
            await self._changed.park()
        message = self._inbox.popleft()
        assert method in (None, message["method"]), message
        return message

    @property
    def has_news(self) -> bool:
        """Whether a request or notification is there."""
        return bool(self._inbox)

    def take_news(self) -> list[Json]:
        """All requests and notifications that are there."""
        news = list(self._inbox)
        self._inbox.clear()
        return news

    async def answer(self, request: Json, result: Any = None) -> None:
        """Answer a delivered call with a result."""
        await self.say({"id": request["id"], "result": result})

    async def fail(self, request: Json, code: int, message: str, **more: Any) -> None:
        """Answer a delivered call with an error."""
        await self.say({"id": request["id"], "error": {"code": code, "message": message, **more}})

    async def wait_ended(self) -> TransportEnded:
        """Wait until the connection is closed."""
        while self.ended is None:
            await self._changed.park()
        return self.ended

    # --- leaving and misbehaving ----------------------------------------------------------------------------------

    async def aclose(self, code: int = 1000) -> None:
        """Close the connection with a goodbye."""
        if self.ended is None:
            self.record.left()
            await self.peer.aclose(code)

    def drop(self) -> None:
        """Vanish without a word."""
        if self.ended is None:
            self.record.left()
            for text in self.peer.drop():
                self.record.heard(text)
            self._end(TransportEnded(None, "dropped"))

    def stall(self) -> None:
        """Read nothing, and answer no Ping, until :meth:`resume`."""
        self.record.becomes_late()
        self.record.is_deaf = True
        self.peer.stall()

    def resume(self) -> None:
        """Read again."""
        self.record.is_deaf = self.record.is_lost
        self.peer.resume()

    def lose_everything(self) -> None:
        """Be half-open from now on: nothing arrives in either direction."""
        self.record.becomes_late()
        self.record.is_deaf = self.record.is_lost = True
        self.peer.lose_everything()

    def read_slowly(self, seconds: float) -> None:
        """Take that long to read each text."""
        self.record.becomes_late()
        self.peer.read_slowly(seconds)


def listen_to(party: Party) -> list[str]:
    """Everything that a party hears from here on, as it is on the wire."""
    texts: list[str] = []
    take = party.record.heard

    def listen(text: bytes) -> list[Word]:
        texts.append(text.decode())
        return take(text)

    party.record.heard = listen  # type: ignore[method-assign]
    return texts
