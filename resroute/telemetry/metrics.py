"""Counters of one router: plain integers, so that counting costs next to nothing on the path of a call.

They only ever grow. Whoever exposes them (the admin pages do) reads them when asked.
"""

LATENCY_BUCKETS = 24
"""Bounded buckets of the latency histogram. The last ends at 839 s, above what a call may take by default."""

LATENCY_BOUNDS_SECONDS = tuple(2**index / 10_000 for index in range(LATENCY_BUCKETS))
"""Where each bucket ends: 0.1 ms, 0.2 ms, 0.4 ms, … What took longer than the last is in one more bucket."""


class Metrics:
    """What has happened since the router started."""

    __slots__ = (
        "calls",
        "dropped_answers",
        "dropped_progress",
        "latency_buckets",
        "latency_sum_seconds",
        "operations",
    )

    def __init__(self) -> None:
        # "ok", "error" (the callee's own) or the type of a router's error -> routed calls that ended so
        self.calls: dict[str, int] = {}
        # calls by how long they took; see LATENCY_BOUNDS_SECONDS, and one bucket for all above
        self.latency_buckets: list[int] = [0] * (LATENCY_BUCKETS + 1)
        self.latency_sum_seconds: float = 0.0
        # (method, "ok" or the type of the error) -> requests to the router that ended so
        self.operations: dict[tuple[str, str], int] = {}
        # answers that belonged to no call in flight
        self.dropped_answers: int = 0
        # parts of results that belonged to no call in flight, or to one whose caller wants none
        self.dropped_progress: int = 0

    def count_call(self, outcome: str) -> None:
        """A routed call has ended."""
        self.calls[outcome] = self.calls.get(outcome, 0) + 1

    def count_operation(self, method: str, status: str) -> None:
        """The router has answered a request of its own.

        ``method`` must be one of the method table: names made up by peers would grow the table without bound.
        """
        key = (method, status)
        self.operations[key] = self.operations.get(key, 0) + 1

    def observe(self, seconds: float) -> None:
        """A routed call was answered after ``seconds``."""
        index = int(seconds * 10_000).bit_length()
        self.latency_buckets[index if index < LATENCY_BUCKETS else LATENCY_BUCKETS] += 1
        self.latency_sum_seconds += seconds
