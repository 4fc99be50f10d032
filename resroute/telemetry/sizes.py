"""How large metadata is when it is given or changed, by service."""

from bisect import bisect_left
from collections.abc import Iterator

import attrs

from resroute.ids import ServiceName

SIZE_BOUNDS_BYTES = (64, 256, 1024, 4096, 16_384, 65_536)
"""Where each bucket ends. What is larger than the last is in one more bucket."""

MAX_SERVICES = 200
"""Services that are counted apart: the first so many. All others are counted together."""

OTHERS = ServiceName("")
"""Stands for those. No service has this name."""


@attrs.define
class Sizes:
    """What was counted for one service: how often a size was in which bucket, and the sum of all sizes."""

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(SIZE_BOUNDS_BYTES) + 1))
    sum_bytes: int = 0


class MetadataSizes:
    """Counts sizes since the router started."""

    def __init__(self) -> None:
        self._services: dict[ServiceName, Sizes] = {}

    def observe(self, service_name: ServiceName, size_bytes: int) -> None:
        """A resource of a service has new metadata."""
        sizes = self._services.get(service_name)
        if sizes is None:
            name = service_name if len(self._services) < MAX_SERVICES else OTHERS
            sizes = self._services.setdefault(name, Sizes())
        sizes.counts[bisect_left(SIZE_BOUNDS_BYTES, size_bytes)] += 1
        sizes.sum_bytes += size_bytes

    def services(self) -> Iterator[tuple[ServiceName, Sizes]]:
        """Each service that has had metadata; :data:`OTHERS` stands for those above the limit."""
        return iter(self._services.items())
