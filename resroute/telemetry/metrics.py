"""Counters of one router: plain integers, so that counting costs next to nothing on the path of a call.

They only ever grow. Whoever exposes them (the admin pages do) reads them when asked.
"""

from collections.abc import Iterator, Mapping

from resroute.ids import ServiceName
from resroute.telemetry.sizes import MetadataSizes
from resroute.telemetry.traffic import STEPS_PER_OCTAVE, Traffic

LATENCY_BUCKETS = 24
"""Bounded buckets of the latency histogram. The last ends at 839 s, above what a call may take by default."""

LATENCY_BOUNDS_SECONDS = tuple(2**index / 10_000 for index in range(LATENCY_BUCKETS))
"""Where each bucket ends: 0.1 ms, 0.2 ms, 0.4 ms, … What took longer than the last is in one more bucket."""

MAX_GONE_SERVICES = 1000
"""Services without an instance whose counters are kept apart."""

_FINE_BUCKETS_BELOW = 3 * STEPS_PER_OCTAVE  # octaves that services are measured in below the first bound


class Metrics:
    """What has happened since the router started."""

    __slots__ = (
        "_forgotten",
        "_gone",
        "_unplaced",
        "bulks",
        "dropped_answers",
        "dropped_progress",
        "flapping_reports",
        "metadata_sizes",
        "operations",
        "services",
        "watch_events",
        "watches_lost",
    )

    def __init__(self) -> None:
        # by service, those that have no instance any more among them
        self.services: dict[ServiceName, Traffic] = {}
        # of these, the ones without an instance, the longest gone first
        self._gone: dict[ServiceName, Traffic] = {}
        # what the services had counted that are no longer kept apart
        self._forgotten = Traffic(ServiceName(""))
        # outcome -> calls that ended before it was clear which service they are for
        self._unplaced: dict[str, int] = {}
        # (method, "ok" or the type of the error) -> requests to the router that ended so
        self.operations: dict[tuple[str, str], int] = {}
        # (method, how it ended) -> requests in bulk
        self.bulks: dict[tuple[str, str], int] = {}
        # answers that belonged to no call in flight
        self.dropped_answers: int = 0
        # parts of results that belonged to no call in flight, or to one whose caller wants none
        self.dropped_progress: int = 0
        # times that a resource was found to change its owner too often
        self.flapping_reports: int = 0
        self.metadata_sizes = MetadataSizes()

        # events that watches were told
        self.watch_events: int = 0
        # watches that ended because they fell behind what is kept
        self.watches_lost: int = 0

    # --- calls ------------------------------------------------------------------------------------------------

    def instance_came(self, service_name: ServiceName) -> Traffic:
        """The counters for the calls of one more instance of a service."""
        traffic = self.services.get(service_name)
        if traffic is None:
            traffic = self.services[service_name] = Traffic(service_name)
        self._gone.pop(service_name, None)
        traffic.instances += 1
        return traffic

    def instance_left(self, traffic: Traffic) -> None:
        """An instance has gone, and each of its calls has ended."""
        traffic.instances -= 1
        if traffic.instances:
            return
        self._gone[traffic.service_name] = traffic
        if len(self._gone) > MAX_GONE_SERVICES:
            oldest = self._gone.pop(next(iter(self._gone)))
            del self.services[oldest.service_name]
            self._forgotten.absorb(oldest)

    def count_call(self, outcome: str) -> None:
        """A routed call has ended before it was clear which service it is for."""
        self._unplaced[outcome] = self._unplaced.get(outcome, 0) + 1

    def _traffic(self) -> Iterator[Traffic]:
        yield self._forgotten
        yield from self.services.values()

    def calls(self) -> Mapping[str, int]:
        """``ok``, ``error`` (the callee's own) or the type of a router's error -> routed calls that ended so."""
        calls = dict(self._unplaced)
        for traffic in self._traffic():
            if ok := traffic.ok:
                calls["ok"] = calls.get("ok", 0) + ok
            for outcome, count in traffic.errors.items():
                calls[outcome] = calls.get(outcome, 0) + count
        return calls

    def latency_buckets(self) -> list[int]:
        """Answered calls by how long that took; see :data:`LATENCY_BOUNDS_SECONDS`, and one bucket for all above."""
        fine = [sum(counts) for counts in zip(*(traffic.buckets for traffic in self._traffic()), strict=True)]
        ends = [_FINE_BUCKETS_BELOW + index * STEPS_PER_OCTAVE + 1 for index in range(LATENCY_BUCKETS)]
        return [sum(fine[start:end]) for start, end in zip([0, *ends], [*ends, len(fine)], strict=True)]

    @property
    def latency_sum_seconds(self) -> float:
        """How long all answered calls took together."""
        return sum(traffic.seconds for traffic in self._traffic())

    # --- everything else --------------------------------------------------------------------------------------

    def count_operation(self, method: str, status: str) -> None:
        """The router has answered a request of its own.

        ``method`` must be one of the method table: names made up by peers would grow the table without bound.
        """
        key = (method, status)
        self.operations[key] = self.operations.get(key, 0) + 1

    def count_bulk(self, operation: str, status: str) -> None:
        """A registration or a release in bulk has ended.

        ``status`` is ``ok``, ``partial``, ``rolled_back``, ``cancelled`` or the type of an error.
        """
        key = (operation, status)
        self.bulks[key] = self.bulks.get(key, 0) + 1
