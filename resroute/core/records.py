"""The records that the state is made of."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from resroute.core.commands import Cause
from resroute.core.facts import (
    Details,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.metadata import Metadata
from resroute.core.ordered import MAX_SORTED, OrderedIds
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

if TYPE_CHECKING:
    from resroute.core.bulks import Hold

MAX_CALLERS = 100
"""How many of the last callers of a resource are remembered."""


class OwnerRecord:
    """An instance, as long as its session lives or it is suspended, and until its last grant is reclaimed.

    ``alive`` decides: a grant whose owner is not alive is no grant. So one assignment frees all of them at once.
    """

    __slots__ = (
        "_ordered",
        "alive",
        "bulks",
        "cause",
        "fact",
        "grace_seconds",
        "instance_id",
        "is_draining",
        "made_with",
        "max_concurrency",
        "metadata",
        "plain",
        "priority",
        "registered_at",
        "reserved_count",
        "resources",
        "service",
        "session_id",
        "subject",
        "suspended_until",
        "token",
        "waits",
    )

    def __init__(
        self,
        session_id: SessionId,
        service: "ServiceRecord",
        instance_id: InstanceId,
        *,
        registered_at: float,
        priority: int,
        max_concurrency: int | None,
        plain: bool,
        metadata: bytes | None,
        subject: str = "",
        token: bytes | None = None,
        grace_seconds: float = 0.0,
    ) -> None:
        self.session_id = session_id
        self.service = service
        self.instance_id = instance_id
        self.registered_at = registered_at
        self.priority = priority
        self.max_concurrency = max_concurrency
        self.plain = plain
        self.metadata = metadata
        # who may take its place: the same subject, with the token that it was given; and as long as it is not sure that it
        # knows of that, with the one by which it took the place of another
        self.subject = subject
        self.token = token
        self.made_with: bytes | None = None
        self.grace_seconds = grace_seconds
        # wall-clock seconds, as data, while its session has ended and it may still be resumed
        self.suspended_until: float | None = None
        self.alive = True
        self.is_draining = False
        self.cause: Cause = "session_ended"  # why it is dead, once it is
        # in the order they were granted, which is the order they are released in
        self.resources: dict[ResourceId, None] = {}
        self._ordered: OrderedIds | None = None  # the same by id, of owners of many
        # its registrations that wait, in the order they came
        self.waits: dict[Revision, None] = {}
        # of what is under way in bulk, or left behind by it, the bulks; and how many more resources they may bring
        self.bulks: dict[BulkId, None] = {}
        self.reserved_count = 0
        self.fact = Owner(session_id, instance_id, service.name)

    def add(self, resource_id: ResourceId) -> None:
        """It owns one more."""
        self.resources[resource_id] = None
        if self._ordered is not None:
            self._ordered.add(resource_id)
        elif len(self.resources) > MAX_SORTED:
            self._ordered = OrderedIds.of(self.resources)

    def remove(self, resource_id: ResourceId) -> None:
        """It owns one less.

        Raises:
            KeyError: it did not own that.
        """
        del self.resources[resource_id]
        if self._ordered is not None:
            self._ordered.remove(resource_id)

    def expect(self, resource_ids: Sequence[ResourceId]) -> None:
        """It may come to own more: that is in its order already."""
        if self._ordered is None:
            self._ordered = OrderedIds.of(self.resources)
        self._ordered.add_all(resource_ids)

    def own(self, resource_ids: Iterable[ResourceId]) -> None:
        """It owns what was expected."""
        self.resources.update(dict.fromkeys(resource_ids))

    def own_no_more(self, resource_ids: Iterable[ResourceId]) -> None:
        """It does not own these, which stay in its order."""
        for resource_id in resource_ids:
            del self.resources[resource_id]

    def lose(self, resource_ids: Sequence[ResourceId]) -> None:
        """It does not own these any more."""
        self.own_no_more(resource_ids)
        if self._ordered is None:
            return
        if self.bulks or len(self.resources) > len(resource_ids):
            for resource_id in resource_ids:
                self._ordered.remove(resource_id)
        else:  # what is left is less to put in order than what has gone is to take out
            self._ordered = OrderedIds.of(self.resources)

    def expect_no_more(self, resource_id: ResourceId) -> None:
        """It is not going to own what it was expected to, or what it does not own any more."""
        if self._ordered is not None:
            with suppress(KeyError):  # what was given up before there was an order
                self._ordered.remove(resource_id)

    @property
    def may_return(self) -> bool:
        """Whether it is suspended, or will be if its session is cut off now."""
        return self.grace_seconds > 0 and not self.is_draining

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """The fingerprints of those with which somebody may take its place."""
        return tuple(token for token in (self.token, self.made_with) if token is not None)

    def take_all_from(self, before: "OwnerRecord") -> None:
        """It owns all that another owned, and that other nothing. It has owned nothing itself."""
        self.resources, before.resources = before.resources, {}
        self._ordered, before._ordered = before._ordered, None
        if before.bulks and self._ordered is not None:  # what they have left behind is in its order too
            self._ordered = OrderedIds.of(self.resources)

    @property
    def in_order(self) -> OrderedIds:
        """What it owns in order of ids, to be read until something changes; what bulks have to do with among it."""
        return OrderedIds(self.resources) if self._ordered is None else self._ordered


class Weighed(msgspec.Struct, frozen=True, gc=False):
    """How busy a resource was when somebody last wanted to know, and after how many calls and when that was."""

    load: float
    calls_total: int
    at: float
    """On the router's clock."""


class Grant(msgspec.Struct, gc=False):
    """Who owns a resource now, and since which revision.

    Not tracked by the garbage collector, and so neither is the table of all grants: see :mod:`resroute.core.ordered`. No
    cycle can go through a grant, since an owner's record holds ids, not grants.
    """

    resource_id: ResourceId
    owner: OwnerRecord
    epoch: Epoch
    """0 while it is not in force: set aside for a bulk, or left behind by one."""
    registered_at: float
    metadata: Metadata | None = None
    expires_at: float | None = None
    """Wall-clock seconds, as its commands said; None if it does not expire."""
    calls_total: int = 0
    """Calls routed here since the resource last had no owner. Local to one router: not part of the replicated state."""
    last_called_at: float = 0.0
    """On the router's clock; 0 for never. Local as well."""
    last_caller: SessionId | None = None
    """Whose call was the last one. Local as well. Compare it by identity before :meth:`note_caller`."""
    callers: dict[SessionId, int] | None = None
    """From the second caller on: who called, and with which call its last turn began. Some older ones too. Local as well."""
    calls_ok: int = 0
    """Calls under this grant that ended with a result. Local as well."""
    failures: dict[str, int] | None = None
    """How other calls under this grant ended. Local as well, and made when there is one."""
    hold: "Hold | None" = None
    """The bulk that has set the resource aside, or had."""
    weighed: Weighed | None = None
    """What is known of how busy it was. Local as well, and made when somebody wants to know."""

    @property
    def is_in_force(self) -> bool:
        """Whether the resource has this owner."""
        return self.epoch > 0 and self.owner.alive

    def note_caller(self, caller: SessionId) -> None:
        """Somebody else than the last caller makes the latest call, which is counted already."""
        last, self.last_caller = self.last_caller, caller
        callers = self.callers
        if callers is not None:
            callers[caller] = self.calls_total
            if len(callers) > 2 * MAX_CALLERS:
                latest = sorted(callers.values())[-MAX_CALLERS]
                self.callers = {who: call for who, call in callers.items() if call >= latest}
        elif last is not None and last != caller:
            self.callers = {last: 0, caller: self.calls_total}

    def was_called_by(self, session_id: SessionId) -> bool:
        """Whether a session is among the last :data:`MAX_CALLERS` that called."""
        callers = self.callers
        if callers is None or session_id not in callers:
            return session_id == self.last_caller
        call = callers[session_id]
        return sum(later > call for later in callers.values()) < MAX_CALLERS

    # --- facts about it, as it is ----------------------------------------------------------------------------

    def details(self) -> Details:
        """What is known of the resource now."""
        return Details(
            self.registered_at, self.metadata, self.expires_at, self.calls_total, self.last_called_at
        )

    def registered(self) -> ResourceRegistered:
        """It is in force."""
        return ResourceRegistered(self.resource_id, self.owner.fact, self.epoch, self.details())

    def transferred_from(self, before: "Grant", cause: Cause) -> ResourceTransferred:
        """It is in force instead of the one before."""
        return ResourceTransferred(
            self.resource_id,
            self.owner.fact,
            self.epoch,
            before.owner.fact,
            before.epoch,
            cause,
            self.details(),
            before.metadata,
        )

    def released(self, cause: Cause) -> ResourceReleased:
        """It is no more."""
        return ResourceReleased(self.resource_id, self.owner.fact, self.epoch, cause, self.details())

    def updated(self, cause: Cause, before: Metadata | None) -> ResourceUpdated:
        """Its metadata is another than before."""
        return ResourceUpdated(self.resource_id, self.owner.fact, self.epoch, cause, self.details(), before)

    # --- following it -----------------------------------------------------------------------------------------

    def passed_to(self, owner: OwnerRecord, epoch: Epoch, at: float) -> "Grant":
        """The grant that follows when the resource moves from one live owner to another: its callers and metadata stay."""
        return Grant(
            self.resource_id,
            owner,
            epoch,
            at,
            self.metadata,
            self.expires_at,
            self.calls_total,
            self.last_called_at,
            self.last_caller,
            self.callers,
            weighed=self.weighed,
        )

    def note_failure(self, outcome: str) -> None:
        """One of its calls has ended without a result."""
        if self.failures is None:
            self.failures = {}
        self.failures[outcome] = self.failures.get(outcome, 0) + 1


class ServiceRecord:
    """All instances of one service, and all their resources."""

    __slots__ = ("ids", "instances", "name", "resource_count")

    def __init__(self, name: ServiceName) -> None:
        self.name = name
        # live instances, in the order they came
        self.instances: dict[InstanceId, OwnerRecord] = {}
        # ids of grants, those of dead owners that are not yet reclaimed among them
        self.ids = OrderedIds()
        # grants of live owners only
        self.resource_count = 0


class SessionRecord:
    """One session: live, or ended with grants that are still to be reclaimed."""

    __slots__ = ("alive", "bulks", "origin", "owner", "session_id")

    def __init__(self, session_id: SessionId, origin: str) -> None:
        self.session_id = session_id
        self.origin = origin
        self.alive = True
        self.owner: OwnerRecord | None = None
        # what it has asked for in bulk, and was not done with
        self.bulks: dict[BulkId, None] = {}
