"""Which resources are called most, asked for in vain most, fought over most: bounded, whatever comes."""

from collections.abc import Callable, Iterator
from heapq import nlargest
from operator import attrgetter, itemgetter

import attrs

from resroute.core.records import Grant
from resroute.ids import ResourceId

MAX_RANKED = 1000
"""How many of each are known for sure."""

_calls = attrgetter("calls_total", "last_called_at")  # of a grant
_count_and_time = itemgetter(1)  # of an item of a sketch


@attrs.frozen
class Ranked:
    """One resource in a ranking. ``last_at`` is on the clock of whoever counted."""

    resource_id: ResourceId
    count: int
    last_at: float


class Busiest:
    """The resources with the most calls under their grants, exactly.

    It knows every grant with more calls than :attr:`threshold`. So that this costs a call one comparison, whoever counts the
    call that makes :attr:`next_count` calls of one grant tells it. When it knows twice as many as it needs, it forgets the
    lesser half, and the threshold rises.

    Args:
        grant_of: the grant in force for an id.
    """

    __slots__ = ("_candidates", "_grant_of", "_max_ranked", "next_count")

    def __init__(self, grant_of: Callable[[ResourceId], Grant | None], max_ranked: int = MAX_RANKED) -> None:
        self.next_count = 1
        self._grant_of = grant_of
        self._max_ranked = max_ranked
        # all grants in force with at least next_count calls; some others
        self._candidates: set[ResourceId] = set()

    @property
    def threshold(self) -> int:
        """Of the grants with more calls than this none is missing."""
        return self.next_count - 1

    def __len__(self) -> int:
        return len(self._candidates)

    def add(self, resource_id: ResourceId) -> None:
        """A grant has come to :attr:`next_count` calls."""
        self._candidates.add(resource_id)
        if len(self._candidates) > 2 * self._max_ranked:
            self._prune()

    def _prune(self) -> None:
        """Keep those with the most calls. What the first of the others has is the threshold from here on."""
        ranked = sorted(self._in_force(), key=_calls, reverse=True)
        if len(ranked) > self._max_ranked:
            self.next_count = max(self.next_count, ranked[self._max_ranked].calls_total + 1)
        self._candidates = {grant.resource_id for grant in ranked[: self._max_ranked]}

    def _in_force(self) -> Iterator[Grant]:
        for resource_id in self._candidates:
            grant = self._grant_of(resource_id)
            if grant is not None and grant.calls_total:
                yield grant

    def has_enough(self, limit: int) -> bool:
        """Whether so few of the grants it knew have ended that none of the first is missing. If not: :meth:`begin_again`."""
        return self.threshold == 0 or sum(1 for _ in self._in_force()) >= min(limit, self._max_ranked // 2)

    def begin_again(self) -> None:
        """From here on it needs to be shown all grants, each once, in any order; calls may be counted meanwhile."""
        self.next_count = 1
        self._prune()

    def show(self, grant: Grant) -> None:
        """A grant that may have come to as many calls before they were counted."""
        if grant.calls_total >= self.next_count:
            self.add(grant.resource_id)

    def top(self, limit: int) -> list[Ranked]:
        """Those with the most calls, most first."""
        grants = nlargest(limit, self._in_force(), key=_calls)
        return [Ranked(grant.resource_id, grant.calls_total, grant.last_called_at) for grant in grants]


class Sketch:
    """Counts of ids that anybody may make up: those that come often stay, whatever else comes.

    It holds twice as many as it is asked for; beyond, the half with the least goes. So a count is never too high, and too low
    only if the id was forgotten in between.
    """

    __slots__ = ("_counts", "_max_ranked")

    def __init__(self, max_ranked: int = MAX_RANKED) -> None:
        self._max_ranked = max_ranked
        # id -> how often, and when last
        self._counts: dict[ResourceId, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, resource_id: ResourceId, at: float) -> None:
        """It has come once more."""
        self._counts[resource_id] = (self._counts.get(resource_id, (0, 0.0))[0] + 1, at)
        if len(self._counts) > 2 * self._max_ranked:
            most = sorted(self._counts.items(), key=_count_and_time, reverse=True)
            self._counts = dict(most[: self._max_ranked])

    def top(self, limit: int) -> list[Ranked]:
        """Those that came most often, most first; of equals those that came last."""
        most = nlargest(limit, self._counts.items(), key=_count_and_time)
        return [Ranked(resource_id, count, last_at) for resource_id, (count, last_at) in most]
