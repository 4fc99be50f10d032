"""Handing resources from one live instance to another."""

from collections.abc import Iterator, Sequence

from resroute.core.commands import Transfer
from resroute.core.facts import (
    Details,
    Fact,
    ItemFailure,
    ResourcesMoved,
    Transferred,
    TtlKept,
)
from resroute.core.granting import Granting
from resroute.core.holding import open_hold
from resroute.core.lots import Transfers, TtlsKept, joined
from resroute.core.records import Grant, OwnerRecord
from resroute.errors import (
    Forbidden,
    InstanceNotFound,
    InvalidParams,
    NotOwner,
    ResourceConflict,
    ResourceLimitExceeded,
    ResourceNotFound,
    RouterError,
    ServiceMismatch,
    Unavailable,
)
from resroute.ids import Epoch, ResourceId

_MOST_TELLING = (
    NotOwner,
    ResourceNotFound,
    InvalidParams,
    InstanceNotFound,
    ServiceMismatch,
    Unavailable,
    ResourceLimitExceeded,
    ResourceConflict,
)
"""Which of the errors of a transfer is told where several are in its way: the first of these."""


class Transferring(Granting):
    """Who may hand what to whom, and how that is done."""

    def _transfer(self, command: Transfer, _origin: str) -> tuple[Transferred, Sequence[Fact]]:
        session = self._live_session(command.session_id)
        if session.owner is None and not command.as_admin:
            raise Forbidden("instance.register")
        target = self._instances.get(command.to_instance_id)
        if target is not None and target.suspended_until is not None:
            target = None
        grants, problems = self._plan_transfer(command, session.owner, target)
        if problems and not command.partial:
            raise min(problems.values(), key=lambda problem: _MOST_TELLING.index(type(problem)))
        failed = {resource_id: problem.type for resource_id, problem in problems.items()}
        transferred = Transferred(
            tuple([grant.resource_id for grant in grants]), failed, Epoch(self.revision)
        )
        if target is None:
            return transferred, ()
        loser = self._owner_of_many(grants)
        if loser is not None:
            return transferred, self._hand_over_at_once(command, grants, loser, target)
        return transferred, tuple(self._hand_over(command, grants, target))

    def _owner_of_many(self, grants: Sequence[Grant]) -> OwnerRecord | None:
        """Whose all of some grants are, if they are many and no bulk has to do with any of them."""
        if len(grants) < self.many:
            return None
        owner = grants[0].owner
        is_alike = all(
            [grant.owner is owner and (grant.hold is None or not grant.hold.is_open) for grant in grants]
        )
        return owner if is_alike else None

    def _plan_transfer(
        self, command: Transfer, asks: OwnerRecord | None, target: OwnerRecord | None
    ) -> tuple[list[Grant], dict[ResourceId, RouterError]]:
        """The grants that can be handed over, and what is in the way of the others. Nothing changes by it."""
        grants: list[Grant] = []
        problems: dict[ResourceId, RouterError] = {}
        fine: OwnerRecord | None = None  # of whom there is nothing in the way, but for bulks
        for resource_id in dict.fromkeys(command.resource_ids):
            grant = self._grants.get(resource_id)
            if grant is None or not grant.is_in_force:
                problems[resource_id] = ResourceNotFound(resource_id)
            elif grant.owner is fine and grant.hold is None:
                grants.append(grant)
            elif (problem := _problem(command, asks, grant, target)) is not None:
                problems[resource_id] = problem
            else:
                grants.append(grant)
                fine = grant.owner
        current = 0 if target is None else len(target.resources) + target.reserved_count
        if current + len(grants) > command.limit:
            error = ResourceLimitExceeded(command.limit, current, len(grants))
            room = max(0, command.limit - current)
            problems |= {grant.resource_id: error for grant in grants[room:]}
            del grants[room:]
        return grants, problems

    def _hand_over(self, command: Transfer, grants: list[Grant], target: OwnerRecord) -> Iterator[Fact]:
        """Do it, and tell of it: of each resource, then of all that came from one instance."""
        epoch = Epoch(self.revision)
        moved: dict[OwnerRecord, list[ResourceId]] = {}
        for grant in grants:
            before, resource_id = grant.owner, grant.resource_id
            moved.setdefault(before, []).append(resource_id)
            if (hold := open_hold(grant)) is not None:
                self._lose(hold, resource_id, ItemFailure(ResourceConflict.type, target.instance_id))
            after = self._take_from(grant, target, epoch, command.at)
            yield after.transferred_from(grant, command.cause)
            if after.expires_at is not None:
                yield TtlKept(resource_id, epoch, max(0.0, after.expires_at - command.at), after.expires_at)
        target.service.resource_count += len(grants)
        for before, ids in moved.items():
            yield _moved(command, before, target, epoch, ids)

    def _hand_over_at_once(
        self, command: Transfer, grants: list[Grant], loser: OwnerRecord, target: OwnerRecord
    ) -> Sequence[Fact]:
        """Do the same with what one instance owns, and tell of it in lots."""
        epoch, at = Epoch(self.revision), command.at
        resource_ids = tuple([grant.resource_id for grant in grants])
        epochs = [grant.epoch for grant in grants]
        if self._lines.watchers:
            self._lines.freed(resource_ids)
        passed = dict(zip(resource_ids, grants, strict=True))
        taken, called = self._pass_all_on(passed, loser, target, at)
        details: list[Details | None] = [
            None if grant.metadata is None else grant.details() for grant in taken
        ]
        for place in called:
            details[place] = taken[place].details()
        about = loser.fact, target.fact, epoch, at, epochs, details, command.cause
        expiring = [grant for grant in taken if grant.expires_at is not None]
        kept = TtlsKept(
            [grant.resource_id for grant in expiring],
            epoch,
            at,
            [grant.expires_at for grant in expiring if grant.expires_at is not None],
        )
        moved = _moved(command, loser, target, epoch, resource_ids)
        return joined(Transfers(resource_ids, *about), kept, (moved,))


def _moved(
    command: Transfer,
    before: OwnerRecord,
    target: OwnerRecord,
    epoch: Epoch,
    resource_ids: Sequence[ResourceId],
) -> ResourcesMoved:
    state = command.state or {}
    return ResourcesMoved(
        command.transfer_id,
        command.reason,
        command.cause,
        before.fact,
        target.fact,
        epoch,
        tuple(resource_ids),
        {name: state[name] for name in resource_ids if name in state} if state else {},
    )


def _problem(
    command: Transfer, asks: OwnerRecord | None, grant: Grant, target: OwnerRecord | None
) -> RouterError | None:
    """Why a resource cannot be handed over, whatever else can."""
    owner = grant.owner
    is_theirs = owner.instance_id == command.from_instance_id and (command.as_admin or owner is asks)
    if not is_theirs and (command.verify_ownership or not command.as_admin):
        return NotOwner(grant.resource_id, owner.instance_id)
    if owner.instance_id == command.to_instance_id:
        return InvalidParams.at("to_instance_id", f"owns {grant.resource_id!r} already")
    if target is None:
        return InstanceNotFound(command.to_instance_id)
    if command.service_name not in (None, owner.service.name):
        return ServiceMismatch(str(command.service_name), resource_id=grant.resource_id)
    if target.service is not owner.service and not command.across_services:
        return ServiceMismatch(owner.service.name, instance_id=target.instance_id)
    if target.is_draining:
        return Unavailable("draining")
    if owner is asks and (hold := open_hold(grant)) is not None:
        return ResourceConflict({grant.resource_id: hold.owner.instance_id}, pending=True)
    return None
