"""Giving resources up in one step: a few are taken out of every table on the spot, many stop being in force together.

What many were is left in the tables, as a bulk leaves what it has given up, and tidied in slices.
"""

from collections.abc import Sequence

from resroute.core.bulks import Bulk
from resroute.core.commands import Cause, Release
from resroute.core.facts import Fact, Released
from resroute.core.holding import Holding
from resroute.core.records import Grant, OwnerRecord
from resroute.errors import NotOwner, ResourceConflict, ResourceNotFound, RouterError
from resroute.ids import BulkId, ResourceId


class Releasing(Holding):
    """Who may give up what, and how that is done."""

    def _release(self, command: Release, _origin: str) -> tuple[Released, Sequence[Fact]]:
        session = self._live_session(command.session_id)
        asks = session.owner if command.as_admin else self._live_owner(command.session_id)
        releasing: dict[ResourceId, Grant] = {}
        failed: dict[ResourceId, str] = {}
        owners: dict[OwnerRecord, None] = {}
        is_held = False  # some of it by bulks of others
        find, last = self._grants.get, None
        for resource_id in command.resource_ids:
            grant = find(resource_id)
            if grant is None or not grant.epoch or not grant.owner.alive:
                problem: type[RouterError] = ResourceNotFound
            elif (owner := grant.owner) is not asks and not command.as_admin:
                problem = NotOwner
            elif (is_open := grant.hold is not None and grant.hold.is_open) and owner is asks:
                problem = ResourceConflict
            else:
                releasing[resource_id] = grant
                is_held = is_held or is_open
                if owner is not last:
                    owners[owner] = None
                    last = owner
                continue
            if not command.partial:
                raise _refusal(problem, resource_id, grant)
            failed[resource_id] = problem.type
        released = Released(tuple(releasing), failed)
        own_cause: Cause = "drain" if command.drains else "request"
        if len(releasing) >= self.many and len(owners) == 1 and not is_held:
            cause: Cause = own_cause if last is asks else "admin"
            return released, self._give_up_at_once(releasing, next(iter(owners)), cause)
        facts: list[Fact] = []
        for grant in releasing.values():
            self._take_away(grant, NotOwner.type)
            facts.append(grant.released(own_cause if grant.owner is asks else "admin"))
        return released, tuple(facts)

    def _give_up_at_once(
        self, releasing: dict[ResourceId, Grant], owner: OwnerRecord, cause: Cause
    ) -> Sequence[Fact]:
        """As a bulk would that is not awaited: its name is that of this command."""
        bulk = Bulk(BulkId(f"release-{self.revision}"), owner.session_id, owner, is_partial=False)
        bulk.hold.is_open = bulk.is_awaited = False
        for grant in releasing.values():
            grant.hold = bulk.hold
        if self._lines.watchers:
            self._lines.freed(tuple(releasing))
        releases = self._let_go(releasing, owner, cause)
        self._bulks[bulk.id] = bulk
        owner.bulks[bulk.id] = None
        self._leave_behind(bulk, releasing)
        return releases


def _refusal(problem: type[RouterError], resource_id: ResourceId, grant: Grant | None) -> RouterError:
    """What is in the way of giving a resource up."""
    if grant is None or problem is ResourceNotFound:
        return ResourceNotFound(resource_id)
    if problem is NotOwner:
        return NotOwner(resource_id, grant.owner.instance_id)
    assert grant.hold is not None
    return ResourceConflict({resource_id: grant.hold.owner.instance_id}, pending=True)
