"""The watches of a session: whose an event is, and whose a watch is that nobody waits for. No I/O."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from resroute.client.arrivals import Arrivals
from resroute.client.messages import notification_line
from resroute.client.results import ResourceInfo

EVENTS = "resource.events"
LOST = "resource.watch_lost"


class StartedWatch(msgspec.Struct):
    """The answer that begins a watch."""

    watch_id: str
    revision: int
    resources: tuple[ResourceInfo, ...] = ()
    next_cursor: str | None = None


class Change(msgspec.Struct):
    """One event as it is on the wire."""

    event: str
    resource: ResourceInfo
    cause: str
    previous_owner: str | None = None


class Changes(msgspec.Struct):
    """What one command changed, or a part of it."""

    watch_id: str
    revision: int
    index: int
    count: int
    events: list[Change]


class _Lost(msgspec.Struct):
    watch_id: str
    oldest_revision: int


_read_started = msgspec.json.Decoder(StartedWatch).decode
_read_changes = msgspec.json.Decoder(Changes).decode
_read_lost = msgspec.json.Decoder(_Lost).decode


class Watched:
    """One watch, from the answer that began it on.

    Attributes:
        oldest_revision: set once the router has given it up: what it still remembers is after that revision.
    """

    def __init__(self, started: StartedWatch) -> None:
        self.started = started
        self.arrived = Arrivals[Changes]()
        self.oldest_revision: int | None = None


class WatchTable:
    """The watches of a session by their ids. Everything here happens in the order in which the router said it.

    Args:
        say: sends a line.
    """

    def __init__(self, say: Callable[[bytes], Any]) -> None:
        self._say = say
        # watch id -> the watch; each entry is removed by the block that made it
        self._all: dict[str, Watched] = {}

    def __len__(self) -> int:
        return len(self._all)

    def begin(self, result: Raw) -> Watched:
        """The answer to somebody who waits for it."""
        watched = Watched(_read_started(result))
        self._all[watched.started.watch_id] = watched
        return watched

    def take(self, method: str, params: Raw) -> None:
        """A notification: :data:`EVENTS` or :data:`LOST`."""
        if method == LOST:
            lost = _read_lost(params)
            watched = self._all.get(lost.watch_id)
            if watched is not None:
                watched.oldest_revision = lost.oldest_revision
                watched.arrived.finish()
            return
        changes = _read_changes(params)
        watched = self._all.get(changes.watch_id)
        if watched is not None:
            watched.arrived.put(changes, len(params))

    def end(self, watched: Watched, *, say_so: bool) -> None:
        """The block of a watch has ended. ``say_so``: the router is still there to be told."""
        watch_id = watched.started.watch_id
        self._all.pop(watch_id, None)
        watched.arrived.finish()
        if say_so and watched.oldest_revision is None:
            self._say(notification_line("resource.unwatch", {"watch_id": watch_id}))

    def finish(self) -> None:
        """Nothing more will arrive."""
        for watched in self._all.values():
            watched.arrived.finish()
