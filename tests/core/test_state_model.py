"""The state machine against plain dictionaries, whatever is asked of it in whatever order."""

import json
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    BulkItem,
    Cause,
    Confirm,
    Drain,
    End,
    EndGrace,
    Expire,
    Expiry,
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
    WaitLimits,
)
from resroute.core.facts import Refused
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, ServiceName, SessionId
from tests.core.asking import AT, all_but_revision, ids
from tests.core.audience import Audience
from tests.core.effort import effort
from tests.core.finding import FILTERS, assert_finds
from tests.core.model import Model, assert_agree, same_outcome
from tests.core.schedules import MANY_TAGS, POOL, random_schedule

# few enough to be fought over, and their order as text is not their order here
RESOURCES = ids("b", "a", "a:1", "a/1", "B", "~", "a:10", "a:9")
ORIGINS = ("router-1", "router-2")
CAUSES: tuple[Cause, ...] = ("session_ended", "heartbeat_lost", "admin")

resource_lists = st.lists(st.sampled_from(RESOURCES), max_size=6).map(tuple)
origins = st.sampled_from(ORIGINS)
instance_ids = st.sampled_from(("i1", "i2", "i3", "i4")).map(InstanceId)
attributes = st.dictionaries(
    st.sampled_from(("a", "b", "c")),
    st.none() | st.integers(-5, 5) | st.text(max_size=3) | st.just({"a": None}),
    max_size=3,
)
changes = st.builds(
    MetadataChange,
    resource_type=st.sampled_from((UNSET, None, "document")),
    tags=st.just(UNSET) | st.lists(st.sampled_from(("x", "y")), max_size=2).map(tuple) | st.just(MANY_TAGS),
    attributes=st.just(UNSET)
    | attributes.map(lambda given: json.dumps(given, separators=(",", ":")).encode()),
    priority=st.just(UNSET) | st.integers(-3, 3),
    ttl_seconds=st.sampled_from((UNSET, None, 1.0, 2.5)),
)
SERVICES = (ServiceName("store"), ServiceName("mail"))
service_names = st.sampled_from(SERVICES)


item_lists = st.lists(
    st.builds(
        BulkItem,
        st.sampled_from(RESOURCES),
        st.none() | changes,
        st.sampled_from((False, False, False, True)),
    ),
    max_size=5,
).map(tuple)


class Begun(NamedTuple):
    """A bulk that somebody has begun."""

    bulk_id: BulkId
    asker: SessionId
    owner: SessionId
    is_partial: bool


class StateOfFew(State):
    """What comes together by twos is many already."""

    many = 2


class ModelOfFew(Model):
    """The same."""

    many = 2


class Ownership(RuleBasedStateMachine):
    """Asks the state and the model for the same things, and lets somebody hear the facts."""

    state_class: type[State] = State
    model_class: type[Model] = Model
    sessions = Bundle[SessionId]("sessions")
    bulks = Bundle[Begun]("bulks")

    def __init__(self) -> None:
        super().__init__()
        self.state = self.state_class()
        self.model = self.model_class()
        self.audience = Audience()
        self.numbers = dict.fromkeys(ORIGINS, 0)

    def ask(self, origin: str, command: AnyCommand) -> None:
        before = all_but_revision(self.state)
        self.numbers[origin] += 1
        outcome = self.state.apply(origin, self.numbers[origin], command)
        assert same_outcome(outcome, self.model.apply(command))
        if isinstance(outcome, Refused):
            assert all_but_revision(self.state) == before, (
                "a refused command changes nothing but the revision"
            )
        self.audience.hear(outcome)

    def open_now(self, origin: str) -> SessionId:
        session_id = SessionId(f"session-{self.state.revision}")
        self.ask(origin, Open(session_id))
        return session_id

    @initialize(target=sessions, base=st.integers(1, 2**50))
    def begin(self, base: int) -> SessionId:
        self.ask(ORIGINS[0], Genesis(base))
        return SessionId("never-opened")

    @rule(target=sessions, origin=origins)
    def open(self, origin: str) -> SessionId:
        return self.open_now(origin)

    @rule(target=sessions, origin=origins, service_name=service_names)
    def join(self, origin: str, service_name: ServiceName) -> SessionId:
        session_id = self.open_now(origin)
        instance_id = InstanceId(f"i{self.state.revision}")
        self.ask(origin, RegisterInstance(session_id, service_name, instance_id, AT))
        return session_id

    @rule(origin=origins, session_id=sessions, service_name=service_names, instance_id=instance_ids)
    def become(
        self, origin: str, session_id: SessionId, service_name: ServiceName, instance_id: InstanceId
    ) -> None:
        self.ask(
            origin, RegisterInstance(session_id, service_name, instance_id, AT, metadata=b'{"b":1,"a":[]}')
        )

    @rule(
        target=sessions,
        origin=origins,
        known=st.integers(0, 3),
        shown=st.integers(0, 4),
        subject=st.sampled_from(("ann", "ann", "ann", "bob")),
        grace_seconds=st.sampled_from((0.0, 30.0)),
        is_service_changed=st.sampled_from((False, False, False, True)),
    )
    def resume(
        self,
        origin: str,
        known: int,
        shown: int,
        subject: str,
        grace_seconds: float,
        is_service_changed: bool,
    ) -> SessionId:
        """Somebody becomes an instance that can be resumed, or resumes one, with its token or another's."""
        session_id = self.open_now(origin)
        there = list(self.model.instances())
        instance_id, service_name, resumes = InstanceId(f"i{self.state.revision}"), SERVICES[0], None
        if there:
            before = there[known % len(there)]
            instance_id, service_name = before.instance_id, before.service_name
            asked = [self.model.asked[owner.session_id] for owner in (before, there[shown % len(there)])]
            resumes = [asked[0].token, asked[0].resumes, asked[1].token, b"forged", None][shown]
        if is_service_changed:
            service_name = SERVICES[-1]
        command = RegisterInstance(
            session_id,
            service_name,
            instance_id,
            AT + self.state.revision,
            subject=subject,
            token=f"token-{self.state.revision}".encode(),
            resumes=resumes,
            grace_seconds=grace_seconds,
        )
        self.ask(origin, command)
        return session_id

    @rule(origin=origins, session_id=sessions)
    def confirm(self, origin: str, session_id: SessionId) -> None:
        self.ask(origin, Confirm(session_id))

    @rule(
        origin=origins,
        session_id=sessions,
        cause=st.sampled_from(CAUSES),
        unclean=st.sampled_from((True, False)),
    )
    def end(self, origin: str, session_id: SessionId, cause: Cause, unclean: bool) -> None:
        self.ask(origin, End(session_id, cause, AT + self.state.revision, unclean))

    @rule(
        origin=origins,
        session_id=sessions,
        late=st.sampled_from((0.0, 0.0, 1.0, None)),
        cause=st.sampled_from((None, None, "admin")),
    )
    def end_grace(self, origin: str, session_id: SessionId, late: float | None, cause: Cause | None) -> None:
        suspended = self.model.suspended
        session_id = next(iter(suspended), session_id)
        until = suspended[session_id][1] if session_id in suspended else AT
        self.ask(origin, EndGrace(session_id, None if late is None else until + late, AT, cause))

    @rule(
        origin=origins,
        session_id=sessions,
        resource_ids=resource_lists,
        limit=st.integers(1, 9),
        partial=st.booleans(),
        force=st.booleans(),
    )
    def register(
        self,
        origin: str,
        session_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        limit: int,
        partial: bool,
        force: bool,
    ) -> None:
        at = AT + self.state.revision
        self.ask(origin, Register(session_id, resource_ids, at, limit, partial=partial, force=force))

    @rule(
        origin=origins,
        session_id=sessions,
        metadata=st.dictionaries(st.sampled_from(RESOURCES), changes, max_size=3),
        others=resource_lists,
        force=st.booleans(),
        max_bytes=st.sampled_from((30, 1000)),
    )
    def register_with_metadata(
        self,
        origin: str,
        session_id: SessionId,
        metadata: dict[ResourceId, MetadataChange],
        others: tuple[ResourceId, ...],
        force: bool,
        max_bytes: int,
    ) -> None:
        at = AT + self.state.revision
        wanted = (*metadata, *others)
        self.ask(origin, Register(session_id, wanted, at, 1000, not force, force, metadata, max_bytes))

    @rule(
        origin=origins,
        session_id=sessions,
        resource_ids=resource_lists,
        metadata=st.none() | st.dictionaries(st.sampled_from(RESOURCES), changes, max_size=2),
        limit=st.sampled_from((2, 4, 1000)),
        wait=st.sampled_from((WaitLimits(1000, 1000), WaitLimits(2, 3))),
    )
    def wait(
        self,
        origin: str,
        session_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        metadata: dict[ResourceId, MetadataChange] | None,
        limit: int,
        wait: WaitLimits,
    ) -> None:
        at = AT + self.state.revision
        wanted = (*resource_ids, *(metadata or {}))
        self.ask(
            origin,
            Register(session_id, wanted, at, limit, metadata=metadata, max_metadata_bytes=40, wait=wait),
        )

    @rule(origin=origins, place=st.integers(0, 5), only_if_blocked=st.booleans())
    def give_up(self, origin: str, place: int, only_if_blocked: bool) -> None:
        numbers = [*self.model.waiters, self.state.revision]
        at = AT + self.state.revision
        self.ask(origin, GiveUp(numbers[min(place, len(numbers) - 1)], at, only_if_blocked))

    @rule(origin=origins)
    def serve(self, origin: str) -> None:
        self.ask(origin, Serve(AT))

    @rule(
        origin=origins,
        session_id=sessions,
        resource_id=st.sampled_from(RESOURCES),
        change=changes,
        merge=st.booleans(),
        expected_version=st.none() | st.integers(0, 3),
        as_admin=st.booleans(),
        max_bytes=st.sampled_from((30, 1000)),
    )
    def update(
        self,
        origin: str,
        session_id: SessionId,
        resource_id: ResourceId,
        change: MetadataChange,
        merge: bool,
        expected_version: int | None,
        as_admin: bool,
        max_bytes: int,
    ) -> None:
        at = AT + self.state.revision
        self.ask(
            origin, Update(session_id, resource_id, change, at, max_bytes, merge, expected_version, as_admin)
        )

    @rule(
        origin=origins,
        session_id=sessions,
        resource_ids=resource_lists,
        ttl_seconds=st.none() | st.sampled_from((0.5, 100.0)),
    )
    def renew(
        self,
        origin: str,
        session_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        ttl_seconds: float | None,
    ) -> None:
        at = AT + self.state.revision
        self.ask(origin, Renew(session_id, resource_ids, at, ttl_seconds))

    @rule(origin=origins, is_stale=st.booleans())
    def expire(self, origin: str, is_stale: bool) -> None:
        expiries = [
            Expiry(resource_id, Epoch(held.epoch - is_stale), held.expires_at)
            for resource_id, held in self.model.held.items()
            if held.expires_at is not None
        ]
        at = AT + self.state.revision
        self.ask(origin, Expire((*expiries[:2], Expiry(RESOURCES[0], Epoch(1), AT)), at))

    @rule(origin=origins, session_id=sessions, resource_ids=resource_lists)
    def register_without_limit(
        self, origin: str, session_id: SessionId, resource_ids: tuple[ResourceId, ...]
    ) -> None:
        self.ask(origin, Register(session_id, resource_ids, AT, limit=1000, partial=True))

    @rule(
        origin=origins,
        session_id=sessions,
        resource_ids=resource_lists,
        partial=st.booleans(),
        as_admin=st.booleans(),
    )
    def release(
        self,
        origin: str,
        session_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        partial: bool,
        as_admin: bool,
    ) -> None:
        self.ask(origin, Release(session_id, resource_ids, AT + self.state.revision, partial, as_admin))

    @rule(
        origin=origins,
        session_id=sessions,
        resource_ids=resource_lists,
        data=st.data(),
        limit=st.integers(1, 9),
        partial=st.booleans(),
        as_admin=st.booleans(),
        flags=st.tuples(st.booleans(), st.booleans()),
        service_name=st.none() | service_names,
    )
    def transfer(
        self,
        origin: str,
        session_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        data: st.DataObject,
        limit: int,
        partial: bool,
        as_admin: bool,
        flags: tuple[bool, bool],
        service_name: ServiceName | None,
    ) -> None:
        present = [InstanceId("i1"), *(owner.instance_id for owner in self.model.instances())]
        own = self.model.sessions.get(session_id)
        mine = present if own is None else [own.instance_id]
        source = data.draw(st.sampled_from(mine) | st.sampled_from(present), "from")
        target = data.draw(st.sampled_from(present), "to")
        verify, across = flags
        command = Transfer(
            session_id,
            resource_ids,
            source,
            target,
            AT + self.state.revision,
            limit,
            f"t{self.state.revision}",
            "why not",
            service_name,
            partial,
            as_admin,
            verify,
            across,
            state={resource_id: b"[1]" for resource_id in resource_ids[:1]} or None,
        )
        self.ask(origin, command)

    @rule(origin=origins, session_id=sessions)
    def drain(self, origin: str, session_id: SessionId) -> None:
        self.ask(origin, Drain(session_id, AT + self.state.revision))

    @rule(origin=origins, session_id=sessions, count=st.integers(0, 3))
    def reclaim(self, origin: str, session_id: SessionId, count: int) -> None:
        self.ask(origin, Reclaim(session_id, count))

    @rule(
        target=bulks,
        origin=origins,
        session_id=sessions,
        owner_id=sessions,
        items=item_lists,
        is_other=st.sampled_from((False, False, True)),
        limit=st.integers(1, 9),
        max_bytes=st.sampled_from((30, 1000)),
        partial=st.booleans(),
        commit=st.booleans(),
    )
    def reserve(
        self,
        origin: str,
        session_id: SessionId,
        owner_id: SessionId,
        items: tuple[BulkItem, ...],
        is_other: bool,
        limit: int,
        max_bytes: int,
        partial: bool,
        commit: bool,
    ) -> Begun:
        bulk_id, at = BulkId(f"bulk-{self.state.revision}"), AT + self.state.revision
        owner_id = owner_id if is_other else session_id
        self.ask(origin, Reserve(session_id, bulk_id, owner_id, items, at, limit, max_bytes, partial, commit))
        return Begun(bulk_id, session_id, owner_id, partial)

    @rule(origin=origins, bulk=bulks, items=item_lists, limit=st.integers(5, 9), commit=st.booleans())
    def reserve_more(
        self, origin: str, bulk: Begun, items: tuple[BulkItem, ...], limit: int, commit: bool
    ) -> None:
        at = AT + self.state.revision
        if self.is_awaited(bulk):
            self.ask(
                origin,
                Reserve(
                    bulk.asker, bulk.bulk_id, bulk.owner, items, at, limit, 1000, bulk.is_partial, commit
                ),
            )

    @rule(origin=origins, bulk=bulks, items=item_lists)
    def reserve_more_if_it_goes_on(self, origin: str, bulk: Begun, items: tuple[BulkItem, ...]) -> None:
        at = AT + self.state.revision
        self.ask(
            origin,
            Reserve(bulk.asker, bulk.bulk_id, bulk.owner, items, at, 9, 1000, bulk.is_partial, goes_on=True),
        )

    @rule(origin=origins, place=st.integers(0, 9), items=item_lists, partial=st.booleans())
    def set_aside(self, origin: str, place: int, items: tuple[BulkItem, ...], partial: bool) -> None:
        """An instance has something set aside that it is going to register."""
        there = list(self.model.instances())
        if there:
            session_id = there[place % len(there)].session_id
            bulk_id, at = BulkId(f"aside-{self.state.revision}"), AT + self.state.revision
            self.ask(origin, Reserve(session_id, bulk_id, session_id, items, at, 9, 1000, partial))

    @rule(
        origin=origins,
        place=st.integers(0, 9),
        resource_ids=resource_lists,
        is_all=st.booleans(),
        metadata=st.none() | st.dictionaries(st.sampled_from(RESOURCES), changes, max_size=2),
        limit=st.sampled_from((2, 4, 1000)),
        partial=st.booleans(),
        force=st.booleans(),
        wait=st.sampled_from((None, None, WaitLimits(2, 3))),
    )
    def register_what_was_set_aside(
        self,
        origin: str,
        place: int,
        resource_ids: tuple[ResourceId, ...],
        is_all: bool,
        metadata: dict[ResourceId, MetadataChange] | None,
        limit: int,
        partial: bool,
        force: bool,
        wait: WaitLimits | None,
    ) -> None:
        there = [bulk for bulk in self.model.bulks.values() if bulk.is_open]
        if there:
            bulk = there[place % len(there)]
            wanted = tuple(reversed(bulk.free)) if is_all else resource_ids
            at, said_of = AT + self.state.revision, None if is_all else metadata
            owner_id = bulk.owner.session_id
            self.ask(
                origin, Register(owner_id, wanted, at, limit, partial, force, said_of, 40, wait, bulk.id)
            )

    @rule(
        target=bulks,
        origin=origins,
        session_id=sessions,
        owner_id=sessions,
        resource_ids=resource_lists,
        is_other=st.sampled_from((False, False, True)),
        partial=st.booleans(),
        commit=st.booleans(),
    )
    def reserve_release(
        self,
        origin: str,
        session_id: SessionId,
        owner_id: SessionId,
        resource_ids: tuple[ResourceId, ...],
        is_other: bool,
        partial: bool,
        commit: bool,
    ) -> Begun:
        bulk_id = BulkId(f"bulk-{self.state.revision}")
        owner_id = owner_id if is_other else session_id
        self.ask(origin, ReserveRelease(session_id, bulk_id, owner_id, resource_ids, AT, partial, commit))
        return Begun(bulk_id, session_id, owner_id, partial)

    @rule(origin=origins, bulk=bulks, resource_ids=resource_lists, commit=st.booleans())
    def reserve_release_of_more(
        self, origin: str, bulk: Begun, resource_ids: tuple[ResourceId, ...], commit: bool
    ) -> None:
        if self.is_awaited(bulk):
            self.ask(
                origin,
                ReserveRelease(
                    bulk.asker, bulk.bulk_id, bulk.owner, resource_ids, AT, bulk.is_partial, commit
                ),
            )

    def is_awaited(self, bulk: Begun) -> bool:
        """Whoever goes on with a bulk that has ended begins another under its id, which no correct log does."""
        there = self.model.bulks.get(bulk.bulk_id)
        return there is not None and there.is_awaited

    @rule(origin=origins, bulk=bulks)
    def abandon(self, origin: str, bulk: Begun) -> None:
        self.ask(origin, Abandon(bulk.asker, bulk.bulk_id, AT))

    @rule(origin=origins, bulk=bulks, count=st.integers(0, 3))
    def tidy(self, origin: str, bulk: Begun, count: int) -> None:
        self.ask(origin, Tidy(bulk.bulk_id, count))

    @rule(origin=origins, count=st.integers(0, 3))
    def tidy_first(self, origin: str, count: int) -> None:
        for bulk_id in self.model.untidy[:1]:
            self.ask(origin, Tidy(bulk_id, count))

    @rule(origin=origins, session_id=sessions, back=st.integers(0, 5))
    def say_again(self, origin: str, session_id: SessionId, back: int) -> None:
        before = self.state.dump()
        assert self.state.apply(origin, self.numbers[origin] - back, End(session_id, "admin", AT)) is None
        assert self.state.dump() == before

    @rule()
    def move_to_another_machine(self) -> None:
        moved = self.state_class.load(self.state.dump())
        assert moved.digest() == self.state.digest()
        self.state = moved

    @invariant()
    def reads_agree(self) -> None:
        assert_agree(self.state, self.model, RESOURCES)

    @invariant()
    def filters_find_the_same(self) -> None:
        turn = self.state.revision % 4  # all of them in four steps
        assert_finds(self.state, self.model, FILTERS[turn::4])

    @invariant()
    def facts_tell_the_same_ownership(self) -> None:
        held = {resource_id: (held.owner, held.epoch) for resource_id, held in self.model.held.items()}
        assert self.audience.ownership() == held


class OwnershipOfFew(Ownership):
    """The same, where few resources change hands in the ways of many."""

    state_class = StateOfFew
    model_class = ModelOfFew


@pytest.mark.parametrize("ownership", [Ownership, OwnershipOfFew])
def test_the_state_agrees_with_plain_dictionaries(ownership: type[Ownership]) -> None:
    run_state_machine_as_test(ownership, settings=effort(60))


@pytest.mark.slow
@pytest.mark.parametrize("ownership", [Ownership, OwnershipOfFew])
def test_the_state_agrees_with_plain_dictionaries_in_many_long_runs(ownership: type[Ownership]) -> None:
    run_state_machine_as_test(ownership, settings=effort(400, steps=80))


def check_schedule(seed: int, length: int) -> None:
    state, model, audience = (
        (State(), Model(), Audience()) if seed % 2 else (StateOfFew(), ModelOfFew(), Audience())
    )
    for step, entry in enumerate(random_schedule(seed, length)):
        outcome = state.apply(*entry)
        assert same_outcome(outcome, model.apply(entry[2])), f"command {step}: {entry}"
        audience.hear(outcome)
        if step % 50 == 0 or step == length - 1:
            assert_agree(state, model, POOL[::7])
            assert_finds(state, model)
            told = {resource_id: (held.owner, held.epoch) for resource_id, held in model.held.items()}
            assert audience.ownership() == told


@given(seed=st.integers(0, 2**32))
@example(seed=0)
@effort(30)
def test_the_state_agrees_with_plain_dictionaries_after_hundreds_of_commands(seed: int) -> None:
    check_schedule(seed, 400)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@effort(30)
def test_the_state_agrees_with_plain_dictionaries_after_thousands_of_commands(seed: int) -> None:
    check_schedule(seed, 5000)
