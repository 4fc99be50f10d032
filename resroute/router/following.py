"""What follows from ownership that has changed: who is told, which calls go where, and what is remembered of it."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, cast

import trio

from resroute.core.commands import Cause
from resroute.core.facts import (
    Applied,
    Fact,
    InstanceDrains,
    InstanceResumed,
    InstanceSuspended,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourcesMoved,
    ResourceTransferred,
    ResourceUpdated,
    SessionEnded,
    TtlChanged,
    TtlKept,
)
from resroute.core.lots import NOT_OF_OWNERSHIP, Lot, Releases, Transfers, granted_in, parts_of
from resroute.ids import ResourceId, Revision, SessionId
from resroute.router.endings import Ending
from resroute.router.flapping import Flapping
from resroute.router.history import Entry, OwnershipFact
from resroute.router.means import Means
from resroute.router.notices import acquired_notices, lost_notices
from resroute.router.owner_changes import OwnerChanges
from resroute.router.rerouting import Rerouting
from resroute.router.session import Session
from resroute.router.upkeep import Upkeep
from resroute.router.waiting import WaitingRegistrations
from resroute.router.watching import Watching

NOTED_AT_ONCE = 128
"""How many facts are noted before others get their turn."""


class OwnershipFollower:
    """Acts on the facts of each command that was applied: see :class:`resroute.cluster.log.Follower`."""

    def __init__(
        self,
        means: Means,
        rerouting: Rerouting,
        watching: Watching,
        waiting: WaitingRegistrations,
        owner_changes: OwnerChanges,
        upkeep: Upkeep,
        flapping: Flapping,
    ) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._metrics = means.metrics
        self._sessions = means.sessions
        self._auditor = means.auditor
        self._clocks = means.clocks
        self._rerouting = rerouting
        self._history = watching.history
        self._watches = watching.watches
        self._waiting = waiting
        self._owner_changes = owner_changes
        self._reclaimer = upkeep.reclaimer
        self._expirer = upkeep.expirer
        self._graces = upkeep.graces
        self._flapping = flapping
        # facts that are still to be noted, in order; of a lot with the entry of the history that they are to be added to
        self._unnoted: deque[tuple[Entry | None, Iterator[Fact]]] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    def before_answer(self, applied: Applied) -> None:
        """Remember it, and tell those who lost something, then those who were given something."""
        entry = self._history.append(applied.revision, self._clocks.wall(), applied.facts)
        if self._watches:
            self._watches.wake()
        lost: dict[SessionId, _Loss] = {}
        for part in parts_of(applied.facts):
            if type(part) is not tuple and isinstance(part, Lot):
                self._unnoted.append((None if isinstance(part, NOT_OF_OWNERSHIP) else entry, iter(part)))
                self._lot.unpark()
                if isinstance(part, Releases):
                    self._reclaimer.wake()  # for what is in the tables still
                    if part.cause != "request":
                        _add_loss(lost, part.previous_owner, part.cause).resource_ids.extend(
                            part.resource_ids
                        )
                elif isinstance(part, Transfers) and part.cause == "forced":
                    loss = _add_loss(lost, part.previous_owner, part.cause, part.owner)
                    loss.resource_ids.extend(part.resource_ids)
            else:
                self._note_all(part)
                self._follow(part, applied.revision, lost)
        for session_id, loss in lost.items():
            session = self._sessions.get(session_id)
            if session is not None:
                self._tell_lost(session, loss)

    def _follow(self, facts: Sequence[Fact], revision: Revision, lost: "dict[SessionId, _Loss]") -> None:
        """Do what follows at once from facts of no lot, and gather what was lost."""
        freed: list[ResourceReleased] = []  # not at their owners' wish
        for fact in facts:
            # by far the most of them, quicker than a match
            if type(fact) is ResourceRegistered:
                continue
            if type(fact) is ResourceReleased:
                if fact.cause != "request":
                    freed.append(fact)
                continue
            match fact:
                case ResourceTransferred(cause="forced"):
                    loss = _add_loss(lost, fact.previous_owner, fact.cause, fact.owner)
                    loss.resource_ids.append(fact.resource_id)
                case ResourcesMoved():
                    self._tell_moved(fact)
                case InstanceDrains():
                    if (session := self._sessions.get(fact.owner.session_id)) is not None:
                        self._rerouting.instance_leaves(session)
                case InstanceSuspended():
                    self._graces.begin(fact)
                    self._reclaimer.wake()  # for what its bulks have left behind
                case InstanceResumed():
                    self._graces.forget(fact.previous_owner.session_id)
                    self._reclaimer.wake()
                    if (session := self._sessions.get(fact.previous_owner.session_id)) is not None:
                        self._rerouting.instance_leaves(session)
                        session.end(Ending(4009, "another session has resumed this one", "resume"))
                case SessionEnded():
                    self._graces.forget(fact.session_id)
                    self._auditor.ended(fact, revision)
                    self._reclaimer.reclaim_soon(fact.session_id, fact.resource_count)
        if freed:
            self._auditor.released(freed, revision)
            for release in freed:
                if release.cause in ("expired", "admin", "drain"):
                    loss = _add_loss(lost, release.previous_owner, release.cause)
                    loss.resource_ids.append(release.resource_id)

    def _note_all(self, facts: Sequence[Fact]) -> None:
        """Note what needs nobody's attention: of many facts that is done some at a time, and never out of order."""
        if len(facts) <= NOTED_AT_ONCE and not self._unnoted:
            for fact in facts:
                self._note(fact)
        else:
            self._unnoted.append((None, iter(facts)))
            self._lot.unpark()

    async def run(self) -> None:
        """Note what there is to be noted, until cancelled."""
        while True:
            if not self._unnoted:
                await self._lot.park()
            room = NOTED_AT_ONCE
            while room > 0 and self._unnoted:
                entry, facts = self._unnoted[0]
                some = list(islice(facts, room))
                if len(some) < room:
                    self._unnoted.popleft()
                room -= max(1, len(some))
                for fact in some:
                    self._note(fact)
                if entry is not None:
                    changes = cast("list[OwnershipFact]", some)
                    self._history.weigh(entry, changes)
                    self._auditor.go_on(entry.revision, changes)
            await trio.lowlevel.checkpoint()

    def record_the_rest(self) -> None:
        """What is not noted yet is recorded all the same. In place of :meth:`run`, when that was cancelled."""
        for entry, facts in self._unnoted:
            if entry is not None:
                self._auditor.go_on(entry.revision, cast("list[OwnershipFact]", list(facts)))

    def _note(self, fact: Fact) -> None:
        match fact:
            case ResourceRegistered(owner=owner):
                self._flapping.taken(fact.resource_id, owner.session_id, owner.instance_id)
                self._measure(fact)
            case ResourceReleased():
                self._metrics.ownership_of(fact.previous_owner.service_name).count_release(fact.cause)
                self._flapping.left(fact.resource_id, fact.previous_owner.session_id)
                if self._expirer:
                    self._expirer.forget(fact.resource_id)
            case ResourceTransferred(cause="resume"):
                pass  # the instance is the same
            case ResourceTransferred():
                self._count_change(fact)
                self._flapping.changed(fact.resource_id, fact.owner.instance_id)
            case ResourceUpdated():
                self._measure(fact)
            case TtlChanged():
                self._expirer.begin(fact)
            case TtlKept():
                self._expirer.go_on(fact)

    def _measure(self, fact: ResourceRegistered | ResourceUpdated) -> None:
        if fact.details.metadata is not None:
            sizes = self._metrics.ownership_of(fact.owner.service_name).metadata_sizes
            sizes.observe(fact.details.metadata.size_bytes)

    def _count_change(self, fact: ResourceTransferred) -> None:
        before, after = fact.previous_owner.service_name, fact.owner.service_name
        if fact.cause == "forced":
            self._metrics.ownership_of(before).count_release(fact.cause)
        else:
            self._metrics.count_transfers(before, after, "ok", 1)

    def _tell_lost(self, session: Session, loss: "_Loss") -> None:
        """A session has lost resources to nobody, or to somebody who took them."""
        session.log.info("resources lost", count=len(loss.resource_ids), **loss.told)
        for notice in lost_notices(loss.resource_ids, loss.told, self._settings.max_message_bytes):
            session.post(notice)

    def _tell_moved(self, move: ResourcesMoved) -> None:
        """A transfer is told to both sides, to the earlier owner first."""
        limit = self._settings.max_message_bytes
        about = {"transfer_id": move.transfer_id, "cause": "transfer", "new_owner": move.owner.instance_id}
        loser = self._sessions.get(move.previous_owner.session_id)
        if loser is not None:
            loser.log.info(
                "resources transferred", count=len(move.resource_ids), **about, reason_given=move.reason
            )
            for notice in lost_notices(move.resource_ids, {**about, "reason": move.reason}, limit):
                loser.post(notice)
        heir = self._sessions.get(move.owner.session_id)
        if heir is not None:
            grants = filter(None, map(self._state.grant_of, move.resource_ids))
            for notice in acquired_notices(move, list(grants), limit):
                heir.post(notice)

    def after_answer(self, applied: Applied) -> None:
        """Those who waited in line have their answers. Then calls not handed over to those who lost something go to the new
        owners, and those that wait for one; who asked for it is told.
        """
        self._waiting.follow(applied)
        self._owner_changes.tell(applied)
        moved: dict[SessionId, set[ResourceId]] = {}
        for part in parts_of(applied.facts):
            if type(part) is not tuple and isinstance(part, Lot):
                if isinstance(part, (Releases, Transfers)):
                    loser = part.previous_owner.session_id
                    if _may_have_calls_back(self._sessions.get(loser)):
                        moved.setdefault(loser, set()).update(part.resource_ids)
                continue
            for fact in part:
                if type(fact) is ResourceRegistered:
                    continue
                if type(fact) is ResourceTransferred or (
                    type(fact) is ResourceReleased and fact.cause in ("request", "expired", "admin", "drain")
                ):
                    moved.setdefault(fact.previous_owner.session_id, set()).add(fact.resource_id)
        for session_id, resource_ids in moved.items():
            session = self._sessions.get(session_id)
            if session is not None and _may_have_calls_back(session):
                self._rerouting.moved(session, resource_ids)
        self._rerouting.granted(granted_in(applied.facts))


def _may_have_calls_back(session: Session | None) -> bool:
    """Whether there may be calls or notifications for an instance that it was not handed yet."""
    return session is not None and bool(
        session.line or (session.outbox and (session.delivered or session.notes))
    )


class _Loss(NamedTuple):
    """What one session has lost. ``told`` is what is told beside it: what one command does has one cause."""

    told: dict[str, object]
    resource_ids: list[ResourceId]


def _add_loss(lost: dict[SessionId, _Loss], owner: Owner, cause: Cause, heir: Owner | None = None) -> _Loss:
    """The loss of an owner, to which something is to be added."""
    loss = lost.get(owner.session_id)
    if loss is None:
        told: dict[str, object] = {"cause": "released_by_admin" if cause == "admin" else cause}
        if heir is not None:
            told["new_owner"] = heir.instance_id
        loss = lost[owner.session_id] = _Loss(told, [])
    return loss
