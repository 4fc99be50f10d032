"""Registering and releasing in bulk: resources are set aside batch by batch, then all of them change hands in one step.

What is dear is done while nobody sees it: a resource that is to be registered has its grant in every table beforehand, with
the epoch 0, which no reader takes for a grant. To commit ten thousand is to give them their epoch. What is given up is not
taken apart at once either: its grants stop being in force together, and are tidied later, in slices; who wants one of them
before has it tidied on the spot.
"""

from collections.abc import Sequence
from typing import NamedTuple

from resroute.core.bulks import Bulk, Planned
from resroute.core.commands import Abandon, BulkItem, Cause, Commit, Reserve, ReserveRelease, Tidy
from resroute.core.facts import Details, Fact, ItemFailure, Reclaimed, Reserved, Result
from resroute.core.granting import begin_ttl
from resroute.core.holding import open_hold
from resroute.core.log_fault import LogFault
from resroute.core.lots import Registrations, Releases, Transfers, TtlsBegun, Updates, joined
from resroute.core.metadata import Metadata, replaced
from resroute.core.records import Grant, OwnerRecord
from resroute.core.waiting import Waiting
from resroute.errors import InvalidParams, NotOwner, ResourceConflict, ResourceLimitExceeded, Unavailable
from resroute.ids import BulkId, Epoch, ResourceId, SessionId

Change = tuple[Result, Sequence[Fact]]

_NOT_IN_FORCE = Epoch(0)


class _Asked(NamedTuple):
    """An item that can be set aside: what is in the table under its id, and its metadata afterwards."""

    item: BulkItem
    there: Grant | None
    after: Metadata | None


class Reserving(Waiting):
    """The part of the state machine that bulks are."""

    def _reserve(self, command: Reserve, _origin: str) -> Change:
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

    def _commit(self, command: Commit, _origin: str) -> Change:
        self._live_session(command.session_id)
        bulk = self._awaited(command.bulk_id, command.session_id)
        if bulk is None:  # its owner has gone
            return Reserved({}), ()
        if not bulk.hold.is_open:
            return self._drop_bulk(bulk, bulk.failed), ()
        return self._finish(bulk, command.at, {})

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

    # --- the end of a bulk ------------------------------------------------------------------------------------

    def _finish(
        self, bulk: Bulk, at: float, failed: dict[ResourceId, ItemFailure]
    ) -> tuple[Reserved, Sequence[Fact]]:
        """Have all that is set aside change hands."""
        kept: dict[ResourceId, Epoch] = {}
        bulk.hold.is_open = False
        if self._lines.watchers:
            self._lines.freed((*bulk.pending, *bulk.plans, *bulk.releasing))
        self._count(bulk, -bulk.reserved_count)
        registered, ttls_begun = self._commit_pending(bulk, at)
        ttls: list[Fact] = []
        planned = self._commit_plans(bulk, at, kept, ttls)
        released = self._commit_releases(bulk)
        self._leave_behind(bulk, bulk.releasing)
        self._tell(bulk)
        result = Reserved({**bulk.failed, **failed}, committed=True, kept=kept)
        return result, joined(registered, planned, released, ttls_begun, ttls)

    def _commit_pending(self, bulk: Bulk, at: float) -> tuple[Registrations, TtlsBegun]:
        owner, epoch = bulk.owner, Epoch(self.revision)
        grants = bulk.pending.values()
        for grant in grants:
            grant.epoch = epoch
            grant.registered_at = at
        metadata = [grant.metadata for grant in grants]
        expiring: list[ResourceId] = []
        ttls: list[float] = []
        for grant, said in zip(grants, metadata, strict=True):
            if said is not None and (ttl_seconds := said.ttl_seconds) is not None:
                grant.expires_at = at + ttl_seconds
                expiring.append(grant.resource_id)
                ttls.append(ttl_seconds)
        owner.own(bulk.pending)
        owner.service.resource_count += len(bulk.pending)
        return (
            Registrations(tuple(bulk.pending), owner.fact, epoch, at, metadata),
            TtlsBegun(expiring, epoch, at, ttls),
        )

    def _commit_plans(
        self, bulk: Bulk, at: float, kept: dict[ResourceId, Epoch], ttls: list[Fact]
    ) -> Sequence[Fact]:
        """What has an owner already changes hands, or what is said of it: all in one go where all of it is alike."""
        grants, owner = tuple(bulk.planned.values()), bulk.owner
        if not grants:
            return ()
        loser = grants[0].owner
        if loser.alive and not any([grant.owner is not loser for grant in grants]):
            if loser is owner:
                return self._keep_at_once(bulk, grants, at, kept, ttls)
            return self._take_at_once(bulk, grants, loser, at, ttls)
        facts: list[Fact] = []
        for plan, grant in zip(bulk.plans.values(), grants, strict=True):
            self._commit_plan(bulk, grant, plan, at, kept, facts, ttls)
        return facts

    def _keep_at_once(
        self, bulk: Bulk, grants: Sequence[Grant], at: float, kept: dict[ResourceId, Epoch], ttls: list[Fact]
    ) -> Sequence[Fact]:
        """Its owner keeps all that is planned, and says of it what it says now."""
        kept |= zip(bulk.planned, [grant.epoch for grant in grants], strict=True)
        befores = self._describe_at_once(bulk, grants, at, ttls)
        told = [place for place, plan in enumerate(bulk.plans.values()) if plan.change is not None]
        return Updates(
            [grants[place].resource_id for place in told],
            bulk.owner.fact,
            [grants[place].epoch for place in told],
            "request",
            [grants[place].details() for place in told],
            [befores[place] for place in told],
        )

    def _take_at_once(
        self, bulk: Bulk, grants: Sequence[Grant], loser: OwnerRecord, at: float, ttls: list[Fact]
    ) -> Sequence[Fact]:
        """All that is planned goes from one live owner to another."""
        owner, epoch = bulk.owner, Epoch(self.revision)
        epochs = [grant.epoch for grant in grants]
        taken = list(grants)
        called: list[int] = []
        for place, grant in enumerate(grants):
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
        resource_ids = tuple(bulk.planned)
        self._indexes.pass_all_on(bulk.planned, loser, owner)
        loser.service.resource_count -= len(grants)
        owner.service.resource_count += len(grants)
        befores = self._describe_at_once(bulk, taken, at, ttls)
        all_details: list[Details | None] = [
            None if grant.metadata is None else grant.details() for grant in taken
        ]
        for place in called:
            all_details[place] = taken[place].details()
        return Transfers(
            resource_ids, loser.fact, owner.fact, epoch, at, epochs, all_details, "forced", befores
        )

    def _describe_at_once(
        self, bulk: Bulk, grants: Sequence[Grant], at: float, ttls: list[Fact]
    ) -> list[Metadata | None]:
        """The registration comes to all grants that are planned. Returns what was said of each before."""
        befores = [grant.metadata for grant in grants]
        if bulk.says_more:
            self._set_all_metadata(
                [
                    (grant, self._after(plan, before, bulk, at))
                    for grant, plan, before in zip(grants, bulk.plans.values(), befores, strict=True)
                    if plan.change is not None
                ]
            )
        elif not any(befores):
            return befores
        for grant in grants:
            metadata = grant.metadata
            if metadata is not None and (metadata.ttl_seconds is not None or grant.expires_at is not None):
                begin_ttl(grant, at, ttls)
        return befores

    def _commit_plan(
        self,
        bulk: Bulk,
        before: Grant,
        plan: Planned,
        at: float,
        kept: dict[ResourceId, Epoch],
        facts: list[Fact],
        ttls: list[Fact],
    ) -> None:
        owner, epoch = bulk.owner, Epoch(self.revision)
        before.hold = None
        had = before.metadata if before.owner.alive else None
        after = plan.after
        if plan.change is not None:
            after = self._after(plan, had, bulk, at if before.owner.alive else plan.at)
        if before.owner is owner:
            kept[before.resource_id] = before.epoch
            self._describe(before, after, at, ttls)
            if after is not None:
                facts.append(before.updated("request", had))
            return
        if before.owner.alive:
            grant = self._take_from(before, owner, epoch, at)
        else:
            facts.append(self._reclaim_grant(before))
            grant = Grant(before.resource_id, owner, epoch, at)
            self._add(grant)
        owner.service.resource_count += 1
        self._describe(grant, after, at, ttls)
        facts.append(grant.transferred_from(before, "forced") if before.owner.alive else grant.registered())

    @staticmethod
    def _after(plan: Planned, before: Metadata | None, bulk: Bulk, at: float) -> Metadata:
        """What is said of a resource from now on, worked out again if what is said of it has changed since."""
        assert plan.change is not None
        if plan.after is not None and plan.version == (0 if before is None else before.version):
            return plan.after
        return replaced(before, plan.change, bulk.owner.instance_id, at)

    def _commit_releases(self, bulk: Bulk) -> Releases:
        owner, grants = bulk.owner, tuple(bulk.releasing.values())
        cause: Cause = "request" if bulk.session_id == owner.session_id else "admin"
        epochs = [grant.epoch for grant in grants]
        for grant in grants:
            grant.epoch = _NOT_IN_FORCE
        owner.own_no_more(bulk.releasing)
        owner.service.resource_count -= len(grants)
        return Releases(tuple(bulk.releasing), owner.fact, cause, grants, epochs)
