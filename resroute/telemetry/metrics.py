"""Counters of one router: plain integers, so that counting costs next to nothing on the path of a call.

They only ever grow. Whoever exposes them (the admin pages do) reads them when asked.

What is told apart by service has a bound: so many services at a time have a name of their own there, the first that come;
all others are counted together as :data:`OTHERS`. A service that has long had no instance is forgotten: what it had counted
is among the others' from then on, and its place is free.
"""

from collections.abc import Iterator

from resroute.ids import ServiceName
from resroute.settings import Settings
from resroute.telemetry.histograms import (
    DELAY_BOUNDS_SECONDS,
    DURATION_BOUNDS_SECONDS,
    ROUND_TRIP_BOUNDS_SECONDS,
    Histogram,
)
from resroute.telemetry.ownership import Ownership
from resroute.telemetry.traffic import STEPS_PER_OCTAVE, Traffic

LATENCY_BUCKETS = 24
"""Bounded buckets of the latency histogram. The last ends at 839 s, above what a call may take by default."""

LATENCY_BOUNDS_SECONDS = tuple(2**index / 10_000 for index in range(LATENCY_BUCKETS))
"""Where each bucket ends: 0.1 ms, 0.2 ms, 0.4 ms, … What took longer than the last is in one more bucket."""

MAX_GONE_SERVICES = 1000
"""Services without an instance whose counters are kept apart."""

MAX_PAIRS = 1000
"""Pairs of services between which transfers are told apart."""

OTHERS = "(other)"
"""Stands for services without a name of their own. No service can be called so."""

NONE = "(none)"
"""Stands for the service where there is none, or it is not known."""

_FINE_BUCKETS_BELOW = 3 * STEPS_PER_OCTAVE  # octaves that services are measured in below the first bound


class Metrics:
    """What has happened since the router started.

    Args:
        max_services: how many services have a name of their own.
    """

    __slots__ = (
        "_forgotten",
        "_gone",
        "_max_services",
        "_named",
        "_others",
        "_pairs",
        "batches",
        "bulks",
        "dropped_answers",
        "dropped_progress",
        "durations",
        "flapping_reports",
        "garbage_collections",
        "lookups_in_vain",
        "loop_lag",
        "operations",
        "round_trips",
        "services",
        "spans",
        "transfers",
        "unplaced",
        "watch_events",
        "watches_lost",
    )

    def __init__(self, max_services: int = Settings().metrics_max_services) -> None:
        self._max_services = max_services
        # by service, those that have no instance any more among them
        self.services: dict[ServiceName, Traffic] = {}
        # of these, the ones without an instance, the longest gone first
        self._gone: dict[ServiceName, Traffic] = {}
        # how many have a name of their own
        self._named = 0
        self._others = Ownership()
        # what the services had counted that are no longer kept apart
        self._forgotten = Traffic(ServiceName(""), OTHERS, self._others)
        # outcome -> calls that ended before it was clear which service they are for
        self.unplaced: dict[str, int] = {}
        # the service that a call asked for, as metrics show it -> calls for a resource that nobody owned
        self.lookups_in_vain: dict[str, int] = {}
        # (method, "ok" or the type of the error) -> requests to the router that ended so
        self.operations: dict[tuple[str, str], int] = {}
        # method -> how long its requests took, from their arrival to their answer
        self.durations: dict[str, Histogram] = {}
        # (method, how it ended) -> requests in bulk
        self.bulks: dict[tuple[str, str], int] = {}
        # method -> how long each of the batches of requests in bulk took
        self.batches: dict[str, Histogram] = {}
        # (from, to, "ok" or the type of the error) -> resources that were, or were to be, handed over
        self.transfers: dict[tuple[str, str, str], int] = {}
        # the services between which that was
        self._pairs: set[tuple[str, str]] = set()
        # answers that belonged to no call in flight
        self.dropped_answers: int = 0
        # parts of results that belonged to no call in flight, or to one whose caller wants none
        self.dropped_progress: int = 0
        # times that a resource was found to change its owner too often
        self.flapping_reports: int = 0

        # events that watches were told
        self.watch_events: int = 0
        # watches that ended because they fell behind what is kept
        self.watches_lost: int = 0

        # "exported", "failed" or "dropped" -> spans that ended so
        self.spans: dict[str, int] = {"exported": 0, "failed": 0, "dropped": 0}

        # from each Ping to the Pong
        self.round_trips = Histogram(ROUND_TRIP_BOUNDS_SECONDS)
        # by how much later than it wanted a task ran
        self.loop_lag = Histogram(DELAY_BOUNDS_SECONDS)
        # generation -> how long collecting it held everything up
        self.garbage_collections: dict[int, Histogram] = {}

    # --- services ---------------------------------------------------------------------------------------------

    def instance_came(self, service_name: ServiceName) -> Traffic:
        """The counters for the calls of one more instance of a service."""
        traffic = self.services.get(service_name)
        if traffic is None:
            traffic = self.services[service_name] = self._begin(service_name)
        self._gone.pop(service_name, None)
        traffic.instances += 1
        return traffic

    def _begin(self, service_name: ServiceName) -> Traffic:
        if self._named >= self._max_services:
            return Traffic(service_name, OTHERS, self._others)
        self._named += 1
        return Traffic(service_name)

    def instance_left(self, traffic: Traffic) -> None:
        """An instance has gone, and each of its calls has ended."""
        traffic.instances -= 1
        if traffic.instances:
            return
        self._gone[traffic.service_name] = traffic
        if len(self._gone) > MAX_GONE_SERVICES:
            self._forget(self._gone.pop(next(iter(self._gone))))

    def _forget(self, traffic: Traffic) -> None:
        del self.services[traffic.service_name]
        self._forgotten.absorb(traffic)
        if traffic.label != OTHERS:
            self._named -= 1
            self._others.absorb(traffic.ownership)

    def ownership_of(self, service_name: ServiceName) -> Ownership:
        """Where what happens to the resources of a service is counted."""
        traffic = self.services.get(service_name)
        return self._others if traffic is None else traffic.ownership

    def label_of(self, service_name: ServiceName | None) -> str:
        """Under what metrics show a service. What no instance has registered as is :data:`NONE`."""
        traffic = None if service_name is None else self.services.get(service_name)
        return NONE if traffic is None else traffic.label

    def traffic(self) -> Iterator[Traffic]:
        """The calls of all services that there are now, and of those that are no longer kept apart.

        Each of them is there once, whatever comes or goes until the iterator is at its end: it may be read bit by bit.
        """
        before = Traffic(self._forgotten.service_name, OTHERS, self._others)
        before.absorb(self._forgotten)
        return iter((before, *self.services.values()))

    # --- calls ------------------------------------------------------------------------------------------------

    def count_call(self, outcome: str) -> None:
        """A routed call has ended before it was clear which service it is for."""
        self.unplaced[outcome] = self.unplaced.get(outcome, 0) + 1

    def count_lookup_in_vain(self, service_name: ServiceName | None) -> None:
        """A call was for a resource that nobody owns, and for this service if it named one."""
        label = self.label_of(service_name)
        self.lookups_in_vain[label] = self.lookups_in_vain.get(label, 0) + 1

    # --- everything else --------------------------------------------------------------------------------------

    def count_operation(self, method: str, status: str, seconds: float) -> None:
        """The router has answered a request of its own, so long after it came.

        ``method`` must be one of the method table: names made up by peers would grow the table without bound.
        """
        key = (method, status)
        self.operations[key] = self.operations.get(key, 0) + 1
        _observe(self.durations, method, seconds)

    def count_bulk(self, operation: str, status: str) -> None:
        """A registration or a release in bulk has ended.

        ``status`` is ``ok``, ``partial``, ``rolled_back``, ``cancelled`` or the type of an error.
        """
        key = (operation, status)
        self.bulks[key] = self.bulks.get(key, 0) + 1

    def count_batch(self, operation: str, seconds: float) -> None:
        """A batch of a registration or of a release in bulk is done."""
        _observe(self.batches, operation, seconds)

    def count_transfers(
        self, from_service: ServiceName | None, to_service: ServiceName | None, status: str, count: int
    ) -> None:
        """So many resources were to be handed over from one instance to another. None: there is no such instance.

        ``status`` is ``ok`` or the type of an error.
        """
        if not count:
            return
        pair = self.label_of(from_service), self.label_of(to_service)
        if pair not in self._pairs:
            if len(self._pairs) < MAX_PAIRS:
                self._pairs.add(pair)
            else:
                pair = OTHERS, OTHERS
        key = (*pair, status)
        self.transfers[key] = self.transfers.get(key, 0) + count


def _observe(histograms: dict[str, Histogram], name: str, seconds: float) -> None:
    histogram = histograms.get(name)
    if histogram is None:
        histogram = histograms[name] = Histogram(DURATION_BOUNDS_SECONDS)
    histogram.observe(seconds)


def coarse(buckets: list[int]) -> list[int]:
    """What was counted by :data:`~resroute.telemetry.traffic.BOUNDS_SECONDS`, by :data:`LATENCY_BOUNDS_SECONDS`."""
    ends = [_FINE_BUCKETS_BELOW + index * STEPS_PER_OCTAVE + 1 for index in range(LATENCY_BUCKETS)]
    return [sum(buckets[start:end]) for start, end in zip([0, *ends], [*ends, len(buckets)], strict=True)]
