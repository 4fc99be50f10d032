"""What is there right now, in numbers for monitoring: cheap enough for every scrape, or to be read bit by bit."""

from collections.abc import Iterator

import attrs

from resroute.router.flights import Flights
from resroute.router.means import Means
from resroute.router.outbox import Memory
from resroute.router.watches import Watches
from resroute.telemetry.metrics import OTHERS


@attrs.frozen(kw_only=True)
class Sizes:
    """How large tables are that know it without counting, and how large some may become."""

    sessions: int
    max_sessions: int
    instances: int
    suspended_instances: int
    resources: int
    calls_in_flight: int
    waiters: int
    watches: int
    memory_bytes: int
    max_memory_bytes: int


class Gauges:
    """Reads the router's tables."""

    def __init__(self, means: Means, flights: Flights, watches: Watches, memory: Memory) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._sessions = means.sessions
        self._metrics = means.metrics
        self._flights = flights
        self._watches = watches
        self._memory = memory

    def sizes(self) -> Sizes:
        """The sizes right now."""
        return Sizes(
            sessions=self._state.session_count,
            max_sessions=self._settings.max_sessions,
            instances=self._state.instance_count,
            suspended_instances=self._state.suspended_count,
            resources=self._state.resource_count,
            calls_in_flight=self._flights.in_flight,
            waiters=self._state.waiter_count,
            watches=len(self._watches),
            memory_bytes=self._memory.total_bytes,
            max_memory_bytes=self._settings.max_outbox_total_bytes,
        )

    def outbox_sizes(self) -> Iterator[int]:
        """How many bytes wait for the writer of each session that was there at the beginning."""
        return (session.outbox.size_bytes for session in list(self._sessions.values()))

    def resource_counts(self) -> Iterator[tuple[str, str, int]]:
        """Service, instance and how many resources it owns, of those that are there at the beginning and still are.

        The service is as metrics show it. Of instances above the limit, the last that came, there is one sum at the end.
        """
        left_out: int | None = None
        for number, owner in enumerate(list(self._state.instances())):
            count = len(owner.resources) if owner.alive else 0
            if number < self._settings.metrics_max_instances:
                if owner.alive:
                    yield self._metrics.label_of(owner.service.name), owner.instance_id, count
            else:
                left_out = count + (left_out or 0)
        if left_out is not None:
            yield OTHERS, OTHERS, left_out
