"""A router in memory, and sessions with it whose every word is held against the checker at the end.

The sessions speak JSON-RPC as anybody would: with the standard library's JSON and nothing of the SDK.
"""

import base64
import itertools
import random
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import structlog
import trio
import trio.testing
from msgspec import UNSET

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Log
from resroute.protocol.binding import read_target
from resroute.protocol.openrpc import openrpc_document
from resroute.router.identity import Identity
from resroute.router.router import Router
from resroute.router.statistics import RouterStatistics
from resroute.settings import Settings
from resroute.telemetry.tracing import Tracer
from resroute.transport.interface import NDJSON, Subprotocol
from resroute.transport.memory import BUFFER_BYTES
from tests.checker import Checker
from tests.lagging_log import LaggingLog
from tests.party import Json, Left, Party, Pending, Refused

__all__ = ["Json", "Left", "Party", "Pending", "Refused", "Scenario", "log_is_late", "open_scenario"]

SETTLING_SECONDS = 700.0
"""Longer than any call, heartbeat or goodbye takes by default."""

LEFT_OVER_SECONDS = 60.0
"""Enough for what nobody waits for: answers under an id that was used twice, or cancels for who reads slowly."""

log_is_late: ContextVar[bool] = ContextVar("log_is_late", default=False)
"""Whether scenarios that do not say otherwise have a log that answers late."""

HANGING_SECONDS = 100_000.0


def _errors_of_methods() -> Mapping[str, Collection[str]]:
    """What ``rpc.discover`` says may come of each method."""
    methods = openrpc_document("")["methods"]
    return {method["name"]: {error["data"]["type"] for error in method["errors"]} for method in methods}


class Scenario:
    """One router and its sessions. See :func:`open_scenario`.

    Attributes:
        forgives: log lines of the level error that this scenario is meant to cause, by their event.
    """

    def __init__(self, router: Router, nursery: trio.Nursery) -> None:
        self.router = router
        self.checker = Checker(_errors_of_methods(), keeps_time=True)
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
        self,
        name: str | None = None,
        *,
        target: str = "/",
        subprotocol: Subprotocol = NDJSON,
        buffer_bytes: int = BUFFER_BYTES,
        identity: Identity | None = None,
    ) -> Party:
        """One more session, at this path and query. Anonymous unless it has an identity."""
        binding = read_target(target, self.router.settings.max_timeout_seconds)
        party = Party(
            self,
            name or f"party-{len(self.parties) + 1}",
            subprotocol=subprotocol,
            buffer_bytes=buffer_bytes,
        )
        self.parties.append(party)
        if binding is not None:
            party.record.wants_progress = binding.progress
            is_resource = binding.resource_id is not UNSET
            party.record.bound_to = (
                ("resource_id", str(binding.resource_id))
                if is_resource
                else ("service_name", str(binding.service_name))
            )
        self._nursery.start_soon(
            partial(self.router.serve_transport, party.transport, binding, identity=identity)
        )
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

    async def wait_bulk(self) -> None:
        """Wait until a bulk is under way, and not until it has ended."""
        while not self.statistics().bulks:
            for _ in range(50):
                await trio.lowlevel.checkpoint()
                if self.statistics().bulks:
                    return
            await trio.sleep(0.01)

    # --- the end --------------------------------------------------------------------------------------------------

    async def finish(self, baseline: RouterStatistics) -> None:
        """Wait for every answer, hold everything against the checker, leave, and look at what is left."""
        await self.wait_until(lambda: not any(self._is_waiting(party) for party in self.parties))
        await trio.sleep(LEFT_OVER_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        faults = self.checker.find_faults()
        faults += await self._compare_owners()
        at_rest = self.statistics()
        if at_rest.memory_bytes and not (at_rest.calls_in_flight or at_rest.outbox_bytes or at_rest.watches):
            faults.append(f"the router counts memory that nothing takes: {at_rest}")
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
    tracer: Tracer | None = None,
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
        tracer: makes traces.
    """
    started_at = trio.current_time()
    before = structlog.get_config()
    try:
        async with trio.open_nursery() as nursery:
            if is_lagging if is_lagging is not None else make_log is None and log_is_late.get():
                make_log = make_lagging_log(nursery, random.Random(seed))
            tokens = random.Random(seed)
            router = Router(
                settings,
                wall_clock=lambda: 1_700_000_000 + trio.current_time() - started_at,
                turn_clock=turn_clock,
                randomness=randomness or random.Random(seed),
                make_token=lambda: base64.urlsafe_b64encode(tokens.randbytes(32)).decode().rstrip("="),
                make_log=make_log,
                tracer=tracer,
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
