"""What the model knows of bulks: the same rules as the state machine's, told once more in the plainest way."""

from collections.abc import Sequence

from resroute.core.commands import Cause, Register, Reserve, ReserveRelease
from resroute.core.facts import (
    Fact,
    ItemFailure,
    Owner,
    Reserved,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
)
from resroute.core.metadata import MetadataChange
from resroute.errors import Unavailable
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, SessionId
from tests.core.held import Held, Said


class BulkOf:
    """One bulk: what it has set aside, or what it has left behind."""

    def __init__(self, bulk_id: BulkId, asker: SessionId, owner: Owner, *, is_partial: bool) -> None:
        self.id = bulk_id
        self.asker = asker
        self.owner = owner
        self.is_partial = is_partial
        self.is_open = True
        self.is_awaited = True
        # what nobody owned when it was set aside, or does not any more; and what somebody owns
        self.free: dict[ResourceId, tuple[MetadataChange | None, float]] = {}
        # what is asked, when, and the version of the metadata then
        self.owned: dict[ResourceId, tuple[MetadataChange | None, float, int]] = {}
        self.releasing: list[ResourceId] = []
        self.leftover: list[ResourceId] = []
        self.failed: dict[ResourceId, ItemFailure] = {}

    def has(self, resource_id: ResourceId) -> bool:
        return resource_id in self.free or resource_id in self.owned or resource_id in self.releasing


class BulkRules:
    """Bulks, as part of the model."""

    revision: Revision
    sessions: dict[SessionId, Owner | None]
    held: dict[ResourceId, Held]
    left_behind: dict[ResourceId, Held]
    dead: dict[SessionId, Cause]
    draining: set[SessionId]
    bulks: dict[BulkId, BulkOf]
    untidy: list[BulkId]

    def bulk_with(self, resource_id: ResourceId) -> BulkOf | None:
        return next((bulk for bulk in self.bulks.values() if bulk.is_open and bulk.has(resource_id)), None)

    def bulks_of(self, owner_id: SessionId) -> list[BulkOf]:
        return [bulk for bulk in self.bulks.values() if bulk.owner.session_id == owner_id]

    def reserved_for(self, owner: Owner, own: BulkOf | None = None) -> int:
        return sum(
            len(bulk.free) + sum(r not in self.held or self.held[r].owner != owner for r in bulk.owned)
            for bulk in self.bulks_of(owner.session_id)
            if bulk.is_open and bulk is not own
        )

    def own_bulk(self, command: Register, owner: Owner) -> BulkOf | None:
        """The bulk that has set aside what a registration asks for."""
        bulk = None if command.bulk_id is None else self.bulks.get(command.bulk_id)
        return bulk if bulk is not None and bulk.is_open and bulk.owner == owner else None

    def in_the_way(
        self, asked: Sequence[ResourceId], owner: Owner, own: BulkOf | None = None
    ) -> dict[ResourceId, InstanceId]:
        """Who owns, or has set aside, what an instance asks for, its own bulk aside."""
        conflicts = {}
        for resource_id in asked:
            held, bulk = self.held.get(resource_id), self.bulk_with(resource_id)
            if held is not None and held.owner != owner:
                conflicts[resource_id] = held.owner.instance_id
            elif held is None and bulk is not None and bulk is not own:
                conflicts[resource_id] = bulk.owner.instance_id
        return conflicts

    def to_reclaim(self) -> list[SessionId]:
        """Who has ended and left something behind, the first first."""
        behind = {held.owner.session_id for held in self.left_behind.values()}
        return [s for s in self.dead if s in behind or self.bulks_of(s)]

    # --- steps ------------------------------------------------------------------------------------------------

    def reserve(self, command: Reserve | ReserveRelease, facts: list[Fact]) -> Reserved:
        if isinstance(command, Reserve) and command.goes_on:
            there = self.bulks.get(command.bulk_id)
            if there is None or not there.is_awaited or there.asker != command.session_id:
                return Reserved({})
        self.session(command.session_id)
        owner = self._owner(command.owner_id)
        if isinstance(command, Reserve) and command.owner_id in self.draining:
            raise Unavailable("draining")
        bulk = self.bulks.get(command.bulk_id)
        if bulk is None:
            bulk = BulkOf(command.bulk_id, command.session_id, owner, is_partial=command.partial)
            self.bulks[bulk.id] = bulk
        if not bulk.is_open:
            failed = bulk.failed
            self.give_up(bulk)
            return Reserved(failed)
        failed = {}
        wanted = self._look(command, bulk, failed)
        if failed and not command.partial:
            self.give_up(bulk)
            return Reserved(failed)
        if isinstance(command, ReserveRelease):
            bulk.releasing += wanted
        else:
            changes = {item.resource_id: item.change for item in reversed(command.items)}
            for resource_id in wanted:
                self.lose(resource_id, ItemFailure("resource_conflict", bulk.owner.instance_id))
                self.sweep(resource_id)
                change = changes[resource_id]
                if resource_id in self.held:
                    said = self.held[resource_id].said
                    bulk.owned[resource_id] = change, command.at, said.version if said is not None else 0
                    continue
                if resource_id in self.left_behind:
                    facts.append(self._reclaim(resource_id))
                bulk.free[resource_id] = change, command.at
        if not command.commit:
            return Reserved(failed)
        return self._finish(bulk, command.at, failed, facts)

    def _look(
        self, command: Reserve | ReserveRelease, bulk: BulkOf, failed: dict[ResourceId, ItemFailure]
    ) -> list[ResourceId]:
        owner = bulk.owner
        wanted: list[ResourceId] = []
        if isinstance(command, ReserveRelease):
            for resource_id in dict.fromkeys(command.resource_ids):
                held, other = self.held.get(resource_id), self.bulk_with(resource_id)
                if held is None or other is bulk:
                    continue
                if held.owner != owner:
                    failed[resource_id] = ItemFailure("not_owner", held.owner.instance_id)
                elif other is not None:
                    failed[resource_id] = ItemFailure("resource_conflict", other.owner.instance_id, True)
                else:
                    wanted.append(resource_id)
            return wanted
        room = command.limit - sum(h.owner == owner for h in self.held.values()) - self.reserved_for(owner)
        for item in command.items:
            resource_id = item.resource_id
            held, other = self.held.get(resource_id), self.bulk_with(resource_id)
            if resource_id in wanted or resource_id in failed or other is bulk:
                continue
            if held is not None and held.owner != owner and not item.force:
                failed[resource_id] = ItemFailure("resource_conflict", held.owner.instance_id)
            elif other is not None and not item.force:
                failed[resource_id] = ItemFailure("resource_conflict", other.owner.instance_id, True)
            elif (held is None or held.owner != owner) and room < 1:
                failed[resource_id] = ItemFailure("resource_limit_exceeded")
            elif (
                item.change is not None
                and self._after(resource_id, item.change, owner, command.at).size_bytes
                > command.max_metadata_bytes
            ):
                failed[resource_id] = ItemFailure("invalid_params")
            else:
                room -= held is None or held.owner != owner
                wanted.append(resource_id)
        return wanted

    def abandon(self, session_id: SessionId, bulk_id: BulkId) -> None:
        bulk = self.bulks.get(bulk_id)
        if bulk is not None and bulk.is_awaited and bulk.asker == session_id:
            self.give_up(bulk)

    def _finish(
        self, bulk: BulkOf, at: float, failed: dict[ResourceId, ItemFailure], facts: list[Fact]
    ) -> Reserved:
        owner, epoch = bulk.owner, Epoch(self.revision)
        bulk.is_open = False
        kept: dict[ResourceId, Epoch] = {}
        ttls: list[Fact] = []
        for resource_id, (change, asked_at) in bulk.free.items():
            said = None if change is None else self._after(resource_id, change, owner, asked_at)
            self.held[resource_id] = Held(owner, epoch, at)
            self._describe(resource_id, said, at, ttls)
            facts.append(ResourceRegistered(resource_id, owner, epoch, self.held[resource_id].details()))
        for resource_id, (change, asked_at, version) in bulk.owned.items():
            before = self.held.get(resource_id)
            is_current = before is None or version == (0 if before.said is None else before.said.version)
            changed_at = asked_at if is_current else at
            said = None if change is None else self._after(resource_id, change, owner, changed_at)
            if before is None:
                facts.append(self._reclaim(resource_id))
                self.held[resource_id] = Held(owner, epoch, at)
            elif before.owner == owner:
                kept[resource_id] = before.epoch
            else:
                del self.held[resource_id]
                self.held[resource_id] = Held(owner, epoch, at, before.said, before.expires_at)
            self._describe(resource_id, said, at, ttls)
            held = self.held[resource_id]
            if before is None:
                facts.append(ResourceRegistered(resource_id, owner, epoch, held.details()))
            elif before.owner == owner:
                if change is not None:
                    facts.append(held.updated(resource_id, "request", before))
            else:
                facts.append(
                    ResourceTransferred(
                        resource_id,
                        owner,
                        epoch,
                        before.owner,
                        before.epoch,
                        "forced",
                        held.details(),
                        before.details().metadata,
                    )
                )
        for resource_id in bulk.releasing:
            held = self.held.pop(resource_id)
            facts.append(held.released(resource_id, "request" if bulk.asker == owner.session_id else "admin"))
        facts += ttls
        failed = {**bulk.failed, **failed}
        self._leave(bulk, bulk.releasing)
        self._tell(bulk)
        return Reserved(failed, committed=True, kept=kept)

    # --- how it ends otherwise --------------------------------------------------------------------------------

    def give_up(self, bulk: BulkOf) -> None:
        self._close(bulk)
        self._tell(bulk)

    def _close(self, bulk: BulkOf) -> None:
        if bulk.is_open:
            bulk.is_open = False
            self._leave(bulk, list(bulk.free))

    def _leave(self, bulk: BulkOf, leftover: list[ResourceId]) -> None:
        bulk.leftover = leftover
        bulk.free, bulk.owned, bulk.releasing = {}, {}, []
        if leftover:
            self.untidy.append(bulk.id)

    def _tell(self, bulk: BulkOf) -> None:
        bulk.is_awaited = False
        if not bulk.leftover:
            del self.bulks[bulk.id]

    def end_bulks(self, session_id: SessionId) -> None:
        for bulk in [b for b in self.bulks.values() if b.is_awaited and b.asker == session_id]:
            self.give_up(bulk)
        for bulk in [b for b in self.bulks_of(session_id) if b.is_awaited]:
            self.give_up(bulk)

    def refuse_bulks(self, owner_id: SessionId) -> None:
        """Nothing more is registered for an instance."""
        for bulk in self.bulks_of(owner_id):
            if bulk.is_open and (bulk.free or bulk.owned):
                for resource_id in (*bulk.free, *bulk.owned):
                    bulk.failed[resource_id] = ItemFailure("unavailable")
                self._close(bulk)

    def lose(self, resource_id: ResourceId, failure: ItemFailure) -> None:
        bulk = self.bulk_with(resource_id)
        if bulk is None:
            return
        bulk.failed[resource_id] = failure
        if bulk.is_partial:
            bulk.free.pop(resource_id, None)
            bulk.owned.pop(resource_id, None)
            if resource_id in bulk.releasing:
                bulk.releasing.remove(resource_id)
        else:
            self._close(bulk)

    def lose_own(self, resource_id: ResourceId, error_type: str) -> None:
        """The grant of what its own owner has set aside ends all the same."""
        bulk = self.bulk_with(resource_id)
        if bulk is not None and bulk.owner == self.held[resource_id].owner:
            self.lose(resource_id, ItemFailure(error_type))

    def hold_on(self, resource_id: ResourceId) -> None:
        """Nobody owns what is still set aside."""
        bulk = self.bulk_with(resource_id)
        if bulk is not None:
            change, at, _ = bulk.owned.pop(resource_id)
            bulk.free[resource_id] = change, at

    def sweep(self, resource_id: ResourceId) -> None:
        """Somebody takes what may lie about."""
        for bulk in list(self.bulks.values()):
            if resource_id in bulk.leftover:
                self._sweep(bulk, resource_id)

    def _sweep(self, bulk: BulkOf, resource_id: ResourceId) -> None:
        bulk.leftover.remove(resource_id)
        if not bulk.leftover:
            self.untidy.remove(bulk.id)
            if not bulk.is_awaited:
                del self.bulks[bulk.id]

    def tidy(self, bulk_id: BulkId, count: int) -> int:
        bulk = self.bulks.get(bulk_id)
        leftover = [] if bulk is None else bulk.leftover[: max(0, count)]
        for resource_id in leftover:
            assert bulk is not None
            self._sweep(bulk, resource_id)
        return len(leftover)

    # --- what the model knows beside --------------------------------------------------------------------------

    def _after(self, resource_id: ResourceId, change: MetadataChange, owner: Owner, at: float) -> Said:
        held = self.held.get(resource_id)
        before = held.said if held is not None and held.said is not None else None
        return (before or Said(0, owner.instance_id, 0.0, None, (), {}, 0)).then(change, at, merge=False)

    def session(self, session_id: SessionId) -> Owner | None:
        raise NotImplementedError

    def _owner(self, session_id: SessionId) -> Owner:
        raise NotImplementedError

    def _reclaim(self, resource_id: ResourceId) -> ResourceReleased:
        raise NotImplementedError

    def _describe(self, resource_id: ResourceId, after: Said | None, at: float, facts: list[Fact]) -> None:
        raise NotImplementedError
