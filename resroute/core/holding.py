"""What bulks have set aside, and what becomes of it when they end before they are committed, or have been.

A resource that is to be registered has its grant in every table beforehand, with the epoch 0, which no reader takes for a
grant. What a bulk has left behind is in the tables for a while too: it is tidied in slices, or on the spot for somebody who
wants the resource.
"""

from collections.abc import Mapping
from itertools import islice

from resroute.core.bulks import Bulk, Hold
from resroute.core.commands import Cause
from resroute.core.facts import Fact, ItemFailure, Reserved, ResourceReleased
from resroute.core.lots import Releases
from resroute.core.metadata import replaced
from resroute.core.records import Grant, OwnerRecord, SessionRecord
from resroute.core.tables import Tables
from resroute.errors import Unavailable
from resroute.ids import Epoch, ResourceId

_NOT_IN_FORCE = Epoch(0)


class Holding(Tables):
    """Who has set what aside."""

    many = 128
    """From how many resources of one owner on they change hands together, or are given up. Part of what commands mean."""

    @staticmethod
    def _count(bulk: Bulk, more: int) -> None:
        """So many resources more would the bulk bring its owner."""
        bulk.reserved_count += more
        bulk.owner.reserved_count += more

    def _close(self, bulk: Bulk) -> None:
        """Nothing is set aside for it any more."""
        if bulk.hold.is_open:
            bulk.hold.is_open = False
            self._count(bulk, -bulk.reserved_count)
            if self._lines.watchers:
                self._lines.freed((*bulk.pending, *bulk.plans))
            self._leave_behind(bulk, bulk.pending)

    def _leave_behind(self, bulk: Bulk, grants: dict[ResourceId, Grant]) -> None:
        bulk.leftover = grants
        bulk.pending, bulk.releasing, bulk.plans, bulk.planned = {}, {}, {}, {}
        if grants:
            self._untidy[bulk.id] = bulk

    def _let_go(self, releasing: Mapping[ResourceId, Grant], owner: OwnerRecord, cause: Cause) -> Releases:
        """All of these grants of one live owner are in force no more. They stay in the tables."""
        grants = tuple(releasing.values())
        epochs = [grant.epoch for grant in grants]
        for grant in grants:
            grant.epoch = _NOT_IN_FORCE
        owner.own_no_more(releasing)
        owner.service.resource_count -= len(grants)
        return Releases(tuple(releasing), owner.fact, cause, grants, epochs)

    def _drop_bulk(self, bulk: Bulk, failed: dict[ResourceId, ItemFailure]) -> Reserved:
        """Who asked for it knows that it is over."""
        self._close(bulk)
        self._tell(bulk)
        return Reserved(failed)

    def _tell(self, bulk: Bulk) -> None:
        bulk.is_awaited = False
        del self._sessions[bulk.session_id].bulks[bulk.id]
        self._forget_bulk(bulk)

    def _end_bulks(self, session: SessionRecord) -> None:
        """A session ends: what it asked for in bulk is over, and what others asked for on its behalf."""
        for bulk_id in list(session.bulks):
            self._drop_bulk(self._bulks[bulk_id], {})
        if session.owner is not None:
            for bulk_id in list(session.owner.bulks):
                bulk = self._bulks[bulk_id]
                if bulk.is_awaited:
                    self._drop_bulk(bulk, {})

    def _refuse_bulks(self, owner: OwnerRecord) -> None:
        """An instance takes nothing more: what has been set aside to be registered for it is that no longer."""
        for bulk_id in owner.bulks:
            bulk = self._bulks[bulk_id]
            wanted = (*bulk.pending, *bulk.plans)
            if bulk.hold.is_open and wanted:
                bulk.failed |= dict.fromkeys(wanted, ItemFailure(Unavailable.type))
                self._close(bulk)

    def _lose(self, hold: Hold, resource_id: ResourceId, failure: ItemFailure) -> None:
        """A resource that was set aside goes elsewhere. The bulk does without it if it is in part, else it is over."""
        bulk = self._bulks[hold.bulk_id]
        bulk.failed[resource_id] = failure
        if not bulk.is_partial:
            self._close(bulk)
            return
        if self._lines.watchers:  # who takes it may wait for it too
            self._lines.freed((resource_id,))
        if bulk.pending.pop(resource_id, None) is not None:
            self._count(bulk, -1)
        elif bulk.plans.pop(resource_id, None) is not None:
            del bulk.planned[resource_id]
            self._count(bulk, -(self._grants[resource_id].owner is not bulk.owner))
        else:
            del bulk.releasing[resource_id]
        self._grants[resource_id].hold = None

    def _drop(self, grant: Grant) -> None:
        """Take the grant of a live owner out of every table."""
        self._remove(grant)
        grant.owner.service.resource_count -= 1
        if self._lines.watchers:
            self._lines.freed((grant.resource_id,))

    def _take_from(self, before: Grant, owner: OwnerRecord, epoch: Epoch, at: float) -> Grant:
        """A resource goes from one live owner to another, whose count is for the caller to see to."""
        if self._lines.watchers:
            self._lines.freed((before.resource_id,))
        return self._pass_on(before, owner, epoch, at)

    def _pass_all_on(
        self, grants: Mapping[ResourceId, Grant], loser: OwnerRecord, owner: OwnerRecord, at: float
    ) -> tuple[list[Grant], list[int]]:
        """Resources of one live owner are another's, from this command on.

        Returns the grants that follow, and the places among them of those that are others than before.
        """
        epoch = Epoch(self.revision)
        taken = list(grants.values())
        called: list[int] = []
        for place, grant in enumerate(taken):
            if grant.calls_total:
                called.append(place)
            else:
                grant.owner = owner
                grant.epoch = epoch
                grant.registered_at = at
                grant.failures = None
        for place in called:  # calls in flight count for the grant by which they were routed
            after = taken[place].passed_to(owner, epoch, at)
            taken[place] = self._grants[after.resource_id] = after
        self._indexes.pass_all_on(grants, loser, owner)
        loser.service.resource_count -= len(grants)
        owner.service.resource_count += len(grants)
        return taken, called

    def _take_away(self, grant: Grant, error_type: str) -> None:
        """The grant of a live owner ends, whatever is under way. A bulk that counted on it is told why."""
        hold = open_hold(grant)
        if hold is not None and hold.owner is grant.owner:
            self._lose(hold, grant.resource_id, ItemFailure(error_type))
        self._drop(grant)
        self._hold_on(grant)

    def _hold_on(self, grant: Grant) -> None:
        """A grant has ended. If somebody else has set the resource aside, it stays so, without an owner."""
        hold = open_hold(grant)
        if hold is None:
            return
        bulk = self._bulks[hold.bulk_id]
        plan = bulk.plans.pop(grant.resource_id)
        del bulk.planned[grant.resource_id]
        after = None
        if plan.change is not None:
            after = replaced(None, plan.change, bulk.owner.instance_id, plan.at)
        bulk.pending |= self._put_pending(bulk, [(grant.resource_id, plan.at, after)])

    def _clear(self, grant: Grant) -> list[Fact]:
        """Take a grant that is not in force out of every table, for somebody who is about to register the resource."""
        if grant.epoch:
            return [self._reclaim_grant(grant)]
        self._sweep(grant)
        return []

    def _reclaim_grant(self, grant: Grant) -> ResourceReleased:
        """Take the grant of a dead owner out of every table, and tell of it."""
        owner = grant.owner
        self._remove(grant)
        self._hold_on(grant)
        self._forget_if_done(owner)
        return grant.released(owner.cause)

    def _sweep(self, grant: Grant) -> None:
        """Take a grant out of every table that was set aside, or is released already."""
        self._take_pending(grant)
        grant.callers = None  # who remembers the grant needs them no more
        hold = grant.hold
        bulk = self._untidy.get(hold.bulk_id) if hold is not None else None
        if bulk is not None:
            del bulk.leftover[grant.resource_id]
            if not bulk.leftover:
                del self._untidy[bulk.id]
                self._forget_bulk(bulk)
        self._forget_service(grant.owner.service)

    def _tidy_some(self, bulk: Bulk, count: int) -> None:
        for grant in list(islice(bulk.leftover.values(), count)):
            self._sweep(grant)

    def _tidy_after(self, owner: OwnerRecord, count: int) -> None:
        """Tidy up to ``count`` grants that bulks of a dead owner have left behind."""
        for bulk_id in list(owner.bulks):
            bulk = self._bulks[bulk_id]
            tidied = min(count, len(bulk.leftover))
            self._tidy_some(bulk, tidied)
            count -= tidied

    def _forget_bulk(self, bulk: Bulk) -> None:
        """Does nothing while somebody has to do with it."""
        if not bulk.is_awaited and not bulk.leftover:
            del self._bulks[bulk.id]
            del bulk.owner.bulks[bulk.id]
            self._forget_if_done(bulk.owner)


def open_hold(grant: Grant) -> Hold | None:
    """By what the resource is set aside, if it is."""
    hold = grant.hold
    return hold if hold is not None and hold.is_open else None
