"""Who owns what. Every change of ownership happens here and in the modules that this one builds on.

Every method is synchronous, so nothing can run between its first line and its last. A command is checked whole before the
first change: it either changes the state as a whole and returns the facts that follow, or is refused and changes nothing
but the revision. Two machines that apply the same commands in the same order hold the same state: nothing here reads a
clock, a random source, a setting, or the order of a ``set``.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from msgspec import UNSET

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    Cause,
    Confirm,
    Drain,
    End,
    EndGrace,
    Expire,
    Genesis,
    GiveUp,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Reserve,
    ReserveRelease,
    Serve,
    Tidy,
    Transfer,
    Update,
)
from resroute.core.dumping import Dumping
from resroute.core.facts import (
    Applied,
    Fact,
    Outcome,
    Reclaimed,
    Refused,
    Renewed,
    Result,
)
from resroute.core.granting import begin_ttl, check_size
from resroute.core.log_fault import LogFault
from resroute.core.metadata import merged, replaced
from resroute.core.records import Grant, OwnerRecord
from resroute.core.releasing import Releasing
from resroute.core.reserving import Reserving
from resroute.core.sessions import Sessions
from resroute.core.transferring import Transferring
from resroute.errors import (
    Forbidden,
    NotOwner,
    ResourceNotFound,
    RouterError,
    VersionConflict,
)
from resroute.ids import MAX_REVISION, ResourceId, Revision

Change = tuple[Result, Sequence[Fact]]


class State(Reserving, Releasing, Sessions, Transferring, Dumping):
    """The deterministic state machine. Read freely; only :meth:`apply` writes."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[type[AnyCommand], Callable[[Any, str], Change]] = {
            Open: self._open,
            End: self._end,
            RegisterInstance: self._register_instance,
            Confirm: self._confirm,
            EndGrace: self._end_grace,
            Register: self._register,
            GiveUp: self._give_up,
            Serve: self._serve_only,
            Update: self._update,
            Renew: self._renew,
            Expire: self._expire,
            Release: self._release,
            Transfer: self._transfer,
            Drain: self._drain,
            Reclaim: self._reclaim,
            Reserve: self._reserve,
            ReserveRelease: self._reserve_release,
            Abandon: self._abandon,
            Tidy: self._tidy,
        }

    # --- applying ---------------------------------------------------------------------------------------------

    def apply(self, origin: str, number: int, command: AnyCommand) -> Outcome | None:
        """Apply the ``number``-th command of ``origin``.

        Returns None, with nothing changed, for a command that was applied before.

        Raises:
            LogFault: if a command of that origin is missing, or the first command of all is not a Genesis, or one has
                no place in the log. Like any other exception from here, it means that the state cannot be trusted.
        """
        last = self._last.get(origin, 0)
        if number <= last:
            return None
        if number != last + 1:
            raise LogFault(f"command {number} of origin {origin!r} follows its command {last}")
        if isinstance(command, Genesis):
            if self.revision or not 0 < command.base < MAX_REVISION:
                raise LogFault(f"genesis at revision {self.revision} with base {command.base}")
            self.revision = Revision(command.base)
            self._last[origin] = number
            return Applied(self.revision)
        if not 0 < self.revision < MAX_REVISION - 1:
            raise LogFault(f"a {type(command).__name__} at revision {self.revision}")
        self._last[origin] = number
        self.revision = Revision(self.revision + 1)
        try:
            result, facts = self._handlers[type(command)](command, origin)
        except RouterError as error:
            return Refused(self.revision, error)
        lines = self._lines
        if lines.turns or lines.left or self._answers:
            return self._served(command, result, facts)
        return Applied(self.revision, result, facts)

    def _update(self, command: Update, _origin: str) -> Change:
        session = self._live_session(command.session_id)
        if session.owner is None and not command.as_admin:
            raise Forbidden("instance.register")
        grant = self.grant_of(command.resource_id)
        if grant is None:
            raise ResourceNotFound(command.resource_id)
        owner = grant.owner
        cause: Cause = "request" if owner is session.owner else "admin"
        if cause == "admin" and not command.as_admin:
            raise NotOwner(command.resource_id, owner.instance_id)
        version = 0 if grant.metadata is None else grant.metadata.version
        if command.expected_version is not None and command.expected_version != version:
            raise VersionConflict(command.resource_id, command.expected_version, version)
        follow = merged if command.merge else replaced
        before = grant.metadata
        after = follow(before, command.change, owner.instance_id, command.at)
        check_size(after, command.max_metadata_bytes, "metadata")
        self._set_metadata(grant, after)
        ttls: list[Fact] = []
        if command.change.ttl_seconds is not UNSET:
            begin_ttl(grant, command.at, ttls)
        return None, (grant.updated(cause, before), *ttls)

    def _renew(self, command: Renew, _origin: str) -> Change:
        owner = self._live_owner(command.session_id)
        grants = [self._own_grant(resource_id, owner) for resource_id in command.resource_ids]
        facts: list[Fact] = []
        expires_at: dict[ResourceId, float] = {}
        for grant in grants:
            if grant.expires_at is not None:
                begin_ttl(grant, command.at, facts, command.ttl_seconds)
                expires_at[grant.resource_id] = grant.expires_at
        return Renewed(expires_at), tuple(facts)

    def _own_grant(self, resource_id: ResourceId, owner: OwnerRecord) -> Grant:
        grant = self.grant_of(resource_id)
        if grant is None:
            raise ResourceNotFound(resource_id)
        if grant.owner is not owner:
            raise NotOwner(resource_id, grant.owner.instance_id)
        return grant

    def _expire(self, command: Expire, _origin: str) -> Change:
        facts: list[Fact] = []
        for expiry in command.expiries:
            grant = self.grant_of(expiry.resource_id)
            if grant is not None and (grant.epoch, grant.expires_at) == (expiry.epoch, expiry.expires_at):
                self._take_away(grant, ResourceNotFound.type)
                facts.append(grant.released("expired"))
        return None, tuple(facts)

    def _reclaim(self, command: Reclaim, _origin: str) -> Change:
        owner = self._dead.get(command.session_id)
        if owner is None:
            return Reclaimed(0), ()
        facts: list[Fact] = []
        for resource_id in list(islice(owner.resources, command.count)):
            facts.append(self._reclaim_grant(self._grants[resource_id]))
        self._tidy_after(owner, command.count - len(facts))
        left_behind = sum(len(self._bulks[bulk_id].leftover) for bulk_id in owner.bulks)
        return Reclaimed(len(owner.resources) + left_behind), tuple(facts)
