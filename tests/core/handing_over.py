"""How resources go from one live instance to another, told in the plainest way."""

from typing import TYPE_CHECKING

from resroute.core.commands import Transfer
from resroute.core.facts import (
    Fact,
    ItemFailure,
    Owner,
    ResourcesMoved,
    ResourceTransferred,
    Transferred,
    TtlKept,
)
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

if TYPE_CHECKING:
    from tests.core.model import Model


def transfer(model: "Model", command: Transfer, facts: list[Fact]) -> Transferred:
    """What a transfer does to a model."""
    asks = model.session(command.session_id)
    if asks is None and not command.as_admin:
        raise Forbidden("instance.register")
    target = next((o for o in model.connected() if o.instance_id == command.to_instance_id), None)
    asked = list(dict.fromkeys(command.resource_ids))
    found = {resource_id: _problem(model, command, asks, target, resource_id) for resource_id in asked}
    movable = [resource_id for resource_id in asked if found[resource_id] is None]
    if target is not None:
        has = len(model.held_by(target)) + model.reserved_for(target)
        if has + len(movable) > command.limit:
            for resource_id in movable[max(0, command.limit - has) :]:
                found[resource_id] = (6, ResourceLimitExceeded(command.limit, has, len(movable)))
    problems = {resource_id: problem for resource_id, problem in found.items() if problem is not None}
    if problems and not command.partial:
        raise min(problems.values(), key=lambda problem: problem[0])[1]
    movable = [resource_id for resource_id in asked if resource_id not in problems]
    is_at_once = (
        len(movable) >= model.many
        and len({model.held[resource_id].owner for resource_id in movable}) == 1
        and not any(map(model.bulk_with, movable))
    )
    ttls: list[Fact] = []
    epoch = Epoch(model.revision)
    sources: dict[Owner, list[ResourceId]] = {}
    for resource_id in movable:
        assert target is not None
        model.lose(resource_id, ItemFailure("resource_conflict", target.instance_id))
        before = model.held.pop(resource_id)
        sources.setdefault(before.owner, []).append(resource_id)
        after = model.held[resource_id] = before._replace(owner=target, epoch=epoch, at=command.at)
        details, said_before = after.details(), before.details().metadata
        about = target, epoch, before.owner, before.epoch, command.cause
        facts.append(ResourceTransferred(resource_id, *about, details, said_before))
        if before.expires_at is not None:
            left = max(0.0, before.expires_at - command.at)
            (ttls if is_at_once else facts).append(TtlKept(resource_id, epoch, left, before.expires_at))
    facts += ttls
    for source, ids in sources.items():
        assert target is not None
        state = {r: command.state[r] for r in ids if command.state and r in command.state}
        facts.append(
            ResourcesMoved(
                command.transfer_id,
                command.reason,
                command.cause,
                source,
                target,
                epoch,
                tuple(ids),
                state,
            )
        )
    return Transferred(tuple(movable), {r: error.type for r, (_, error) in problems.items()}, epoch)


def _problem(
    model: "Model", command: Transfer, asks: Owner | None, target: Owner | None, resource_id: ResourceId
) -> tuple[int, RouterError] | None:
    """What is in the way of one resource, and how early that is told where there are several."""
    held = model.held.get(resource_id)
    if held is None:
        return 1, ResourceNotFound(resource_id)
    owner = held.owner
    is_named = owner.instance_id == command.from_instance_id
    may = (is_named or not command.verify_ownership) if command.as_admin else is_named and owner == asks
    if not may:
        return 0, NotOwner(resource_id, owner.instance_id)
    if command.to_instance_id == owner.instance_id:
        return 2, InvalidParams.at("to_instance_id", f"owns {resource_id!r} already")
    if target is None:
        return 3, InstanceNotFound(command.to_instance_id)
    if command.service_name is not None and command.service_name != owner.service_name:
        return 4, ServiceMismatch(command.service_name, resource_id=resource_id)
    if target.service_name != owner.service_name and not command.across_services:
        return 4, ServiceMismatch(owner.service_name, instance_id=target.instance_id)
    if target.session_id in model.draining:
        return 5, Unavailable("draining")
    if owner == asks and (bulk := model.bulk_with(resource_id)) is not None:
        return 7, ResourceConflict({resource_id: bulk.owner.instance_id}, pending=True)
    return None
