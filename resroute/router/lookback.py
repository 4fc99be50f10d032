"""Looking up what has happened to a resource lately: backwards through the history, for all who ask at a time."""

from collections.abc import Callable, Sequence

import msgspec
import trio

from resroute.ids import ResourceId
from resroute.router.history import Entry, History, OwnershipFact

MAX_TRANSITIONS = 10
SLICE_SECONDS = 0.001

_AT_A_TIME = 128

Then = Callable[[Sequence["Transition"]], None]


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One change of the owner of one resource."""

    entry: Entry
    fact: OwnershipFact


class Lookback:
    """Finds the last :data:`MAX_TRANSITIONS` transitions of resources.

    One task does it, a slice of :data:`SLICE_SECONDS` at a time, so that many who ask take no more of the loop than one.
    A pass goes once through what the history holds, which is bounded, and answers all who asked before it began.

    Args:
        turn_clock: seconds on any clock.
        report: told of an exception in what follows, which is a bug that costs nobody else anything.
    """

    def __init__(
        self, history: History, turn_clock: Callable[[], float], report: Callable[[Exception], None]
    ) -> None:
        self._history = history
        self._turn_clock = turn_clock
        self._report = report
        self._lot = trio.lowlevel.ParkingLot()
        # who asks, and has not been answered
        self._asked: dict[ResourceId, list[Then]] = {}

    def look(self, resource_id: ResourceId, then: Then) -> None:
        """Call ``then`` with the last transitions, in order, as soon as they are found. Never waits."""
        self._asked.setdefault(resource_id, []).append(then)
        self._lot.unpark()

    async def run(self) -> None:
        """Look for whoever asks, until cancelled."""
        while True:
            if not self._asked:
                await self._lot.park()
                continue
            asked, self._asked = self._asked, {}
            await self._pass(asked)

    async def _pass(self, asked: dict[ResourceId, list[Then]]) -> None:
        """Answer all who asked. What happens during the pass is added before each answer, which is never behind the state."""
        end = position = self._history.end
        # newest first
        found: dict[ResourceId, list[Transition]] = {resource_id: [] for resource_id in asked}
        open_ids = set(asked)
        until = self._turn_clock() + SLICE_SECONDS
        looked_at = 0
        while open_ids and (entries := self._history.entries_before(position, _AT_A_TIME)):
            position -= len(entries)
            for entry in entries:
                facts = entry.facts if isinstance(entry.facts, tuple) else entry.about(open_ids)
                for fact in reversed(facts):
                    if fact.resource_id in open_ids:
                        self._keep(Transition(entry, fact), found, open_ids)
                looked_at += len(entry.facts)
                if looked_at >= _AT_A_TIME:
                    looked_at = 0
                    if self._turn_clock() > until:
                        await trio.lowlevel.checkpoint()
                        until = self._turn_clock() + SLICE_SECONDS
        for resource_id, thens in asked.items():
            for then in thens:
                if self._turn_clock() > until:
                    await trio.lowlevel.checkpoint()
                    until = self._turn_clock() + SLICE_SECONDS
                end = self._catch_up(end, found)
                self._answer(then, found[resource_id][MAX_TRANSITIONS - 1 :: -1])
        await trio.lowlevel.checkpoint()

    @staticmethod
    def _keep(
        transition: Transition, found: dict[ResourceId, list[Transition]], open_ids: set[ResourceId]
    ) -> None:
        resource_id = transition.fact.resource_id
        found[resource_id].append(transition)
        if len(found[resource_id]) == MAX_TRANSITIONS:
            open_ids.discard(resource_id)

    def _catch_up(self, position: int, found: dict[ResourceId, list[Transition]]) -> int:
        """Add what has happened from a position on. Returns the position to go on from."""
        end = self._history.end
        for later in range(position, end):
            entry = self._history.entry_at(later)
            if entry is None:
                continue  # it has come and gone meanwhile
            for fact in entry.about(found):
                found[fact.resource_id].insert(0, Transition(entry, fact))
        return end

    def _answer(self, then: Then, transitions: Sequence[Transition]) -> None:
        try:
            then(transitions)
        except Exception as error:
            self._report(error)
