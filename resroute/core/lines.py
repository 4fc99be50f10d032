"""Who stands in line for which resources. Tables only: who is granted what is decided in :mod:`resroute.core.waiting`.

A waiter who lacks several resources watches one of them, one that is not to be had, and need not be looked at before that
one is free. So what an end of a grant costs is given by those who watch it, and not by all who stand in its line.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from resroute.core.commands import Register
from resroute.core.records import OwnerRecord
from resroute.core.snapshot import LinesSnapshot
from resroute.ids import InstanceId, ResourceId, Revision, SessionId

_FEW = 8  # from which on to make a heap anew is quicker than to push one after the other


class Waiter(msgspec.Struct):
    """A registration that waits. Who is of lower number has come earlier."""

    number: Revision
    """That of the command."""
    command: Register
    owner: OwnerRecord
    watched: ResourceId | None = None
    """None for a candidate: what it watched is free, and its turn to be looked at has not come yet."""


class Lines:
    """All who wait, by what they asked for.

    The tables without an underscore are public for the question whether there is anything in them, which each registration
    and each release asks.
    """

    __slots__ = ("_lines", "left", "turns", "waiters", "watchers")

    def __init__(self) -> None:
        # in the order they came
        self.waiters: dict[Revision, Waiter] = {}
        # resource -> all who asked for it, in the order they came; some of those who have left among them
        self._lines: dict[ResourceId, dict[Revision, None]] = {}
        # resource -> those who watch it
        self.watchers: dict[ResourceId, dict[Revision, None]] = {}
        # a heap of the candidates; some of those who have left among them
        self.turns: list[Revision] = []
        # those who have left with their session, and the lines in which they still are to be crossed out
        self.left: deque[tuple[Revision, list[ResourceId]]] = deque()

    def __len__(self) -> int:
        return len(self.waiters)

    # --- reading ----------------------------------------------------------------------------------------------

    def length(self, resource_id: ResourceId, at_least: int) -> int:
        """How many have asked for a resource. Those who have left are told apart only if there are ``at_least`` so many."""
        line = self._lines.get(resource_id, {})
        return len(line) if len(line) < at_least else sum(number in self.waiters for number in line)

    def waiting_for(self, resource_id: ResourceId) -> Iterable[Waiter]:
        """Those who have asked for a resource, in the order they came."""
        for number in self._lines.get(resource_id, {}):
            waiter = self.waiters.get(number)
            if waiter is not None:
                yield waiter

    def promised_to(self, resource_id: ResourceId, owner: OwnerRecord, turn: Revision) -> InstanceId | None:
        """Another instance whose turn to have the resource, as far as one can tell, comes before ``turn``."""
        for waiter in self.waiting_for(resource_id):
            if waiter.number >= turn:
                break
            if waiter.watched is None and waiter.owner is not owner:
                return waiter.owner.instance_id
        return None

    # --- changing ---------------------------------------------------------------------------------------------

    def join(self, waiter: Waiter, watched: ResourceId | None) -> None:
        """Somebody stands in line from here on, last in each."""
        self.waiters[waiter.number] = waiter
        waiter.owner.waits[waiter.number] = None
        self._stand(waiter.number, waiter.command.resource_ids)
        if watched is None:
            heapq.heappush(self.turns, waiter.number)
        else:
            self.watch(waiter, watched)

    def watch(self, waiter: Waiter, resource_id: ResourceId) -> None:
        """Somebody need not be looked at before this resource is free."""
        waiter.watched = resource_id
        self.watchers.setdefault(resource_id, {})[waiter.number] = None

    def freed(self, resource_ids: Iterable[ResourceId]) -> None:
        """Resources can be had, perhaps: those who watch them are to be looked at."""
        turns, waiters = self.turns, self.waiters
        came: list[Revision] = []
        for resource_id in resource_ids:
            came += self.watchers.pop(resource_id, ())
        for number in came:
            waiters[number].watched = None
        if len(came) < _FEW:
            for number in came:
                heapq.heappush(turns, number)
        else:
            turns += came
            heapq.heapify(turns)

    def ended(self, owner: OwnerRecord) -> None:
        """All that an instance owned can be had."""
        fewer = owner.resources if len(owner.resources) < len(self.watchers) else self.watchers
        self.freed([resource_id for resource_id in fewer if resource_id in owner.resources])

    def next_candidate(self) -> Waiter | None:
        """Whose turn it is. It is a candidate no more, unless somebody else has left in its place."""
        return self.waiters.get(heapq.heappop(self.turns))

    def leave(self, waiter: Waiter) -> None:
        """Somebody stands in no line any more."""
        self._forget(waiter)
        self._cross_out(waiter.number, waiter.command.resource_ids)

    def leave_all(self, owner: OwnerRecord) -> list[Waiter]:
        """All waiters of an instance have left; their lines are told by and by, see :meth:`tidy`."""
        gone = [self.waiters[number] for number in owner.waits]
        for waiter in gone:
            self._forget(waiter)
            self.left.append((waiter.number, list(waiter.command.resource_ids)))
        return gone

    def tidy(self, count: int) -> int:
        """Cross out those who have left, in at most so many lines. Returns in how many."""
        done = 0
        while self.left and done < count:
            number, lines = self.left[0]
            some = lines[-(count - done) :]
            self._cross_out(number, some)
            done += len(some)
            del lines[len(lines) - len(some) :]
            if not lines:
                self.left.popleft()
        return done

    # --- moving the whole of it -------------------------------------------------------------------------------

    def snapshot(self) -> LinesSnapshot:
        """All of it as plain values."""
        return LinesSnapshot(
            [(waiter.number, waiter.command, waiter.watched) for waiter in self.waiters.values()],
            sorted(self.turns),
            list(self.left),
        )

    def load(self, snapshot: LinesSnapshot, owner_of: Callable[[SessionId], OwnerRecord]) -> None:
        """Be what :meth:`snapshot` was called on. There is nobody here yet."""
        for number, resource_ids in snapshot.left:
            self._stand(number, resource_ids)
            self.left.append((number, resource_ids))
        for number, command, watched in snapshot.waiters:
            self.join(Waiter(number, command, owner_of(command.session_id)), watched)
        self.turns = snapshot.turns

    # --------------------------------------------------------------------------------------------------------------

    def _stand(self, number: Revision, resource_ids: Iterable[ResourceId]) -> None:
        for resource_id in resource_ids:
            self._lines.setdefault(resource_id, {})[number] = None

    def _forget(self, waiter: Waiter) -> None:
        del self.waiters[waiter.number], waiter.owner.waits[waiter.number]
        if waiter.watched is not None:
            watchers = self.watchers[waiter.watched]
            del watchers[waiter.number]
            if not watchers:
                del self.watchers[waiter.watched]

    def _cross_out(self, number: Revision, resource_ids: Iterable[ResourceId]) -> None:
        for resource_id in resource_ids:
            line = self._lines.get(resource_id)
            if line is not None and number in line:  # not who asked for it twice
                del line[number]
                if not line:
                    del self._lines[resource_id]
