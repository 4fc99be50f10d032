"""Waiting for resources: who joins a line, whose turn it is, and who leaves.

Between commands nobody stands in a line who could be granted: whatever a command frees goes to those who wait for it
within that command, the one who came first before the others. So a resource that is free may be taken by anyone. Only
where more wait than one command may look at is some of it left to :class:`~resroute.core.commands.Serve`; until that is
done, what is free and somebody's turn to have is kept from others.
"""

from collections.abc import Callable, Sequence

import msgspec

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    Drain,
    End,
    EndGrace,
    Expire,
    GiveUp,
    Register,
    RegisterInstance,
    Release,
    Reserve,
    ReserveRelease,
    Serve,
    Transfer,
)
from resroute.core.facts import Answered, Applied, Fact, InLine, Registered, Result
from resroute.core.granting import Granting, check_size
from resroute.core.lines import Waiter
from resroute.core.lots import joined
from resroute.core.metadata import replaced
from resroute.core.records import OwnerRecord
from resroute.errors import (
    InvalidParams,
    ResourceConflict,
    ResourceLimitExceeded,
    RouterError,
    TooManyWaiters,
)
from resroute.ids import ResourceId

Change = tuple[Result, Sequence[Fact]]

_WORK_OF_AN_ANSWER = 16

_SERVING = (
    Register,
    GiveUp,
    Serve,
    Release,
    Expire,
    Transfer,
    Drain,
    End,
    EndGrace,
    RegisterInstance,
    Reserve,
    ReserveRelease,
    Abandon,
)
"""The commands that say what time it is for those who are granted something. All that free something are among them."""


class Waiting(Granting):
    """Registrations, those that wait, and what becomes of them."""

    max_work = 512
    """How much is done about lines in one command, in what it takes to look at one resource. Part of what commands mean."""

    def __init__(self) -> None:
        super().__init__()
        # what the command that is being applied says to those who waited
        self._answers: list[Answered] = []

    def _register(self, command: Register, _origin: str) -> Change:
        owner = self._live_owner(command.session_id)
        try:
            plan = self._plan(command, owner)
        except ResourceConflict as conflict:
            if command.wait is None:
                raise
            self._stand_in_line(command, owner, conflict)
            return InLine(conflict.conflicts), ()
        return Registered(plan.epochs, plan.conflicts), self._grant(plan)

    def _stand_in_line(self, command: Register, owner: OwnerRecord, conflict: ResourceConflict) -> None:
        limits = command.wait
        assert limits is not None
        if len(owner.waits) >= limits.per_session:
            raise TooManyWaiters(limits.per_session)
        lacked = [resource_id for resource_id in command.resource_ids if not self._owns(owner, resource_id)]
        if any(self._lines.length(r, limits.per_resource) >= limits.per_resource for r in lacked):
            raise TooManyWaiters(limits.per_resource)
        for resource_id, change in (command.metadata or {}).items():
            before = self._grants[resource_id].metadata if self._owns(owner, resource_id) else None
            after = replaced(before, change, owner.instance_id, command.at)
            check_size(after, command.max_metadata_bytes, f"metadata.{resource_id}")
        if (own := self._own_bulk(command, owner)) is not None:
            self._drop_bulk(own, {})
        watched = next((r for r in conflict.conflicts if not self._is_open_to(r, owner)), None)
        self._lines.join(Waiter(self.revision, command, owner), watched)

    def _owns(self, owner: OwnerRecord, resource_id: ResourceId) -> bool:
        grant = self.grant_of(resource_id)
        return grant is not None and grant.owner is owner

    def _refuse_waiters(self, owner: OwnerRecord, why: Callable[[], RouterError]) -> None:
        """An instance waits for nothing any more."""
        gone = self._lines.leave_all(owner)
        self._answers += [Answered(waiter.number, why()) for waiter in gone]

    def _give_up(self, command: GiveUp, _origin: str) -> Change:
        waiter = self._lines.waiters.get(command.wait)
        if waiter is None:
            return None, ()
        plan = self._look(waiter.command, waiter.owner, waiter.number)
        if command.only_if_blocked and not plan.conflicts:
            facts: list[Fact] = []
            self._settle(waiter, command.at, facts)
            return None, tuple(facts)
        self._lines.leave(waiter)
        self._answers.append(
            Answered(waiter.number, ResourceConflict(plan.conflicts, pending=plan.is_pending))
        )
        return None, ()

    def _serve_only(self, _command: Serve, _origin: str) -> Change:
        return None, ()

    def _served(self, command: AnyCommand, result: Result, facts: Sequence[Fact]) -> Applied:
        """The outcome of a command, once those have had their turn who waited for what it has freed."""
        if (self._lines.turns or self._lines.left) and isinstance(command, _SERVING):
            more: list[Fact] = []
            work = 0
            while self._lines.turns and work < self.max_work:
                waiter = self._lines.next_candidate()
                work += 1 if waiter is None else self._look_at(waiter, command.at, more)
            self._lines.tidy(self.max_work - work)
            if more:
                facts = joined(facts, more)
        answers, self._answers = tuple(self._answers), []
        return Applied(self.revision, result, facts, answers)

    def _look_at(self, waiter: Waiter, at: float, facts: list[Fact]) -> int:
        """Grant or refuse what a candidate waits for, unless somebody is in its way. Returns how much work that was."""
        resource_ids = waiter.command.resource_ids
        for count, resource_id in enumerate(resource_ids, 1):
            if not self._is_open_to(resource_id, waiter.owner):
                self._lines.watch(waiter, resource_id)
                return count
        self._settle(waiter, at, facts)
        return _WORK_OF_AN_ANSWER + len(resource_ids)

    def _settle(self, waiter: Waiter, at: float, facts: list[Fact]) -> None:
        """Nobody is in its way: it is granted, unless it may not have so much."""
        self._lines.leave(waiter)
        answer: Registered | RouterError
        try:
            plan = self._plan(msgspec.structs.replace(waiter.command, at=at), waiter.owner, waiter.number)
        except (ResourceLimitExceeded, InvalidParams) as error:
            answer = error
        else:
            facts += self._grant(plan)
            answer = Registered(plan.epochs, plan.conflicts)
        self._answers.append(Answered(waiter.number, answer))
