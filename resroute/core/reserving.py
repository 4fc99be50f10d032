"""Registering and releasing in bulk: resources are set aside batch by batch, then all of them change hands in one step.

What is dear is done while nobody sees it: a resource that is to be registered has its grant in every table beforehand, with
the epoch 0, which no reader takes for a grant. To commit ten thousand is to give them their epoch. What is given up is not
taken apart at once either: its grants stop being in force together, and are tidied later, in slices; who wants one of them
before has it tidied on the spot.
"""

from collections.abc import Sequence
from typing import NamedTuple

from resroute.core.bulks import Bulk, Planned
from resroute.core.commands import Abandon, BulkItem, Reserve, ReserveRelease, Tidy
from resroute.core.committing import Committing
from resroute.core.facts import Fact, ItemFailure, Reclaimed, Reserved, Result
from resroute.core.holding import open_hold
from resroute.core.log_fault import LogFault
from resroute.core.lots import joined
from resroute.core.metadata import Metadata, replaced
from resroute.core.records import Grant
from resroute.errors import InvalidParams, NotOwner, ResourceConflict, ResourceLimitExceeded, Unavailable
from resroute.ids import BulkId, ResourceId, SessionId

Change = tuple[Result, Sequence[Fact]]


class _Asked(NamedTuple):
    """An item that can be set aside: what is in the table under its id, and its metadata afterwards."""

    item: BulkItem
    there: Grant | None
    after: Metadata | None


class Reserving(Committing):
    """The part of the state machine that bulks are."""

    def _reserve(self, command: Reserve, _origin: str) -> Change:
        if command.goes_on and self._awaited(command.bulk_id, command.session_id) is None:
            return Reserved({}), ()
        bulk = self._bulk_of(command)
        facts: list[Fact] = []
        if not bulk.hold.is_open:
            return self._drop_bulk(bulk, bulk.failed), ()
        failed: dict[ResourceId, ItemFailure] = {}
        asked = self._consider(command, bulk, failed)
        if failed and not command.partial:
            return self._drop_bulk(bulk, failed), ()
        self._set_aside(bulk, asked, command.at, facts)
        if not command.commit:
            return Reserved(failed), tuple(facts)
        result, more = self._finish(bulk, command.at, failed)
        return result, joined(facts, more)

    def _reserve_release(self, command: ReserveRelease, _origin: str) -> Change:
        bulk = self._bulk_of(command)
        if not bulk.hold.is_open:
            return self._drop_bulk(bulk, bulk.failed), ()
        failed: dict[ResourceId, ItemFailure] = {}
        releasing: list[Grant] = []
        for resource_id in command.resource_ids:
            grant = self.grant_of(resource_id)
            if grant is None:
                continue
            hold = open_hold(grant)
            if hold is bulk.hold:
                continue
            if grant.owner is not bulk.owner:
                failed[resource_id] = ItemFailure(NotOwner.type, grant.owner.instance_id)
            elif hold is not None:
                failed[resource_id] = ItemFailure(ResourceConflict.type, hold.owner.instance_id, pending=True)
            else:
                releasing.append(grant)
        if failed and not command.partial:
            return self._drop_bulk(bulk, failed), ()
        for grant in releasing:
            grant.hold = bulk.hold
            bulk.releasing[grant.resource_id] = grant
        return self._finish(bulk, command.at, failed) if command.commit else (Reserved(failed), ())

    def _abandon(self, command: Abandon, _origin: str) -> Change:
        bulk = self._awaited(command.bulk_id, command.session_id)
        if bulk is not None:
            self._drop_bulk(bulk, {})
        return None, ()

    def _tidy(self, command: Tidy, _origin: str) -> Change:
        bulk = self._untidy.get(command.bulk_id)
        if bulk is None:
            return Reclaimed(0), ()
        self._tidy_some(bulk, command.count)
        return Reclaimed(len(bulk.leftover)), ()

    # --- setting aside ----------------------------------------------------------------------------------------

    def _bulk_of(self, command: Reserve | ReserveRelease) -> Bulk:
        """The bulk that goes on with this command, or begins with it."""
        session = self._live_session(command.session_id)
        owner = self._live_owner(command.owner_id)
        if isinstance(command, Reserve) and owner.is_draining:
            raise Unavailable("draining")
        bulk = self._awaited(command.bulk_id, command.session_id)
        if bulk is None:
            if command.bulk_id in self._bulks:
                raise LogFault(f"bulk {command.bulk_id!r} begins twice")
            bulk = Bulk(command.bulk_id, command.session_id, owner, is_partial=command.partial)
            self._bulks[bulk.id] = bulk
            session.bulks[bulk.id] = None
            owner.bulks[bulk.id] = None
        return bulk

    def _awaited(self, bulk_id: BulkId, session_id: SessionId) -> Bulk | None:
        """The bulk that a session has asked for, and does not know the end of."""
        bulk = self._bulks.get(bulk_id)
        return bulk if bulk is not None and bulk.is_awaited and bulk.session_id == session_id else None

    def _consider(self, command: Reserve, bulk: Bulk, failed: dict[ResourceId, ItemFailure]) -> list[_Asked]:
        """What of the items can be set aside; why not the others. Changes nothing."""
        owner, hold, lines = bulk.owner, bulk.hold, self._lines
        room = command.limit - len(owner.resources) - owner.reserved_count
        asked: dict[ResourceId, _Asked] = {}
        for item in command.items:
            resource_id = item.resource_id
            if resource_id in asked or resource_id in failed:
                continue
            there = self._grants.get(resource_id)
            before: Metadata | None = None
            is_new = True
            if there is not None:
                held_by = open_hold(there)
                if held_by is hold:
                    continue
                if there.is_in_force:
                    before = there.metadata
                    is_new = there.owner is not owner
                    if is_new and not item.force:
                        failed[resource_id] = ItemFailure(ResourceConflict.type, there.owner.instance_id)
                        continue
                if held_by is not None and not item.force:
                    failed[resource_id] = ItemFailure(
                        ResourceConflict.type, held_by.owner.instance_id, pending=True
                    )
                    continue
            if lines.turns and is_new and not item.force:
                if (other := lines.promised_to(resource_id, owner, self.revision)) is not None:
                    failed[resource_id] = ItemFailure(ResourceConflict.type, other)
                    continue
            if is_new and room < 1:
                failed[resource_id] = ItemFailure(ResourceLimitExceeded.type)
                continue
            after = None
            if item.change is not None:
                after = replaced(before, item.change, owner.instance_id, command.at)
                if not after.fits(command.max_metadata_bytes):
                    failed[resource_id] = ItemFailure(InvalidParams.type)
                    continue
            room -= is_new
            asked[resource_id] = _Asked(item, there, after)
        return list(asked.values())

    def _set_aside(self, bulk: Bulk, asked: Sequence[_Asked], at: float, facts: list[Fact]) -> None:
        owner = bulk.owner
        free: list[tuple[ResourceId, float, Metadata | None]] = []
        for item, there, after in asked:
            resource_id = item.resource_id
            if there is not None:
                if (held_by := open_hold(there)) is not None:
                    self._lose(held_by, resource_id, ItemFailure(ResourceConflict.type, owner.instance_id))
                if there.is_in_force:
                    self._count(bulk, there.owner is not owner)
                    version = 0 if there.metadata is None else there.metadata.version
                    bulk.plans[resource_id] = Planned(at, item.change, version, after)
                    bulk.planned[resource_id] = there
                    bulk.says_more = bulk.says_more or item.change is not None
                    there.hold = bulk.hold
                    continue
                facts += self._clear(there)
            free.append((resource_id, at, after))
        self._count(bulk, len(free))
        bulk.pending |= self._put_pending(bulk, free)
