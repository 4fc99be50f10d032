"""What follows from ownership that has changed: who is told, which calls go where, and what is remembered of it."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import trio

from resroute.core.facts import (
    Applied,
    Fact,
    InstanceDrains,
    InstanceResumed,
    ResourceRegistered,
    ResourceReleased,
    ResourcesMoved,
    ResourceTransferred,
    ResourceUpdated,
    SessionEnded,
    TtlChanged,
    TtlKept,
)
from resroute.core.state import State
from resroute.ids import ResourceId, SessionId
from resroute.router.auditing import Auditor
from resroute.router.expiring import Expirer
from resroute.router.flapping import Flapping
from resroute.router.history import History
from resroute.router.notices import acquired_notices, lost_notices
from resroute.router.owner_changes import OwnerChanges
from resroute.router.reclaiming import Reclaimer
from resroute.router.rerouting import Rerouting
from resroute.router.session import Ending, Session
from resroute.router.waiting import WaitingRegistrations
from resroute.router.watches import Watches
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

NOTED_AT_ONCE = 128
"""How many facts are noted before others get their turn."""


class OwnershipFollower:
    """Acts on the facts of each command that was applied: see :class:`resroute.cluster.log.Follower`."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        metrics: Metrics,
        sessions: Mapping[SessionId, Session],
        rerouting: Rerouting,
        history: History,
        owner_changes: OwnerChanges,
        reclaimer: Reclaimer,
        expirer: Expirer,
        watches: Watches,
        waiting: WaitingRegistrations,
        auditor: Auditor,
        flapping: Flapping,
        wall_clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._state = state
        self._metrics = metrics
        self._sessions = sessions
        self._rerouting = rerouting
        self._history = history
        self._owner_changes = owner_changes
        self._reclaimer = reclaimer
        self._expirer = expirer
        self._watches = watches
        self._waiting = waiting
        self._auditor = auditor
        self._flapping = flapping
        self._wall_clock = wall_clock
        # facts that are still to be noted, in order: what one command has done, of a bulk that is at most max_bulk_items
        self._unnoted: deque[Fact] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    def before_answer(self, applied: Applied) -> None:
        """Remember it, and tell those who lost something, then those who were given something."""
        self._history.append(applied.revision, self._wall_clock(), applied.facts)
        if self._watches:
            self._watches.wake()
        lost: dict[SessionId, list[ResourceTransferred | ResourceReleased]] = {}
        freed: list[ResourceReleased] = []  # not at their owners' wish
        self._note_all(applied.facts)
        for fact in applied.facts:
            # by far the most of them, quicker than a match
            if type(fact) is ResourceRegistered:
                continue
            if type(fact) is ResourceReleased:
                if fact.cause != "request":
                    freed.append(fact)
                continue
            match fact:
                case ResourceTransferred(cause="forced"):
                    lost.setdefault(fact.previous_owner.session_id, []).append(fact)
                case ResourcesMoved():
                    self._tell_moved(fact)
                case InstanceDrains():
                    if (session := self._sessions.get(fact.owner.session_id)) is not None:
                        self._rerouting.instance_leaves(session)
                case InstanceResumed():
                    if (session := self._sessions.get(fact.previous_owner.session_id)) is not None:
                        self._rerouting.instance_leaves(session)
                        session.end(Ending(4009, "another session has resumed this one", "resume"))
                case SessionEnded():
                    self._auditor.ended(fact, applied.revision)
                    self._reclaimer.wake()
        if freed:
            self._auditor.released(freed, applied.revision)
            for release in freed:
                if release.cause in ("expired", "admin", "drain"):
                    lost.setdefault(release.previous_owner.session_id, []).append(release)
        for session_id, losses in lost.items():
            session = self._sessions.get(session_id)
            if session is not None:
                self._tell_lost(session, losses)

    def _note_all(self, facts: Sequence[Fact]) -> None:
        """Note what needs nobody's attention: of many facts that is done some at a time, and never out of order."""
        if len(facts) <= NOTED_AT_ONCE and not self._unnoted:
            for fact in facts:
                self._note(fact)
        else:
            self._unnoted.extend(facts)
            self._lot.unpark()

    async def run(self) -> None:
        """Note what there is to be noted, until cancelled."""
        while True:
            if not self._unnoted:
                await self._lot.park()
            for _ in range(min(NOTED_AT_ONCE, len(self._unnoted))):
                self._note(self._unnoted.popleft())
            await trio.lowlevel.checkpoint()

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

    def _tell_lost(self, session: Session, losses: list[ResourceTransferred | ResourceReleased]) -> None:
        """A session has lost resources to nobody, or to somebody who took them."""
        first = losses[0]  # what one command does has one cause
        told: dict[str, object] = {"cause": "released_by_admin" if first.cause == "admin" else first.cause}
        if isinstance(first, ResourceTransferred):
            told["new_owner"] = first.owner.instance_id
        session.log.info("resources lost", count=len(losses), **told)
        ids = [loss.resource_id for loss in losses]
        for notice in lost_notices(ids, told, self._settings.max_message_bytes):
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
        for fact in applied.facts:
            if type(fact) is ResourceRegistered:
                continue
            if type(fact) is ResourceTransferred or (
                type(fact) is ResourceReleased and fact.cause in ("request", "expired", "admin", "drain")
            ):
                moved.setdefault(fact.previous_owner.session_id, set()).add(fact.resource_id)
        for session_id, resource_ids in moved.items():
            session = self._sessions.get(session_id)
            if session is not None and (session.outbox or session.line):
                self._rerouting.moved(session, resource_ids)
        self._rerouting.granted(
            fact.resource_id
            for fact in applied.facts
            if isinstance(fact, (ResourceRegistered, ResourceTransferred))
        )
