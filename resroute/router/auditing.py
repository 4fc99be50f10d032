"""What goes into the audit log: read off the facts of commands, and where administrators asked for them, with who they are.

Facts about sessions that ended and grants that expired are recorded by every router that applies them. What somebody asked
for is recorded by the router that was asked, which alone knows by whom and under which trace id.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from resroute.audit.records import Actor, Entry, Event, Freed, Touched
from resroute.audit.trail import Trail
from resroute.core.commands import Cause
from resroute.core.facts import (
    Applied,
    Fact,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourcesMoved,
    ResourceTransferred,
    ResourceUpdated,
    SessionEnded,
)
from resroute.core.records import OwnerRecord
from resroute.ids import InstanceId, Revision, SessionId
from resroute.router.request import Request
from resroute.router.session import Session

_RECORDED_OF_ALL = ("resource.transfer", "instance.drain", "service.rebalance")
"""Methods by which resources move to others, whoever calls them."""


_CUT_OFF = ("session_ended", "heartbeat_lost")


class _CleanUp(msgspec.Struct):
    """A session that ended, and how many of its grants are still to be told."""

    revision: Revision
    left: int


_Key = tuple[Event, SessionId | None, SessionId | None]


class _Change(NamedTuple):
    """What happened to a resource. Several to which the same happened are one record."""

    event: Event
    cause: Cause
    before: Owner | None
    after: Owner | None

    @property
    def key(self) -> _Key:
        """The same for all that are alike: what one command does has one cause for each event."""
        before, after = self.before, self.after
        return (
            self.event,
            None if before is None else before.session_id,
            None if after is None else after.session_id,
        )


class Auditor:
    """Records what is worth it.

    Args:
        trail: where to.
        wall_clock: seconds since 1970.
    """

    def __init__(self, trail: Trail, wall_clock: Callable[[], float]) -> None:
        self._trail = trail
        self._wall_clock = wall_clock
        # sessions that ended, until all their grants were told
        self._cleaning: dict[SessionId, _CleanUp] = {}

    def __len__(self) -> int:
        return len(self._cleaning)

    # --- what happens by itself -------------------------------------------------------------------------------

    def ended(self, fact: SessionEnded, revision: Revision) -> None:
        """A session has ended: recorded if it owned something, or if an instance was lost otherwise than by leaving."""
        owner = fact.owner
        if owner is None or (not fact.resource_count and fact.cause == "session_ended"):
            return
        if fact.resource_count:
            self._cleaning[fact.session_id] = _CleanUp(revision, fact.resource_count)
        self._trail.add(
            Entry(
                at=self._wall_clock(),
                revision=revision,
                event="released",
                cause=fact.cause,
                service_name=owner.service_name,
                instance_before=owner.instance_id,
                about_session_id=fact.session_id,
                resource_count=fact.resource_count,
                reason="its grace is over" if fact.was_suspended and fact.cause in _CUT_OFF else None,
            )
        )

    def released(self, facts: Sequence[ResourceReleased], revision: Revision) -> None:
        """Resources are free, and not because their owners asked for it."""
        by_owner: dict[SessionId, list[ResourceReleased]] = {}
        for fact in facts:
            by_owner.setdefault(fact.previous_owner.session_id, []).append(fact)
        for session_id, freed in by_owner.items():
            clean_up = self._cleaning.get(session_id)
            first = freed[0]
            if clean_up is not None:
                self._trail.add(Freed(clean_up.revision, _ended(freed)))
                clean_up.left -= len(freed)
                if clean_up.left <= 0:
                    del self._cleaning[session_id]
            elif first.cause == "expired":
                self._trail.add(
                    Entry(
                        at=self._wall_clock(),
                        revision=revision,
                        event="expired",
                        cause="expired",
                        service_name=first.previous_owner.service_name,
                        instance_before=first.previous_owner.instance_id,
                        resources=_ended(freed),
                        resource_count=len(freed),
                    )
                )

    # --- what somebody asked for ------------------------------------------------------------------------------

    def asked(
        self,
        request: Request,
        applied: Applied,
        *,
        on_behalf_of: InstanceId | None = None,
    ) -> None:
        """What a request has brought about: recorded are transfers, and what only an administrator may ask for.

        All of it goes into the trace of the request, if that is traced.
        """
        if request.trace is not None:
            request.trace.applied(applied)
        session = request.session
        if not applied.facts or not (session.may("admin") or request.method.name in _RECORDED_OF_ALL):
            return
        changes: dict[_Key, tuple[_Change, list[Touched]]] = {}
        moves: dict[SessionId, ResourcesMoved] = {}
        for fact in applied.facts:
            if isinstance(fact, ResourcesMoved):
                moves[fact.previous_owner.session_id] = fact
            elif (found := self._change(fact, session, on_behalf_of)) is not None:
                change, touched = found
                alike = changes.get(change.key)
                if alike is None:
                    alike = changes[change.key] = change, []
                alike[1].append(touched)
        for change, resources in changes.values():
            of = change.after or change.before
            move = None if change.before is None else moves.get(change.before.session_id)
            self._trail.add(
                Entry(
                    at=self._wall_clock(),
                    revision=applied.revision,
                    event=change.event,
                    cause=change.cause,
                    actor=_actor(session),
                    service_name=None if of is None else of.service_name,
                    instance_before=None if change.before is None else change.before.instance_id,
                    instance_after=None if change.after is None else change.after.instance_id,
                    resources=resources,
                    resource_count=len(resources),
                    transfer_id=None if move is None else move.transfer_id,
                    trace_id=request.trace_id,
                    reason=None if move is None else move.reason,
                )
            )

    def _change(
        self, fact: Fact, asker: Session, on_behalf_of: InstanceId | None
    ) -> tuple[_Change, Touched] | None:
        match fact:
            case ResourceTransferred():
                change = _Change("transferred", fact.cause, fact.previous_owner, fact.owner)
                return change, Touched(fact.resource_id, fact.previous_epoch, fact.epoch)
            case ResourceReleased(cause="admin") if fact.previous_owner.session_id not in self._cleaning:
                return _Change("released", "admin", fact.previous_owner, None), _before(fact)
            case ResourceReleased(cause="drain") if fact.previous_owner.session_id not in self._cleaning:
                return _Change("released", "drain", fact.previous_owner, None), _before(fact)
            case ResourceUpdated(cause="admin"):
                change = _Change("updated", "admin", fact.owner, fact.owner)
                return change, Touched(fact.resource_id, fact.epoch, fact.epoch)
            case ResourceRegistered(owner=owner) if (
                owner.instance_id == on_behalf_of and owner.session_id != asker.id
            ):
                change = _Change("registered", "admin", None, fact.owner)
                return change, Touched(fact.resource_id, None, fact.epoch)
        return None

    def ended_by(
        self,
        request: Request,
        session_id: SessionId,
        owner: OwnerRecord | None,
        reason: str,
        revision: Revision,
    ) -> None:
        """An administrator ends a session, or the grace of one that was cut off."""
        self._trail.add(
            Entry(
                at=self._wall_clock(),
                revision=revision,
                event="session_ended",
                cause="admin",
                actor=_actor(request.session),
                service_name=None if owner is None else owner.service.name,
                instance_before=None if owner is None else owner.instance_id,
                about_session_id=session_id,
                trace_id=request.trace_id,
                reason=reason,
            )
        )


def _actor(session: Session) -> Actor:
    owner = session.owner
    return Actor(session.subject, session.id, None if owner is None else owner.instance_id)


def _before(fact: ResourceReleased) -> Touched:
    return Touched(fact.resource_id, fact.epoch)


def _ended(facts: Sequence[ResourceReleased]) -> Sequence[Touched]:
    return [_before(fact) for fact in facts]
