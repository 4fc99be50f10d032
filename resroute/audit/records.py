"""What the audit log holds, and how it is asked for."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from resroute.core.commands import Cause
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

Event = Literal[
    "registered",
    "released",
    "transferred",
    "updated",
    "expired",
    "called",
    "drained",
    "session_ended",
    "records_dropped",
]
"""What happened: the events of resources by their own names, and what there is beside them."""

MAX_RESOURCES_SHOWN = 20
"""Resources that a record shows by itself; a page of them all is asked for."""

MAX_REASON_CHARACTERS = 1000
"""As much of a reason as is kept."""


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who asked for it."""

    subject: str
    session_id: SessionId
    instance_id: InstanceId | None = None


class Touched(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One resource that a record is about, and its epochs before and after; None where nobody owned it."""

    resource_id: ResourceId
    epoch_before: Epoch | None = None
    epoch_after: Epoch | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, to be recorded. ``at`` is wall-clock seconds."""

    at: float
    revision: Revision
    """Where in the log of commands it happened."""
    event: Event
    cause: Cause | None = None
    actor: Actor | None = None
    """None: the router itself."""
    service_name: ServiceName | None = None
    instance_before: InstanceId | None = None
    instance_after: InstanceId | None = None
    about_session_id: SessionId | None = None
    """The session that ended, where one did."""
    resources: Sequence[Touched] = ()
    resource_count: int = 0
    """More than ``resources`` where the others follow as :class:`Freed`."""
    transfer_id: str | None = None
    trace_id: str | None = None
    reason: str | None = None


class Freed(msgspec.Struct, frozen=True):
    """More resources of the entry that was made at a revision."""

    revision: Revision
    resources: Sequence[Touched]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was recorded. ``id`` grows, and is never used again."""

    id: int
    entry: Entry
    """Its ``resources`` are the first :data:`MAX_RESOURCES_SHOWN`; if one was asked for, that one."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which records. What is not given does not restrict; times are wall-clock seconds."""

    since: float | None = None
    """At that time or later."""
    until: float | None = None
    """Before that time."""
    resource_id: ResourceId | None = None
    instance_id: InstanceId | None = None
    """That asked for it, or owned the resources before or after."""
    actor: str | None = None
    """Its subject, session or instance."""
    event: Event | None = None
    cause: Cause | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some records in the order in which they were made, or the other way round. Fewer than asked for do not mean that
    nothing follows.
    """

    records: Sequence[Record]
    next_cursor: int | None = None
    """To ask for what follows; None: nothing does."""


class Source(Protocol):
    """Where records are read."""

    def query(
        self, filters: Filters, *, limit: int, cursor: int | None = None, newest_first: bool = False
    ) -> Page:
        """Up to ``limit`` records that match, oldest first or newest first, after the ``cursor`` of a page before."""
        ...

    def resources_of(self, record_id: int, *, limit: int, after: str = "") -> Sequence[Touched]:
        """Resources of a record in code-point order of their ids, from the first one greater than ``after`` on."""
        ...
