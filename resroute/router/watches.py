"""Which sessions watch what, and how far each watch has come.

A watch is a position in the history of changes. Most are at its front, which all of them share: those are found by what
they watch. One whose session does not read fast enough stays behind at a position of its own, and costs nothing until
there is room to tell it more.
"""

import itertools
from collections.abc import Iterable

import msgspec
import trio

from resroute.core.filters import Filter
from resroute.errors import RevisionGone, TooManyWatches, WatchNotFound
from resroute.ids import ResourceId, Revision, SessionId
from resroute.router.history import History
from resroute.router.outbox import Memory
from resroute.router.session import Session
from resroute.router.telling import HEAD_BYTES
from resroute.router.watch_index import WatchIndex
from resroute.settings import Settings

MAX_EVENTS_BYTES = 64 * 1024
"""What the events in one message take at most, unless a single one takes more."""

_WATCH_BYTES = 500
_NAME_BYTES = 150  # of each string in a filter, with its places here and there, but for its characters


class Draft(msgspec.Struct, frozen=True):
    """How the changes of one revision are cut into messages, some of which have been sent."""

    starts: list[int]
    """For each message the first of its changes, of those that concern the watch."""
    next_index: int


class Shown(msgspec.Struct, frozen=True):
    """Resources that a watch was shown as they were at a revision, while it began: what led there is not told again."""

    resource_ids: frozenset[ResourceId] = frozenset()
    revision: Revision = Revision(0)


_NOTHING_SHOWN = Shown()


class Watch:
    """One watch of one session.

    Attributes:
        after: changes up to this revision are none of its business.
        position: of the entry that it has to be told next; None at the front.
        draft: of that entry, if it is in the middle of it.
        shown: the snapshot it began with.
    """

    __slots__ = (
        "after",
        "draft",
        "filter",
        "is_open",
        "position",
        "session",
        "shown",
        "size_bytes",
        "watch_id",
    )

    def __init__(
        self, session: Session, watch_id: str, wanted: Filter, after: Revision, shown: "Shown"
    ) -> None:
        self.session = session
        self.watch_id = watch_id
        self.filter = wanted
        self.after = after
        self.shown = shown
        self.position: int | None = None
        self.draft: Draft | None = None
        self.is_open = True
        names = (*(wanted.resource_ids or ()), *wanted.tags, wanted.resource_type or "", wanted.prefix)
        self.size_bytes = _WATCH_BYTES + sum([_NAME_BYTES + len(name) for name in names])


class Watches:
    """All watches of a router: those at the front, those that wait for room, and those that can be told more.

    Attributes:
        front: the position of the entry that the watches at the front are told next.
        at_front: the watches there.
        ready: the watches behind whose sessions have room, in the order of their turns.
    """

    def __init__(self, history: History, settings: Settings, memory: Memory) -> None:
        self.front = history.end
        self.at_front = WatchIndex()
        self.ready: dict[Watch, None] = {}
        self._history = history
        self._settings = settings
        self._memory = memory
        self._next_number = itertools.count(1).__next__
        # session -> its watches by their ids; none is there without a watch
        self._by_session: dict[SessionId, dict[str, Watch]] = {}
        self._count = 0
        self._lot = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return self._count

    # --- coming and going -------------------------------------------------------------------------------------

    def add(self, session: Session, wanted: Filter, after: Revision, shown: Shown = _NOTHING_SHOWN) -> Watch:
        """Begin a watch: it is told every change after a revision that matches and that it has not been shown.

        Raises:
            RevisionGone: the changes after that revision are not all there any more.
            TooManyWatches: the session has as many as it may.
        """
        limit = self._settings.max_watches
        mine = self._by_session.get(session.id, {})
        if len(mine) >= limit:
            raise TooManyWatches(limit)
        if after < self._history.oldest_revision:
            raise RevisionGone(self._history.oldest_revision)
        if not self.at_front:
            self.front = self._history.end
        watch = Watch(session, f"watch-{self._next_number()}", wanted, after, shown)
        self._by_session.setdefault(session.id, mine)[watch.watch_id] = watch
        self._count += 1
        session.keep(watch.size_bytes)
        position = self._history.position_after(after)
        if position < self.front:
            watch.position = position
            self.ready[watch] = None
            self.wake()
        else:
            self.at_front.add(watch)
        return watch

    def find(self, session: Session, watch_id: str) -> Watch:
        """A watch of a session's own.

        Raises:
            WatchNotFound: the session has none of that id.
        """
        watch = self._by_session.get(session.id, {}).get(watch_id)
        if watch is None:
            raise WatchNotFound(watch_id)
        return watch

    def remove(self, watch: Watch) -> None:
        """End a watch: it is told nothing more."""
        session = watch.session
        mine = self._by_session[session.id]
        del mine[watch.watch_id]
        if not mine:
            del self._by_session[session.id]
            session.hungry = None
        self._count -= 1
        watch.is_open = False
        if watch.position is None:
            self.at_front.remove(watch)
        else:
            self.ready.pop(watch, None)
        session.keep(-watch.size_bytes)

    def remove_all(self, session: Session) -> None:
        """The session has ended."""
        for watch in list(self._by_session.get(session.id, {}).values()):
            self.remove(watch)

    # --- keeping up -------------------------------------------------------------------------------------------

    def has_room(self, session: Session) -> bool:
        """Whether a session may be told more now. All that watch share half of the memory for what waits to be sent."""
        settings = self._settings
        share = settings.max_outbox_total_bytes // (2 * max(1, len(self._by_session)))
        spare = settings.max_outbox_bytes - MAX_EVENTS_BYTES - HEAD_BYTES
        return session.outbox.size_bytes <= max(0, min(settings.outbox_soft_bytes, share, spare))

    def fall_behind(self, watch: Watch, position: int, draft: Draft | None = None) -> None:
        """There is no room to tell a watch what stands at a position, or the rest of it: that is for later."""
        if watch.position is None:
            self.at_front.remove(watch)
        watch.position, watch.draft = position, draft
        self.ready.pop(watch, None)
        watch.session.hungry = self._take_turn

    def catch_up(self, watch: Watch) -> None:
        """A watch has come to the front."""
        self.ready.pop(watch, None)
        watch.position = None
        self.at_front.add(watch)

    def _take_turn(self, session: Session) -> None:
        """The writer of a session has taken something: if there is room now, its watches can be told more."""
        if not self.has_room(session):
            return
        session.hungry = None
        for watch in self._by_session.get(session.id, {}).values():
            if watch.position is not None:
                self.ready[watch] = None
        self.wake()

    def wake(self) -> None:
        """There is something to tell."""
        self._lot.unpark()

    async def wait_woken(self) -> None:
        """Wait until there may be something to tell. Safe to cancel."""
        await self._lot.park()

    def lagging(self) -> Iterable[Watch]:
        """Those at the front that need changes which are not there any more."""
        oldest = self._history.oldest_revision
        return [watch for watch in self.at_front if watch.after < oldest]
