"""Resources that change their owner again and again: found in bounded memory, and reported now and then."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter

import msgspec
import structlog

from resroute.ids import InstanceId, ResourceId, SessionId
from resroute.telemetry.metrics import Metrics

SPAN_SECONDS = 60.0
"""How long changes of owners count, and how often one resource is reported at most."""

MAX_LEFT = 8192
"""Resources whose last owner is remembered, so that it is known whether the next one is another."""

MAX_WATCHED = 1000
"""Resources whose changes are counted for sure, those that changed most."""

MAX_LINES = 20
"""Lines in the log in :data:`SPAN_SECONDS`. Reports beyond that are counted alone."""

_log = structlog.get_logger("resroute.router")


class _Changes(msgspec.Struct, gc=False):
    """When a resource last changed its owner, and when that was last reported."""

    times: list[float]
    """In order; no more of them than it takes to tell that they are too many."""
    left_by: SessionId | None = None
    """Who had it last, while nobody has."""
    reported_at: float | None = None


class Flapping:
    """Counts changes of owners. It makes no difference whether the resource was free in between.

    That a session takes again what it has given up is no change.

    Args:
        threshold: how many changes in :data:`SPAN_SECONDS` are not yet too many.
        clock: seconds on any clock.
    """

    def __init__(self, threshold: int, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._metrics = metrics
        self._clock = clock
        # resources without an owner that have not changed theirs lately, as far as they are remembered; who had them last
        self._left: dict[ResourceId, SessionId] = {}
        # resources that have changed their owner lately; some older ones
        self._changes: dict[ResourceId, _Changes] = {}
        self._lines: deque[float] = deque(maxlen=MAX_LINES)

    def __len__(self) -> int:
        return len(self._left) + len(self._changes)

    # --- what happens -----------------------------------------------------------------------------------------

    def left(self, resource_id: ResourceId, owner: SessionId) -> None:
        """A resource has no owner any more."""
        if self._changes and (changes := self._changes.get(resource_id)) is not None:
            changes.left_by = owner  # however many are left meanwhile
            return
        left = self._left
        left[resource_id] = owner
        if len(left) > MAX_LEFT:
            self._left = dict(islice(left.items(), MAX_LEFT // 2, None))

    def taken(self, resource_id: ResourceId, owner: SessionId, instance_id: InstanceId) -> None:
        """A resource that was free has an owner."""
        before = self._left.pop(resource_id, None) if self._left else None
        if before is None and self._changes and (changes := self._changes.get(resource_id)) is not None:
            before, changes.left_by = changes.left_by, None
        if before is not None and before != owner:
            self.changed(resource_id, instance_id)

    def changed(self, resource_id: ResourceId, instance_id: InstanceId) -> None:
        """A resource has another owner than before."""
        now = self._clock()
        changes = self._changes.get(resource_id)
        if changes is None:
            changes = self._changes[resource_id] = _Changes([])
        changes.times.append(now)
        if len(changes.times) > self._threshold + 1:
            del changes.times[0]
        if self._is_too_many(changes, now):
            self._report(resource_id, instance_id, changes, now)
        if len(self._changes) > 2 * MAX_WATCHED:
            self._prune(now)

    # --- what comes of it -------------------------------------------------------------------------------------

    def is_flapping(self, resource_id: ResourceId) -> bool:
        """Whether a resource has changed its owner too often just now."""
        changes = self._changes.get(resource_id)
        return changes is not None and self._is_too_many(changes, self._clock())

    def _is_too_many(self, changes: _Changes, now: float) -> bool:
        times = changes.times
        return len(times) > self._threshold and now - times[0] <= SPAN_SECONDS

    def _report(
        self, resource_id: ResourceId, instance_id: InstanceId, changes: _Changes, now: float
    ) -> None:
        if changes.reported_at is not None and now - changes.reported_at < SPAN_SECONDS:
            return
        changes.reported_at = now
        self._metrics.flapping_reports += 1
        if len(self._lines) < MAX_LINES or now - self._lines[0] >= SPAN_SECONDS:
            self._lines.append(now)
            _log.warning(
                "a resource changes its owner again and again",
                resource_id=resource_id,
                instance_id=instance_id,
                changes=len(changes.times),
                seconds=round(now - changes.times[0], 3),
            )

    def _prune(self, now: float) -> None:
        """Keep those that changed most lately."""
        ranked = sorted(
            [
                (_count(changes.times, now), changes.times[-1], resource_id)
                for resource_id, changes in self._changes.items()
            ],
            key=itemgetter(0, 1),
            reverse=True,
        )
        self._changes = {
            resource_id: self._changes[resource_id]
            for count, _, resource_id in islice(ranked, MAX_WATCHED)
            if count
        }


def _count(times: Sequence[float], now: float) -> int:
    """How many of these times, which are in order, are not too long ago."""
    if now - times[0] <= SPAN_SECONDS:
        return len(times)
    return sum([now - at <= SPAN_SECONDS for at in times])
