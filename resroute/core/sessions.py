"""Sessions, and the instances that they become: how they begin and end, and how one takes the place of another.

An instance whose session ends is gone, and all that it owned is free. Or it is suspended: then it still owns that, as far as
others are concerned who want it, until it is resumed or its grace is over. Who resumes an instance, suspended or not, is a
new session, and a new record, to which every grant points from then on.
"""

import hmac
from collections.abc import Sequence
from itertools import islice

from resroute.core.commands import Cause, Confirm, Drain, End, EndGrace, Open, RegisterInstance
from resroute.core.facts import (
    MAX_TOLD,
    Details,
    Fact,
    InstanceDrains,
    InstanceJoined,
    InstanceResumed,
    InstanceSuspended,
    Joined,
    Result,
    SessionEnded,
)
from resroute.core.log_fault import LogFault
from resroute.core.lots import Transfers, TtlsKept, joined
from resroute.core.records import OwnerRecord, ServiceRecord, SessionRecord
from resroute.core.waiting import Waiting
from resroute.errors import AlreadyRegistered, InstanceConflict, SessionNotFound, Unavailable
from resroute.ids import Epoch, ResourceId

Change = tuple[Result, Sequence[Fact]]


class Sessions(Waiting):
    """Who is there."""

    def _open(self, command: Open, origin: str) -> Change:
        if command.session_id in self._sessions:
            raise LogFault(f"session {command.session_id!r} is opened twice")
        self._sessions[command.session_id] = SessionRecord(command.session_id, origin)
        return None, ()

    # --- becoming an instance ---------------------------------------------------------------------------------

    def _register_instance(self, command: RegisterInstance, _origin: str) -> Change:
        session = self._live_session(command.session_id)
        if session.owner is not None:
            raise AlreadyRegistered(session.owner.instance_id)
        before = self._instances.get(command.instance_id)
        if before is not None and not _may_resume(command, before):
            raise InstanceConflict(command.instance_id)
        service = self._services.get(command.service_name)
        if service is None:
            service = self._services[command.service_name] = ServiceRecord(command.service_name)
        owner = OwnerRecord(
            command.session_id,
            service,
            command.instance_id,
            registered_at=command.at,
            priority=command.priority,
            max_concurrency=command.max_concurrency,
            plain=command.plain,
            metadata=command.metadata,
            subject=command.subject,
            token=command.token,
            grace_seconds=command.grace_seconds,
        )
        taken: tuple[Transfers, TtlsKept] | None = None
        if before is not None:
            owner.made_with = command.resumes
            if owner.metadata is None:
                owner.metadata = before.metadata
            self._leave(before)
            taken = self._take_over(before, owner, command.at)
        session.owner = self._instances[command.instance_id] = service.instances[command.instance_id] = owner
        self._know(owner)
        epoch = Epoch(self.revision)
        if before is None or taken is None:
            return Joined(None, (), 0, epoch), (InstanceJoined(owner.fact),)
        self._bury(before)
        told = InstanceJoined(owner.fact), InstanceResumed(before.fact, owner.fact, len(owner.resources))
        first = tuple(islice(owner.resources, MAX_TOLD))
        return Joined(before.session_id, first, len(owner.resources), epoch), joined(*taken, told)

    def _take_over(self, before: OwnerRecord, owner: OwnerRecord, at: float) -> tuple[Transfers, TtlsKept]:
        """Have all grants of one record be those of another, of the same service."""
        epoch = Epoch(self.revision)
        epochs: list[Epoch] = []
        all_details: list[Details | None] = []
        expiring: list[ResourceId] = []
        times: list[float] = []
        owner.take_all_from(before)
        for resource_id in owner.resources:
            grant = self._grants[resource_id]
            epochs.append(grant.epoch)
            grant.owner, grant.epoch, grant.registered_at = owner, epoch, at
            is_bare = grant.metadata is None and not grant.calls_total
            all_details.append(None if is_bare else grant.details())
            if grant.expires_at is not None:
                expiring.append(resource_id)
                times.append(grant.expires_at)
        return (
            Transfers(
                tuple(owner.resources), before.fact, owner.fact, epoch, at, epochs, all_details, "resume"
            ),
            TtlsKept(expiring, epoch, at, times),
        )

    def _confirm(self, command: Confirm, _origin: str) -> Change:
        owner = self._live_owner(command.session_id)
        if owner.made_with is not None:
            self._know_no_more(owner.made_with)
            owner.made_with = None
        return None, ()

    # --- leaving ----------------------------------------------------------------------------------------------

    def _drain(self, command: Drain, _origin: str) -> Change:
        suspended = self._suspended.get(command.session_id)
        if suspended is not None:
            return None, (self._free(suspended, "drain"),)
        owner = self._live_owner(command.session_id)
        if owner.is_draining:
            return None, ()
        owner.is_draining = True
        self._refuse_bulks(owner)
        if self._lines:
            self._refuse_waiters(owner, lambda: Unavailable("draining"))
        return None, (InstanceDrains(owner.fact),)

    def _end(self, command: End, _origin: str) -> Change:
        session = self._live_session(command.session_id)
        owner = session.owner
        if owner is None:
            self._end_bulks(session)
            del self._sessions[command.session_id]
            return None, (SessionEnded(command.session_id, None, 0, command.cause),)
        if not command.unclean or not owner.may_return:
            return None, (self._free(owner, command.cause),)
        self._fall_silent(owner)
        owner.cause = command.cause
        owner.suspended_until = command.at + owner.grace_seconds
        self._suspended[command.session_id] = owner
        suspended = InstanceSuspended(
            owner.fact, len(owner.resources), command.cause, owner.grace_seconds, owner.suspended_until
        )
        return None, (suspended,)

    def _end_grace(self, command: EndGrace, _origin: str) -> Change:
        owner = self._suspended.get(command.session_id)
        if owner is None or command.suspended_until not in (None, owner.suspended_until):
            raise SessionNotFound(command.session_id)
        return None, (self._free(owner, command.cause or owner.cause),)

    def _free(self, owner: OwnerRecord, cause: Cause) -> SessionEnded:
        """An instance is gone: all that it owned is free."""
        count, was_suspended = len(owner.resources), owner.suspended_until is not None
        self._leave(owner)
        if self._lines:
            self._lines.ended(owner)
        owner.cause = cause
        owner.service.resource_count -= count
        self._bury(owner)
        return SessionEnded(owner.session_id, owner.fact, count, cause, was_suspended)

    def _fall_silent(self, owner: OwnerRecord) -> None:
        """The session of an instance has ended: it asks for nothing any more, and waits for nothing."""
        session = self._sessions[owner.session_id]
        if session.alive:
            self._end_bulks(session)
            session.alive = False
            if self._lines:
                self._refuse_waiters(owner, lambda: SessionNotFound(owner.session_id))

    def _leave(self, owner: OwnerRecord) -> None:
        """An instance is one no more. What it owns is for the caller to see to."""
        self._fall_silent(owner)
        self._suspended.pop(owner.session_id, None)
        owner.suspended_until = None
        owner.alive = False  # from here on nobody owns any of it
        self._know_no_more(*owner.tokens)
        del self._instances[owner.instance_id]
        del owner.service.instances[owner.instance_id]

    def _bury(self, owner: OwnerRecord) -> None:
        """What an instance has left is to be tidied."""
        self._dead[owner.session_id] = owner
        self._forget_if_done(owner)


def _may_resume(command: RegisterInstance, before: OwnerRecord) -> bool:
    """Whether a session may take the place of an instance of the id that it asks for."""
    shown = command.resumes
    if shown is None or (before.service.name, before.subject) != (command.service_name, command.subject):
        return False
    return any([hmac.compare_digest(shown, token) for token in before.tokens])
