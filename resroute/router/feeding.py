"""Telling watches what they watch: one task for all of them, a slice of the loop at a time.

So a hundred watches, or ten thousand, hold nobody up any longer than one does. Those at the front hear of a change
together: it is found out once whom it concerns, and it is written once. Those behind are told by turns, as their sessions
have room.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import trio

from resroute.protocol.envelope import notification_message
from resroute.router.endings import Ending
from resroute.router.history import Entry, History, OwnershipFact
from resroute.router.outbox import Memory
from resroute.router.telling import HEAD_BYTES, EventWriter, concerns, events_message
from resroute.router.watches import MAX_EVENTS_BYTES, Draft, Watch, Watches
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

SLICE_SECONDS = 0.001
TIGHT_SECONDS = 0.01
"""How often to look whether there is memory again, once three quarters of what sessions may take in all is taken."""
PAUSE_SECONDS = 0.0001
MAX_PAUSE_SECONDS = 0.05
"""For each session that it has woken, and in all, the front stays where it is once it has caught up. To send a message on
its own takes several times as long as to send it with others: so in a storm watches take a fifth of the loop, not all."""

_FACTS_AT_A_TIME = 128  # for those at the front, then for one of those behind
_FACTS_PER_LOOK_AT_THE_CLOCK = 16
_MAX_WRITTEN = 8  # ways to choose from the changes of one revision that are kept written
_MAX_WRITTEN_BYTES = (
    1024 * 1024
)  # of one revision: of what takes more, each message is written when it can be sent


class _Written(msgspec.Struct):
    """The changes of one revision that concern a watch, cut into messages."""

    starts: list[int]
    texts: list[bytes] | None
    """All of them as events, unless that is too much."""

    def events(self, index: int) -> slice:
        """Those in one of the messages."""
        return slice(self.starts[index], self.starts[index + 1] if index + 1 < len(self.starts) else None)


def _not_shown(facts: Sequence[OwnershipFact], watch: Watch) -> list[OwnershipFact]:
    return [fact for fact in facts if fact.resource_id not in watch.shown.resource_ids]


class Feeder:
    """Moves watches along the history.

    Args:
        turn_clock: seconds on any clock.
    """

    def __init__(
        self,
        watches: Watches,
        history: History,
        writer: EventWriter,
        settings: Settings,
        memory: Memory,
        metrics: Metrics,
        turn_clock: Callable[[], float],
    ) -> None:
        self._watches = watches
        self._history = history
        self._writer = writer
        self._memory = memory
        self._metrics = metrics
        self._turn_clock = turn_clock
        self._max_events_bytes = min(MAX_EVENTS_BYTES, settings.max_message_bytes - HEAD_BYTES)
        self._tight_bytes = settings.max_outbox_total_bytes // 4 * 3
        self._until = 0.0
        self._pause_until = -math.inf  # before then the front stays where it is
        self._woken = 0  # sessions that had nothing to send, and got something

    async def run(self) -> None:
        """Tell whatever there is to tell, until cancelled. A bug ends those sessions that it may keep something from."""
        while True:
            try:
                await self._go_on()
            except Exception:
                for watch in list(self._watches.at_front):
                    self._fail(watch)
                await trio.lowlevel.checkpoint()

    async def _go_on(self) -> None:
        """Wait until there is something to tell, or tell some of it."""
        watches = self._watches
        if not watches.at_front:
            watches.front = self._history.end
        is_due = trio.current_time() >= self._pause_until
        if watches.front == self._history.end and not watches.ready:
            await watches.wait_woken()
            self._until = self._turn_clock() + SLICE_SECONDS
        elif not is_due and not watches.ready:
            await trio.sleep_until(self._pause_until)
        else:
            if is_due:
                await self._advance()
            if watches.ready:
                watch = next(iter(watches.ready))
                try:
                    await self._draw(watch)
                except Exception:
                    self._fail(watch)
            await self._breathe()

    async def _breathe(self) -> None:
        """Let others run once the slice is over."""
        if self._turn_clock() > self._until:
            await trio.lowlevel.checkpoint()
            self._until = self._turn_clock() + SLICE_SECONDS

    # --- those at the front -----------------------------------------------------------------------------------

    async def _advance(self) -> None:
        """Move the front over some entries."""
        watches, history = self._watches, self._history
        if watches.front < history.start:
            for watch in watches.lagging():
                self._lose(watch)
            watches.front = history.start
        looked_at = 0
        while looked_at < _FACTS_AT_A_TIME and watches.at_front:
            entry = history.entry_at(watches.front)
            if entry is None:
                self._pause()
                return
            looked_at += len(entry.facts)
            position = watches.front
            watches.front += 1
            await self._tell_all(position, entry)

    def _pause(self) -> None:
        """The front has caught up. The more sessions that woke, the more has to come together before it moves again."""
        pause_seconds = min(MAX_PAUSE_SECONDS, self._woken * PAUSE_SECONDS)
        self._pause_until = trio.current_time() + pause_seconds
        self._woken = 0

    async def _tell_all(self, position: int, entry: Entry) -> None:
        """Tell those at the front, as they were when the front moved over this entry, what concerns them of it."""
        at_front = self._watches.at_front
        concerned: dict[Watch, Sequence[OwnershipFact]] = dict.fromkeys(at_front.everything, entry.facts)
        if at_front.is_choosy:
            some: dict[Watch, list[OwnershipFact]] = {}
            for count, fact in enumerate(entry.facts, 1):
                for watch in at_front.candidates(fact):
                    try:
                        if concerns(watch.filter, fact):
                            some.setdefault(watch, []).append(fact)
                    except Exception:
                        self._fail(watch)
                if not count % _FACTS_PER_LOOK_AT_THE_CLOCK:
                    await self._breathe()
            concerned.update(some)
        # the same changes are written once for all who speak the same encoding
        written: dict[tuple[bool, tuple[int, ...] | None], _Written] = {}
        for watch, facts in concerned.items():
            # what came to the front meanwhile has been told this, or is to begin later
            if watch.is_open and watch.position is None and entry.revision > watch.after:
                if entry.revision <= watch.shown.revision:
                    facts = _not_shown(facts, watch)
                    if not facts:
                        continue
                packed = watch.session.speaks_msgpack
                key = packed, None if facts is entry.facts else tuple(map(id, facts))
                try:
                    cut = written.get(key)
                    if cut is None:
                        if len(written) >= _MAX_WRITTEN:
                            written.clear()
                        cut = written[key] = await self._write(facts, packed=packed)
                    await self._tell(watch, position, entry, facts, cut, 0)
                except Exception:
                    self._fail(watch)
                await self._breathe()

    # --- those behind -----------------------------------------------------------------------------------------

    async def _draw(self, watch: Watch) -> None:
        """Give one that is behind its turn."""
        watches, history = self._watches, self._history
        looked_at = 0
        while watch in watches.ready:
            position = watch.position
            assert position is not None, "those at the front are not ready for a turn"
            if position < history.start:
                self._lose(watch)
                return
            if position >= watches.front:
                watches.catch_up(watch)
                return
            if not watches.has_room(watch.session):
                watches.fall_behind(watch, position, watch.draft)
                return
            if looked_at >= _FACTS_AT_A_TIME:
                watches.ready[watch] = watches.ready.pop(watch)  # the next one's turn
                return
            entry = history.entry_at(position)
            assert entry is not None, "what is before the front has been there, and is not gone"
            looked_at += len(entry.facts)
            await self._tell_one(watch, position, entry)

    async def _tell_one(self, watch: Watch, position: int, entry: Entry) -> None:
        """Tell one that is behind what concerns it of an entry, or the rest of that."""
        facts: list[OwnershipFact] = []
        if entry.revision > watch.after:
            for count, fact in enumerate(entry.facts, 1):
                if concerns(watch.filter, fact):
                    facts.append(fact)
                if not count % _FACTS_PER_LOOK_AT_THE_CLOCK:
                    await self._breathe()
        if entry.revision <= watch.shown.revision:
            facts = _not_shown(facts, watch)
        if facts and watch.is_open:
            draft = watch.draft
            if draft is None:
                written, index = await self._write(facts, packed=watch.session.speaks_msgpack), 0
            else:
                written, index = _Written(draft.starts, None), draft.next_index
            await self._tell(watch, position, entry, facts, written, index)
        if watch in self._watches.ready:  # nothing is left of it
            watch.position, watch.draft = position + 1, None

    # --- telling ----------------------------------------------------------------------------------------------

    async def _write(self, facts: Sequence[OwnershipFact], *, packed: bool) -> _Written:
        """Cut changes into messages, and keep them as events if they do not take too much."""
        starts, texts = [0], []
        is_kept, size, total = True, 0, 0
        for number, fact in enumerate(facts):
            text = self._writer.event(fact, packed=packed)
            more = (
                len(text) + 2
            )  # a comma; and an owner that is healthy now may be unhealthy then, which is longer
            if size and size + more > self._max_events_bytes:
                starts.append(number)
                size = 0
            size += more
            total += more
            if is_kept:
                texts.append(text)
                if total > _MAX_WRITTEN_BYTES:
                    is_kept = False
                    texts.clear()
            if not (number + 1) % _FACTS_PER_LOOK_AT_THE_CLOCK:
                await self._breathe()
        return _Written(starts, texts if is_kept else None)

    async def _tell(
        self,
        watch: Watch,
        position: int,
        entry: Entry,
        facts: Sequence[OwnershipFact],
        written: _Written,
        index: int,
    ) -> None:
        """Send the messages of one revision from one of them on, as long as there is room; the others are for later."""
        session, count = watch.session, len(written.starts)
        packed = session.speaks_msgpack
        while index < count and watch.is_open:
            if self._memory.total_bytes > self._tight_bytes:
                await trio.sleep(TIGHT_SECONDS)
                continue
            if not self._watches.has_room(session):
                self._watches.fall_behind(watch, position, Draft(written.starts, index) if index else None)
                return
            some = written.events(index)
            texts = (
                [self._writer.event(fact, packed=packed) for fact in facts[some]]
                if written.texts is None
                else written.texts[some]
            )
            self._woken += not session.outbox
            session.post_encoded(
                events_message(watch.watch_id, entry.revision, index, count, texts, packed=packed)
            )
            self._metrics.watch_events += len(texts)
            index += 1
            if index < count:
                await self._breathe()

    def _fail(self, watch: Watch) -> None:
        """A bug, which costs the session that it met."""
        watch.session.log.exception("watch failed", watch_id=watch.watch_id)
        if watch.is_open:
            self._watches.remove(watch)
        watch.session.end(Ending(1011, "the router failed"))

    def _lose(self, watch: Watch) -> None:
        """A watch needs what is not there any more: it ends."""
        self._watches.remove(watch)
        self._metrics.watches_lost += 1
        lost = {"watch_id": watch.watch_id, "oldest_revision": self._history.oldest_revision}
        watch.session.log.info("watch lost", **lost)
        watch.session.post(notification_message("resource.watch_lost", lost))
