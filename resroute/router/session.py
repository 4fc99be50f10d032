"""One connection's life, from the end of the handshake to the last goodbye."""

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import trio

from resroute.ids import SessionId
from resroute.protocol.binding import Binding
from resroute.protocol.envelope import RequestId
from resroute.router.calls import Call, RequestKey
from resroute.router.endings import Ending, ending_of
from resroute.router.identity import Identity
from resroute.router.partial_results import PART_BEGINS, parts_from
from resroute.router.peer import Peer
from resroute.router.session_means import SessionMeans
from resroute.router.turnstile import PASSES
from resroute.transport.interface import Transport, TransportEnded

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

MANY_MESSAGES = 128
"""More than calls in flight usually are. To cut these into short turns would have them sent in small pieces."""

FIRST_MESSAGES = 2
"""As a rule they register the instance and its resources."""

MAX_FIRST_BYTES = 4096
"""What the answers to them may take for the reader to send them itself."""

_STEPS_PER_LOOK_AT_THE_CLOCK = 4


class Session(Peer):
    """One connection: its peer, the calls that this has to do with, and its reader and writer."""

    __slots__ = (
        "_early_tasks",
        "_finishing",
        "_first_left",
        "_handler",
        "_has_writer",
        "_is_listening",
        "_nursery",
        "_tasks",
        "_turn_clock",
        "_turnstile",
        "batches",
        "delivered",
        "hungry",
        "left_alone_until",
        "line",
        "made",
        "notes",
        "pool",
        "timeouts_in_a_row",
    )

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
        super().__init__(
            session_id, transport, means, now=now, opened_at=opened_at, binding=binding, identity=identity
        )
        # its requests that are not answered yet, by its own ids, and its notifications that wait
        self.made: dict[RequestKey, Call | Request] = {}
        # calls that it is to answer, by their correlation ids; ascending
        self.delivered: dict[RequestId, Call] = {}
        # notifications for its resources that are still in its outbox, by their numbers there; ascending
        self.notes: dict[int, Call] = {}
        # calls that wait until it has room for them; made when the first has to
        self.line: FairLine | None = None
        self.pool: Pool | None = None
        self.timeouts_in_a_row = 0
        self.left_alone_until = -math.inf
        self.batches = 0
        # called whenever the writer has taken something: somebody waits to say more than there was room for
        self.hungry: Callable[[Session], None] | None = None
        self._handler = means.handler
        self._turn_clock = means.turn_clock
        self._turnstile = means.turnstile
        self._finishing: Ending | None = None
        self._nursery: trio.Nursery | None = None  # there once it has taken one
        self._early_tasks: tuple[Callable[[], Awaitable[object]], ...] = ()  # for which it is to take one
        self._is_listening = False  # without one, and may be called away
        self._first_left = FIRST_MESSAGES
        self._tasks = 0  # beside its reader and its writer
        self._has_writer = False

    # --- calls ------------------------------------------------------------------------------------------------

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

    # --- its life ---------------------------------------------------------------------------------------------

    def finish(self, ending: Ending) -> None:
        """Have the session end once its outbox is empty."""
        self._finishing = ending
        self.outbox.wake()

    async def run(self) -> None:
        """Read and write until the peer leaves or somebody ends the session; :attr:`ending` says why.

        Raises:
            ExceptionGroup: of an unexpected exception in one of its tasks.
        """
        self._have_a_writer()
        try:
            steps, messages = await self._meet()
            if self.ending is None or self._tasks:
                await self._go_on(steps, messages)
        finally:
            if not self._has_writer:
                self.outbox.start_when_ready(None)

    def _have_a_writer(self) -> None:
        """Have a writer started as soon as there is something to send."""
        self.outbox.start_when_ready(self._start_writer)
        if self.outbox or self.transport.is_urgent or self._finishing is not None:
            self.outbox.wake()

    def _start_writer(self) -> None:
        self._has_writer = True
        self._start(self._write)

    def start_task(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start what goes on beside reading and writing. It is cancelled when the session ends, which it must not hold up."""

        async def run() -> None:
            try:
                await task()
            finally:
                self._tasks -= 1

        self._tasks += 1
        self._start(run)

    def _start(self, task: Callable[[], Awaitable[object]]) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(task)
            return
        self._early_tasks = (*self._early_tasks, task)
        if self._is_listening and self._scope is not None:
            self._scope.cancel()

    async def _meet(self) -> tuple[Iterator[None] | None, Sequence[bytes]]:
        """Read, and answer the first messages, until the session ends or takes a task beside that.

        Many come, say these and go: to open a nursery for each would take longer than to read them. Returns the steps and the
        messages that are still to be taken.
        """
        with trio.CancelScope() as self._scope:
            if self.ending is not None:
                self._scope.cancel()
            while not self._early_tasks:
                self._is_listening = True
                try:
                    messages = await self.transport.receive()
                except TransportEnded as ended:
                    self.ending = self.ending or ending_of(ended)
                    break
                finally:
                    self._is_listening = False
                self._note_heard()
                if self._early_tasks or len(messages) > self._first_left:
                    return None, messages
                if messages:
                    steps, messages = await self._introduce(messages)
                    if steps is not None:
                        return steps, messages
        return None, ()

    async def _go_on(self, steps: Iterator[None] | None, messages: Sequence[bytes]) -> None:
        """Read, with a writer and other tasks beside that. Takes first what was read before."""
        transport = self.transport
        async with trio.open_nursery() as nursery:
            self._nursery, self._scope = nursery, nursery.cancel_scope
            if self.ending is not None:
                self._scope.cancel()
            for task in self._early_tasks:
                nursery.start_soon(task)
            self._early_tasks = ()
            try:
                if steps is not None:
                    await self._turn(steps, SHORT_TURN_SECONDS)
                while True:
                    if len(messages) == 1 and not self._first_left:
                        members = self._handler.handle(self, messages[0])
                        if members is not None:
                            await self._turn(members, SHORT_TURN_SECONDS)
                    elif messages:
                        await self._handle_all(messages)
                    messages = await transport.receive()
                    self._note_heard()
            except TransportEnded as ended:
                self.ending = self.ending or ending_of(ended)
                # an idle writer goes by itself, which takes less than to cancel it
                if self._tasks or (self._has_writer and not self.outbox.wake()):
                    nursery.cancel_scope.cancel()

    def _note_heard(self) -> None:
        """Something has arrived."""
        transport = self.transport
        self.now = self.heard_at = trio.current_time()
        if transport.pongs != self._pings:
            self._pings = transport.pongs
            if self.unanswered_since < math.inf:  # else nobody asked for it
                self.latency_seconds = self.now - self.pinged_at
                self.round_trips.observe(self.latency_seconds)
                self.unanswered_since = math.inf
        if self._heard is not None:
            self._heard.set()
            self._heard = None
        if transport.held_bytes != self._held_bytes:
            self._hold(transport.held_bytes)
        if transport.is_urgent:
            self.outbox.wake()

    async def _introduce(self, messages: Sequence[bytes]) -> tuple[Iterator[None] | None, Sequence[bytes]]:
        """Handle first messages. They come through the turnstile, for everybody who connects again says them at once.

        Returns the steps of one that takes some, and the messages behind it.
        """
        await self._turnstile.wait_turn()
        self.now = trio.current_time()
        steps, count = None, 0
        while steps is None and count < len(messages):
            if not self._has_writer:
                self.outbox.start_when_ready(None)
            steps = self._handler.handle(self, messages[count])
            count += 1
        self._first_left -= count
        await self._answer_first()
        return steps, messages[count:]

    async def _answer_first(self) -> None:
        """Send answers that any socket has room for on the spot: who leaves after them never needs a writer."""
        if not self._has_writer:
            if self.outbox.size_bytes <= MAX_FIRST_BYTES:
                await self._send(is_to_go_on=False)  # what comes meanwhile may be more than there is room for
            self._have_a_writer()

    async def _handle_all(self, messages: Sequence[bytes]) -> None:
        """Handle messages that arrived together, and whenever that has taken its time leave the loop to others."""
        while messages and self._first_left:
            first = messages[: self._first_left]
            members, behind = await self._introduce(first)
            if members is not None:
                await self._turn(members, SHORT_TURN_SECONDS)
            messages = messages[len(first) - len(behind) :]
        handle, clock = self._handler.handle, self._turn_clock
        seconds = TURN_SECONDS if len(messages) <= MANY_MESSAGES else SHORTEST_TURN_SECONDS
        until = clock() + seconds
        left = _STEPS_PER_LOOK_AT_THE_CLOCK
        at = 0
        while at < len(messages):
            parts = parts_from(messages, at) if messages[at].startswith(PART_BEGINS) else ()
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
        for _ in steps:
            if clock() > until:
                await self._let_others()
                until = clock() + seconds

    async def _let_others(self) -> None:
        for _ in range(PASSES):
            await trio.lowlevel.checkpoint()
        self.now = trio.current_time()

    # --- writing ----------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._send()
            if self._finishing is not None and self.ending is None:
                self.end(self._finishing)
            # of a session that ends, nothing more is handed over, and its last send must not be one that broke off
            if self.ending is not None:
                return
            await self.outbox.wait_ready()

    async def _send(self, *, is_to_go_on: bool = True) -> None:
        """Send what there is until there is nothing more, or the session ends. Or only once, what is there now."""
        transport, outbox = self.transport, self.outbox
        while (outbox or transport.is_urgent) and self.ending is None:
            await trio.lowlevel.checkpoint_if_cancelled()
            self.writing_since = trio.current_time()
            try:
                await transport.send(self._take())
            except TransportEnded as ended:
                self.end(ending_of(ended))
                return
            self.writing_since = math.inf
            if not is_to_go_on:
                return

    def _take(self) -> Collection[bytes]:
        """What the writer sends next, of which nothing can move to another owner any more."""
        messages = self.outbox.take()
        if self.hungry is not None:
            self.hungry(self)
        notes, taken = self.notes, self.outbox.taken
        while notes and (first := next(iter(notes))) <= taken:
            del notes[first]
        return messages
