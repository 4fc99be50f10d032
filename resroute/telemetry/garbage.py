"""How long the garbage collector holds everything up."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from resroute.telemetry.histograms import DELAY_BOUNDS_SECONDS, Histogram


@contextmanager
def timing_collections(
    histograms: dict[int, Histogram], clock: Callable[[], float] = time.perf_counter
) -> Iterator[None]:
    """Within the block, have each collection of this process counted: by generation, in seconds."""
    began = 0.0
    for generation in range(len(gc.get_threshold())):
        histograms.setdefault(generation, Histogram(DELAY_BOUNDS_SECONDS))

    def note(phase: Literal["start", "stop"], info: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = clock()
        else:
            histograms[info["generation"]].observe(clock() - began)

    gc.callbacks.append(note)
    try:
        yield
    finally:
        gc.callbacks.remove(note)
