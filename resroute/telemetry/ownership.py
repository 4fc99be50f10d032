"""What was counted about the ownership of one service's resources."""

from resroute.telemetry.histograms import SIZE_BOUNDS_BYTES, Histogram


def _add(counts: dict[str, int], name: str, count: int) -> None:
    if count:
        counts[name] = counts.get(name, 0) + count


class Ownership:
    """Counts of one service, or of many together. They only ever grow."""

    __slots__ = ("conflicts", "metadata_sizes", "registrations", "releases")

    def __init__(self) -> None:
        # "ok" or the type of an error -> resources that an instance wanted to register, by what became of that
        self.registrations: dict[str, int] = {}
        # cause -> resources that an instance owned and nobody, or one who took it by force, owned then
        self.releases: dict[str, int] = {}
        # resources that an instance wanted to register while another owned them
        self.conflicts = 0
        # of each resource that was given metadata, or other metadata
        self.metadata_sizes = Histogram(SIZE_BOUNDS_BYTES)

    def count_registrations(self, status: str, count: int) -> None:
        """An instance wanted to register so many resources. ``status``: ``ok``, or the type of the error."""
        _add(self.registrations, status, count)

    def count_release(self, cause: str) -> None:
        """A resource has left its owner."""
        self.releases[cause] = self.releases.get(cause, 0) + 1

    def absorb(self, other: "Ownership") -> None:
        """Add what another has counted."""
        for status, count in other.registrations.items():
            _add(self.registrations, status, count)
        for cause, count in other.releases.items():
            _add(self.releases, cause, count)
        self.conflicts += other.conflicts
        self.metadata_sizes.absorb([other.metadata_sizes])
