"""A router, an owner and a caller who behave, and beside them a peer that does not.

Whatever that peer does, the two who behave notice nothing, the log has no traceback, and no table keeps anything of it.
"""

import itertools
import json
import logging
import random
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import trio
import trio.testing

from resroute.router.router import Router
from resroute.settings import Settings
from resroute.transport.interface import TransportEnded
from resroute.transport.memory import MemoryPeer, memory_transport_pair
from tests.fuzz import said
from tests.fuzz.peer import Json, Peer, read_json

SETTLING_SECONDS = 2000.0
"""On a clock that jumps: longer than any call, heartbeat or goodbye takes."""


class Bystander:
    """A session that behaves, in memory."""

    def __init__(self, peer: MemoryPeer) -> None:
        self.ended: TransportEnded | None = None
        self._peer = peer
        self._next_id = itertools.count(1).__next__
        self._waiting: dict[int, Json | None] = {}
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Read, and answer each call with what it is about, until the connection is closed."""
        try:
            while True:
                for line in (await self._peer.receive()).split(b"\n"):
                    message = read_json(line)
                    if "method" not in message:
                        assert self._waiting[message["id"]] is None, "one answer to each request"
                        self._waiting[message["id"]] = message
                    elif "id" in message:
                        result = [message["method"], message.get("meta", {}).get("resource_id")]
                        await self._say({"id": message["id"], "result": result})
                self._changed.unpark_all()
        except TransportEnded as ended:
            self.ended = ended

    async def _say(self, message: Json) -> None:
        await self._peer.send(json.dumps({"jsonrpc": "2.0"} | message).encode())

    async def start(self, what: str, /, **params: Any) -> int:
        """Ask for something. Returns the id under which :meth:`answer` has the answer."""
        request_id = self._next_id()
        self._waiting[request_id] = None
        await self._say({"id": request_id, "method": what, "params": params})
        return request_id

    async def answer(self, request_id: int) -> Json:
        """Wait for an answer."""
        while (answer := self._waiting[request_id]) is None:
            await self._changed.park()
        return answer

    async def ask(self, what: str, /, **params: Any) -> Any:
        """Ask for something and wait for the result."""
        answer = await self.answer(await self.start(what, **params))
        assert "result" in answer, answer
        return answer["result"]

    async def aclose(self) -> None:
        """Say goodbye."""
        await self._peer.aclose()


class Arena:
    """One router with an owner of ``good:1`` and a caller. See :func:`open_arena`."""

    def __init__(self, router: Router, nursery: trio.Nursery) -> None:
        self.router = router
        self.log_lines: list[str] = []
        self._nursery = nursery

    async def _enter(self) -> Bystander:
        transport, peer = memory_transport_pair()
        bystander = Bystander(peer)
        self._nursery.start_soon(self.router.serve_transport, transport)
        self._nursery.start_soon(bystander.run)
        return bystander

    async def prepare(self) -> None:
        """Let in those who behave."""
        self.owner, self.caller = await self._enter(), await self._enter()
        await self.owner.ask("instance.register", service_name="good", instance_id="good-1")
        await self.owner.ask("resource.register", resource_ids=["good:1"])

    async def connect(self, *, takes_lines: bool = False) -> Peer:
        """One more peer, which has said nothing yet."""
        ours, theirs = trio.testing.memory_stream_pair()
        peer = Peer(ours, takes_lines=takes_lines)
        self._nursery.start_soon(self.router.serve_stream, theirs)
        self._nursery.start_soon(peer.run)
        return peer

    async def open(self, *subprotocols: str, path: str = "/") -> Peer:
        """One more peer, which has shaken hands."""
        peer = await self.connect(takes_lines="resroute.v1.ndjson" in subprotocols)
        await peer.send(said.handshake(*subprotocols, path=path))
        await trio.testing.wait_all_tasks_blocked()
        return peer

    async def check_bystanders(self) -> None:
        """A call between those who behave is answered as ever."""
        for bystander in (self.owner, self.caller):
            assert bystander.ended is None, bystander.ended
        called = await self.caller.ask("route.call", resource_id="good:1", method="echo", params={"a": [1]})
        assert called == ["echo", "good:1"]

    async def start_call_to(self, resource_id: str) -> int:
        """Have the one who behaves call somebody who may not. It is answered somehow, once."""
        return await self.caller.start(
            "route.call", resource_id=resource_id, method="echo", timeout_seconds=5
        )

    async def wait_gone(self, peer: Peer, baseline: Any) -> None:
        """Wait until nothing is left of a peer that has gone or stays silent."""
        with trio.move_on_after(SETTLING_SECONDS):
            await peer.over.wait()
            while self.router.statistics() != baseline:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.5)
        assert self.router.statistics() == baseline
        assert peer.over.is_set()

    def check_log(self) -> None:
        """No line that tells of a bug."""
        assert not self.log_lines, "\n".join(self.log_lines)


class _Log(logging.Handler):
    """Keeps what tells of a bug: anything above a warning, and every traceback."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`: a line of a library."""
        self._lines.append(self.format(record))

    def __call__(
        self, _logger: Any, level: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """One of the router's own lines."""
        error = line.pop("exc_info", None)
        if error or level in ("error", "critical", "exception"):
            if error:
                line["traceback"] = (
                    "".join(traceback.format_exception(error))
                    if isinstance(error, BaseException)
                    else traceback.format_exc()
                )
            self._lines.append("\n".join(str(value) for value in line.values()))
        raise structlog.DropEvent


@contextmanager
def listening(lines: list[str]) -> Iterator[None]:
    """Keep the lines that tell of a bug, and print none."""
    log = _Log(lines)
    library = logging.getLogger("resroute.transport")
    before = structlog.get_config()
    structlog.configure(processors=[log], cache_logger_on_first_use=False)
    library.addHandler(log)
    try:
        yield
    finally:
        library.removeHandler(log)
        structlog.configure(**before)


@asynccontextmanager
async def open_arena(settings: Settings | None = None) -> AsyncGenerator[Arena]:
    """A router and those who behave. At the end they leave, and the router must be as it was.

    Needs a clock that jumps.
    """
    async with trio.open_nursery() as nursery:
        started_at = trio.current_time()
        ticks = itertools.count()
        router = Router(
            settings,
            wall_clock=lambda: 1_700_000_000 + trio.current_time() - started_at,
            turn_clock=lambda: next(ticks) * 0.0002,
            randomness=random.Random(1),
        )
        arena = Arena(router, nursery)
        with listening(arena.log_lines):
            await nursery.start(router.serve)
            empty = router.statistics()
            with trio.fail_after(100_000):
                await arena.prepare()
                yield arena
                await arena.check_bystanders()
                await arena.owner.aclose()
                await arena.caller.aclose()
                while router.statistics() != empty:  # noqa: ASYNC110  # nobody tells
                    await trio.sleep(0.5)
            arena.check_log()
        nursery.cancel_scope.cancel()
