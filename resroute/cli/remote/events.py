"""What becomes of resources, as an admin API tells it: followed from one connection to the next."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

import attrs
import msgspec
import trio

from resroute.cli.remote.connection import Request
from resroute.cli.remote.event_format import EventReader, SentEvent
from resroute.cli.remote.http import Answer, Http
from resroute.cli.remote.problems import MAX_PROBLEM_BYTES, error_of
from resroute.cli.remote.refusals import NoAdminApi
from resroute.client.messages import DECODE_ERRORS
from resroute.client.results import ResourceEvent, ResourceInfo
from resroute.errors import ConnectionFailed, ConnectionLost, InvalidParams, RevisionGone, WatchLost

SILENCE_SECONDS = 45.0
"""A router says something three times in that time. One that does not is not there any more."""

AWAY_SECONDS = 60.0
"""How long a stream that was lost is tried to be had again."""

_MIN_PAUSE_SECONDS = 0.1
_MAX_PAUSE_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class _Change:
    event: str
    resource: ResourceInfo
    cause: str
    previous_owner: str | None = None


class _Changes(msgspec.Struct):
    revision: int
    events: tuple[_Change, ...]


class _Watching(msgspec.Struct):
    revision: int


class _Gone(msgspec.Struct):
    oldest_revision: int | None = None


_read_changes = msgspec.json.Decoder(_Changes).decode
_read_watching = msgspec.json.Decoder(_Watching).decode
_read_gone = msgspec.json.Decoder(_Gone).decode


class RemoteEvents:
    """What becomes of resources, in order, over all connections that it takes.

    A stream that ends is asked for again with the id of its last event, for :data:`AWAY_SECONDS`: nothing is missed, and
    nothing told twice. Iterating raises what :class:`resroute.client.ResourceEvents` does.

    Attributes:
        revision: up to here everything has been taken.
    """

    def __init__(
        self,
        http: Http,
        filters: Mapping[str, Any],
        from_revision: int | None,
        when_away: Callable[[Exception], object],
    ) -> None:
        self.revision = from_revision or 0
        self._http = http
        self._filters = filters
        self._goes_on = from_revision is not None
        self._when_away = when_away
        self._answer: Answer | None = None
        self._reader = EventReader()
        self._has_begun = False
        self._is_gone = False
        self._oldest_revision: int | None = None
        self._pause_seconds = 2.0
        # what was told and not taken, each with the revision that is complete after it
        self._told: deque[tuple[ResourceEvent | None, int]] = deque()
        # of the revision that has arrived in part: how many events were told, and how many came over this connection
        self._told_in_part = 0
        self._came_in_part = 0
        # until when the stream is tried to be had again; None while it is there
        self._away_until: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResourceEvent:
        while True:
            while self._told:
                event, self.revision = self._told.popleft()
                if event is not None:
                    return event
            try:
                await self._listen()
            except (ConnectionFailed, ConnectionLost) as error:
                await self._come_back(error)

    async def begin(self) -> None:
        """Wait until the router watches.

        Raises:
            RevisionGone: what happened after the revision is not all remembered.
            ResrouteError: the router refuses it, or cannot be asked.
        """
        await self._open()
        while not self._has_begun:
            await self._listen()

    async def aclose(self) -> None:
        """Hang up."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.aclose()

    async def _open(self) -> None:
        query = urlencode(self._filters, doseq=True)
        headers = {"Last-Event-ID": str(self.revision)} if self._goes_on else {}
        request = Request(
            verb="GET",
            target=f"/api/v1/events?{query}" if query else "/api/v1/events",
            accept="text/event-stream",
            headers=headers,
        )
        with trio.move_on_after(SILENCE_SECONDS):
            self._answer = await self._http.ask(request)
            if self._answer.status == 200 and self._answer.content_type == "text/event-stream":
                self._reader = EventReader()
                self._came_in_part = 0
                return
            body = await self._answer.read(MAX_PROBLEM_BYTES)
            raise error_of(self._answer, body, self._http, "GET /api/v1/events")
        raise ConnectionLost(reason=f"no answer within {SILENCE_SECONDS:g} seconds")

    async def _come_back(self, error: Exception) -> None:
        """Have the stream again."""
        if self._away_until is None:
            self._when_away(error)
            self._away_until = trio.current_time() + AWAY_SECONDS
        while True:
            await self.aclose()
            if trio.current_time() + self._pause_seconds > self._away_until:
                raise error
            await trio.sleep(self._pause_seconds)
            try:
                await self._open()
            except (ConnectionFailed, ConnectionLost) as another:
                error = another
            else:
                return

    async def _listen(self) -> None:
        """Receive something, and look at all of it."""
        assert self._answer is not None
        piece = None
        with trio.move_on_after(SILENCE_SECONDS):
            piece = await self._answer.receive()
        if piece is None:
            raise ConnectionLost(reason=f"not a word for {SILENCE_SECONDS:g} seconds")
        if not piece:
            raise ConnectionLost(reason="it has ended the stream of events")
        try:
            for event in self._reader.feed(piece):
                self._look_at(event)
        except (ValueError, *DECODE_ERRORS) as error:
            raise self._not_understood(error) from error
        if self._reader.retry_seconds is not None:
            self._pause_seconds = min(_MAX_PAUSE_SECONDS, max(_MIN_PAUSE_SECONDS, self._reader.retry_seconds))

    def _not_understood(self, error: Exception) -> Exception:
        return NoAdminApi(self._http.address.url, f"it tells events that this program cannot read: {error}")

    def _look_at(self, event: SentEvent) -> None:
        match event.name:
            case "watching":
                self._begin(_read_watching(event.data).revision)
            case "changes":
                self._take(_read_changes(event.data), event.id)
            case "gone":
                self._is_gone = True
                self._oldest_revision = _read_gone(event.data).oldest_revision

    def _begin(self, revision: int) -> None:
        if self._is_gone:
            raise self._gone(revision)
        self._away_until = None
        if not self._has_begun:
            self._has_begun, self._goes_on = True, True
            self.revision = revision

    def _gone(self, revision: int) -> Exception:
        if self._has_begun:
            return WatchLost(self._oldest_revision or revision)
        if self._oldest_revision is None:
            return InvalidParams.at("from_revision", f"is ahead of this router, which is at {revision}")
        return RevisionGone(self._oldest_revision)

    def _take(self, changes: _Changes, event_id: str) -> None:
        for change in changes.events:
            self._came_in_part += 1
            if self._came_in_part > self._told_in_part:  # a revision is told again as it was told before
                self._told_in_part += 1
                event = ResourceEvent(
                    revision=changes.revision,
                    event=change.event,
                    resource=change.resource,
                    cause=change.cause,
                    previous_owner=change.previous_owner,
                )
                self._told.append((event, self._told[-1][1] if self._told else self.revision))
        if event_id == str(changes.revision):
            self._told_in_part = self._came_in_part = 0
            self._told.append((None, changes.revision))
