"""Facts that are made when somebody looks at them."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from resroute.core.facts import (
    Details,
    Fact,
    InstanceJoined,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    TtlChanged,
    TtlKept,
)
from resroute.core.lots import (
    Facts,
    Registrations,
    Releases,
    Transfers,
    TtlsBegun,
    TtlsKept,
    joined,
    parts_of,
)
from resroute.core.metadata import Metadata
from resroute.core.records import Grant, OwnerRecord, ServiceRecord
from resroute.ids import Epoch, InstanceId, ResourceId, ServiceName, SessionId

RECORD = OwnerRecord(
    SessionId("session"),
    ServiceRecord(ServiceName("service")),
    InstanceId("one"),
    registered_at=0.0,
    priority=0,
    max_concurrency=None,
    plain=False,
    metadata=None,
)
OWNER: Owner = RECORD.fact
EXPIRING = Metadata(1, OWNER.instance_id, 3.0, ttl_seconds=20.0)
LASTING = Metadata(2, OWNER.instance_id, 3.0, tags=("new",))


def names(count: int) -> list[ResourceId]:
    return [ResourceId(f"doc:{number}") for number in range(count)]


def test_registrations_say_what_was_known_when_they_came_into_force() -> None:
    said = [None, EXPIRING, LASTING]
    lot = Registrations(names(3), OWNER, Epoch(7), 5.0, said)
    assert list(lot) == [
        ResourceRegistered(ResourceId("doc:0"), OWNER, Epoch(7), Details(5.0)),
        ResourceRegistered(ResourceId("doc:1"), OWNER, Epoch(7), Details(5.0, EXPIRING, 25.0)),
        ResourceRegistered(ResourceId("doc:2"), OWNER, Epoch(7), Details(5.0, LASTING)),
    ]


def test_releases_say_what_was_in_force_though_it_is_not_any_more() -> None:
    grant = Grant(ResourceId("doc:0"), RECORD, Epoch(7), 5.0, LASTING, calls_total=3, last_called_at=9.0)
    lot = Releases([grant.resource_id], OWNER, "request", [grant], [grant.epoch])
    grant.epoch = Epoch(0)
    details = Details(5.0, LASTING, None, 3, 9.0)
    assert list(lot) == [ResourceReleased(ResourceId("doc:0"), OWNER, Epoch(7), "request", details)]


def test_times_to_live_begin_with_the_grants() -> None:
    lot = TtlsBegun(names(2), Epoch(7), 5.0, [20.0, 0.5])
    assert list(lot) == [
        TtlChanged(ResourceId("doc:0"), Epoch(7), 20.0, 25.0),
        TtlChanged(ResourceId("doc:1"), Epoch(7), 0.5, 5.5),
    ]


def test_transfers_say_what_was_known_when_another_took_over() -> None:
    earlier = Owner(SessionId("earlier"), OWNER.instance_id, OWNER.service_name)
    known = Details(5.0, EXPIRING, 22.0, 3, 9.0)
    lot = Transfers(names(2), earlier, OWNER, Epoch(7), 5.0, [Epoch(3), Epoch(4)], [None, known], "resume")
    assert list(lot) == [
        ResourceTransferred(
            ResourceId("doc:0"), OWNER, Epoch(7), earlier, Epoch(3), "resume", Details(5.0), None
        ),
        ResourceTransferred(
            ResourceId("doc:1"), OWNER, Epoch(7), earlier, Epoch(4), "resume", known, EXPIRING
        ),
    ]


def test_times_to_live_run_on_and_none_is_less_than_nothing() -> None:
    lot = TtlsKept(names(2), Epoch(7), 5.0, [22.0, 4.5])
    assert list(lot) == [
        TtlKept(ResourceId("doc:0"), Epoch(7), 17.0, 22.0),
        TtlKept(ResourceId("doc:1"), Epoch(7), 0.0, 4.5),
    ]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=5),
    st.integers(-20, 20),
    st.integers(-20, 20) | st.none(),
    st.sampled_from([None, 1, 2, -1]),
)
def test_facts_and_lots_in_a_row_are_a_sequence_like_any_other(
    parts: list[tuple[bool, int]], start: int, stop: int | None, step: int | None
) -> None:
    given: list[Sequence[Fact]] = [
        Registrations(names(count), OWNER, Epoch(place + 1), 5.0, [None] * count)
        if is_lot
        else [InstanceJoined(OWNER)] * count
        for place, (is_lot, count) in enumerate(parts)
    ]
    plain = tuple(fact for part in given for fact in part)
    facts = joined(*given)
    assert (len(facts), tuple(facts), bool(facts)) == (len(plain), plain, bool(plain))
    assert facts == plain
    assert plain == facts
    assert joined(facts, (InstanceJoined(OWNER),)) != plain
    assert list(facts[start:stop:step]) == list(plain[start:stop:step])
    assert list(reversed(facts)) == list(reversed(plain))
    assert [facts[place] for place in range(-len(plain), len(plain))] == list(plain * 2)
    assert tuple(fact for part in parts_of(facts) for fact in part) == plain
    if not any(is_lot and count for is_lot, count in parts):
        assert isinstance(facts, tuple)


def test_lots_in_a_row_stay_lots() -> None:
    lot = Registrations(names(2), OWNER, Epoch(7), 5.0, [None, None])
    joins = (InstanceJoined(OWNER),)
    facts = joined(joined(lot, joins), [], lot)
    assert isinstance(facts, Facts)
    assert [part is lot for part in parts_of(facts)] == [True, False, True]
    assert joined(lot, ()) is lot
