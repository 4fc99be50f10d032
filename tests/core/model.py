"""What the state machine must agree with: plain dictionaries, searched from end to end, without any index."""

from collections.abc import Iterator

from msgspec import UNSET
from msgspec.structs import replace

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    Cause,
    Confirm,
    Drain,
    End,
    EndGrace,
    Expire,
    Genesis,
    GiveUp,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Reserve,
    ReserveRelease,
    Serve,
    Tidy,
    Transfer,
    Update,
)
from resroute.core.facts import (
    Answered,
    Applied,
    Details,
    Fact,
    InLine,
    InstanceDrains,
    InstanceJoined,
    InstanceResumed,
    InstanceSuspended,
    ItemFailure,
    Joined,
    Outcome,
    Owner,
    Reclaimed,
    Refused,
    Registered,
    Released,
    Renewed,
    Reserved,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
    Result,
    SessionEnded,
    TtlChanged,
    TtlKept,
)
from resroute.core.metadata import Metadata, MetadataChange
from resroute.core.records import Grant
from resroute.core.snapshot import decode_snapshot
from resroute.core.state import State
from resroute.errors import (
    AlreadyRegistered,
    Forbidden,
    InstanceConflict,
    InvalidParams,
    NotOwner,
    ResourceConflict,
    ResourceLimitExceeded,
    ResourceNotFound,
    RouterError,
    SessionNotFound,
    TooManyWaiters,
    Unavailable,
    VersionConflict,
)
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from tests.core.bulk_model import BulkOf, BulkRules
from tests.core.handing_over import transfer
from tests.core.held import Held, Said

_FREEING = (
    Drain,
    Register,
    RegisterInstance,
    Release,
    Expire,
    Transfer,
    End,
    EndGrace,
    Reserve,
    ReserveRelease,
    Abandon,
)


class Model(BulkRules):
    """The same rules as the state machine's, told once more in the plainest way."""

    many = 128

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
        # registrations that wait, in the order they came
        self.waiters: dict[Revision, tuple[Register, Owner]] = {}
        self.draining: set[SessionId] = set()
        # what instances said of themselves
        self.asked: dict[SessionId, RegisterInstance] = {}
        # sessions that have taken the place of others, and may not know it yet
        self.unsure: set[SessionId] = set()
        # instances whose sessions have ended, and that may be resumed: until when, and why they ended; in that order
        self.suspended: dict[SessionId, tuple[Owner, float, Cause]] = {}
        # bulks that are under way, or have something to tidy, in the order they began
        self.bulks: dict[BulkId, BulkOf] = {}
        # those to tidy, in the order they ended
        self.untidy: list[BulkId] = []

    def apply(self, command: AnyCommand) -> Outcome:
        if isinstance(command, Genesis):
            self.revision = Revision(command.base)
            return Applied(self.revision)
        self.revision = Revision(self.revision + 1)
        facts: list[Fact] = []
        answers: list[Answered] = []
        try:
            result = self._result(command, facts, answers)
        except RouterError as error:
            return Refused(self.revision, error)
        for number, (asked, owner) in list(self.waiters.items()):
            if not self.in_the_way(asked.resource_ids, owner):
                del self.waiters[number]
                assert isinstance(command, _FREEING), "nothing else frees anything"
                answers.append(Answered(number, self._settled(asked, command.at, facts)))
        return Applied(self.revision, result, tuple(facts), tuple(answers))

    def _settled(self, asked: Register, at: float, facts: list[Fact]) -> Registered | RouterError:
        try:
            return self._register(replace(asked, at=at), facts)
        except (ResourceLimitExceeded, InvalidParams) as error:
            return error

    def _result(self, command: AnyCommand, facts: list[Fact], answers: list[Answered]) -> Result:
        match command:
            case Open(session_id):
                self.sessions[session_id] = None
            case End():
                self._end(command, facts, answers)
            case RegisterInstance():
                return self._register_instance(command, facts, answers)
            case Confirm(session_id):
                self._owner(session_id)
                self.unsure.discard(session_id)
            case EndGrace(session_id, until, _, cause):
                if session_id not in self.suspended or until not in (None, self.suspended[session_id][1]):
                    raise SessionNotFound(session_id)
                self._free_suspended(session_id, cause, facts)
            case Register():
                return self._register_or_wait(command, facts)
            case GiveUp(number) if number in self.waiters:
                asked, owner = self.waiters.pop(number)
                answers.append(Answered(number, self._conflict(self.in_the_way(asked.resource_ids, owner))))
            case Serve():
                pass  # where nobody is in the way of a waiter, none is left
            case Update():
                self._update(command, facts)
            case Renew():
                return self._renew(command, facts)
            case Expire():
                self._expire(command, facts)
            case Release():
                return self._release(command, facts)
            case Transfer():
                return transfer(self, command, facts)
            case Drain():
                self._drain(command.session_id, facts, answers)
            case Reclaim():
                return self._reclaim_some(command.session_id, command.count, facts)
            case Reserve() | ReserveRelease():
                return self.reserve(command, facts)
            case Abandon(session_id, bulk_id):
                self.abandon(session_id, bulk_id)
            case Tidy(bulk_id, count):
                self.tidy(bulk_id, count)
                return Reclaimed(len(self.bulks[bulk_id].leftover) if bulk_id in self.bulks else 0)
        return None

    def _expire(self, command: Expire, facts: list[Fact]) -> None:
        for expiry in command.expiries:
            held = self.held.get(expiry.resource_id)
            if held is not None and held.expires_at == expiry.expires_at and held.epoch == expiry.epoch:
                self.lose_own(expiry.resource_id, "resource_not_found")
                del self.held[expiry.resource_id]
                self.hold_on(expiry.resource_id)
                facts.append(held.released(expiry.resource_id, "expired"))

    def _drain(self, session_id: SessionId, facts: list[Fact], answers: list[Answered]) -> None:
        if session_id in self.suspended:
            self._free_suspended(session_id, "drain", facts)
            return
        owner = self._owner(session_id)
        if session_id not in self.draining:
            self.draining.add(session_id)
            self.refuse_bulks(session_id)
            facts.append(InstanceDrains(owner))
            self._refuse_waiters(owner, Unavailable("draining"), answers)

    def _reclaim_some(self, session_id: SessionId, count: int, facts: list[Fact]) -> Reclaimed:
        if session_id not in self.dead:
            return Reclaimed(0)
        for resource_id in self.left_behind_by(session_id)[:count]:
            facts.append(self._reclaim(resource_id))
        for bulk in self.bulks_of(session_id):
            done = self.tidy(bulk.id, count - len(facts))
            count -= done
        leftover = sum(len(bulk.leftover) for bulk in self.bulks_of(session_id))
        return Reclaimed(len(self.left_behind_by(session_id)) + leftover)

    def _end(self, command: End, facts: list[Fact], answers: list[Answered]) -> None:
        session_id = command.session_id
        owner = self.session(session_id)
        grace = self.asked[session_id].grace_seconds if owner is not None else 0.0
        is_suspended = command.unclean and grace > 0 and session_id not in self.draining
        self._end_session(session_id, answers)
        if owner is not None and is_suspended:
            until = command.at + grace
            self.suspended[session_id] = owner, until, command.cause
            count = len(self.held_by(owner))
            facts.append(InstanceSuspended(owner, count, command.cause, grace, until))
        else:
            count = self._free(owner, command.cause)
            facts.append(SessionEnded(session_id, owner, count, command.cause))

    def _end_session(self, session_id: SessionId, answers: list[Answered]) -> None:
        """A session is no more, and neither is what it has asked for."""
        owner = self.session(session_id)
        self.end_bulks(session_id)
        del self.sessions[session_id]
        self.draining.discard(session_id)
        self._refuse_waiters(owner, SessionNotFound(session_id), answers)

    def _free(self, owner: Owner | None, cause: Cause) -> int:
        if owner is None:
            return 0
        mine = self.held_by(owner)
        for resource_id in mine:
            self.left_behind[resource_id] = self.held.pop(resource_id)
        self.dead[owner.session_id] = cause
        del self.asked[owner.session_id]
        return len(mine)

    def _free_suspended(self, session_id: SessionId, cause: Cause | None, facts: list[Fact]) -> None:
        owner, _, own_cause = self.suspended.pop(session_id)
        cause = cause or own_cause
        count = self._free(owner, cause)
        facts.append(SessionEnded(session_id, owner, count, cause, was_suspended=True))

    def _refuse_waiters(self, owner: Owner | None, error: RouterError, answers: list[Answered]) -> None:
        for number in [n for n, (_, waiter) in self.waiters.items() if waiter == owner]:
            del self.waiters[number]
            answers.append(Answered(number, error))

    def _register_instance(
        self, command: RegisterInstance, facts: list[Fact], answers: list[Answered]
    ) -> Joined:
        owner = self.session(command.session_id)
        if owner is not None:
            raise AlreadyRegistered(owner.instance_id)
        before = next((o for o in self.instances() if o.instance_id == command.instance_id), None)
        if before is not None and not self._may_resume(before, command):
            raise InstanceConflict(command.instance_id)
        owner = Owner(command.session_id, command.instance_id, command.service_name)
        # dictionaries keep the place of a key, and instances are listed in the order they became such
        del self.sessions[command.session_id]
        self.sessions[command.session_id] = owner
        self.asked[command.session_id] = command
        if before is None:
            facts.append(InstanceJoined(owner))
            return Joined(None, (), 0, Epoch(self.revision))
        self.unsure.add(command.session_id)
        if before.session_id in self.suspended:
            del self.suspended[before.session_id]
        else:
            self._end_session(before.session_id, answers)
        del self.asked[before.session_id]
        self.dead[before.session_id] = "session_ended"
        mine = self.held_by(before)
        ttls: list[Fact] = []
        for resource_id in mine:
            held = self.held[resource_id]
            epoch = Epoch(self.revision)
            now = self.held[resource_id] = held._replace(owner=owner, epoch=epoch, at=command.at)
            about = now.details(), held.details().metadata
            facts.append(ResourceTransferred(resource_id, owner, epoch, before, held.epoch, "resume", *about))
            if held.expires_at is not None:
                left = max(0.0, held.expires_at - command.at)
                ttls.append(TtlKept(resource_id, epoch, left, held.expires_at))
        facts += [*ttls, InstanceJoined(owner), InstanceResumed(before, owner, len(mine))]
        return Joined(before.session_id, tuple(mine[:1000]), len(mine), Epoch(self.revision))

    def _may_resume(self, before: Owner, command: RegisterInstance) -> bool:
        asked = self.asked[before.session_id]
        tokens = {asked.token, asked.resumes if before.session_id in self.unsure else None} - {None}
        return (
            command.resumes in tokens
            and asked.subject == command.subject
            and before.service_name == command.service_name
        )

    def _register_or_wait(self, command: Register, facts: list[Fact]) -> Registered | InLine:
        try:
            return self._register(command, facts)
        except ResourceConflict as conflict:
            if command.wait is None:
                raise
            owner = self._owner(command.session_id)
            if sum(other == owner for _, other in self.waiters.values()) >= command.wait.per_session:
                raise TooManyWaiters(command.wait.per_session) from None
            for resource_id in set(command.resource_ids) - set(self.held_by(owner)):
                line = [asked for asked, _ in self.waiters.values() if resource_id in asked.resource_ids]
                if len(line) >= command.wait.per_resource:
                    raise TooManyWaiters(command.wait.per_resource) from None
            for r, change in (command.metadata or {}).items():
                mine = self.held[r].said if r in self.held_by(owner) else None
                self._checked(mine, change, owner, command.at, f"metadata.{r}", command.max_metadata_bytes)
            if (own := self.own_bulk(command, owner)) is not None:
                self.give_up(own)
            self.waiters[self.revision] = (command, owner)
            return InLine(conflict.conflicts)

    def _register(self, command: Register, facts: list[Fact]) -> Registered:
        owner = self._owner(command.session_id)
        if command.session_id in self.draining:
            raise Unavailable("draining")
        asked = list(dict.fromkeys(command.resource_ids))
        own = self.own_bulk(command, owner)
        aside = {} if own is None else {r: own.free[r] for r in asked if r in own.free}
        conflicts = {} if command.force else self.in_the_way(asked, owner, own)
        if conflicts and not command.partial:
            raise self._conflict(conflicts)
        mine = self.held_by(owner)
        wanted = [r for r in asked if r not in conflicts and r not in mine]
        current = len(mine) + self.reserved_for(owner, own)
        if wanted and current + len(wanted) > command.limit:
            raise ResourceLimitExceeded(command.limit, current, len(wanted))
        epoch = Epoch(self.revision)
        said = {
            r: self._changed(r, change, owner, command.at, f"metadata.{r}", command.max_metadata_bytes)
            for r, change in (command.metadata or {}).items()
            if r in asked and r not in conflicts and r not in aside
        }
        for r, (change, at) in aside.items():
            if change is not None:
                said[r] = self._after(r, change, owner, at)
        if own is not None:
            self.give_up(own)
        kept = {r: (self.held[r].said, self.held[r].expires_at) for r in wanted if r in self.held}
        ttls: list[Fact] = []
        for resource_id in wanted:
            self.lose(resource_id, ItemFailure("resource_conflict", owner.instance_id))
            self.sweep(resource_id)
            before = self.held.pop(resource_id, None)
            if resource_id in self.left_behind:
                facts.append(self._reclaim(resource_id))
            self.held[resource_id] = Held(owner, epoch, command.at, *kept.get(resource_id, (None, None)))
            self._describe(resource_id, said.get(resource_id), command.at, ttls)
            held = self.held[resource_id]
            if before is None:
                facts.append(ResourceRegistered(resource_id, owner, epoch, held.details()))
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
        if own is not None and own.id in self.untidy:  # it is over once all is granted
            self.untidy.remove(own.id)
            self.untidy.append(own.id)
        for resource_id in asked:
            if resource_id in mine:
                before = self.held[resource_id]
                self._describe(resource_id, said.get(resource_id), command.at, ttls)
                if resource_id in said:
                    facts.append(self.held[resource_id].updated(resource_id, "request", before))
        facts += ttls
        return Registered({r: self.held[r].epoch for r in asked if r not in conflicts}, conflicts)

    def _conflict(self, conflicts: dict[ResourceId, InstanceId]) -> ResourceConflict:
        is_pending = any(r not in self.held for r in conflicts)
        return ResourceConflict(conflicts, pending=True if is_pending else None)

    def _changed(
        self,
        resource_id: ResourceId,
        change: MetadataChange,
        owner: Owner,
        at: float,
        path: str,
        max_bytes: int,
        *,
        merge: bool = False,
    ) -> Said:
        held = self.held.get(resource_id)
        before = held.said if held is not None and held.said is not None else None
        return self._checked(before, change, owner, at, path, max_bytes, merge=merge)

    @staticmethod
    def _checked(
        before: Said | None,
        change: MetadataChange,
        owner: Owner,
        at: float,
        path: str,
        max_bytes: int,
        *,
        merge: bool = False,
    ) -> Said:
        after = (before or Said(0, owner.instance_id, 0.0, None, (), {}, 0)).then(change, at, merge=merge)
        if after.size_bytes > max_bytes:
            raise InvalidParams.at(
                path, f"takes {after.size_bytes} bytes of compact JSON, of at most {max_bytes}"
            )
        return after

    def _describe(self, resource_id: ResourceId, after: Said | None, at: float, facts: list[Fact]) -> None:
        if after is not None:
            self.held[resource_id] = self.held[resource_id]._replace(said=after)
        if self.held[resource_id].said is not None:
            self._begin_ttl(resource_id, at, None, facts)

    def _begin_ttl(self, resource_id: ResourceId, at: float, once: float | None, facts: list[Fact]) -> None:
        held = self.held[resource_id]
        ttl_seconds = held.said.ttl_seconds if held.said is not None else None
        if ttl_seconds is None and held.expires_at is None:
            return
        if ttl_seconds is not None and once is not None:
            ttl_seconds = once
        expires_at = None if ttl_seconds is None else at + ttl_seconds
        self.held[resource_id] = held._replace(expires_at=expires_at)
        facts.append(TtlChanged(resource_id, held.epoch, ttl_seconds, expires_at))

    def _renew(self, command: Renew, facts: list[Fact]) -> Renewed:
        owner = self._owner(command.session_id)
        for resource_id in command.resource_ids:
            if resource_id not in self.held:
                raise ResourceNotFound(resource_id)
            if self.held[resource_id].owner != owner:
                raise NotOwner(resource_id, self.held[resource_id].owner.instance_id)
        expires_at = {}
        for resource_id in command.resource_ids:
            if self.held[resource_id].expires_at is not None:
                self._begin_ttl(resource_id, command.at, command.ttl_seconds, facts)
                expires_at[resource_id] = self.held[resource_id].expires_at or 0.0
        return Renewed(expires_at)

    def _update(self, command: Update, facts: list[Fact]) -> None:
        actor = self.session(command.session_id)
        if actor is None and not command.as_admin:
            raise Forbidden("instance.register")
        held = self.held.get(command.resource_id)
        if held is None:
            raise ResourceNotFound(command.resource_id)
        if held.owner != actor and not command.as_admin:
            raise NotOwner(command.resource_id, held.owner.instance_id)
        version = held.said.version if held.said is not None else 0
        if command.expected_version not in (None, version):
            raise VersionConflict(command.resource_id, command.expected_version, version)
        after = self._changed(
            command.resource_id,
            command.change,
            held.owner,
            command.at,
            "metadata",
            command.max_metadata_bytes,
            merge=command.merge,
        )
        self.held[command.resource_id] = held._replace(said=after)
        cause: Cause = "request" if held.owner == actor else "admin"
        ttls: list[Fact] = []
        if command.change.ttl_seconds is not UNSET:
            self._begin_ttl(command.resource_id, command.at, None, ttls)
        facts += [self.held[command.resource_id].updated(command.resource_id, cause, held), *ttls]

    def _may_leave_behind(self, released: list[ResourceId]) -> None:
        """What is given up together is tidied later, as of a bulk."""
        owners = {self.held[resource_id].owner for resource_id in released}
        if len(owners) == 1 and not any(map(self.bulk_with, released)):
            [owner] = owners
            bulk = BulkOf(BulkId(f"release-{self.revision}"), owner.session_id, owner, is_partial=False)
            bulk.is_open = bulk.is_awaited = False
            self.bulks[bulk.id] = bulk
            self._leave(bulk, list(released))

    def _release(self, command: Release, facts: list[Fact]) -> Released:
        owner = self.session(command.session_id)
        if owner is None and not command.as_admin:
            raise Forbidden("instance.register")
        released: list[ResourceId] = []
        errors: dict[ResourceId, ResourceNotFound | NotOwner | ResourceConflict] = {}
        for resource_id in dict.fromkeys(command.resource_ids):
            held = self.held.get(resource_id)
            if held is None:
                errors[resource_id] = ResourceNotFound(resource_id)
            elif held.owner != owner and not command.as_admin:
                errors[resource_id] = NotOwner(resource_id, held.owner.instance_id)
            elif held.owner == owner and (bulk := self.bulk_with(resource_id)) is not None:
                errors[resource_id] = ResourceConflict({resource_id: bulk.owner.instance_id}, pending=True)
            else:
                released.append(resource_id)
        for error in errors.values():
            if not command.partial:
                raise error
        if len(released) >= self.many:
            self._may_leave_behind(released)
        for resource_id in released:
            self.lose_own(resource_id, "not_owner")
            held = self.held.pop(resource_id)
            self.hold_on(resource_id)
            facts.append(held.released(resource_id, "request" if held.owner == owner else "admin"))
        return Released(
            tuple(released),
            {r: error.type for r, error in errors.items()},
        )

    def _reclaim(self, resource_id: ResourceId) -> ResourceReleased:
        held = self.left_behind.pop(resource_id)
        self.hold_on(resource_id)
        return held.released(resource_id, self.dead[held.owner.session_id])

    def session(self, session_id: SessionId) -> Owner | None:
        if session_id not in self.sessions:
            raise SessionNotFound(session_id)
        return self.sessions[session_id]

    def _owner(self, session_id: SessionId) -> Owner:
        owner = self.session(session_id)
        if owner is None:
            raise Forbidden("instance.register")
        return owner

    def instances(self) -> Iterator[Owner]:
        """Those that are connected or suspended, in the order in which they became instances."""
        for session_id in self.asked:
            owner = (
                self.suspended[session_id][0] if session_id in self.suspended else self.sessions[session_id]
            )
            assert owner is not None
            yield owner

    def connected(self) -> Iterator[Owner]:
        return (owner for owner in self.sessions.values() if owner is not None)

    def held_by(self, owner: Owner | None) -> list[ResourceId]:
        return [resource_id for resource_id, held in self.held.items() if held.owner == owner]

    def left_behind_by(self, session_id: SessionId) -> list[ResourceId]:
        return [r for r, held in self.left_behind.items() if held.owner.session_id == session_id]


def same_outcome(one: Outcome | None, other: Outcome | None) -> bool:
    """Whether both say the same, in the same order."""
    if isinstance(one, Applied) and isinstance(other, Applied) and (one.answered or other.answered):
        return list(map(_seen_answer, one.answered)) == list(
            map(_seen_answer, other.answered)
        ) and same_outcome(replace(one, answered=()), replace(other, answered=()))
    match one, other:
        case Refused(), Refused():
            return (one.revision, type(one.error), one.error.data()) == (
                other.revision,
                type(other.error),
                other.error.data(),
            )
        case Applied(), Applied():
            return _same_applied(one, other)
        case _:
            return one == other


def _same_applied(one: Applied, other: Applied) -> bool:
    one, other = (replace(it, facts=tuple(map(_told, it.facts))) for it in (one, other))
    match one.result, other.result:
        case Registered() as this, Registered() as that:
            return (
                one == other
                and list(this.epochs) == list(that.epochs)
                and list(this.conflicts) == list(that.conflicts)
            )
        case Reserved() as this, Reserved() as that:
            return one == other and list(this.failed) == list(that.failed)
        case _:
            return one == other


def _seen_answer(answered: Answered) -> object:
    match answered.answer:
        case Registered(epochs, conflicts):
            return answered.wait, list(epochs.items()), list(conflicts.items())
        case error:
            return answered.wait, type(error), error.data()


def _told(fact: Fact) -> Fact:
    """A fact with metadata in which the same JSON is written in one way."""
    match fact:
        case ResourceRegistered() | ResourceReleased():
            return replace(fact, details=_plain(fact.details))
        case ResourceTransferred() | ResourceUpdated():
            return replace(
                fact, details=_plain(fact.details), metadata_before=_rewritten(fact.metadata_before)
            )
    return fact


def _plain(details: Details) -> Details:
    return replace(details, metadata=_rewritten(details.metadata))


def _rewritten(metadata: Metadata | None) -> Metadata | None:
    said = Said.of(metadata)
    return None if said is None else said.metadata()


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
    assert state.next_dead() == next(iter(model.to_reclaim()), None)
    assert state.next_untidy() == next(iter(model.untidy), None)
    assert state.leftover_count == sum(len(bulk.leftover) for bulk in model.bulks.values())
    assert state.bulk_count == sum(bulk.is_awaited for bulk in model.bulks.values())

    assert state.waiter_count == len(model.waiters)
    assert not state.must_serve
    for place in places:
        owner = model.held[place].owner if place in model.held else None
        waiting = [
            asked for asked, who in model.waiters.values() if place in asked.resource_ids and who != owner
        ]
        assert state.waiting_for(place) == len(waiting)

    instances = list(model.instances())
    assert [record.fact for record in state.instances()] == instances
    assert state.instance_count == len(list(model.connected()))
    assert state.suspended_count == len(model.suspended)
    for owner in instances:
        record = state.instance(owner.instance_id)
        is_suspended = owner.session_id in model.suspended
        find = state.suspended if is_suspended else state.instance_of
        assert record is not None and record is find(owner.session_id)
        assert record.suspended_until == (model.suspended[owner.session_id][1] if is_suspended else None)
        asked = model.asked[owner.session_id]
        if asked.token is not None:
            assert state.instance_known_by(asked.token) is record
        assert list(record.resources) == model.held_by(owner)
        assert record.reserved_count == model.reserved_for(owner)
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
    gone = {held.owner.service_name for held in model.left_behind.values()}
    gone |= {bulk.owner.service_name for bulk in model.bulks.values()}
    for name in gone - live:
        assert state.service(name) is None
        assert not list(state.grants_after(service_name=name))
    assert not list(state.grants_after(service_name=ServiceName("never-heard-of")))


def _assert_nothing_else_is_kept(state: State, model: Model) -> None:
    """Of those who are gone only those are remembered who left something behind."""
    kept = decode_snapshot(state.dump())
    assert {bulk.bulk_id for bulk in kept.bulks} == set(model.bulks)
    absent = {held.owner for held in model.left_behind.values()}
    absent |= {bulk.owner for bulk in model.bulks.values() if bulk.owner.session_id not in model.sessions}
    there = model.sessions.keys() | model.suspended.keys()
    assert {session.session_id for session in kept.sessions} == there | {o.session_id for o in absent}
    assert set(kept.services) == {owner.service_name for owner in absent.union(model.instances())}


def _seen(grant: Grant) -> tuple[ResourceId, Held]:
    return grant.resource_id, Held(
        grant.owner.fact, grant.epoch, grant.registered_at, Said.of(grant.metadata), grant.expires_at
    )
