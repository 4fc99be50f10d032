"""What is set aside for a registration first, and registered by one command then, against plain dictionaries."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    BulkItem,
    End,
    Expire,
    Expiry,
    Genesis,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Reserve,
    ReserveRelease,
    Tidy,
    Transfer,
    WaitLimits,
)
from resroute.core.facts import Applied
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.ids import BulkId, InstanceId, ResourceId, ServiceName, SessionId
from tests.core.asking import AT, all_but_revision, ids
from tests.core.audience import Audience
from tests.core.effort import effort
from tests.core.model import Model, assert_agree, same_outcome

POOL = ids("a", "b", "c", "d", "e", "f")
SESSIONS = [SessionId(f"s{number}") for number in range(3)]
CHANGES = (
    None,
    MetadataChange(tags=("x",)),
    MetadataChange(ttl_seconds=5.0),
    MetadataChange(resource_type="document", attributes=b'{"large":"xxxxxxxxxxxxxxxxxxxxxxxxx"}'),
)


class Fight:
    """Three instances that want the same few resources, and have them set aside before they register them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.model = Model()
        self.now = AT
        self._number = 0

    def beginning(self) -> Iterator[AnyCommand]:
        yield Genesis(1)
        for session_id in SESSIONS:
            yield Open(session_id)
            yield RegisterInstance(session_id, ServiceName("store"), InstanceId(f"i-{session_id}"), AT)

    def some_ids(self) -> tuple[ResourceId, ...]:
        return tuple(self.rng.sample(POOL, self.rng.randint(1, 5)))

    def next(self) -> AnyCommand:
        rng = self.rng
        self.now += 1.0
        kind, session_id = rng.random(), rng.choice(SESSIONS)
        open_bulks = [bulk for bulk in self.model.bulks.values() if bulk.is_open]
        if kind < 0.3 or not open_bulks:
            self._number += 1
            return self._reserve(session_id, BulkId(f"bulk-{self._number}"))
        bulk = rng.choice(open_bulks)
        if kind < 0.4:
            known = rng.choice((bulk.id, BulkId("unknown")))
            return self._reserve(bulk.asker, known, is_partial=bulk.is_partial, goes_on=True)
        if kind < 0.7:
            return self._register(bulk.owner.session_id, tuple(bulk.free), bulk.id)
        return self._something_else(session_id, bulk.id, bulk.asker)

    def _reserve(
        self, session_id: SessionId, bulk_id: BulkId, *, is_partial: bool | None = None, goes_on: bool = False
    ) -> Reserve:
        rng = self.rng
        if is_partial is None:
            is_partial = rng.random() < 0.5
        items = tuple(BulkItem(r, rng.choice(CHANGES), rng.random() < 0.2) for r in self.some_ids())
        limit, size = rng.choice((3, 1000)), rng.choice((40, 1000))
        return Reserve(
            session_id, bulk_id, session_id, items, self.now, limit, size, is_partial, goes_on=goes_on
        )

    def _register(self, owner: SessionId, aside: tuple[ResourceId, ...], bulk_id: BulkId | None) -> Register:
        rng = self.rng
        wanted = rng.choice((aside, aside[::-1], self.some_ids(), aside + self.some_ids()))
        return Register(
            owner,
            wanted or self.some_ids(),
            self.now,
            rng.choice((3, 1000, 1000)),
            partial=rng.random() < 0.4,
            force=rng.random() < 0.3,
            metadata=None if rng.random() < 0.5 else {r: rng.choice(CHANGES[1:3]) for r in wanted[:2]},
            max_metadata_bytes=1000,
            wait=WaitLimits(5, 5) if rng.random() < 0.2 else None,
            bulk_id=bulk_id,
        )

    def _something_else(self, session_id: SessionId, bulk_id: BulkId, asker: SessionId) -> AnyCommand:
        rng = self.rng
        held = self.model.held
        match rng.randrange(8):
            case 0:
                return Abandon(asker, bulk_id, self.now)
            case 1:
                return Release(
                    session_id, self.some_ids(), self.now, partial=True, as_admin=rng.random() < 0.5
                )
            case 2:
                return Tidy(bulk_id, rng.randrange(3))
            case 3:
                source, heir = rng.sample(SESSIONS, 2)
                names = InstanceId(f"i-{source}"), InstanceId(f"i-{heir}")
                return Transfer(
                    session_id, self.some_ids(), *names, self.now, 9, "t", "r", partial=True, as_admin=True
                )
            case 4:
                expiring = [(r, it) for r, it in held.items() if it.expires_at is not None]
                ends = [Expiry(r, it.epoch, it.expires_at or 0.0) for r, it in expiring[:1]]
                return Expire(tuple(ends), self.now)
            case 5:
                self._number += 1
                own = tuple(r for r, it in held.items() if it.owner.session_id == session_id)
                bulk_of_releases = BulkId(f"bulk-{self._number}")
                return ReserveRelease(session_id, bulk_of_releases, session_id, own[:2], self.now)
            case 6:
                return Reclaim(session_id, rng.randrange(3))
            case _:
                return self._register(session_id, (), None)


def fight(seed: int, length: int) -> State:
    """Have them fight, and hold each outcome against the model."""
    contest, state, audience = Fight(seed), State(), Audience()
    rng = random.Random(seed)
    commands = [*contest.beginning()]
    for number in range(length):
        command = commands[number] if number < len(commands) else contest.next()
        if number > len(commands) and rng.random() < 0.02:
            command = End(rng.choice(SESSIONS), "session_ended", contest.now)
        before = all_but_revision(state)
        outcome = state.apply("router", number + 1, command)
        assert same_outcome(outcome, contest.model.apply(command)), f"command {number}: {command}"
        if not isinstance(outcome, Applied):
            assert all_but_revision(state) == before
        audience.hear(outcome)
        assert_agree(state, contest.model, POOL)
        if rng.random() < 0.05:
            state = State.load(state.dump())
    return state


@given(seed=st.integers(0, 2**32))
@example(seed=4365)  # who waits for what another has set aside, and then takes it by force
@effort(150)
def test_what_was_set_aside_is_registered_as_plain_dictionaries_say(seed: int) -> None:
    fight(seed, 60)


@pytest.mark.slow
@given(seed=st.integers(0, 2**32))
@effort(1000)
def test_what_was_set_aside_is_registered_as_plain_dictionaries_say_after_long_fights(seed: int) -> None:
    fight(seed, 300)
