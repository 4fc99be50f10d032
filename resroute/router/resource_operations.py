"""Methods about resources: taking them, giving them up, and looking them up."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from resroute.core.commands import Register, Release, Renew, Update, WaitLimits
from resroute.core.facts import Outcome, Refused, Registered, Released, Renewed
from resroute.core.metadata import MetadataChange
from resroute.errors import (
    Forbidden,
    InvalidParams,
    ResourceConflict,
    Unavailable,
)
from resroute.ids import MAX_ID_LENGTH, InstanceId, ResourceId, ServiceName
from resroute.protocol import params as p
from resroute.protocol import results as r
from resroute.protocol.converting import MAX_ERRORS
from resroute.protocol.hints import router_stops
from resroute.router.acting import acting_owner
from resroute.router.describing import change_of, check_ttl
from resroute.router.means import Means
from resroute.router.queries import check_ids, resource_info
from resroute.router.request import Handler, Request
from resroute.router.setting_aside import SettingAside, is_long
from resroute.router.submitting import Submitter
from resroute.router.waiting import WaitingRegistrations
from resroute.times import rfc3339


class ResourceOperations:
    """What the methods ``resource.*`` do."""

    def __init__(
        self,
        means: Means,
        submitter: Submitter,
        waiting: WaitingRegistrations,
        setting_aside: SettingAside,
    ) -> None:
        self._means = means
        self._settings = means.settings
        self._state = means.log.state
        self._tally = means.tally
        self._clocks = means.clocks
        self._submitter = submitter
        self._waiting = waiting
        self._setting_aside = setting_aside
        self._wait_limits = WaitLimits(
            means.settings.max_waiters_per_resource, means.settings.max_waiters_per_session
        )
        self.handlers: Mapping[str, Handler] = {
            "resource.register": self._register,
            "resource.release": self._release,
            "resource.update": self._update,
            "resource.renew": self._renew,
        }

    def _register(self, request: Request, params: p.RegisterResourcesParams) -> Iterator[None] | None:
        session = request.session
        check_ids(params.resource_ids)
        self._check_wait(params)
        metadata = _changes(params)
        if params.force and not session.may("admin"):
            raise Forbidden("admin")
        owner = acting_owner(self._state, session, params.service_name, params.instance_id)
        service_name, asked = owner.service.name, len(params.resource_ids)
        if self._means.life.is_draining:
            self._tally.registered(service_name, Unavailable.type, asked)
            raise router_stops()
        command = Register(
            owner.session_id,
            tuple(params.resource_ids),
            at=self._clocks.wall(),
            limit=self._settings.max_resources_per_instance,
            partial=params.partial,
            force=params.force,
            metadata=metadata,
            max_metadata_bytes=self._settings.max_metadata_bytes,
            wait=self._wait_limits if params.wait_seconds else None,
        )
        when_applied = self._submitter.when_applied(
            request, partial(self._registered, request, service_name), on_behalf_of=owner.instance_id
        )

        def answer(outcome: Outcome) -> None:
            if isinstance(outcome, Refused):
                self._tally.registered(service_name, outcome.error.type, asked)
            when_applied(outcome)

        if params.wait_seconds:
            self._waiting.begin(request, command, service_name, params.wait_seconds, answer)
            return None
        register = partial(self._register_now, service_name, answer)
        if is_long(command, self._state.grant_count):
            return self._setting_aside.register(command, register)
        register(command)
        return None

    def _register_now(
        self, service_name: ServiceName, answer: Callable[[Outcome], None], command: Register
    ) -> None:
        """Submit a registration that is refused if somebody is in its way."""

        def note_conflict(outcome: Outcome) -> None:
            if isinstance(outcome, Refused) and isinstance(outcome.error, ResourceConflict):
                self._tally.conflicted(service_name, outcome.error.conflicts)
            answer(outcome)

        # what is granted in part must be told at once, so whoever is in the way is asked before
        is_in_part = command.partial and not command.force
        owners = map(self._means.session_of, command.resource_ids if is_in_part else ())
        if not self._submitter.submit_after_probing(owners, command, note_conflict):
            self._submitter.submit_contested(command, note_conflict, _rivals)

    def _registered(self, request: Request, service_name: ServiceName, result: Registered) -> r.Result:
        if result.conflicts:
            self._tally.conflicted(service_name, result.conflicts)
            self._tally.registered(service_name, ResourceConflict.type, len(result.conflicts))
            if request.trace is not None:
                request.trace.conflicted(result.conflicts)
        ids = tuple(result.epochs)
        self._tally.registered(service_name, "ok", len(ids))
        _note(request, "resources registered", ids)
        return r.RegisteredResources(
            success=not result.conflicts, registered=ids, conflicts=result.conflicts, epochs=result.epochs
        )

    def _check_wait(self, params: p.RegisterResourcesParams) -> None:
        at_most = self._settings.max_timeout_seconds
        if not 0 <= params.wait_seconds <= at_most:
            raise InvalidParams.at("wait_seconds", f"must be from 0 to {at_most:g}")
        if params.wait_seconds and params.partial:
            raise InvalidParams.at(
                "wait_seconds", "cannot be combined with partial: what is free is taken at once"
            )

    def _release(self, request: Request, params: p.ReleaseResourcesParams) -> None:
        session = request.session
        check_ids(params.resource_ids)
        if not session.may("admin"):
            acting_owner(self._state, session, None, None)

        def released(result: Released) -> r.Result:
            _note(request, "resources released", result.released)
            return r.ReleasedResources(
                success=not result.failed, released=result.released, failed=result.failed
            )

        command = Release(
            session.id,
            tuple(params.resource_ids),
            at=self._clocks.wall(),
            partial=params.partial,
            as_admin=session.may("admin"),
        )
        self._submitter.submit(command, self._submitter.when_applied(request, released))

    def _update(self, request: Request, params: p.UpdateResourceParams) -> None:
        session = request.session

        def updated(_result: None) -> r.Result:
            grant = self._state.grant_of(params.resource_id)
            assert grant is not None and grant.metadata is not None, (
                "it is answered before anything else happens"
            )
            _note(
                request,
                "resource updated",
                (params.resource_id,),
                metadata_size_bytes=grant.metadata.size_bytes,
            )
            return r.UpdatedResource(
                resource=resource_info(grant, self._means.sessions, self._clocks.wall_time_of)
            )

        command = Update(
            session.id,
            params.resource_id,
            change_of(params.metadata, "metadata"),
            at=self._clocks.wall(),
            max_metadata_bytes=self._settings.max_metadata_bytes,
            merge=params.merge,
            expected_version=params.expected_version,
            as_admin=session.may("admin"),
        )
        self._submitter.submit(command, self._submitter.when_applied(request, updated))

    def _renew(self, request: Request, params: p.RenewResourcesParams) -> None:
        check_ids(params.resource_ids)
        check_ttl(params.ttl_seconds, "ttl_seconds")
        owner = acting_owner(self._state, request.session, None, None)

        def renewed(result: Renewed) -> r.Result:
            expires_at = {resource_id: rfc3339(at) for resource_id, at in result.expires_at.items()}
            return r.RenewedResources(renewed=params.resource_ids, expires_at=expires_at)

        command = Renew(
            owner.session_id,
            tuple(params.resource_ids),
            at=self._clocks.wall(),
            ttl_seconds=params.ttl_seconds,
        )
        self._submitter.submit(command, self._submitter.when_applied(request, renewed))


def check_known(path: str, given: Mapping[ResourceId, object], resource_ids: Sequence[ResourceId]) -> None:
    """Raise InvalidParams if something is given for a resource that is not asked for."""
    strangers = given.keys() - set(resource_ids)
    if strangers:
        first = heapq.nsmallest(MAX_ERRORS, strangers)
        raise InvalidParams(
            [
                {"path": f"{path}.{name[:MAX_ID_LENGTH]}", "message": "is not in resource_ids"}
                for name in first
            ]
        )


def _rivals(outcome: Outcome) -> Sequence[InstanceId]:
    """Who stands in the way of a registration."""
    if isinstance(outcome, Refused) and isinstance(outcome.error, ResourceConflict):
        return tuple(outcome.error.conflicts.values())
    return ()


def _changes(params: p.RegisterResourcesParams) -> Mapping[ResourceId, MetadataChange] | None:
    """The metadata that is given for resources, all of which must be asked for."""
    if not params.metadata:
        return None
    check_known("metadata", params.metadata, params.resource_ids)
    return {
        resource_id: change_of(given, f"metadata.{resource_id}")
        for resource_id, given in params.metadata.items()
    }


def _note(request: Request, event: str, resource_ids: Sequence[ResourceId], **fields: int) -> None:
    """Log that a request has changed who owns what. At debug: nothing is worked out that costs more than the call."""
    if resource_ids:
        only = {"resource_id": resource_ids[0]} if len(resource_ids) == 1 else {}
        request.session.log.debug(
            event,
            operation=request.method.name,
            trace_id=request.trace_id,
            duration_ms=request.duration_ms(),
            count=len(resource_ids),
            **only,
            **fields,
        )
