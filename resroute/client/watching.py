"""Following what becomes of resources: how things are, and then each change."""

from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import trio
from msgspec import Raw

from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from resroute.client.link import Link
from resroute.client.results import ResourceEvent, ResourceInfo, read_resource_page
from resroute.client.session import Session
from resroute.client.watched import Changes, StartedWatch, Watched
from resroute.errors import ConnectionLost, FellBehind, RevisionGone, WatchLost

PAGE_SIZE = 1000


class ResourceEvents:
    """What has become of resources, in order. See :meth:`resroute.Client.open_watch`.

    Attributes:
        snapshot: the resources that matched when the watch began, ordered by id; empty unless that was asked for.
        revision: up to here everything has been taken. A watch with this ``from_revision`` goes on from there.
    """

    def __init__(self, watch: "_Watch", snapshot: "_Snapshot") -> None:
        self.snapshot = tuple(snapshot.resources)
        self.revision = watch.started.revision
        self._watch = watch
        self._known: _Snapshot | None = snapshot
        # what has arrived of the revision that is being taken
        self._events: deque[ResourceEvent] = deque()
        self._revision_after = self.revision
        # the last revision that has arrived in part, how many events that was, and how many of them are told again
        self._in_part = 0
        self._heard = 0
        self._again = 0
        self._going_on = trio.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResourceEvent:
        while not self._events:
            self.revision = self._revision_after
            watched = self._watch.watched
            try:
                changes = await watched.arrived.receive()
            except trio.EndOfChannel:
                pass
            else:
                self._take(changes)
                continue
            if watched.oldest_revision is not None:
                raise WatchLost(watched.oldest_revision)
            if watched.arrived.has_overflowed:
                raise FellBehind(MAX_ARRIVALS_BYTES)
            if self._watch.is_over:
                raise trio.ClosedResourceError("the block of this watch has ended")
            await self._go_on(watched)
        event = self._events.popleft()
        if not self._events:
            self.revision = self._revision_after
        return event

    async def _go_on(self, watched: Watched) -> None:
        """The session has ended: have the next one tell what came after."""
        async with self._going_on:
            while self._watch.watched is watched:  # nobody has done it meanwhile
                try:
                    await self._watch.begin({"from_revision": self.revision})
                except RevisionGone as gone:
                    raise WatchLost(gone.oldest_revision) from gone
                except ConnectionLost:
                    self._watch.check()
                else:
                    # what came again before this one broke, too, was told already
                    self._again, self._heard = self._again + self._heard, 0

    def _take(self, changes: Changes) -> None:
        if self._known is not None and changes.revision > self._known.newest:
            self._known = None
        if changes.revision != self._in_part:
            self._in_part, self._heard, self._again = changes.revision, 0, 0
        self._heard += len(changes.events)
        events = changes.events[self._again :]  # a revision is told again as it was told before
        self._again -= len(changes.events) - len(events)
        for change in events:
            if self._known is None or not self._known.covers(change.resource.resource_id, changes.revision):
                self._events.append(
                    ResourceEvent(
                        revision=changes.revision,
                        event=change.event,
                        resource=change.resource,
                        cause=change.cause,
                        previous_owner=change.previous_owner,
                    )
                )
        if changes.index + 1 == changes.count:
            self._revision_after = changes.revision


@attrs.define
class _Snapshot:
    """Pages of what there was, each of another revision, one after the other in the order of ids."""

    resources: list[ResourceInfo] = attrs.field(factory=list)
    _last_ids: list[str] = attrs.field(factory=list)
    _revisions: list[int] = attrs.field(factory=list)

    @property
    def newest(self) -> int:
        """The revision of the last page."""
        return self._revisions[-1] if self._revisions else 0

    def add(self, resources: tuple[ResourceInfo, ...], revision: int) -> None:
        """The next page."""
        self.resources += resources
        last_id = self._last_ids[-1] if self._last_ids else ""
        self._last_ids.append(resources[-1].resource_id if resources else last_id)
        self._revisions.append(revision)

    def covers(self, resource_id: str, revision: int) -> bool:
        """Whether what happened to a resource is in its page already, which may be that it is not there any more."""
        # beyond the last id the last page says that there is none
        page = min(bisect_left(self._last_ids, resource_id), len(self._revisions) - 1)
        return page >= 0 and revision <= self._revisions[page]


def _unheard() -> None:
    """A router that does not say for so long which watch it has begun: there is no name to end it by."""


class _Watch:
    """A watch over the sessions that a client has: in each of them one that goes on from the one before."""

    def __init__(self, link: Link, filters: Mapping[str, Any]) -> None:
        self.is_over = False
        self._link = link
        self._filters = filters
        self._session: Session | None = None
        self._watched: Watched | None = None

    @property
    def watched(self) -> Watched:
        """The one that was begun last."""
        assert self._watched is not None
        return self._watched

    @property
    def started(self) -> StartedWatch:
        """What its answer said."""
        return self.watched.started

    async def begin(self, params: Mapping[str, Any]) -> Session:
        """Begin one in the session that there is, or in the next one."""
        session = await self._link.next_session()
        self._end()

        def take_begun(result: Raw) -> None:
            # even if whoever waits for it is cancelled at that moment
            self._session, self._watched = session, session.watches.begin(result)

        await session.request("resource.watch", {**self._filters, **params}, take_begun, unheard=_unheard)
        return session

    def check(self) -> None:
        """Raise ConnectionLost if there will be no session any more."""
        if self._link.lost is not None:
            raise self._link.why_lost("unknown")

    def finish(self) -> None:
        """The block has ended."""
        self.is_over = True
        self._end()

    def _end(self) -> None:
        if self._session is not None and self._watched is not None:
            self._session.watches.end(self._watched, say_so=self._session.lost is None)


@asynccontextmanager
async def open_watch(
    link: Link, filters: Mapping[str, Any], begin: Mapping[str, Any]
) -> AsyncGenerator[ResourceEvents]:
    """See :meth:`resroute.Client.open_watch`."""
    watch = _Watch(link, filters)
    try:
        await link.ready()
        snapshot: _Snapshot | None = None
        while snapshot is None:
            try:
                session = await watch.begin(begin)
                snapshot = await _take_snapshot(session, filters, watch.started, begin)
            except ConnectionLost:
                watch.check()
        yield ResourceEvents(watch, snapshot)
    finally:
        watch.finish()


async def _take_snapshot(
    session: Session, filters: Mapping[str, Any], started: StartedWatch, begin: Mapping[str, Any]
) -> _Snapshot:
    snapshot = _Snapshot()
    if begin.get("snapshot"):
        snapshot.add(started.resources, started.revision)
    cursor = started.next_cursor
    while cursor is not None:
        request = {**filters, "cursor": cursor, "limit": PAGE_SIZE}
        page = await session.request("resource.query", request, read_resource_page)
        snapshot.add(page.resources, page.revision or 0)
        cursor = page.next_cursor
    return snapshot
