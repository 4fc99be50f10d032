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
from resroute.client.results import ResourceEvent, ResourceInfo, read_resource_page
from resroute.client.session import Session
from resroute.client.watched import Changes, Watched
from resroute.errors import FellBehind, WatchLost

PAGE_SIZE = 1000


class ResourceEvents:
    """What has become of resources, in order. See :meth:`resroute.Client.open_watch`.

    Attributes:
        snapshot: the resources that matched when the watch began, ordered by id; empty unless that was asked for.
        revision: up to here everything has been taken. A watch with this ``from_revision`` goes on from there.
    """

    def __init__(self, session: Session, watched: Watched, snapshot: "_Snapshot") -> None:
        self.snapshot = tuple(snapshot.resources)
        self.revision = watched.started.revision
        self._session = session
        self._watched = watched
        self._known: _Snapshot | None = snapshot
        # what has arrived of the revision that is being taken
        self._events: deque[ResourceEvent] = deque()
        self._revision_after = self.revision

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResourceEvent:
        while not self._events:
            self.revision = self._revision_after
            try:
                changes = await self._watched.arrived.receive()
            except trio.EndOfChannel:
                pass
            else:
                self._take(changes)
                continue
            if self._watched.oldest_revision is not None:
                raise WatchLost(self._watched.oldest_revision)
            if self._watched.arrived.has_overflowed:
                raise FellBehind(MAX_ARRIVALS_BYTES)
            if self._session.lost is not None:
                raise await self._session.wait_ended()
            raise trio.ClosedResourceError("the block of this watch has ended")
        event = self._events.popleft()
        if not self._events:
            self.revision = self._revision_after
        return event

    def _take(self, changes: Changes) -> None:
        if self._known is not None and changes.revision > self._known.newest:
            self._known = None
        for change in changes.events:
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


@asynccontextmanager
async def open_watch(
    session: Session, filters: Mapping[str, Any], begin: Mapping[str, Any]
) -> AsyncGenerator[ResourceEvents]:
    """See :meth:`resroute.Client.open_watch`."""
    watches = session.watches
    begun: list[Watched] = []  # even if its block is cancelled at that moment

    def take_begun(result: Raw) -> Watched:
        begun.append(watches.begin(result))
        return begun[0]

    request = {**filters, **begin}
    try:
        watched = await session.request("resource.watch", request, take_begun, unheard=_unheard)
        started = watched.started
        snapshot = _Snapshot()
        if begin.get("snapshot"):
            snapshot.add(started.resources, started.revision)
        cursor = started.next_cursor
        while cursor is not None:
            request = {**filters, "cursor": cursor, "limit": PAGE_SIZE}
            page = await session.request("resource.query", request, read_resource_page)
            snapshot.add(page.resources, page.revision or 0)
            cursor = page.next_cursor
        yield ResourceEvents(session, watched, snapshot)
    finally:
        for watched in begun:
            watches.end(watched, say_so=session.lost is None)
