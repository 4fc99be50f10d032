"""Which resources are moved to even out a service: held against what must be so whatever there is to move."""

from collections import Counter
from collections.abc import Sequence
from itertools import batched, pairwise

from hypothesis import given
from hypothesis import strategies as st

from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId
from resroute.protocol.results import Move
from resroute.router.balancing import (
    HALF_LIFE_SECONDS,
    SLACK,
    Measure,
    Offer,
    Share,
    moves,
    set_floors,
    weighed,
)

PLENTY = 1_000_000

# of each instance, what it owns: the priority and the calls of each resource
owned = st.lists(
    st.lists(st.tuples(st.integers(-2, 2), st.sampled_from((0.0, 0.5, 1.0, 3.0, 40.0))), max_size=12),
    min_size=1,
    max_size=6,
)


def shares_of(
    owned: Sequence[Sequence[tuple[int, float]]], by: Measure, room: Sequence[int] = ()
) -> list[Share]:
    """What each instance has, cut into pieces of three."""
    shares = []
    for number, resources in enumerate(owned):
        offers = [
            Offer(priority, -1.0 if by == "count" else -calls, ResourceId(f"{number}:{position:02d}"))
            for position, (priority, calls) in enumerate(resources)
            if by == "count" or calls
        ]
        shares.append(
            Share(
                InstanceId(f"instance-{number}"),
                -sum(offer.minus_load for offer in offers),
                room[number] if room else PLENTY,
                offers=[sorted(piece) for piece in batched(offers, 3, strict=False)],
            )
        )
    set_floors(shares, by)
    return shares


def all_moves(shares: list[Share]) -> list[Move]:
    return [move for move in moves(shares) if move is not None]


def offer_of(move: Move, shares: Sequence[Share]) -> Offer:
    """What a move is of."""
    [offer] = [
        offer
        for share in shares
        for piece in share.offers
        for offer in piece
        if offer.resource_id == move.resource_id
    ]
    return offer


@given(owned)
def test_by_count_no_two_differ_by_more_than_one_and_no_move_is_wasted(
    owned: list[list[tuple[int, float]]],
) -> None:
    shares = shares_of(owned, "count")
    made = all_moves(shares)
    counts = Counter(
        {share.instance_id: len(resources) for share, resources in zip(shares, owned, strict=True)}
    )
    before = sorted(counts.values(), reverse=True)
    for move in made:
        counts[move.from_instance_id] -= 1
        counts[move.to_instance_id] += 1
    after = [counts[share.instance_id] for share in shares]
    assert after == [share.load for share in shares]
    assert max(after) - min(after) <= 1
    assert len(made) == sum(
        max(0, had - has) for had, has in zip(before, sorted(after, reverse=True), strict=True)
    )


@given(owned, st.sampled_from(("count", "calls")), st.data())
def test_no_move_makes_the_busiest_busier_or_the_idlest_idler(
    owned: list[list[tuple[int, float]]], by: Measure, data: st.DataObject
) -> None:
    room = data.draw(st.lists(st.integers(0, 5), min_size=len(owned), max_size=len(owned)))
    shares = shares_of(owned, by, room)
    count_before = sum(len(resources) for resources in owned)
    loads = [share.load for share in shares]
    moved: set[str] = set()
    for move in moves(shares):
        if move is None:
            continue
        now = [share.load for share in shares]
        assert max(now) <= max(loads) and min(now) >= min(loads)
        assert sum(load * load for load in now) < sum(load * load for load in loads)
        assert abs(sum(now) - sum(loads)) < 1e-9
        assert move.from_instance_id != move.to_instance_id
        assert move.resource_id not in moved, "it is moved once"
        assert all(share.room >= 0 for share in shares)
        moved.add(move.resource_id)
        loads = now
    assert len(moved) <= count_before
    assert sum(share.room for share in shares) == sum(room)


@given(owned, st.sampled_from(("count", "calls")))
def test_the_lowest_priorities_go_first(owned: list[list[tuple[int, float]]], by: Measure) -> None:
    shares = shares_of(owned, by)
    made = all_moves(shares)
    assert all(offer_of(a, shares).priority <= offer_of(b, shares).priority for a, b in pairwise(made))
    # and by count nothing stays with whoever gives that is lower than what goes
    if by == "count":
        for share in shares:
            gone = [offer_of(move, shares) for move in made if move.from_instance_id == share.instance_id]
            stays = [offer for piece in share.offers for offer in piece if offer not in gone]
            assert not gone or not stays or max(gone) <= min(stays)


@given(owned)
def test_by_calls_nothing_idle_is_moved_and_nobody_gives_who_has_little_more_than_others(
    owned: list[list[tuple[int, float]]],
) -> None:
    shares = shares_of(owned, "calls")
    average = sum(share.load for share in shares) / len(shares)
    loads = {share.instance_id: share.load for share in shares}
    for move in all_moves(shares):
        load = -offer_of(move, shares).minus_load
        assert load > 0
        assert loads[move.from_instance_id] > average * (1 + SLACK)
        loads[move.from_instance_id] -= load
        loads[move.to_instance_id] += load


@given(owned, st.sampled_from(("count", "calls")), st.integers(0, 5))
def test_whoever_stops_early_may_go_on_later(
    owned: list[list[tuple[int, float]]], by: Measure, at_most: int
) -> None:
    whole = all_moves(shares_of(owned, by))
    steps = moves(shares_of(owned, by))
    assert [move for move in steps if move is not None] == whole, "the same shares give the same moves"
    first = [move for move in moves(shares_of(owned, by)) if move is not None][:at_most]
    assert first == whole[:at_most]


def test_who_has_no_room_gets_nothing_and_the_others_share() -> None:
    shares = shares_of([[(0, 1.0)] * 12, [], []], "count", [PLENTY, 1, PLENTY])
    all_moves(shares)
    assert [share.load for share in shares] == [6, 1, 5]


def test_of_the_same_priority_whoever_has_most_gives_first() -> None:
    shares = shares_of([[(0, 1.0)] * 4, [(0, 1.0)] * 8, []], "count")
    sources = [move.from_instance_id for move in all_moves(shares)]
    assert sources == ["instance-1"] * 4


def test_the_busiest_of_the_same_priority_goes_first() -> None:
    shares = shares_of([[(0, 1.0), (0, 40.0), (0, 3.0), (0, 40.0)], []], "calls")
    assert [move.resource_id for move in all_moves(shares)] == ["0:01"]


def test_calls_that_were_weighed_before_count_half_after_each_half_life() -> None:
    owner = OwnerRecord(
        SessionId("session"),
        ServiceRecord(ServiceName("service")),
        InstanceId("instance"),
        registered_at=0.0,
        priority=0,
        max_concurrency=None,
        plain=False,
        metadata=None,
    )
    grant = Grant(ResourceId("doc:7"), owner, Epoch(1), 0.0, calls_total=100)
    grant.weighed = weighed(grant, 1000.0)
    assert grant.weighed.load == 100
    grant.calls_total = 110
    assert weighed(grant, 1000.0).load == 110
    assert weighed(grant, 1000.0 + 2 * HALF_LIFE_SECONDS).load == 35
    assert weighed(grant.passed_to(owner, Epoch(2), 0.0), 1000.0).load == 110
