"""The calls of one instance, counted apart while somebody looks at it."""

from resroute.telemetry.traffic import Traffic


class CloseUp(Traffic):
    """Stands in the place of its service's counters, and counts there too. So an instance that nobody looks at costs nothing.

    Args:
        service: the counters of its service.
        at: when it begins, on any clock.
    """

    __slots__ = ("_lookups_before", "began_at", "looked_at", "service")

    def __init__(self, service: Traffic, at: float) -> None:
        self.service = service
        self._lookups_before = service.lookups
        super().__init__(service.service_name, service.label, service.ownership)
        self.began_at = self.looked_at = at

    @property
    def lookups(self) -> int:  # those of the whole service, since this began
        return self.service.lookups - self._lookups_before

    @lookups.setter
    def lookups(self, count: int) -> None:
        self.service.lookups = self._lookups_before + count

    def observe(self, seconds: float) -> None:
        """A call was answered after ``seconds``."""
        super().observe(seconds)
        self.service.observe(seconds)

    def count_error(self, outcome: str) -> None:
        """A call has ended without a result."""
        super().count_error(outcome)
        self.service.count_error(outcome)
