"""How long garbage collections take."""

import gc

from resroute.telemetry.garbage import timing_collections
from resroute.telemetry.histograms import Histogram


def test_collections_are_timed_by_generation_as_long_as_somebody_wants_it() -> None:
    clock = iter([1.0, 1.5, 2.0, 2.25])
    before = list(gc.callbacks)
    was_enabled = gc.isenabled()
    gc.disable()
    times: dict[int, Histogram] = {}
    try:
        with timing_collections(times, lambda: next(clock)):
            gc.collect(0)
            gc.collect(2)
    finally:
        if was_enabled:
            gc.enable()
    assert {generation: (sum(it.counts), it.sum) for generation, it in times.items()} == {
        0: (1, 0.5),
        1: (0, 0),
        2: (1, 0.25),
    }
    assert gc.callbacks == before
