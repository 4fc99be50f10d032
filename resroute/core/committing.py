"""The end of a bulk: all that it has set aside changes hands in one step.

What is dear was done before, while nobody saw it: see :mod:`resroute.core.reserving`. To commit ten thousand new grants is to
give them their epoch.
"""

from collections.abc import Sequence

from resroute.core.bulks import Bulk, Planned
from resroute.core.commands import Cause
from resroute.core.facts import Details, Fact, ItemFailure, Reserved
from resroute.core.granting import begin_ttl
from resroute.core.lots import Registrations, Releases, Transfers, TtlsBegun, Updates, joined
from resroute.core.metadata import Metadata, replaced
from resroute.core.records import Grant, OwnerRecord
from resroute.core.waiting import Waiting
from resroute.ids import Epoch, ResourceId


class Committing(Waiting):
    """The part of the state machine in which bulks come into force."""

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
        return self._put_in_force(bulk.pending, bulk.owner, at)

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
        resource_ids = tuple(bulk.planned)
        taken, called = self._pass_all_on(bulk.planned, loser, owner, at)
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
        cause: Cause = "request" if bulk.session_id == bulk.owner.session_id else "admin"
        return self._let_go(bulk.releasing, bulk.owner, cause)
