"""Finding resources by any part of their ids. No index knows that: all ids that come into question are looked at."""

from collections.abc import Callable, Sequence

import attrs
import trio.lowlevel

from resroute.core.filters import MAX_SCANNED, Filter
from resroute.core.state import State
from resroute.ids import ResourceId

MAX_LOOKED_AT = 1_000_000
"""What looking through them takes is some tenths of a second, in slices."""

SLICE_SECONDS = 0.001
_COST_OF_A_STEP = 64
"""Of looking at as many ids, or at fewer resources that have very many tags."""


@attrs.frozen(order=True)
class Rank:
    """Where a resource stands among those that are found: who begins with what is looked for stands before the others."""

    begins: int
    """0 if it does, else 1."""
    resource_id: ResourceId


@attrs.frozen(kw_only=True)
class FoundIds:
    """One page of what was found."""

    resource_ids: Sequence[ResourceId]
    total_count: int
    is_complete: bool
    """Whether all ids were looked at."""
    last: Rank | None
    """Behind which the next page begins; None if there is none."""


class IdSearch:
    """Looks through the ids of resources, and whenever that has taken its time leaves the loop to others.

    Args:
        turn_clock: seconds on any clock.
        max_looked_at: more ids are not looked at for one page, or a few more.
    """

    def __init__(
        self, state: State, turn_clock: Callable[[], float], *, max_looked_at: int = MAX_LOOKED_AT
    ) -> None:
        self._state = state
        self._turn_clock = turn_clock
        self._max_looked_at = max_looked_at

    async def find(self, wanted: Filter, fragment: str, *, limit: int, after: Rank | None = None) -> FoundIds:
        """A page of the resources that match and have a fragment in their ids, in upper or lower case.

        The resource of just that id comes first, then those that begin with it, then the others, each in code-point order.
        What comes or goes meanwhile may be among them or not.
        """
        found: tuple[list[Rank], list[Rank]] = [], []
        total = looked_at = cost = 0
        sought, last_id = fragment.lower(), ""
        clock = self._turn_clock
        until = clock() + SLICE_SECONDS
        while looked_at < self._max_looked_at and (ids := self._state.candidates_after(wanted, last_id)):
            last_id = ids[-1]
            looked_at += len(ids)
            for resource_id in ids:
                cost += 1
                if sought in resource_id.lower():
                    price = self._price_of_match(wanted, resource_id)
                    if price:
                        cost += price
                        total += 1
                        rank = Rank(int(not resource_id.startswith(fragment)), resource_id)
                        page = found[rank.begins]
                        if len(page) <= limit and (after is None or rank > after):
                            page.append(rank)
                if cost >= _COST_OF_A_STEP:
                    cost = 0
                    if clock() > until:
                        await trio.lowlevel.checkpoint()
                        until = clock() + SLICE_SECONDS
        ranks = [*found[0], *found[1]]
        return FoundIds(
            resource_ids=[rank.resource_id for rank in ranks[:limit]],
            total_count=total,
            is_complete=looked_at < self._max_looked_at,
            last=ranks[limit - 1] if len(ranks) > limit else None,
        )

    def _price_of_match(self, wanted: Filter, resource_id: ResourceId) -> int:
        """What it cost to find that a resource matches; 0 if it does not."""
        grant = self._state.grant_of(resource_id)
        if grant is None or not wanted.matches(resource_id, grant.owner.fact, grant.metadata):
            return 0
        metadata = grant.metadata
        return 1 if metadata is None or len(metadata.tags) <= MAX_SCANNED else len(metadata.tags) // 8
