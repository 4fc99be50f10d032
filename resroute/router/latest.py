"""The latest changes of resources, for who looks at them once and does not watch."""

from collections.abc import Iterator
from itertools import islice

import attrs

from resroute.core.commands import Cause
from resroute.core.facts import ResourceReleased, ResourceTransferred
from resroute.core.filters import Filter
from resroute.ids import InstanceId, ResourceId, Revision
from resroute.protocol.results import EventName
from resroute.router.history import Entry, History, OwnershipFact
from resroute.router.telling import concerns, told

MAX_LOOKED_AT = 2000
"""Changes, matching or not: two milliseconds of looking."""

_ENTRIES = 64


@attrs.frozen(kw_only=True)
class Change:
    """One of them. ``at`` is wall-clock seconds; ``owner`` is None for who is left without one."""

    at: float
    revision: Revision
    event: EventName
    resource_id: ResourceId
    owner: InstanceId | None
    previous_owner: InstanceId | None
    cause: Cause


class LatestChanges:
    """Reads the end of the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    def of(self, wanted: Filter, limit: int) -> list[Change]:
        """Up to ``limit`` of those that match, the latest first, among the last :data:`MAX_LOOKED_AT` there were."""
        found: list[Change] = []
        for entry, fact in islice(self._backwards(), MAX_LOOKED_AT):
            if len(found) == limit:
                break
            if concerns(wanted, fact):
                found.append(_change(entry, fact))
        return found

    def _backwards(self) -> Iterator[tuple[Entry, OwnershipFact]]:
        position = self._history.end
        while entries := self._history.entries_before(position, _ENTRIES):
            position -= len(entries)
            for entry in entries:
                for place in range(len(entry.facts) - 1, -1, -1):
                    yield entry, entry.facts[place]


def _change(entry: Entry, fact: OwnershipFact) -> Change:
    event, owner, cause = told(fact)
    previous = (
        fact.previous_owner.instance_id if isinstance(fact, ResourceTransferred | ResourceReleased) else None
    )
    return Change(
        at=entry.at,
        revision=entry.revision,
        event=event,
        resource_id=fact.resource_id,
        owner=None if isinstance(fact, ResourceReleased) else owner.instance_id,
        previous_owner=previous,
        cause=cause,
    )
