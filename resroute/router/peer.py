"""Who is at the other end of a session: what it may do, what waits to be sent to it, and whether it is there."""

import math
import sys
from collections.abc import Callable

import msgspec
import structlog
import trio

from resroute.core.records import OwnerRecord
from resroute.ids import SessionId
from resroute.protocol import messagepack
from resroute.protocol.binding import Binding
from resroute.protocol.envelope import RequestId
from resroute.router.call_params import NO_META, PROGRESS_META
from resroute.router.calls import Batch
from resroute.router.endings import Ending
from resroute.router.identity import Identity
from resroute.router.outbox import Outbox
from resroute.router.session_means import SessionMeans
from resroute.settings import Role
from resroute.telemetry.traffic import Traffic
from resroute.transport.interface import MSGPACK, NDJSON, Transport


class Peer:
    """What the router knows of whoever it speaks with, and what it says to it."""

    __slots__ = (
        "_heard",
        "_held_bytes",
        "_log",
        "_max_outbox_bytes",
        "_memory",
        "_pings",
        "_scope",
        "binding",
        "caller_json",
        "closed",
        "confirm",
        "default_meta",
        "ending",
        "heard_at",
        "id",
        "is_plain",
        "kept_bytes",
        "latency_seconds",
        "max_concurrency",
        "may_call",
        "next_ping_at",
        "now",
        "opened_at",
        "outbox",
        "owner",
        "pinged_at",
        "roles",
        "round_trips",
        "service_json",
        "settings",
        "speaks_msgpack",
        "subject",
        "takes_lines",
        "traffic",
        "transport",
        "unanswered_since",
        "writing_since",
    )

    traffic: Traffic
    """The counters of its service. There once it is an instance."""

    def __init__(
        self,
        session_id: SessionId,
        transport: Transport,
        means: SessionMeans,
        *,
        now: float,
        opened_at: float,
        binding: Binding | None = None,
        identity: Identity | None = None,
    ) -> None:
        settings = means.settings
        identity = identity or Identity.anonymous(settings.anonymous_roles)
        # --- who it is
        self.id = session_id
        self.transport = transport
        self.settings = settings
        self.binding = binding
        self.default_meta = PROGRESS_META if binding is not None and binding.progress else NO_META
        self.subject = identity.subject
        self.roles = identity.roles
        self.may_call = self.may("caller")
        self.takes_lines = transport.subprotocol == NDJSON
        self.speaks_msgpack = transport.subprotocol == MSGPACK
        self.owner: OwnerRecord | None = None
        self.is_plain = False
        self.max_concurrency = sys.maxsize
        self._log: structlog.typing.FilteringBoundLogger | None = None
        # called with its next request, once it has asked to take the place of another: it knows then what came of that
        self.confirm: Callable[[], None] | None = None
        # --- what it is sent, and what it takes
        self.outbox = Outbox(means.next_number, means.memory)
        self._max_outbox_bytes = settings.max_outbox_bytes
        self._memory = means.memory
        self._held_bytes = 0  # of half-received messages, as the memory knows it
        # of calls that it is to answer, in line or not, of its own that wait for an owner, and of its ids in flight
        self.kept_bytes = 0
        # --- signs of life
        self.opened_at = opened_at  # on the wall clock; all others on Trio's
        self.now = self.heard_at = now
        self.next_ping_at = now + settings.heartbeat.interval_seconds
        self.pinged_at = math.inf
        self.unanswered_since = math.inf  # the first Ping since the last Pong
        self.latency_seconds: float | None = None  # of the last Ping and Pong
        self.round_trips = means.round_trips
        self.writing_since = math.inf
        self._pings = 0
        self._heard: trio.Event | None = None  # somebody waits for a sign of life
        # --- its end
        self.ending: Ending | None = None
        self.closed = trio.Event()
        self._scope: trio.CancelScope | None = None  # there while it runs
        self._describe()

    def _describe(self) -> None:
        """Encode once what each call made or delivered here says of this session."""
        caller = {"session_id": self.id, "subject": self.subject}
        if self.owner is not None:
            caller["instance_id"] = self.owner.instance_id
            self.service_json = msgspec.json.encode(self.owner.service.name)
        # not orjson: its bytes keep the 4 KiB they were written into
        self.caller_json = msgspec.json.encode(caller)

    def become(self, owner: OwnerRecord, traffic: Traffic) -> None:
        """The session is an instance from here on, whose calls are counted there."""
        self.owner = owner
        self.traffic = traffic
        self.is_plain = owner.plain
        if owner.max_concurrency is not None:
            self.max_concurrency = owner.max_concurrency
        # answers over the limit are replaced by an error, for which they have to be read
        self.transport.max_message_bytes = 2 * self.settings.max_message_bytes
        if self._log is not None:
            self._log = self._log.bind(**self._owner_told(owner))
        self._describe()

    @property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        """Says with each line whose it is."""
        if self._log is None:
            about: dict[str, str] = {"session_id": self.id, "remote_address": self.transport.remote_address}
            if self.owner is not None:
                about |= self._owner_told(self.owner)
            log: structlog.typing.FilteringBoundLogger = structlog.get_logger("resroute.session", **about)
            self._log = log.bind()
        return self._log

    @staticmethod
    def _owner_told(owner: OwnerRecord) -> dict[str, str]:
        return {"instance_id": owner.instance_id, "service_name": owner.service.name}

    def may(self, role: Role) -> bool:
        """Whether the session has a role; administrators have all."""
        return role in self.roles or "admin" in self.roles

    @property
    def is_responsive(self) -> bool:
        """Whether it goes on, and there was a sign of life in the time that heartbeats ask for one."""
        if self.ending is not None:  # it waits to be closed
            return False
        return trio.current_time() - self.alive_at <= self.settings.heartbeat.interval_seconds + 2

    @property
    def alive_at(self) -> float:
        """When the last sign of life was: something arrived, or a send that had to wait moved on."""
        return max(self.heard_at, self.transport.progressed_at)

    # --- what it is sent --------------------------------------------------------------------------------------

    def keep(self, size: int) -> None:
        """Count what requests in flight keep in memory for it, or with a negative size no longer."""
        if not self.closed.is_set():
            self.kept_bytes += size
            self._memory.change(size)

    def answer(
        self, request_id: RequestId | None, message: bytes, trace_id: str, batch: Batch | None
    ) -> None:
        """Send an answer of the router's, given as JSON, on its own or within its batch."""
        self.answer_encoded(request_id, self.encoded(message), trace_id, batch)

    def answer_encoded(
        self, request_id: RequestId | None, message: bytes, trace_id: str, batch: Batch | None
    ) -> None:
        """Send an answer of the router's in the session's encoding, on its own or within its batch."""
        if batch is None:
            self.post_encoded(message)
        else:
            batch.add(request_id, message, trace_id)

    def encoded(self, message: bytes) -> bytes:
        """What the session is sent for a message of the router's that is made as JSON."""
        return messagepack.from_json(message) if self.speaks_msgpack else message

    def post(self, message: bytes) -> None:
        """Send a message of the router's, given as JSON."""
        self.post_encoded(self.encoded(message))

    def post_encoded(self, message: bytes) -> None:
        """Send a message in the session's encoding. When not even that fits, the session reads too slowly to live."""
        if self.closed.is_set():
            return  # an answer that came too late for whoever asked
        if self.outbox.size_bytes + len(message) > self._max_outbox_bytes:
            self.end(Ending(4008, "slow consumer: what waits for this session is over max_outbox_bytes"))
        else:
            self.outbox.post(message)

    def reserve(self, size: int) -> None:
        """Count answers that wait for the rest of their batch as if they waited for the writer."""
        if not self.closed.is_set():
            self.outbox.reserve(size)

    # --- signs of life ----------------------------------------------------------------------------------------

    def ping(self, now: float) -> None:
        """Send a Ping as soon as the writer can."""
        self.pinged_at = now
        self.unanswered_since = min(self.unanswered_since, now)
        self.transport.ping()
        self.outbox.wake()

    def stood_still(self, seconds: float, now: float) -> None:
        """For so long until now the router could neither hear nor send anything: that says nothing about the peer."""
        self.heard_at = min(now, self.heard_at + seconds)
        self.unanswered_since += seconds
        self.writing_since += seconds

    async def wait_heard_since(self, since: float) -> None:
        """Wait until something has arrived at or after ``since``, or the session is closed. Safe to cancel."""
        while self.heard_at < since and not self.closed.is_set():
            if self._heard is None:
                self._heard = trio.Event()
            await self._heard.wait()

    @property
    def memory_bytes(self) -> int:
        """What waits to be sent, what requests in flight keep, and what has arrived of messages that are not complete."""
        return self.outbox.size_bytes + self.kept_bytes + self._held_bytes

    def _hold(self, held_bytes: int) -> None:
        added = held_bytes - self._held_bytes
        self._held_bytes = held_bytes
        self._memory.change(added)

    # --- its end ----------------------------------------------------------------------------------------------

    def end(self, ending: Ending) -> None:
        """Have the session end. The first reason counts."""
        if self.ending is None:
            self.ending = ending
            if self._scope is not None:
                self._scope.cancel()

    def close(self) -> None:
        """Nobody will hear of this session again. Called once, after the state has forgotten it."""
        self.outbox.discard()
        self.confirm = None
        self.keep(-self.kept_bytes)
        self._hold(0)
        self.closed.set()
        if self._heard is not None:
            self._heard.set()
