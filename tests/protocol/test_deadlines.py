"""What is due when, however things come and go."""

from hypothesis import given
from hypothesis import strategies as st

from resroute.protocol.deadlines import TICK_SECONDS, Deadlines

steps = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=200)


@given(steps=steps)
def test_deadlines_agree_with_a_plain_dictionary(steps: list[tuple[int, bool]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, int] = {}  # number -> tick
    for number, (tick, comes) in enumerate(steps):
        if comes or not model:
            model[number] = deadlines.add(tick * TICK_SECONDS, number, number)
        else:
            gone = sorted(model)[tick % len(model)]
            deadlines.remove(model.pop(gone), gone)
        assert len(deadlines) == len(model)
        earliest = min(model.values(), default=float("inf"))
        assert deadlines.next_at() == earliest * TICK_SECONDS
        due = [
            n for t, n in sorted((t, n) for n, t in model.items()) if t * TICK_SECONDS <= 20 * TICK_SECONDS
        ]
        assert deadlines.due(20 * TICK_SECONDS) == due
        assert deadlines.due(20 * TICK_SECONDS, 3) == due[:3]


def test_ticks_that_are_not_in_use_any_more_are_forgotten() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.add(0.0, 0, "stays")
    for number in range(1, 10_000):
        deadlines.remove(deadlines.add(number * TICK_SECONDS, number, "goes"), number)
    assert len(deadlines._queue) == len(deadlines._queued) < 200
    assert deadlines.due(1.0) == ["stays"]
