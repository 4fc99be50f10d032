"""Somebody who is told the facts and nothing else, and knows from them who owns what."""

from resroute.core.facts import (
    Applied,
    Fact,
    InstanceJoined,
    InstanceResumed,
    InstanceSuspended,
    Outcome,
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
    SessionEnded,
    TtlChanged,
)
from resroute.ids import Epoch, ResourceId, Revision, SessionId


class Audience:
    """Keeps one dictionary, and objects to a fact that does not fit what was told before."""

    def __init__(self) -> None:
        self._told: dict[ResourceId, tuple[Owner, Epoch]] = {}
        self._ended: set[SessionId] = set()
        self._highest: dict[ResourceId, Epoch] = {}

    def hear(self, outcome: Outcome | None) -> None:
        if isinstance(outcome, Applied):
            for fact in outcome.facts:
                self._hear(fact, outcome.revision)

    def _hear(self, fact: Fact, revision: Revision) -> None:
        match fact:
            case ResourceRegistered(resource_id, owner, epoch):
                assert resource_id not in self._told, "registered before its release was told"
                self._grant(resource_id, owner, epoch, revision)
            case ResourceTransferred(resource_id, owner, epoch, previous_owner, previous_epoch):
                assert self._told[resource_id] == (previous_owner, previous_epoch)
                assert previous_owner.session_id not in self._ended
                self._grant(resource_id, owner, epoch, revision)
            case ResourceReleased(resource_id, previous_owner, epoch):
                assert self._told.pop(resource_id) == (previous_owner, epoch)
            case ResourceUpdated(resource_id, owner, epoch):
                assert self._told[resource_id] == (owner, epoch)
                assert owner.session_id not in self._ended
            case TtlChanged(resource_id, epoch):
                assert self._told[resource_id][1] == epoch
            case InstanceJoined(owner):
                assert owner.session_id not in self._ended
            case InstanceResumed(previous_owner, owner, resource_count):
                assert previous_owner.session_id not in self._ended
                assert all(held_by != previous_owner for held_by, _ in self._told.values()), "all goes over"
                assert resource_count == sum(held_by == owner for held_by, _ in self._told.values())
                self._ended.add(previous_owner.session_id)
            case InstanceSuspended(owner, resource_count):
                assert owner.session_id not in self._ended
                assert resource_count == sum(held_by == owner for held_by, _ in self._told.values())
            case SessionEnded(session_id, owner, resource_count):
                assert session_id not in self._ended
                assert resource_count == sum(held_by == owner for held_by, _ in self._told.values())
                self._ended.add(session_id)

    def _grant(self, resource_id: ResourceId, owner: Owner, epoch: Epoch, revision: Revision) -> None:
        assert owner.session_id not in self._ended
        assert epoch == Epoch(revision)
        assert epoch > self._highest.get(resource_id, 0), "epochs of a resource must increase"
        self._highest[resource_id] = epoch
        self._told[resource_id] = owner, epoch

    def ownership(self) -> dict[ResourceId, tuple[Owner, Epoch]]:
        return {r: told for r, told in self._told.items() if told[0].session_id not in self._ended}
