"""What goes into the audit log: read off the facts of commands, and where administrators asked for them, with who they are.

Facts about sessions that ended and grants that expired are recorded by every router that applies them. What somebody asked
for is recorded by the router that was asked, which alone knows by whom and under which trace id.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, cast

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
from resroute.core.lots import Lot, parts_of
from resroute.core.records import OwnerRecord
from resroute.ids import InstanceId, Revision, SessionId
from resroute.router.history import OwnershipFact
from resroute.router.request import Request
from resroute.router.session import Session

_RECORDED_OF_ALL = ("resource.transfer", "instance.drain", "service.rebalance")
"""Methods by which resources move to others, whoever calls them."""

RECORDED_AT_ONCE = 128
"""Resources that a record has from the start, if they came in a lot; those of a larger one are added bit by bit."""


_CUT_OFF = ("session_ended", "heartbeat_lost")


class _CleanUp(msgspec.Struct):
    """A session that ended, and how many of its grants are still to be told."""

    revision: Revision
    left: int


class _Unfinished(msgspec.Struct):
    """A lot of facts of one kind, of which so many are still to be recorded."""

    kind: type[Fact]
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
        # commands of which the record has not all resources yet
        self._unfinished: dict[Revision, _Unfinished] = {}

    def __len__(self) -> int:
        return len(self._cleaning) + len(self._unfinished)

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
        moves = _moves_in(applied)
        later = self._leave_for_later(request, applied, on_behalf_of, moves)
        changes: dict[_Key, tuple[_Change, list[Touched]]] = {}
        parts = [
            part
            for part in parts_of(applied.facts)
            if part is not later and (not _is_lot(part) or self._change(part[0], session, on_behalf_of))
        ]
        for fact in chain.from_iterable(parts):
            if (change := self._change(fact, session, on_behalf_of)) is not None:
                alike = changes.get(change.key)
                if alike is None:
                    alike = changes[change.key] = change, []
                alike[1].append(_touched(cast("OwnershipFact", fact)))
        for change, resources in changes.values():
            self._record(request, applied.revision, change, resources, len(resources), moves)

    def _leave_for_later(
        self,
        request: Request,
        applied: Applied,
        on_behalf_of: InstanceId | None,
        moves: Mapping[SessionId, ResourcesMoved],
    ) -> Sequence[Fact] | None:
        """Record what happened to a large lot of resources, which are added by :meth:`go_on`. Returns the lot, if any.

        It is the first record of its revision, since that is where :class:`~resroute.audit.records.Freed` ones are added.
        """
        for part in parts_of(applied.facts):
            if _is_lot(part) and len(part) > RECORDED_AT_ONCE:
                change = self._change(part[0], request.session, on_behalf_of)
                if change is not None:
                    self._unfinished[applied.revision] = _Unfinished(type(part[0]), len(part))
                    self._record(request, applied.revision, change, (), len(part), moves)
                    return part
        return None

    def go_on(self, revision: Revision, facts: Sequence[OwnershipFact]) -> None:
        """Add what comes next of the lots of a command. Every fact of them comes once, in order."""
        unfinished = self._unfinished.get(revision)
        if unfinished is None:
            return
        resources = [_touched(fact) for fact in facts if type(fact) is unfinished.kind]
        self._trail.add(Freed(revision, resources))
        unfinished.left -= len(resources)
        if unfinished.left <= 0:
            del self._unfinished[revision]

    def _record(
        self,
        request: Request,
        revision: Revision,
        change: "_Change",
        resources: Sequence[Touched],
        count: int,
        moves: Mapping[SessionId, ResourcesMoved],
    ) -> None:
        of = change.after or change.before
        move = None if change.before is None else moves.get(change.before.session_id)
        self._trail.add(
            Entry(
                at=self._wall_clock(),
                revision=revision,
                event=change.event,
                cause=change.cause,
                actor=_actor(request.session),
                service_name=None if of is None else of.service_name,
                instance_before=None if change.before is None else change.before.instance_id,
                instance_after=None if change.after is None else change.after.instance_id,
                resources=resources,
                resource_count=count,
                transfer_id=None if move is None else move.transfer_id,
                trace_id=request.trace_id,
                reason=None if move is None else move.reason,
            )
        )

    def _change(self, fact: Fact, asker: Session, on_behalf_of: InstanceId | None) -> _Change | None:
        match fact:
            case ResourceTransferred():
                return _Change("transferred", fact.cause, fact.previous_owner, fact.owner)
            case ResourceReleased(cause="admin") if fact.previous_owner.session_id not in self._cleaning:
                return _Change("released", "admin", fact.previous_owner, None)
            case ResourceReleased(cause="drain") if fact.previous_owner.session_id not in self._cleaning:
                return _Change("released", "drain", fact.previous_owner, None)
            case ResourceUpdated(cause="admin"):
                return _Change("updated", "admin", fact.owner, fact.owner)
            case ResourceRegistered(owner=owner) if (
                owner.instance_id == on_behalf_of and owner.session_id != asker.id
            ):
                return _Change("registered", "admin", None, fact.owner)
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

    def drains(self, request: Request, owner: OwnerRecord, revision: Revision) -> None:
        """An administrator has an instance drain of which nothing moves that would be recorded for itself."""
        self._trail.add(
            Entry(
                at=self._wall_clock(),
                revision=revision,
                event="drained",
                cause="admin",
                actor=_actor(request.session),
                service_name=owner.service.name,
                instance_before=owner.instance_id,
                instance_after=owner.instance_id,
                about_session_id=owner.session_id,
                trace_id=request.trace_id,
            )
        )


def _actor(session: Session) -> Actor:
    owner = session.owner
    return Actor(session.subject, session.id, None if owner is None else owner.instance_id)


def _moves_in(applied: Applied) -> Mapping[SessionId, ResourcesMoved]:
    """The transfers among some facts, by whom the resources were taken from."""
    return {
        fact.previous_owner.session_id: fact
        for part in parts_of(applied.facts)
        if not _is_lot(part)
        for fact in part
        if isinstance(fact, ResourcesMoved)
    }


def _is_lot(part: Sequence[Fact]) -> bool:
    return type(part) is not tuple and isinstance(part, Lot)


def _touched(fact: OwnershipFact) -> Touched:
    match fact:
        case ResourceRegistered():
            return Touched(fact.resource_id, None, fact.epoch)
        case ResourceTransferred():
            return Touched(fact.resource_id, fact.previous_epoch, fact.epoch)
        case ResourceUpdated():
            return Touched(fact.resource_id, fact.epoch, fact.epoch)
        case ResourceReleased():
            return Touched(fact.resource_id, fact.epoch)


def _ended(facts: Sequence[ResourceReleased]) -> Sequence[Touched]:
    return [_touched(fact) for fact in facts]
