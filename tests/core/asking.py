"""Short ways to ask the state machine for things, so that the tests can read as sentences."""

from collections.abc import Mapping

import msgspec

from resroute.core.commands import (
    AnyCommand,
    Cause,
    End,
    Genesis,
    GiveUp,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Serve,
    Update,
    WaitLimits,
)
from resroute.core.facts import (
    Answered,
    Applied,
    Details,
    InLine,
    Outcome,
    Owner,
    Reclaimed,
    Refused,
    Registered,
    Released,
)
from resroute.core.metadata import Metadata, MetadataChange
from resroute.core.snapshot import decode_snapshot, encode_snapshot
from resroute.core.state import State
from resroute.errors import RouterError
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

BASE = 1000
AT = 1_700_000_000.0
BARE = Details(AT)
"""Of a resource that was registered then and says nothing of itself."""


def ids(*names: str) -> tuple[ResourceId, ...]:
    return tuple(ResourceId(name) for name in names)


def many_ids(count: int) -> tuple[ResourceId, ...]:
    return tuple(ResourceId(f"r:{n:06}") for n in range(count))


def open_session(name: str) -> Open:
    return Open(SessionId(name))


def end(name: str, cause: Cause = "session_ended", *, at: float = AT) -> End:
    return End(SessionId(name), cause, at)


def become(name: str, instance: str | None = None, service: str = "store") -> RegisterInstance:
    """The session becomes an instance, by default of the session's own name."""
    return RegisterInstance(SessionId(name), ServiceName(service), InstanceId(instance or name), AT)


def register(
    name: str,
    resource_ids: tuple[ResourceId, ...],
    *,
    limit: int = 1_000_000,
    partial: bool = False,
    force: bool = False,
    metadata: Mapping[str, MetadataChange] | None = None,
    max_metadata_bytes: int = 1000,
    at: float = AT,
) -> Register:
    given = None if metadata is None else {ResourceId(name): change for name, change in metadata.items()}
    return Register(SessionId(name), resource_ids, at, limit, partial, force, given, max_metadata_bytes)


def wait_for(
    name: str,
    resource_ids: tuple[ResourceId, ...],
    *,
    limit: int = 1_000_000,
    per_resource: int = 1000,
    per_session: int = 100,
    metadata: Mapping[str, MetadataChange] | None = None,
    max_metadata_bytes: int = 1000,
    at: float = AT,
) -> Register:
    asked = register(
        name, resource_ids, limit=limit, metadata=metadata, max_metadata_bytes=max_metadata_bytes, at=at
    )
    return msgspec.structs.replace(asked, wait=WaitLimits(per_resource, per_session))


def give_up(wait: Revision, *, only_if_blocked: bool = False) -> GiveUp:
    return GiveUp(wait, AT, only_if_blocked)


def update(
    name: str,
    resource: str,
    change: MetadataChange,
    *,
    merge: bool = False,
    expected_version: int | None = None,
    as_admin: bool = False,
    max_metadata_bytes: int = 1000,
    at: float = AT,
) -> Update:
    return Update(
        SessionId(name),
        ResourceId(resource),
        change,
        at,
        max_metadata_bytes,
        merge,
        expected_version,
        as_admin,
    )


def release(
    name: str,
    resource_ids: tuple[ResourceId, ...],
    *,
    partial: bool = False,
    as_admin: bool = False,
    at: float = AT,
) -> Release:
    return Release(SessionId(name), resource_ids, at, partial, as_admin)


def renew(
    name: str, resource_ids: tuple[ResourceId, ...], *, ttl_seconds: float | None = None, at: float = AT
) -> Renew:
    return Renew(SessionId(name), resource_ids, at, ttl_seconds)


def reclaim(name: str, count: int) -> Reclaim:
    return Reclaim(SessionId(name), count)


class Asker:
    """Applies commands to a state, as one origin that makes no mistakes."""

    def __init__(self, state: State | None = None, *, origin: str = "router-1") -> None:
        self.origin = origin
        self.number = 0
        if state is None:
            self.state = State()
            self.ask(Genesis(BASE))
        else:
            self.state = state

    def ask(self, command: AnyCommand) -> Outcome:
        self.number += 1
        outcome = self.state.apply(self.origin, self.number, command)
        assert outcome is not None
        return outcome

    def applied(self, command: AnyCommand) -> Applied:
        """Ask for what must be possible."""
        outcome = self.ask(command)
        assert isinstance(outcome, Applied), outcome
        return outcome

    def registered(self, command: Register) -> Registered:
        result = self.applied(command).result
        assert isinstance(result, Registered)
        return result

    def waits(self, command: Register) -> Revision:
        """Ask for what somebody else has, and wait for it."""
        outcome = self.applied(command)
        assert isinstance(outcome.result, InLine)
        return outcome.revision

    def served(self) -> list[Answered]:
        """Have all those served who can be, a command at a time."""
        answered: list[Answered] = []
        while self.state.must_serve:
            answered += self.applied(Serve(AT)).answered
        return answered

    def released(self, command: Release) -> Released:
        result = self.applied(command).result
        assert isinstance(result, Released)
        return result

    def reclaimed(self, command: Reclaim) -> Reclaimed:
        result = self.applied(command).result
        assert isinstance(result, Reclaimed)
        return result

    def refused[Error: RouterError](self, command: AnyCommand, error: type[Error]) -> Error:
        """Ask for what must be refused, and leave no trace but the revision."""
        before, revision = all_but_revision(self.state), self.state.revision
        outcome = self.ask(command)
        assert isinstance(outcome, Refused), outcome
        assert isinstance(outcome.error, error)
        assert outcome.revision == self.state.revision == revision + 1
        assert all_but_revision(self.state) == before
        return outcome.error

    def join(self, name: str, service: str = "store") -> Owner:
        """A session that becomes an instance of its own name."""
        self.applied(open_session(name))
        self.applied(become(name, service=service))
        owner = self.state.instance_of(SessionId(name))
        assert owner is not None
        return owner.fact

    def owner_of(self, name: str) -> InstanceId | None:
        grant = self.state.grant_of(ResourceId(name))
        return grant.owner.instance_id if grant is not None else None

    def metadata_of(self, name: str) -> Metadata | None:
        grant = self.state.grant_of(ResourceId(name))
        assert grant is not None
        return grant.metadata

    def expires_at(self, name: str) -> float | None:
        grant = self.state.grant_of(ResourceId(name))
        assert grant is not None
        return grant.expires_at

    def epoch_of(self, name: str) -> Epoch:
        grant = self.state.grant_of(ResourceId(name))
        assert grant is not None
        return grant.epoch

    def owned(self, service: str | None = None, *, after: str = "") -> list[ResourceId]:
        """Ids that have an owner, as a query pages through them."""
        service_name = ServiceName(service) if service is not None else None
        return [grant.resource_id for grant in self.state.grants_after(after, service_name)]


def all_but_revision(state: State) -> bytes:
    """The whole state but for what every command changes: the revision, and the number of its origin's last command."""
    snapshot = decode_snapshot(state.dump())
    snapshot.revision, snapshot.last = Revision(0), []
    return encode_snapshot(snapshot)
