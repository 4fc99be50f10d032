"""The state as a whole: written down in one place, and gone on with in another."""

import hashlib
from typing import Self

from resroute.core.bulks import Bulk
from resroute.core.records import Grant, OwnerRecord, ServiceRecord, SessionRecord
from resroute.core.snapshot import (
    BulkSnapshot,
    OwnerSnapshot,
    SessionSnapshot,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from resroute.core.tables import Tables
from resroute.ids import SessionId


class Dumping(Tables):
    """Tables that can be moved."""

    def dump(self) -> bytes:
        """The whole state as bytes. The same state gives the same bytes on every machine."""
        return encode_snapshot(self._snapshot())

    def digest(self) -> str:
        """A fingerprint of :meth:`dump`."""
        return hashlib.sha256(self.dump()).hexdigest()

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            self.revision,
            sorted(self._last.items()),
            [
                SessionSnapshot(
                    session.session_id, session.origin, session.alive, self._owner_snapshot(session.owner)
                )
                for session in self._sessions.values()
            ],
            list(self._services),
            list(self._instances),
            list(self._dead),
            self._lines.snapshot(),
            list(map(_bulk_snapshot, self._bulks.values())),
            list(self._untidy),
        )

    def _owner_snapshot(self, owner: OwnerRecord | None) -> OwnerSnapshot | None:
        if owner is None:
            return None
        grants = [self._grants[resource_id] for resource_id in owner.resources]
        return OwnerSnapshot(
            owner.instance_id,
            owner.service.name,
            owner.registered_at,
            owner.priority,
            owner.max_concurrency,
            owner.plain,
            owner.metadata,
            owner.cause,
            owner.is_draining,
            owner.subject,
            owner.token,
            owner.made_with,
            owner.grace_seconds,
            owner.suspended_until,
            [
                (grant.resource_id, grant.epoch, grant.registered_at, grant.metadata, grant.expires_at)
                for grant in grants
            ],
        )

    @classmethod
    def load(cls, dump: bytes) -> Self:
        """The state that :meth:`dump` was called on."""
        snapshot = decode_snapshot(dump)
        state = cls()
        state.revision = snapshot.revision
        state._last = dict(snapshot.last)
        state._services |= {name: ServiceRecord(name) for name in snapshot.services}
        for item in snapshot.sessions:
            session = SessionRecord(item.session_id, item.origin)
            session.alive = item.alive
            state._sessions[item.session_id] = session
            if item.owner is not None:
                session.owner = state._load_owner(session, item.owner)
        live = {
            session.owner.instance_id: session.owner
            for session in state._sessions.values()
            if session.owner is not None and session.owner.alive
        }
        for instance_id in snapshot.instances:
            owner = live[instance_id]
            state._instances[instance_id] = owner.service.instances[instance_id] = owner
            state._know(owner)
        for session_id in snapshot.dead:
            dead = state._sessions[session_id].owner
            assert dead is not None
            state._dead[session_id] = dead
        state._lines.load(snapshot.lines, state._live_instance_of)
        for bulk in snapshot.bulks:
            state._load_bulk(bulk)
        state._untidy = {bulk_id: state._bulks[bulk_id] for bulk_id in snapshot.untidy}
        return state

    def _live_instance_of(self, session_id: SessionId) -> OwnerRecord:
        owner = self.instance_of(session_id)
        assert owner is not None
        return owner

    def _load_bulk(self, item: BulkSnapshot) -> None:
        owner = self._sessions[item.owner_id].owner
        assert owner is not None
        bulk = Bulk(item.bulk_id, item.session_id, owner, is_partial=item.is_partial)
        bulk.hold.is_open = item.is_open
        bulk.is_awaited = item.is_awaited
        bulk.reserved_count = item.reserved_count
        owner.reserved_count += item.reserved_count
        self._bulks[bulk.id] = bulk
        owner.bulks[bulk.id] = None
        if bulk.is_awaited:
            self._sessions[bulk.session_id].bulks[bulk.id] = None
        bulk.pending = self._put_pending(bulk, item.pending)
        bulk.leftover = self._put_pending(bulk, item.leftover)
        bulk.plans = dict(item.plans)
        bulk.planned = {resource_id: self._grants[resource_id] for resource_id, _ in item.plans}
        bulk.says_more = any(plan.change is not None for _, plan in item.plans)
        bulk.releasing = {resource_id: self._grants[resource_id] for resource_id in item.releasing}
        for resource_id in (*bulk.plans, *bulk.releasing):
            self._grants[resource_id].hold = bulk.hold
        bulk.failed = dict(item.failed)

    def _load_owner(self, session: SessionRecord, item: OwnerSnapshot) -> OwnerRecord:
        service = self._services[item.service_name]
        owner = OwnerRecord(
            session.session_id,
            service,
            item.instance_id,
            registered_at=item.registered_at,
            priority=item.priority,
            max_concurrency=item.max_concurrency,
            plain=item.plain,
            metadata=item.metadata,
            subject=item.subject,
            token=item.token,
            grace_seconds=item.grace_seconds,
        )
        owner.made_with = item.made_with
        owner.suspended_until = item.suspended_until
        if owner.suspended_until is not None:
            self._suspended[session.session_id] = owner
        owner.alive = session.alive or owner.suspended_until is not None
        owner.cause = item.cause
        owner.is_draining = item.is_draining
        for resource_id, epoch, registered_at, metadata, expires_at in item.resources:
            self._add(Grant(resource_id, owner, epoch, registered_at, metadata, expires_at))
        if owner.alive:
            service.resource_count += len(owner.resources)
        return owner


def _bulk_snapshot(bulk: Bulk) -> BulkSnapshot:
    return BulkSnapshot(
        bulk.id,
        bulk.session_id,
        bulk.owner.session_id,
        bulk.is_partial,
        bulk.hold.is_open,
        bulk.is_awaited,
        bulk.reserved_count,
        [(grant.resource_id, grant.registered_at, grant.metadata) for grant in bulk.pending.values()],
        list(bulk.plans.items()),
        list(bulk.releasing),
        [(grant.resource_id, grant.registered_at, grant.metadata) for grant in bulk.leftover.values()],
        list(bulk.failed.items()),
    )
