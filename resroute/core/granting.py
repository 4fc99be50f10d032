"""How resources are granted: first it is worked out what a registration would be granted, then that is done.

What decides is read only while it is worked out, so whoever grants several things at once works all of them out before
the first change.
"""

from collections.abc import Mapping, Sequence

import msgspec

from resroute.core.bulks import Bulk
from resroute.core.commands import Register
from resroute.core.facts import Details, Fact, ItemFailure, ResourceRegistered, TtlChanged
from resroute.core.holding import Holding, open_hold
from resroute.core.lots import Registrations, TtlsBegun, joined
from resroute.core.metadata import Metadata, replaced
from resroute.core.records import Grant, OwnerRecord
from resroute.errors import (
    InvalidParams,
    ResourceConflict,
    ResourceLimitExceeded,
    Unavailable,
)
from resroute.ids import Epoch, InstanceId, ResourceId, Revision


class Plan(msgspec.Struct, gc=False):
    """What a registration is to be granted. Good until the next change of the state."""

    owner: OwnerRecord
    at: float
    epoch: Epoch
    """Of what it does not own yet."""
    wanted: dict[ResourceId, Grant | None]
    """What it does not own yet and may take, with the grant that is there. What is asked for twice counts once."""
    epochs: dict[ResourceId, Epoch]
    """Of all that it will own of what it asked for, in that order."""
    conflicts: dict[ResourceId, InstanceId]
    kept: dict[ResourceId, Grant]
    """What it owns already and what may change of that: its metadata, or its time to live."""
    metadata: Mapping[ResourceId, Metadata] | None = None
    own: Bulk | None = None
    """The bulk that has set some of it aside for this."""
    is_pending: bool | None = None
    """Whether some of the conflicts are with what a bulk has set aside; None if not."""


class Granting(Holding):
    """Who may have what, and how it gets it."""

    def _plan(self, command: Register, owner: OwnerRecord, turn: Revision | None = None) -> Plan:
        """What a registration is granted; nothing changes by that.

        Args:
            turn: that of a registration that has waited. What others wait for who come before it is not free for it.

        Raises:
            ResourceConflict: others own some of it, and it is neither forced nor taken in part.
            ResourceLimitExceeded: it would own too much.
            InvalidParams: metadata would take too much.
            Unavailable: the instance drains.
        """
        plan = self._look(command, owner, turn or self.revision)
        wanted = plan.wanted
        if plan.conflicts and not command.partial:
            raise ResourceConflict(plan.conflicts, pending=plan.is_pending)
        own = plan.own
        current = len(owner.resources) + owner.reserved_count - (0 if own is None else own.reserved_count)
        if wanted and current + len(wanted) > command.limit:
            raise ResourceLimitExceeded(command.limit, current, len(wanted))
        if command.metadata is not None:
            plan.metadata = self._new_metadata(command, plan)
        return plan

    def _look(self, command: Register, owner: OwnerRecord, turn: Revision) -> Plan:
        """What of the resources it can have, and who has the others."""
        lines = self._lines if self._lines.turns and not command.force else None
        if owner.is_draining:
            raise Unavailable("draining")
        wanted: dict[ResourceId, Grant | None] = {}
        conflicts: dict[ResourceId, InstanceId] = {}
        epochs: dict[ResourceId, Epoch] = {}
        kept: dict[ResourceId, Grant] = {}
        pending: bool | None = None
        epoch = Epoch(self.revision)
        own = self._own_bulk(command, owner)
        aside: dict[ResourceId, Grant] = {} if own is None else own.pending
        for resource_id in command.resource_ids:
            grant = self._grants.get(resource_id)
            if grant is None or not grant.is_in_force:
                if resource_id in aside:
                    wanted[resource_id] = grant
                    epochs[resource_id] = epoch
                    continue
                hold = None if grant is None or command.force else open_hold(grant)
                if hold is not None and (own is None or hold is not own.hold):
                    conflicts[resource_id] = hold.owner.instance_id
                    pending = True
                    continue
                if lines is not None and (other := lines.promised_to(resource_id, owner, turn)) is not None:
                    conflicts[resource_id] = other
                    continue
                wanted[resource_id] = grant
                epochs[resource_id] = epoch
            elif grant.owner is owner:
                epochs[resource_id] = grant.epoch
                if grant.metadata is not None or command.metadata is not None:
                    kept[resource_id] = grant
            elif command.force:
                wanted[resource_id] = grant
                epochs[resource_id] = epoch
            else:
                conflicts[resource_id] = grant.owner.instance_id
        return Plan(owner, command.at, epoch, wanted, epochs, conflicts, kept, own=own, is_pending=pending)

    def _own_bulk(self, command: Register, owner: OwnerRecord) -> Bulk | None:
        """The bulk that sets aside what this asks for, if it is under way."""
        bulk = None if command.bulk_id is None else self._bulks.get(command.bulk_id)
        return bulk if bulk is not None and bulk.hold.is_open and bulk.owner is owner else None

    def _is_open_to(self, resource_id: ResourceId, owner: OwnerRecord) -> bool:
        """Whether an instance can have a resource, or owns it, whoever waits for it."""
        grant = self._grants.get(resource_id)
        if grant is None:
            return True
        return grant.owner is owner if grant.is_in_force else open_hold(grant) is None

    def _new_metadata(self, command: Register, plan: Plan) -> Mapping[ResourceId, Metadata]:
        """What the metadata of what is granted will be, where some is given; but for what was set aside with it."""
        assert command.metadata is not None
        owner, epochs = plan.owner, plan.epochs
        aside: dict[ResourceId, Grant] = {} if plan.own is None else plan.own.pending
        metadata: dict[ResourceId, Metadata] = {}
        for resource_id, change in command.metadata.items():
            if resource_id in epochs and resource_id not in aside:
                grant = self.grant_of(resource_id)
                before = None if grant is None else grant.metadata
                after = metadata[resource_id] = replaced(before, change, owner.instance_id, command.at)
                check_size(after, command.max_metadata_bytes, f"metadata.{resource_id}")
        return metadata

    def _grant(self, plan: Plan) -> Sequence[Fact]:
        """Do what was worked out, and tell of it."""
        own = plan.own
        ttls: list[Fact] = []
        if own is not None and own.pending.keys() == plan.wanted.keys():
            aside = {resource_id: own.pending[resource_id] for resource_id in plan.wanted}
            registered, ttls_begun = self._put_in_force(aside, plan.owner, plan.at)
            facts = joined(registered, self._keep(plan, ttls), ttls_begun, ttls)
        else:
            granted = self._grant_each(plan, ttls)
            if plan.kept:
                granted += self._keep(plan, ttls)
            facts = tuple(granted + ttls)
        if own is not None:
            if self._lines.watchers:
                self._lines.freed(tuple(own.pending))
            own.pending = {r: grant for r, grant in own.pending.items() if r not in plan.wanted}
            self._drop_bulk(own, {})
        return facts

    def _grant_each(self, plan: Plan, ttls: list[Fact]) -> list[Fact]:
        owner, epoch, at, metadata = plan.owner, plan.epoch, plan.at, plan.metadata
        aside: dict[ResourceId, Grant] = {}
        if plan.own is not None:
            aside = plan.own.pending
            plan.own.is_partial = True  # what else it has a hand in does not end it before all is granted
        facts: list[Fact] = []
        bare = Details(at)
        for resource_id, before in plan.wanted.items():
            if resource_id in aside:
                registered, ttls_begun = self._put_in_force({resource_id: aside[resource_id]}, owner, at)
                facts += registered
                ttls += ttls_begun
                continue
            after = None if metadata is None else metadata.get(resource_id)
            if before is not None and (hold := open_hold(before)) is not None:
                self._lose(hold, resource_id, ItemFailure(ResourceConflict.type, owner.instance_id))
            if before is not None and before.is_in_force:
                grant = self._take_from(before, owner, epoch, at)
                self._describe(grant, after, at, ttls)
                owner.service.resource_count += 1
                facts.append(grant.transferred_from(before, "forced"))
                continue
            if before is not None:
                facts += self._clear(before)
            grant = Grant(resource_id, owner, epoch, at)
            self._add(grant)
            owner.service.resource_count += 1
            if after is None:
                facts.append(ResourceRegistered(resource_id, owner.fact, epoch, bare))
            else:
                self._describe(grant, after, at, ttls)
                facts.append(grant.registered())
        return facts

    def _keep(self, plan: Plan, ttls: list[Fact]) -> list[Fact]:
        """What it owns already may have new metadata, and its time to live begins."""
        facts: list[Fact] = []
        for resource_id, grant in plan.kept.items():
            had, after = grant.metadata, None if plan.metadata is None else plan.metadata.get(resource_id)
            self._describe(grant, after, plan.at, ttls)
            if after is not None:
                facts.append(grant.updated("request", had))
        return facts

    def _put_in_force(
        self, grants: Mapping[ResourceId, Grant], owner: OwnerRecord, at: float
    ) -> tuple[Registrations, TtlsBegun]:
        """Have grants that were set aside be in force, from this command on."""
        epoch = Epoch(self.revision)
        for grant in grants.values():
            grant.epoch = epoch
            grant.registered_at = at
        metadata = [grant.metadata for grant in grants.values()]
        expiring: list[ResourceId] = []
        ttls: list[float] = []
        for grant, said in zip(grants.values(), metadata, strict=True):
            if said is not None and (ttl_seconds := said.ttl_seconds) is not None:
                grant.expires_at = at + ttl_seconds
                expiring.append(grant.resource_id)
                ttls.append(ttl_seconds)
        owner.own(grants)
        owner.service.resource_count += len(grants)
        return (
            Registrations(tuple(grants), owner.fact, epoch, at, metadata),
            TtlsBegun(expiring, epoch, at, ttls),
        )

    def _describe(self, grant: Grant, after: Metadata | None, at: float, ttls: list[Fact]) -> None:
        """A registration comes to a grant, with new metadata or with none: its time to live begins."""
        if after is not None:
            self._set_metadata(grant, after)
        if grant.metadata is not None:
            begin_ttl(grant, at, ttls)


def check_size(metadata: Metadata, max_bytes: int, path: str) -> None:
    """Whether metadata fits.

    Raises:
        InvalidParams: no.
    """
    if not metadata.fits(max_bytes):
        size_bytes = metadata.size_bytes
        raise InvalidParams.at(path, f"takes {size_bytes} bytes of compact JSON, of at most {max_bytes}")


def begin_ttl(grant: Grant, at: float, facts: list[Fact], once: float | None = None) -> None:
    """Have a grant end when its time to live is over, or that of this ``once``; or have it not end by itself."""
    ttl_seconds = None if grant.metadata is None else grant.metadata.ttl_seconds
    if ttl_seconds is not None and once is not None:
        ttl_seconds = once
    if ttl_seconds is not None or grant.expires_at is not None:
        grant.expires_at = None if ttl_seconds is None else at + ttl_seconds
        facts.append(TtlChanged(grant.resource_id, grant.epoch, ttl_seconds, grant.expires_at))
