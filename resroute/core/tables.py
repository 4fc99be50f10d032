"""What the state machine knows: its tables, how they are read, and kept in step.

Nothing here decides anything. Every dictionary that must be cleaned up has its index in the other direction, and each
grant goes into all of them, and out of all of them, in one place.
"""

from collections.abc import Iterable, Iterator, Sequence

from resroute.core.bulks import Bulk
from resroute.core.filters import Filter
from resroute.core.grants import GrantTable
from resroute.core.indexes import Indexes
from resroute.core.lines import Lines
from resroute.core.metadata import Metadata
from resroute.core.records import Grant, OwnerRecord, ServiceRecord, SessionRecord
from resroute.errors import Forbidden, SessionNotFound
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId


class Tables:
    """Who owns what, to be read freely."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        # resource -> its grant, those of dead owners that are not yet reclaimed among them
        self._grants = GrantTable()
        # all sessions: the live ones, those of suspended instances, and the dead that still have grants to reclaim
        self._sessions: dict[SessionId, SessionRecord] = {}
        # the dead among them, oldest first
        self._dead: dict[SessionId, OwnerRecord] = {}
        # those among them whose instances are suspended
        self._suspended: dict[SessionId, OwnerRecord] = {}
        # live instances, and suspended ones
        self._instances: dict[InstanceId, OwnerRecord] = {}
        # fingerprint of a token -> who is known by it: the tokens are in the records
        self._by_token: dict[bytes, OwnerRecord] = {}
        # services with an instance, or with grants to reclaim
        self._services: dict[ServiceName, ServiceRecord] = {}
        self._indexes = Indexes(self._services, self._instances)
        # registrations that wait
        self._lines = Lines()
        # bulks that are under way, or have left something behind, in the order they began
        self._bulks: dict[BulkId, Bulk] = {}
        # those among them that are to be tidied, the first that ended first
        self._untidy: dict[BulkId, Bulk] = {}
        # origin -> number of its last command: each command takes effect once and in order
        self._last: dict[str, int] = {}

    # --- reading ----------------------------------------------------------------------------------------------

    def grant_of(self, resource_id: ResourceId) -> Grant | None:
        """The grant in force, or None if nobody owns the resource."""
        grant = self._grants.get(resource_id)
        return grant if grant is not None and grant.epoch and grant.owner.alive else None

    def instance(self, instance_id: InstanceId) -> OwnerRecord | None:
        """The instance of that id, if it is connected or suspended."""
        return self._instances.get(instance_id)

    def instances(self) -> Iterator[OwnerRecord]:
        """All instances that are connected or suspended, in the order they came."""
        return iter(self._instances.values())

    def instance_known_by(self, token: bytes) -> OwnerRecord | None:
        """The instance whose place may be taken with the token of this fingerprint."""
        return self._by_token.get(token)

    def suspended(self, session_id: SessionId) -> OwnerRecord | None:
        """The suspended instance that a session was that has ended."""
        return self._suspended.get(session_id)

    def all_suspended(self) -> Iterator[OwnerRecord]:
        """All suspended instances."""
        return iter(self._suspended.values())

    def instance_of(self, session_id: SessionId) -> OwnerRecord | None:
        """The instance that a live session has become, if it has."""
        session = self._sessions.get(session_id)
        return session.owner if session is not None and session.alive else None

    def service(self, name: ServiceName) -> ServiceRecord | None:
        """The service, if an instance of it is connected or suspended."""
        service = self._services.get(name)
        return service if service is not None and service.instances else None

    def services(self) -> Iterator[ServiceRecord]:
        """All services of which an instance is connected or suspended."""
        return (service for service in self._services.values() if service.instances)

    def grants_after(self, resource_id: str = "", service_name: ServiceName | None = None) -> Iterator[Grant]:
        """Grants in force in code-point order of their ids, from the first one greater than ``resource_id`` on.

        Stop reading before the next command is applied.
        """
        if service_name is None:
            ids = self._indexes.ids
        elif (service := self._services.get(service_name)) is not None:
            ids = service.ids
        else:
            return
        for candidate in ids.after(resource_id):
            grant = self._grants[candidate]
            if grant.epoch and grant.owner.alive:
                yield grant

    def candidates_after(self, wanted: Filter, resource_id: str = "") -> Sequence[ResourceId]:
        """The next ids greater than ``resource_id``, in order, of resources that may match; none only if nothing more can.

        A thousand at the most, out of the index that names the fewest: whether each matches is to be looked at. They stay
        as they are when something changes.
        """
        return self._indexes.candidates_after(wanted, resource_id)

    def count(self, wanted: Filter) -> int | None:
        """How many resources that have an owner match; None if that is known only after looking at each."""
        if wanted == Filter():
            return self.resource_count
        if wanted == Filter(service_name=wanted.service_name):
            service = self._services.get(ServiceName(str(wanted.service_name)))
            return 0 if service is None else service.resource_count
        if self._bulks or (self._dead and wanted.instance_id is None):
            return None  # the indexes hold what the dead have left as well, and what bulks have set aside
        return self._indexes.count(wanted)

    @property
    def resource_count(self) -> int:
        """Resources that have an owner."""
        return sum(service.resource_count for service in self._services.values())

    @property
    def grant_count(self) -> int:
        """Grants in the tables: also those that are not in force yet, or not any more."""
        return len(self._indexes.ids)

    @property
    def session_count(self) -> int:
        """Sessions that have not ended."""
        return len(self._sessions) - len(self._dead) - len(self._suspended)

    @property
    def instance_count(self) -> int:
        """Instances that are connected."""
        return len(self._instances) - len(self._suspended)

    @property
    def suspended_count(self) -> int:
        """Instances that are suspended."""
        return len(self._suspended)

    @property
    def waiter_count(self) -> int:
        """Registrations that wait."""
        return len(self._lines)

    def waiting_for(self, resource_id: ResourceId) -> int:
        """How many registrations wait for a resource, its owner's aside."""
        grant = self.grant_of(resource_id)
        owner = None if grant is None else grant.owner
        return sum(waiter.owner is not owner for waiter in self._lines.waiting_for(resource_id))

    @property
    def must_serve(self) -> bool:
        """Whether a :class:`~resroute.core.commands.Serve` has something to do."""
        return bool(self._lines.turns or self._lines.left)

    @property
    def unreclaimed_count(self) -> int:
        """Grants of dead owners that are not yet reclaimed."""
        return sum(len(owner.resources) for owner in self._dead.values())

    def next_dead(self) -> SessionId | None:
        """The session that ended first of those with grants to reclaim."""
        return next(iter(self._dead), None)

    def next_untidy(self) -> BulkId | None:
        """The bulk that ended first of those that have left grants behind."""
        return next(iter(self._untidy), None)

    @property
    def bulk_count(self) -> int:
        """Bulks that are under way."""
        return sum(bulk.is_awaited for bulk in self._bulks.values())

    @property
    def leftover_count(self) -> int:
        """Grants that bulks have left behind, and that are not yet tidied."""
        return sum(len(bulk.leftover) for bulk in self._untidy.values())

    # --- keeping the indexes in step --------------------------------------------------------------------------

    def _add(self, grant: Grant) -> None:
        """Put a grant into every table."""
        self._grants[grant.resource_id] = grant
        self._indexes.add(grant)

    def _remove(self, grant: Grant) -> None:
        """Take a grant out of every table."""
        del self._grants[grant.resource_id]
        self._indexes.remove(grant)

    def _pass_on(self, before: Grant, owner: OwnerRecord, epoch: Epoch, at: float) -> Grant:
        """Have a resource go from one live owner to another, in every table. Returns the grant that follows."""
        grant = self._grants[before.resource_id] = before.passed_to(owner, epoch, at)
        self._indexes.pass_on(before, grant)
        before.owner.service.resource_count -= 1
        return grant

    def _put_pending(
        self, bulk: Bulk, items: Iterable[tuple[ResourceId, float, Metadata | None]]
    ) -> dict[ResourceId, Grant]:
        """Put grants that are not in force where they will be needed."""
        owner, hold, epoch = bulk.owner, bulk.hold, Epoch(0)
        grants: dict[ResourceId, Grant] = {}
        for resource_id, at, metadata in items:
            grant = Grant(resource_id, owner, epoch, at, metadata, hold=hold)
            grants[resource_id] = self._grants[resource_id] = grant
        self._indexes.add_pending(owner, grants)
        return grants

    def _take_pending(self, grant: Grant) -> None:
        """Take a grant that is not in force out of every table."""
        del self._grants[grant.resource_id]
        self._indexes.remove_pending(grant)

    def _set_metadata(self, grant: Grant, metadata: Metadata) -> None:
        """Have a grant in the tables say this of itself from now on. Only this and the next set the metadata of one."""
        self._indexes.describe(grant, metadata)

    def _set_all_metadata(self, changes: Sequence[tuple[Grant, Metadata]]) -> None:
        """The same of some grants, each of which comes once."""
        self._indexes.describe_all(changes)

    def _forget_if_done(self, owner: OwnerRecord) -> None:
        """Does nothing while the owner lives, or has left something behind."""
        if not owner.alive and not owner.resources and not owner.bulks:
            self._forget(owner)

    def _forget(self, owner: OwnerRecord) -> None:
        """The last that is known of a dead owner."""
        del self._dead[owner.session_id]
        del self._sessions[owner.session_id]
        self._forget_service(owner.service)

    def _forget_service(self, service: ServiceRecord) -> None:
        if not service.instances and not service.ids:
            self._services.pop(service.name, None)

    def _know(self, owner: OwnerRecord) -> None:
        """An instance can be resumed from here on."""
        for token in owner.tokens:
            self._by_token[token] = owner

    def _know_no_more(self, *tokens: bytes) -> None:
        """Nobody can be resumed with these any more."""
        for token in tokens:
            del self._by_token[token]

    # --- who may ask ------------------------------------------------------------------------------------------

    def _live_session(self, session_id: SessionId) -> SessionRecord:
        session = self._sessions.get(session_id)
        if session is None or not session.alive:
            raise SessionNotFound(session_id)
        return session

    def _live_owner(self, session_id: SessionId) -> OwnerRecord:
        owner = self._live_session(session_id).owner
        if owner is None:
            raise Forbidden("instance.register")
        return owner
