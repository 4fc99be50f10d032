"""Who loses its connection to a newcomer when there are as many as there may be."""

import attrs

from resroute.admin.room import Room


@attrs.define(eq=False)
class Someone:
    network: str
    waited_for_since: float | None = None
    is_dropped: bool = False

    def drop(self) -> None:
        self.is_dropped = True


def crowd(network: str, *since: float | None) -> list[Someone]:
    return [Someone(network, at) for at in since]


def test_there_is_room_for_so_many() -> None:
    room = Room(3)
    guests = crowd("a", 1, 2, None)
    assert all(map(room.enter, guests))
    assert not any(guest.is_dropped for guest in guests)
    room.leave(guests[2])
    assert room.enter(Someone("b"))
    assert not any(guest.is_dropped for guest in guests)


def test_a_newcomer_takes_the_place_of_the_one_that_was_waited_for_the_longest() -> None:
    room = Room(4)
    guests = crowd("a", 3, None, 1, 2)
    assert all(map(room.enter, guests))
    for expected in (2, 3, 0):
        assert room.enter(Someone("b"))
        assert guests[expected].is_dropped
    assert not guests[1].is_dropped


def test_a_crowd_costs_its_own() -> None:
    room = Room(5)
    [ada] = crowd("home", 0)
    guests = crowd("elsewhere", 1, 2, 3, 4)
    assert all(map(room.enter, [ada, *guests]))
    for number in range(100):
        assert room.enter(Someone("elsewhere", 10 + number))
    assert not ada.is_dropped
    assert all(guest.is_dropped for guest in guests)


def test_nobody_loses_its_place_who_waits_for_us() -> None:
    room = Room(2)
    guests = crowd("a", None, None)
    assert all(map(room.enter, guests))
    assert not room.enter(Someone("b", 1))
    assert not any(guest.is_dropped for guest in guests)
    guests[0].waited_for_since = 5.0
    assert room.enter(Someone("b"))
    assert [guest.is_dropped for guest in guests] == [True, False]


def test_who_has_lost_its_place_leaves_nothing_behind() -> None:
    room = Room(1)
    first, second = Someone("a", 1), Someone("b", 2)
    assert room.enter(first)
    assert room.enter(second)
    room.leave(first)  # when its connection has ended
    assert room.enter(Someone("c"))
    assert second.is_dropped
