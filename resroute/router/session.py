"""One connection's life, from the end of the handshake to the last goodbye."""

import math
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
import trio

from resroute.core.commands import Cause
from resroute.core.records import OwnerRecord
from resroute.ids import SessionId
from resroute.protocol import messagepack
from resroute.protocol.binding import Binding
from resroute.protocol.envelope import RequestId
from resroute.router.call_params import NO_META, PROGRESS_META
from resroute.router.calls import Batch, Call, RequestKey
from resroute.router.identity import Identity
from resroute.router.outbox import Memory, Outbox
from resroute.router.partial_results import PART_BEGINS
from resroute.router.turnstile import PASSES, Turnstile
from resroute.settings import Role, Settings
from resroute.telemetry.histograms import Histogram
from resroute.telemetry.traffic import Traffic
from resroute.transport.interface import MSGPACK, NDJSON, Transport, TransportEnded

if TYPE_CHECKING:
    from resroute.router.lines import FairLine
    from resroute.router.placement import Pool
    from resroute.router.request import Request

TURN_SECONDS = 0.001
"""How long a session's messages may hold the loop before others get their turn."""

SHORT_TURN_SECONDS = 0.00015
"""The same for a message that takes steps: what others have to say meanwhile is less."""

SHORTEST_TURN_SECONDS = 0.00006
"""The same for more than :data:`MANY_MESSAGES` at once."""

WRITE_SECONDS = 0.000025
"""What it takes to write to a session, all in all."""

MAX_PARTS = 256
"""The most partial results that are passed on together."""

MAX_PARTS_BYTES = 64 * 1024
"""The most that they take, unless a single one is larger."""

MANY_MESSAGES = 128
"""More than calls in flight usually are. To cut these into short turns would have them sent in small pieces."""

FIRST_MESSAGES = 2
"""As a rule they register the instance and its resources."""

MAX_FIRST_BYTES = 4096
"""What the answers to them may take for the reader to send them itself."""

_STEPS_PER_LOOK_AT_THE_CLOCK = 4


_ON_PURPOSE = (1000, 1001, 1005, 4009, 4010)  # 1005: a Close that says no code


class Ending(msgspec.Struct, frozen=True):
    """Why a session ends, and what its peer is told."""

    code: int
    reason: str
    cause: Cause = "session_ended"

    @property
    def is_unclean(self) -> bool:
        """Whether the instance was cut off: neither it nor an administrator has ended the session on purpose."""
        return self.code not in _ON_PURPOSE

    @property
    def close_code(self) -> int:
        """The code to close with: 1006 stands for a peer that left without a word, and is never on the wire."""
        return self.code if self.code != 1006 else 1000


class MessageHandler(Protocol):
    """What a session hands its messages to."""

    def handle(self, session: "Session", message: bytes) -> Iterator[None] | None:
        """Handle one JSON-RPC message, synchronously and without raising.

        What takes long, a batch for instance, is left to the iterator that is returned: each step of it does a little.
        """

    def handle_parts(self, session: "Session", messages: Sequence[bytes]) -> Iterator[bool]:
        """Handle messages that begin as partial results do, likewise. Each step says whether it leads to a write."""


class Session:
    """One connection: what it is to the router, the calls it has to do with, and its reader and writer."""

    __slots__ = (
        "_finishing",
        "_handler",
        "_has_writer",
        "_heard",
        "_held_bytes",
        "_log",
        "_max_outbox_bytes",
        "_memory",
        "_nursery",
        "_pings",
        "_scope",
        "_tasks",
        "_turn_clock",
        "_turnstile",
        "batches",
        "binding",
        "caller_json",
        "closed",
        "confirm",
        "default_meta",
        "delivered",
        "ending",
        "heard_at",
        "hungry",
        "id",
        "is_plain",
        "kept_bytes",
        "latency_seconds",
        "left_alone_until",
        "line",
        "made",
        "max_concurrency",
        "may_call",
        "next_ping_at",
        "notes",
        "now",
        "opened_at",
        "outbox",
        "owner",
        "pinged_at",
        "pool",
        "roles",
        "round_trips",
        "service_json",
        "settings",
        "speaks_msgpack",
        "subject",
        "takes_lines",
        "timeouts_in_a_row",
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
        settings: Settings,
        *,
        handler: MessageHandler,
        next_number: Callable[[], int],
        memory: Memory,
        turn_clock: Callable[[], float],
        turnstile: Turnstile,
        round_trips: Histogram,
        now: float,
        opened_at: float,
        binding: Binding | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.id = session_id
        self.binding = binding
        self.default_meta = PROGRESS_META if binding is not None and binding.progress else NO_META
        self.transport = transport
        self.settings = settings
        identity = identity or Identity.anonymous(settings.anonymous_roles)
        self.subject = identity.subject
        self.roles = identity.roles
        self.may_call = self.may("caller")
        self.takes_lines = transport.subprotocol == NDJSON
        self.speaks_msgpack = transport.subprotocol == MSGPACK
        self.outbox = Outbox(next_number, memory)
        self._memory = memory
        self._held_bytes = 0  # of half-received messages, as the memory knows it
        # of calls that it is to answer, in line or not, of its own that wait for an owner, and of its ids in flight
        self.kept_bytes = 0
        # its requests that are not answered yet, by its own ids, and its notifications that wait
        self.made: dict[RequestKey, Call | Request] = {}
        # calls that it is to answer, by their correlation ids; ascending
        self.delivered: dict[RequestId, Call] = {}
        # notifications for its resources that are still in its outbox, by their numbers there; ascending
        self.notes: dict[int, Call] = {}
        # calls that wait until it has room for them; made when the first has to
        self.line: FairLine | None = None
        self.max_concurrency = sys.maxsize
        self.timeouts_in_a_row = 0
        self.left_alone_until = -math.inf
        self.batches = 0
        self.owner: OwnerRecord | None = None
        self.pool: Pool | None = None
        self.is_plain = False
        self.caller_json = b""
        self.service_json = b""
        self._log: structlog.typing.FilteringBoundLogger | None = None
        self.opened_at = opened_at  # on the wall clock; all others on Trio's
        self.now = self.heard_at = now
        self.next_ping_at = now + settings.heartbeat.interval_seconds
        self.pinged_at = math.inf
        self.unanswered_since = math.inf  # the first Ping since the last Pong
        self.latency_seconds: float | None = None  # of the last Ping and Pong
        self.round_trips = round_trips
        self.writing_since = math.inf
        self.ending: Ending | None = None
        self.closed = trio.Event()
        self._heard: trio.Event | None = None  # somebody waits for a sign of life
        self._finishing: Ending | None = None
        self._pings = 0
        self._scope: trio.CancelScope | None = None  # there while it runs
        # called whenever the writer has taken something: somebody waits to say more than there was room for
        self.hungry: Callable[[Session], None] | None = None
        # called with its next request, once it has asked to take the place of another: it knows then what came of that
        self.confirm: Callable[[], None] | None = None
        self._nursery: trio.Nursery | None = None  # likewise
        self._tasks = 0  # beside its reader and its writer
        self._has_writer = False
        self._handler = handler
        self._turn_clock = turn_clock
        self._turnstile = turnstile
        self._max_outbox_bytes = settings.max_outbox_bytes
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

    @property
    def has_room(self) -> bool:
        """Whether the instance takes one more call at the same time."""
        return len(self.delivered) < self.max_concurrency

    @property
    def backlog_bytes(self) -> int:
        """What waits until an instance takes it: to be sent, or in line for room.

        What is in line waits for the instance to answer, not to read, and so does not count in its outbox: to answer it
        may have to make calls itself, and to get what they say.
        """
        return self.outbox.size_bytes if self.line is None else self.outbox.size_bytes + self.line.size_bytes

    # --- calls ------------------------------------------------------------------------------------------------

    def take_on(self, number: RequestId, call: Call) -> None:
        """One more call to answer."""
        self.delivered[number] = call
        size = len(call.body) + len(call.extra)  # Call.size_bytes, in place: this is the hot path
        self.kept_bytes += size
        self._memory.total_bytes += size  # whether that is too much is asked when it is posted
        if self.pool is not None and self.owner is not None:
            self.pool.moved(self, self.owner.priority, len(self.delivered) - 1)

    def let_go(self, number: RequestId) -> None:
        """One call less to answer."""
        call = self.delivered.pop(number)
        size = len(call.body) + len(call.extra)
        self.kept_bytes -= size
        self._memory.total_bytes -= size
        if self.pool is not None and self.owner is not None:
            self.pool.moved(self, self.owner.priority, len(self.delivered) + 1)

    def _take(self) -> Collection[bytes]:
        """What the writer sends next, of which nothing can move to another owner any more."""
        messages = self.outbox.take()
        if self.hungry is not None:
            self.hungry(self)
        notes, taken = self.notes, self.outbox.taken
        while notes and (first := next(iter(notes))) <= taken:
            del notes[first]
        return messages

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

    # --- its life ---------------------------------------------------------------------------------------------

    def end(self, ending: Ending) -> None:
        """Have the session end. The first reason counts."""
        if self.ending is None:
            self.ending = ending
            if self._scope is not None:
                self._scope.cancel()

    def finish(self, ending: Ending) -> None:
        """Have the session end once its outbox is empty."""
        self._finishing = ending
        self.outbox.wake()

    async def run(self) -> None:
        """Read and write until the peer leaves or somebody ends the session; :attr:`ending` says why.

        Raises:
            ExceptionGroup: of an unexpected exception in one of its tasks.
        """
        async with trio.open_nursery() as nursery:
            self._nursery, self._scope = nursery, nursery.cancel_scope
            if self.ending is not None:
                self._scope.cancel()
            self._have_a_writer()
            try:
                await self._read()
            except TransportEnded as ended:
                self.ending = self.ending or _ending_of(ended)
                # an idle writer goes by itself, which takes less than to cancel it
                if self._tasks or (self._has_writer and not self.outbox.wake()):
                    nursery.cancel_scope.cancel()
            finally:
                if not self._has_writer:
                    self.outbox.start_when_ready(None)

    def _have_a_writer(self) -> None:
        """Have a writer started as soon as there is something to send."""
        self.outbox.start_when_ready(self._start_writer)
        if self.outbox or self.transport.is_urgent or self._finishing is not None:
            self.outbox.wake()

    def _start_writer(self) -> None:
        assert self._nursery is not None, "it runs"
        self._has_writer = True
        self._nursery.start_soon(self._write)

    def start_task(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start what goes on beside reading and writing. It is cancelled when the session ends, which it must not hold up."""
        assert self._nursery is not None, "it runs"

        async def run() -> None:
            try:
                await task()
            finally:
                self._tasks -= 1

        self._tasks += 1
        self._nursery.start_soon(run)

    async def _read(self) -> None:
        transport, outbox = self.transport, self.outbox
        new = FIRST_MESSAGES  # how many of them are still to come
        while True:
            messages = await transport.receive()
            self.now = self.heard_at = trio.current_time()
            if transport.pongs != self._pings:
                self._pings = transport.pongs
                self.latency_seconds = self.now - self.pinged_at
                self.round_trips.observe(self.latency_seconds)
                self.unanswered_since = math.inf
            if self._heard is not None:
                self._heard.set()
                self._heard = None
            if transport.held_bytes != self._held_bytes:
                self._hold(transport.held_bytes)
            if transport.is_urgent:
                outbox.wake()
            if new and messages:
                first, messages = messages[:new], messages[new:]
                new -= len(first)
                await self._introduce(first)
            if len(messages) == 1:
                members = self._handler.handle(self, messages[0])
                if members is not None:
                    await self._turn(members, SHORT_TURN_SECONDS)
            elif messages:
                await self._handle_all(messages)

    async def _introduce(self, messages: Sequence[bytes]) -> None:
        """Handle the first messages. They come through the turnstile, for everybody who connects again says them at once."""
        await self._turnstile.wait_turn()
        self.now = trio.current_time()
        for message in messages:
            if not self._has_writer:
                self.outbox.start_when_ready(None)
            members = self._handler.handle(self, message)
            if members is not None:
                await self._answer_first()
                await self._turn(members, SHORT_TURN_SECONDS)
        await self._answer_first()

    async def _answer_first(self) -> None:
        """Send answers that any socket has room for on the spot: who leaves after them never needs a writer."""
        if not self._has_writer:
            if self.outbox.size_bytes <= MAX_FIRST_BYTES:
                await self._send()
            self._have_a_writer()

    async def _handle_all(self, messages: Sequence[bytes]) -> None:
        """Handle messages that arrived together, and whenever that has taken its time leave the loop to others."""
        handle, clock = self._handler.handle, self._turn_clock
        seconds = TURN_SECONDS if len(messages) <= MANY_MESSAGES else SHORTEST_TURN_SECONDS
        until = clock() + seconds
        left = _STEPS_PER_LOOK_AT_THE_CLOCK
        at = 0
        while at < len(messages):
            parts = _parts_from(messages, at) if messages[at].startswith(PART_BEGINS) else ()
            if len(parts) > 1:
                await self._hand_on(self._handler.handle_parts(self, parts), seconds)
                at += len(parts)
                continue
            members = handle(self, messages[at])
            if members is not None:
                await self._turn(members, seconds)
            at += 1
            left -= 1
            if not left:
                left = _STEPS_PER_LOOK_AT_THE_CLOCK
                if clock() > until:
                    await self._let_others()
                    until = clock() + seconds

    async def _hand_on(self, steps: Iterator[bool], seconds: float) -> None:
        """Take all steps, and leave the loop to others whenever that and the writing that it leads to has taken its time."""
        clock = self._turn_clock
        until = clock() + seconds
        for is_to_be_written in steps:
            if is_to_be_written:
                until -= WRITE_SECONDS
            if clock() > until:
                await self._let_others()
                until = clock() + seconds

    async def _turn(self, steps: Iterator[None], seconds: float) -> None:
        """Take all steps, and whenever that has taken its time leave the loop to others."""
        clock = self._turn_clock
        until = clock() + seconds
        for count, _ in enumerate(steps, 1):
            if not count % _STEPS_PER_LOOK_AT_THE_CLOCK and clock() > until:
                await self._let_others()
                until = clock() + seconds

    async def _let_others(self) -> None:
        for _ in range(PASSES):
            await trio.lowlevel.checkpoint()
        self.now = trio.current_time()

    async def _write(self) -> None:
        while True:
            await self._send()
            if self._finishing is not None and self.ending is None:
                self.end(self._finishing)
            # of a session that ends, nothing more is handed over, and its last send must not be one that broke off
            if self.ending is not None:
                return
            await self.outbox.wait_ready()

    async def _send(self) -> None:
        """Send what there is until there is nothing more, or the session ends."""
        transport, outbox = self.transport, self.outbox
        while (outbox or transport.is_urgent) and self.ending is None:
            await trio.lowlevel.checkpoint_if_cancelled()
            self.writing_since = trio.current_time()
            try:
                await transport.send(self._take())
            except TransportEnded as ended:
                self.end(_ending_of(ended))
                return
            self.writing_since = math.inf

    # --- liveness ---------------------------------------------------------------------------------------------

    def ping(self, now: float) -> None:
        """Send a Ping as soon as the writer can."""
        self.pinged_at = now
        self.unanswered_since = min(self.unanswered_since, now)
        self.transport.ping()
        self.outbox.wake()

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

    def close(self) -> None:
        """Nobody will hear of this session again. Called once, after the state has forgotten it."""
        self.outbox.discard()
        self.confirm = None
        self.keep(-self.kept_bytes)
        self._hold(0)
        self.closed.set()
        if self._heard is not None:
            self._heard.set()


def _ending_of(ended: TransportEnded) -> Ending:
    """The peer has gone. A close code of 1000 is answered in kind."""
    return Ending(ended.code or 1006, ended.reason)


def _parts_from(messages: Sequence[bytes], start: int) -> Sequence[bytes]:
    """Those to be passed on together that begin as partial results do, from ``start`` to the first that does not."""
    end, left = start, MAX_PARTS_BYTES
    for message in islice(messages, start, start + MAX_PARTS):
        left -= len(message)
        if left < 0 or not message.startswith(PART_BEGINS):
            break
        end += 1
    return messages[start:end]
