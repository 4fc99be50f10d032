"""A router in memory, and sessions with it whose every word is held against the checker at the end.

The sessions speak JSON-RPC as anybody would: with the standard library's JSON and nothing of the SDK.
"""

import itertools
import json
import random
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import structlog
import trio
import trio.testing

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Log
from resroute.router.router import Router, RouterStatistics
from resroute.settings import Settings
from resroute.transport.interface import NDJSON, Subprotocol, TransportEnded
from resroute.transport.memory import BUFFER_BYTES, memory_transport_pair
from tests.checker import Checker
from tests.lagging_log import LaggingLog

Json = dict[str, Any]

SETTLING_SECONDS = 700.0
"""Longer than any call, heartbeat or goodbye takes by default."""

LEFT_OVER_SECONDS = 60.0
"""Enough for what nobody waits for: answers under an id that was used twice, or cancels for who reads slowly."""

log_is_late: ContextVar[bool] = ContextVar("log_is_late", default=False)
"""Whether scenarios that do not say otherwise have a log that answers late."""

HANGING_SECONDS = 100_000.0


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
        self.record = scenario.checker.open_record(name, takes_lines=subprotocol == NDJSON)
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
        texts = [json.dumps({"jsonrpc": "2.0"} | message).encode() for message in messages]
        if self.transport.subprotocol == NDJSON:
            texts = [b"\n".join(texts)]
        for text in texts:
            await self.say_text(text)

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

    async def ask(self, method: str, **params: Any) -> Any:
        """Send a request to the router and wait for the result."""
        return await (await self.start(method, params)).result()

    async def refused(self, method: str, **params: Any) -> Refused:
        """Send a request to the router and wait for the error."""
        return await (await self.start(method, params)).refusal()

    async def notify(self, method: str, **params: Any) -> None:
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


class Scenario:
    """One router and its sessions. See :func:`open_scenario`.

    Attributes:
        forgives: log lines of the level error that this scenario is meant to cause, by their event.
    """

    def __init__(self, router: Router, nursery: trio.Nursery) -> None:
        self.router = router
        self.checker = Checker()
        self.parties: list[Party] = []
        self.forgives: set[str] = set()
        self.log_lines: list[Json] = []
        self._nursery = nursery
        self._next_trace = itertools.count(1).__next__
        self._changed = trio.lowlevel.ParkingLot()

    def next_trace_id(self) -> str:
        """A trace id that no other call has."""
        return f"call-{self._next_trace()}"

    def wake(self) -> None:
        """Something was heard."""
        self._changed.unpark_all()

    def statistics(self) -> RouterStatistics:
        """The router's."""
        return self.router.statistics()

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run something until the scenario is over."""
        self._nursery.start_soon(task, *args)

    async def connect(
        self, name: str | None = None, *, subprotocol: Subprotocol = NDJSON, buffer_bytes: int = BUFFER_BYTES
    ) -> Party:
        """One more session."""
        party = Party(
            self,
            name or f"party-{len(self.parties) + 1}",
            subprotocol=subprotocol,
            buffer_bytes=buffer_bytes,
        )
        self.parties.append(party)
        self._nursery.start_soon(self.router.serve_transport, party.transport)
        self._nursery.start_soon(party.run)
        await trio.lowlevel.checkpoint()
        return party

    async def instance(
        self, name: str, service: str = "service", *, subprotocol: Subprotocol = NDJSON, **params: Any
    ) -> Party:
        """One more session, which is an instance of that name."""
        party = await self.connect(name, subprotocol=subprotocol)
        await party.ask("instance.register", service_name=service, instance_id=name, **params)
        return party

    async def owner(self, name: str, *resource_ids: str, **params: Any) -> Party:
        """One more instance, which owns resources."""
        party = await self.instance(name, **params)
        await party.ask("resource.register", resource_ids=list(resource_ids))
        return party

    @property
    def revision(self) -> int:
        """How far the router's log has come."""
        return self.router.log.state.revision

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, for as long as it may reasonably take."""
        with trio.move_on_after(SETTLING_SECONDS):
            step = 0.01
            while not is_so():
                with trio.move_on_after(step):
                    await self._changed.park()
                step = min(step * 2, 10.0)

    # --- the end --------------------------------------------------------------------------------------------------

    async def finish(self, baseline: RouterStatistics) -> None:
        """Wait for every answer, hold everything against the checker, leave, and look at what is left."""
        await self.wait_until(lambda: not any(self._is_waiting(party) for party in self.parties))
        await trio.sleep(LEFT_OVER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        faults = self.checker.find_faults()
        faults += await self._compare_owners()
        async with trio.open_nursery() as nursery:
            for party in self.parties:
                nursery.start_soon(self._leave, party)
        await self.wait_until(lambda: self.statistics() == baseline)
        if self.statistics() != baseline:
            faults.append(f"the router is not back at its baseline: {self.statistics()}")
        for line in self.log_lines:
            if line["log_level"] in ("error", "critical") and line["event"] not in self.forgives:
                faults.append(f"the router logged {line['event']}: {line.get('traceback', line)}")
        assert not faults, "\n".join(["the checker found:", *faults])

    @staticmethod
    def _is_waiting(party: Party) -> bool:
        return bool(party.pending) and party.ended is None and not party.record.is_deaf

    async def _leave(self, party: Party) -> None:
        if party.record.is_deaf:
            party.drop()
        with trio.move_on_after(5):
            await party.aclose()
        party.drop()

    async def _compare_owners(self) -> list[str]:
        """Whether the router says of who owns what what the owners believe."""
        if len(self.parties) > len(self.router._sessions) and not self.router._sessions:
            return []
        observer = await self.connect("observer")
        owned: dict[str, dict[str, int]] = {}
        params: Json = {"limit": 1000}
        while True:
            pending = await observer.start("resource.query", params)
            with trio.move_on_after(5):
                await pending.answer()
            if pending.message is None or "result" not in pending.message:
                return []
            result = pending.message["result"]
            for resource in result["resources"]:
                owned.setdefault(resource["owner_instance_id"], {})[resource["resource_id"]] = resource[
                    "epoch"
                ]
            if not result["has_more"]:
                break
            params = {"limit": 1000, "cursor": result["next_cursor"]}
        faults = []
        for party in self.parties:
            believed = self.checker.owned_at_the_end(party.record)
            if believed is not None and believed != owned.get(_instance_of(party), {}):
                faults.append(f"{party.name} believes to own {believed}; the router says {owned}")
        return faults


def _instance_of(party: Party) -> str:
    for word in party.record.words:
        result = word.message.get("result")
        if not word.is_said and isinstance(result, dict) and "instance_id" in result:
            return str(result["instance_id"])
    return ""


class _LogLines:
    """Keeps what is logged, with tracebacks as text."""

    def __init__(self, lines: list[Json]) -> None:
        self._lines = lines

    def __call__(
        self, _logger: Any, level: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        error = line.pop("exc_info", None)
        if error:
            line["traceback"] = (
                "".join(traceback.format_exception(error))
                if isinstance(error, BaseException)
                else traceback.format_exc()
            )
        self._lines.append({**line, "log_level": "error" if level == "exception" else level})
        raise structlog.DropEvent


def make_lagging_log(nursery: trio.Nursery, rng: random.Random) -> Callable[[Router, int], Log]:
    """A ``make_log`` for a router whose commands take effect later."""

    def make(router: Router, base: int) -> Log:
        make_inner = partial(
            LocalLog, base=base, follower=router, on_fault=router.fail, on_error=router.report
        )
        return LaggingLog(make_inner, rng, nursery)

    return make


@asynccontextmanager
async def open_scenario(
    settings: Settings | None = None,
    *,
    seed: int = 1,
    is_lagging: bool | None = None,
    make_log: Callable[[Router, int], Log] | None = None,
    turn_clock: Callable[[], float] = lambda: 0.0,
    randomness: random.Random | None = None,
) -> AsyncGenerator[Scenario]:
    """A router in memory, for the length of a block. At its end the checker decides.

    Needs the ``autojump_clock``, on which waiting costs nothing.

    Args:
        settings: the router's.
        seed: of everything that the router leaves to chance.
        is_lagging: whether its log answers late. By default as :data:`log_is_late` says.
        make_log: the router's log, if it is to be another one.
        turn_clock: tells how long one session's messages have held the loop.
        randomness: the router's, instead of one made from the seed.
    """
    started_at = trio.current_time()
    before = structlog.get_config()
    try:
        async with trio.open_nursery() as nursery:
            if is_lagging if is_lagging is not None else make_log is None and log_is_late.get():
                make_log = make_lagging_log(nursery, random.Random(seed))
            router = Router(
                settings,
                wall_clock=lambda: 1_700_000_000 + trio.current_time() - started_at,
                turn_clock=turn_clock,
                randomness=randomness or random.Random(seed),
                make_log=make_log,
            )
            scenario = Scenario(router, nursery)
            structlog.configure(processors=[_LogLines(scenario.log_lines)], cache_logger_on_first_use=False)
            await nursery.start(router.serve)
            with trio.fail_after(HANGING_SECONDS):
                baseline = router.statistics()
                yield scenario
                await scenario.finish(baseline)
            nursery.cancel_scope.cancel()
    finally:
        structlog.configure(**before)
