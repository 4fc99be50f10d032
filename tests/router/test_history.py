"""What is remembered of ownership, and looking back through it."""

from collections.abc import Callable, Sequence

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from resroute.core.facts import (
    Details,
    Fact,
    InstanceJoined,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceUpdated,
    SessionEnded,
)
from resroute.core.filters import Filter
from resroute.core.lots import Registrations, TtlsBegun, joined
from resroute.core.metadata import Metadata
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from resroute.router.history import History
from resroute.router.latest import MAX_LOOKED_AT, LatestChanges
from resroute.router.lookback import MAX_TRANSITIONS, Lookback, Transition

OWNER = Owner(SessionId("session"), InstanceId("one"), ServiceName("service"))


def registered(resource_id: str, revision: int, metadata: Metadata | None = None) -> ResourceRegistered:
    return ResourceRegistered(ResourceId(resource_id), OWNER, Epoch(revision), Details(0.0, metadata))


def make_history(max_facts: int = 100, max_bytes: int = 1_000_000) -> History:
    return History(Revision(10), max_facts=max_facts, max_bytes=max_bytes)


def revisions(history: History) -> list[int]:
    entries = [history.entry_at(position) for position in range(history.start, history.end)]
    return [entry.revision for entry in entries if entry is not None]


@given(st.lists(st.integers(0, 7), max_size=60), st.integers(1, 12), st.integers(200, 4000))
def test_it_holds_the_last_commands_within_its_bounds(
    counts: list[int], max_facts: int, max_bytes: int
) -> None:
    history = make_history(max_facts, max_bytes)
    told: list[int] = []
    held: dict[int, int] = {}  # positions, and the revision that is there as long as it is
    for revision, count in enumerate(counts, 11):
        before = history.end
        history.append(Revision(revision), 0.0, [registered(f"doc:{n}", revision) for n in range(count)])
        if count:
            told.append(revision)
            held[before] = revision
        assert history.end == before + bool(count)
        kept = revisions(history)
        assert kept == told[len(told) - len(kept) :]
        assert history.fact_count == sum(counts[revision - 11] for revision in kept) <= max_facts
        assert history.size_bytes <= max_bytes
        assert history.oldest_revision == ([10, *told][len(told) - len(kept)])
        for position, there in held.items():
            entry = history.entry_at(position)
            assert (
                entry is None if position < history.start else entry is not None and entry.revision == there
            )
        assert history.entry_at(history.end) is None
        assert history.entry_at(history.start - 1) is None


def test_metadata_counts_by_its_size_before_a_change_and_after() -> None:
    history = make_history()
    small, large = (Metadata(1, OWNER.instance_id, 0.0, attributes=b"x" * size) for size in (10, 10_000))
    history.append(Revision(11), 0.0, [registered("doc:1", 11)])
    without = history.size_bytes
    history.append(Revision(12), 0.0, [registered("doc:1", 12, large)])
    assert 10_000 < history.size_bytes - 2 * without < 11_000
    before = history.size_bytes
    updated = ResourceUpdated(
        ResourceId("doc:1"), OWNER, Epoch(12), "request", Details(0.0, small), metadata_before=large
    )
    history.append(Revision(13), 0.0, [updated])
    assert 10_010 < history.size_bytes - before - without < 12_000


def test_what_a_lot_says_of_its_resources_is_weighed_later_and_counts_like_all_else() -> None:
    large = Metadata(1, OWNER.instance_id, 0.0, attributes=b"x" * 10_000)
    facts = [registered(f"doc:{number}", 11, large if number else None) for number in range(3)]
    plain, history = make_history(), make_history()
    plain.append(Revision(11), 0.0, facts)
    lot = Registrations([fact.resource_id for fact in facts], OWNER, Epoch(11), 0.0, [None, large, large])
    ttls = TtlsBegun(lot.resource_ids, Epoch(11), 0.0, [1.0, 2.0, 3.0])
    entry = history.append(Revision(11), 0.0, joined(lot, ttls))
    assert entry is not None and entry.facts == tuple(facts)
    assert history.size_bytes < 10_000
    for fact in lot:
        history.weigh(entry, [fact])
    assert history.size_bytes == entry.size_bytes == plain.size_bytes
    assert entry.about({ResourceId("doc:1"), ResourceId("other")}) == [facts[1]]


def test_what_turns_out_to_be_too_large_is_dropped_and_not_weighed_any_further() -> None:
    large = Metadata(1, OWNER.instance_id, 0.0, attributes=b"x" * 10_000)
    history = make_history(max_bytes=15_000)
    lot = Registrations([ResourceId("doc:0"), ResourceId("doc:1")], OWNER, Epoch(11), 0.0, [large, large])
    entry = history.append(Revision(11), 0.0, lot)
    assert entry is not None
    history.append(Revision(12), 0.0, [registered("doc:2", 12)])
    history.weigh(entry, lot[:1])
    assert revisions(history) == [11, 12]
    history.weigh(entry, lot[1:])
    assert revisions(history) == [12]
    size_bytes = history.size_bytes
    history.weigh(entry, lot[1:])
    assert (history.size_bytes, revisions(history)) == (size_bytes, [12])


def test_only_changes_of_ownership_are_held() -> None:
    history = make_history()
    joined, ended = InstanceJoined(OWNER), SessionEnded(OWNER.session_id, OWNER, 3, "session_ended")
    history.append(Revision(11), 0.0, (joined,))
    history.append(Revision(12), 0.0, (ended,))
    assert (history.start, history.end) == (0, 0)
    mixed: tuple[Fact, ...] = (joined, registered("doc:1", 13), ended)
    history.append(Revision(13), 5.0, mixed)
    entry = history.entry_at(0)
    assert entry is not None
    assert (entry.revision, entry.at, entry.facts) == (13, 5.0, (mixed[1],))
    assert history.oldest_revision == 10


class Looking:
    """A lookback whose clock runs out after so many looks, so that it comes to its checkpoints."""

    def __init__(self, history: History) -> None:
        self.looks = 0
        self.lookback = Lookback(history, self._clock, self.errors_append)
        self.errors: list[Exception] = []
        self.found: dict[str, list[int]] = {}

    def _clock(self) -> float:
        self.looks += 1
        return float(self.looks)

    def errors_append(self, error: Exception) -> None:
        self.errors.append(error)

    def look(self, *resource_ids: str) -> None:
        for resource_id in resource_ids:
            self.lookback.look(ResourceId(resource_id), self._note(resource_id))

    def _note(self, name: str) -> Callable[[Sequence[Transition]], None]:
        def note(told: Sequence[Transition]) -> None:
            self.found[name] = [transition.entry.revision for transition in told]

        return note


async def test_many_look_back_in_one_pass_and_the_newest_ten_are_found() -> None:
    history = make_history(max_facts=10_000)
    for revision in range(11, 1011):
        history.append(
            Revision(revision), 0.0, (registered(f"doc:{revision % 3}", revision), registered("x", revision))
        )
    history.append(Revision(1011), 0.0, (registered("rare", 1011),))
    looking = Looking(history)
    looking.look("doc:0", "doc:1", "rare", "never", "x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looking.lookback.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert looking.found == {
        "doc:0": list(range(981, 1010, 3)),
        "doc:1": list(range(982, 1011, 3)),
        "rare": [1011],
        "never": [],
        "x": list(range(1001, 1011)),
    }
    assert all(len(found) <= MAX_TRANSITIONS for found in looking.found.values())


async def test_what_changes_between_its_slices_is_neither_missed_nor_told_twice() -> None:
    history = make_history(max_facts=2000)
    for revision in range(11, 2011):
        history.append(Revision(revision), 0.0, (registered("other", revision),))
    history.append(Revision(2011), 0.0, (registered("doc:1", 2011),))
    looking = Looking(history)
    looking.look("doc:1", "never")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looking.lookback.run)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert not looking.found
        for revision in range(2012, 3900):  # and most of what it still has to look through is lost
            history.append(Revision(revision), 0.0, (registered("doc:1", revision),))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert looking.found == {"doc:1": list(range(3890, 3900)), "never": []}


async def test_a_bug_in_one_answer_costs_the_others_nothing() -> None:
    history = make_history()
    history.append(Revision(11), 0.0, (registered("doc:1", 11),))
    looking = Looking(history)

    def fail(_told: object) -> None:
        raise RuntimeError("a bug")

    looking.lookback.look(ResourceId("doc:1"), fail)
    looking.look("doc:1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looking.lookback.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert looking.found == {"doc:1": [11]}
    assert [str(error) for error in looking.errors] == ["a bug"]


# --- the latest changes ----------------------------------------------------------------------------------------


def test_the_latest_changes_come_first_and_only_those_that_match() -> None:
    history = make_history()
    history.append(Revision(11), 5.0, [registered("doc:1", 11), registered("room:1", 11)])
    release = ResourceReleased(ResourceId("doc:1"), OWNER, Epoch(11), "request", Details(0.0, None))
    history.append(Revision(12), 6.0, [release])
    ids = [ResourceId("doc:2"), ResourceId("doc:3")]
    history.append(Revision(13), 7.0, joined(Registrations(ids, OWNER, Epoch(13), 0.0, [None, None])))
    changes = LatestChanges(history)
    told = [
        (it.at, it.revision, it.event, it.resource_id, it.owner, it.previous_owner)
        for it in changes.of(Filter(prefix="doc:"), 9)
    ]
    assert told == [
        (7.0, 13, "registered", "doc:3", "one", None),
        (7.0, 13, "registered", "doc:2", "one", None),
        (6.0, 12, "released", "doc:1", None, "one"),
        (5.0, 11, "registered", "doc:1", "one", None),
    ]
    assert [it.resource_id for it in changes.of(Filter(), 2)] == ["doc:3", "doc:2"]
    assert changes.of(Filter(service_name=ServiceName("another")), 9) == []
    assert LatestChanges(make_history()).of(Filter(), 9) == []


def test_the_latest_changes_are_looked_for_among_so_many_and_no_more() -> None:
    history = make_history(max_facts=MAX_LOOKED_AT + 10)
    history.append(Revision(11), 0.0, [registered("room:old", 11)])
    history.append(Revision(12), 0.0, [registered(f"doc:{n}", 12) for n in range(MAX_LOOKED_AT - 1)])
    changes = LatestChanges(history)
    assert [it.resource_id for it in changes.of(Filter(prefix="room:"), 1)] == ["room:old"]
    history.append(Revision(13), 0.0, [registered("doc:one:more", 13)])
    assert changes.of(Filter(prefix="room:"), 1) == []
