"""What the state machine must agree with: plain dictionaries, searched from end to end, without any index."""

from collections.abc import Iterator
from typing import NamedTuple

from resroute.core.commands import (
    AnyCommand,
    Cause,
    End,
    Genesis,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
)
from resroute.core.facts import (
    Applied,
    Fact,
    InstanceJoined,
    Outcome,
    Owner,
    Reclaimed,
    Refused,
    Registered,
    Released,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    Result,
    SessionEnded,
)
from resroute.core.records import Grant
from resroute.core.snapshot import decode_snapshot
from resroute.core.state import State
from resroute.errors import (
    AlreadyRegistered,
    Forbidden,
    InstanceConflict,
    NotOwner,
    ResourceConflict,
    ResourceLimitExceeded,
    ResourceNotFound,
    RouterError,
    SessionNotFound,
)
from resroute.ids import Epoch, ResourceId, Revision, ServiceName, SessionId


class Held(NamedTuple):
    """A resource that has an owner, or had one that ended and is not reclaimed."""

    owner: Owner
    epoch: Epoch
    at: float


class Model:
    """The same rules as the state machine's, told once more in the plainest way."""

    def __init__(self) -> None:
        self.revision = Revision(0)
        # live sessions, and what they have become
        self.sessions: dict[SessionId, Owner | None] = {}
        # owned resources, in the order they were granted
        self.held: dict[ResourceId, Held] = {}
        # instances that ended, oldest first, and why
        self.dead: dict[SessionId, Cause] = {}
        # what they left behind, in the order it was granted
        self.left_behind: dict[ResourceId, Held] = {}

    def apply(self, command: AnyCommand) -> Outcome:
        if isinstance(command, Genesis):
            self.revision = Revision(command.base)
            return Applied(self.revision)
        self.revision = Revision(self.revision + 1)
        facts: list[Fact] = []
        try:
            result = self._result(command, facts)
        except RouterError as error:
            return Refused(self.revision, error)
        return Applied(self.revision, result, tuple(facts))

    def _result(self, command: AnyCommand, facts: list[Fact]) -> Result:
        match command:
            case Open(session_id):
                self.sessions[session_id] = None
            case End():
                self._end(command, facts)
            case RegisterInstance():
                self._register_instance(command, facts)
            case Register():
                return self._register(command, facts)
            case Release():
                return self._release(command, facts)
            case Reclaim(session_id, count):
                for resource_id in self.left_behind_by(session_id)[:count]:
                    facts.append(self._reclaim(resource_id))
                return Reclaimed(len(self.left_behind_by(session_id)))
        return None

    def _end(self, command: End, facts: list[Fact]) -> None:
        owner = self._session(command.session_id)
        del self.sessions[command.session_id]
        mine = self.held_by(owner)
        for resource_id in mine:
            self.left_behind[resource_id] = self.held.pop(resource_id)
        self.dead[command.session_id] = command.cause
        facts.append(SessionEnded(command.session_id, owner, len(mine), command.cause))

    def _register_instance(self, command: RegisterInstance, facts: list[Fact]) -> None:
        owner = self._session(command.session_id)
        if owner is not None:
            raise AlreadyRegistered(owner.instance_id)
        if any(other.instance_id == command.instance_id for other in self.instances()):
            raise InstanceConflict(command.instance_id)
        owner = Owner(command.session_id, command.instance_id, command.service_name)
        # dictionaries keep the place of a key, and instances are listed in the order they became such
        del self.sessions[command.session_id]
        self.sessions[command.session_id] = owner
        facts.append(InstanceJoined(owner))

    def _register(self, command: Register, facts: list[Fact]) -> Registered:
        owner = self._owner(command.session_id)
        asked = list(dict.fromkeys(command.resource_ids))
        others = [r for r in asked if r in self.held and self.held[r].owner != owner]
        conflicts = {} if command.force else {r: self.held[r].owner.instance_id for r in others}
        if conflicts and not command.partial:
            raise ResourceConflict(conflicts)
        mine = self.held_by(owner)
        wanted = [r for r in asked if r not in conflicts and r not in mine]
        if wanted and len(mine) + len(wanted) > command.limit:
            raise ResourceLimitExceeded(command.limit, len(mine), len(wanted))
        epoch = Epoch(self.revision)
        for resource_id in wanted:
            if resource_id in self.held:
                previous = self.held.pop(resource_id).owner
                facts.append(ResourceTransferred(resource_id, owner, epoch, previous, "forced"))
            else:
                if resource_id in self.left_behind:
                    facts.append(self._reclaim(resource_id))
                facts.append(ResourceRegistered(resource_id, owner, epoch))
            self.held[resource_id] = Held(owner, epoch, command.at)
        return Registered({r: self.held[r].epoch for r in asked if r not in conflicts}, conflicts)

    def _release(self, command: Release, facts: list[Fact]) -> Released:
        owner = self._owner(command.session_id)
        released: list[ResourceId] = []
        errors: dict[ResourceId, ResourceNotFound | NotOwner] = {}
        for resource_id in dict.fromkeys(command.resource_ids):
            held = self.held.get(resource_id)
            if held is None:
                errors[resource_id] = ResourceNotFound(resource_id)
            elif held.owner != owner:
                errors[resource_id] = NotOwner(resource_id, held.owner.instance_id)
            else:
                released.append(resource_id)
        for error in errors.values():
            if not command.partial:
                raise error
        for resource_id in released:
            epoch = self.held.pop(resource_id).epoch
            facts.append(ResourceReleased(resource_id, owner, epoch, "request"))
        return Released(
            tuple(released),
            {
                r: "resource_not_found" if isinstance(e, ResourceNotFound) else "not_owner"
                for r, e in errors.items()
            },
        )

    def _reclaim(self, resource_id: ResourceId) -> ResourceReleased:
        owner, epoch, _ = self.left_behind.pop(resource_id)
        return ResourceReleased(resource_id, owner, epoch, self.dead[owner.session_id])

    def _session(self, session_id: SessionId) -> Owner | None:
        if session_id not in self.sessions:
            raise SessionNotFound(session_id)
        return self.sessions[session_id]

    def _owner(self, session_id: SessionId) -> Owner:
        owner = self._session(session_id)
        if owner is None:
            raise Forbidden("instance.register")
        return owner

    def instances(self) -> Iterator[Owner]:
        return (owner for owner in self.sessions.values() if owner is not None)

    def held_by(self, owner: Owner | None) -> list[ResourceId]:
        return [resource_id for resource_id, held in self.held.items() if held.owner == owner]

    def left_behind_by(self, session_id: SessionId) -> list[ResourceId]:
        return [r for r, held in self.left_behind.items() if held.owner.session_id == session_id]


def same_outcome(one: Outcome | None, other: Outcome | None) -> bool:
    """Whether both say the same, in the same order."""
    match one, other:
        case Refused(), Refused():
            return (one.revision, type(one.error), one.error.data()) == (
                other.revision,
                type(other.error),
                other.error.data(),
            )
        case Applied(result=Registered() as this), Applied(result=Registered() as that):
            return (
                one == other
                and list(this.epochs) == list(that.epochs)
                and list(this.conflicts) == list(that.conflicts)
            )
        case _:
            return one == other


def assert_agree(state: State, model: Model, places: tuple[ResourceId, ...]) -> None:
    """Everything that can be read in the state is what the model finds by searching. ``places``: ids to look at."""
    assert state.revision == model.revision
    in_order = sorted(model.held)
    assert [_seen(grant) for grant in state.grants_after()] == [(r, model.held[r]) for r in in_order]
    for place in places:
        grant = state.grant_of(place)
        assert (_seen(grant)[1] if grant is not None else None) == model.held.get(place)
        after = [r for r in in_order if r > place]
        assert [grant.resource_id for grant in state.grants_after(place)] == after
    assert state.resource_count == len(model.held)
    assert state.session_count == len(model.sessions)
    assert state.unreclaimed_count == len(model.left_behind)
    assert state.next_dead() == next((s for s in model.dead if model.left_behind_by(s)), None)

    instances = list(model.instances())
    assert [record.fact for record in state.instances()] == instances
    assert state.instance_count == len(instances)
    for owner in instances:
        record = state.instance(owner.instance_id)
        assert record is not None and record is state.instance_of(owner.session_id)
        assert list(record.resources) == model.held_by(owner)
    for session_id in model.dead:
        assert state.instance_of(session_id) is None
    _assert_services_agree(state, model, instances)
    _assert_nothing_else_is_kept(state, model)


def _assert_services_agree(state: State, model: Model, instances: list[Owner]) -> None:
    live = {owner.service_name for owner in instances}
    assert sorted(service.name for service in state.services()) == sorted(live)
    for name in live:
        service = state.service(name)
        assert service is not None
        assert [record.fact for record in service.instances.values()] == [
            o for o in instances if o.service_name == name
        ]
        held = sorted(r for r, held in model.held.items() if held.owner.service_name == name)
        assert service.resource_count == len(held)
        assert [grant.resource_id for grant in state.grants_after(service_name=name)] == held
        if held:
            middle = held[len(held) // 2]
            after = [grant.resource_id for grant in state.grants_after(middle, name)]
            assert after == [r for r in held if r > middle]
    for name in {held.owner.service_name for held in model.left_behind.values()} - live:
        assert state.service(name) is None
        assert not list(state.grants_after(service_name=name))
    assert not list(state.grants_after(service_name=ServiceName("never-heard-of")))


def _assert_nothing_else_is_kept(state: State, model: Model) -> None:
    """Of those who are gone only those are remembered who left something behind."""
    kept = decode_snapshot(state.dump())
    absent = {held.owner for held in model.left_behind.values()}
    assert {session.session_id for session in kept.sessions} == model.sessions.keys() | {
        o.session_id for o in absent
    }
    assert set(kept.services) == {owner.service_name for owner in absent.union(model.instances())}


def _seen(grant: Grant) -> tuple[ResourceId, Held]:
    return grant.resource_id, Held(grant.owner.fact, grant.epoch, grant.registered_at)
