"""What ``/metrics`` answers: everything there is to count, in Prometheus' text format or as OpenMetrics."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import trio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from resroute.admin.collecting import RouterCollector
from resroute.admin.view import RouterView

SLICE_SECONDS = 0.00025
"""How long a scrape may hold the loop before others get their turn."""

PASSES = 3
"""Of the loop between two slices: as many as the way of somebody's call through the router takes, but for its last."""

_OPENMETRICS_END = b"# EOF\n"


class Exposition:
    """Writes down a router's numbers, and what is known about its process.

    Args:
        clock: seconds on any clock, for how long a slice takes.
    """

    def __init__(self, router: RouterView, clock: Callable[[], float] = time.perf_counter) -> None:
        self._collector = RouterCollector(router)
        self._clock = clock
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def write(self, accept: str) -> tuple[bytes, str]:
        """All of it and its content type, in the format that a client prefers by its ``Accept``.

        It is written in slices of :data:`SLICE_SECONDS`, with turns for everybody else in between. Safe to cancel.
        """
        encode, content_type = choose_encoder(accept)
        # it lists the open files in the kernel, which takes milliseconds where there are ten thousand
        process = await trio.to_thread.run_sync(self._read_process)
        parts: list[bytes] = []
        ends = False
        last = ""
        until = self._clock() + SLICE_SECONDS
        for family in chain(self._collector.collect(), process):
            if family is not None:
                text = encode(_Single(family))
                ends = text.endswith(_OPENMETRICS_END)
                text = text.removesuffix(_OPENMETRICS_END)
                parts.append(_without_head(text) if family.name == last else text)
                last = family.name
            if self._clock() > until:
                for _ in range(PASSES):
                    await trio.lowlevel.checkpoint()
                until = self._clock() + SLICE_SECONDS
        if ends:
            parts.append(_OPENMETRICS_END)
        return b"".join(parts), content_type

    def _read_process(self) -> Sequence[Metric]:
        return list(self._process.collect())


class _Single:
    """What the encoder takes for a registry, of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _without_head(text: bytes) -> bytes:
    """A further part of a family: what it is called and means was said before."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))
