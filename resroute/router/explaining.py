"""Why a call would go where it would go: who could have it, who gets it, and how it came to that."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Literal

import msgspec
import trio
from msgspec import UNSET

from resroute.core.records import Grant, OwnerRecord
from resroute.errors import RouterError, Unavailable
from resroute.ids import ResourceId, ServiceName
from resroute.protocol import results as r
from resroute.protocol.hints import wire_data
from resroute.router.flapping import Flapping
from resroute.router.lookback import Transition
from resroute.router.means import Means
from resroute.router.placement import is_left_alone
from resroute.router.queries import fitting, instance_info, resource_info
from resroute.router.routing import Routing
from resroute.router.session import Session
from resroute.router.telling import told
from resroute.times import rfc3339

MAX_CANDIDATES = 100

Obstacle = Literal["draining", "unresponsive", "max_concurrency", "outbox_full", "left_alone"]


class Explainer:
    """Explains calls, from what the router knows at that moment."""

    def __init__(self, means: Means, routing: Routing, flapping: Flapping) -> None:
        self._settings = means.settings
        self._state = means.log.state
        self._sessions = means.sessions
        self._metrics = means.metrics
        self._clocks = means.clocks
        self._life = means.life
        self._flights = routing.flights
        self._pools = routing.pools
        self._flapping = flapping

    def explain(
        self,
        resource_id: ResourceId | None,
        service_name: ServiceName | None,
        transitions: Sequence[Transition],
        caller: Session,
    ) -> r.Explanation:
        """What becomes of a call of this caller with these names, one of which must be given.

        Args:
            transitions: those of the resource that are to be told.
        """
        is_admin = caller.may("admin")
        would = self._would(caller, resource_id, service_name)
        grant = None if resource_id is None else self._state.grant_of(resource_id)
        if grant is not None and grant.owner.session_id not in self._sessions:
            if grant.owner.suspended_until is None:
                grant = None  # the end of its session is on its way through the log
        sessions = self._candidates(resource_id, service_name, grant)
        suspended = list(self._suspended(service_name, grant))[: MAX_CANDIDATES - len(sessions)]
        candidates = [
            _candidate(session, self._obstacle(session, caller, by_service=resource_id is None), is_admin)
            for session in sessions
        ]
        candidates += [_suspended_candidate(owner, is_admin) for owner in suspended]
        explanation = r.Explanation(
            status="owned" if sessions else "suspended" if suspended else "unowned",
            candidates=fitting(candidates, self._settings),
            waiters=sum(len(session.line or ()) for session in sessions)
            + (
                0
                if resource_id is None
                else self._flights.without_owner.count(resource_id) + self._state.waiting_for(resource_id)
            ),
            transitions=[_transition(transition) for transition in transitions],
            recent_calls=self._recent_calls(resource_id, service_name, grant),
            would=would,
        )
        if grant is not None:
            explanation.owner = resource_info(grant, self._sessions, self._clocks.wall_time_of)
        if resource_id is not None and self._flapping.is_flapping(resource_id):
            explanation.flapping = True
        return explanation

    def _would(
        self, caller: Session, resource_id: ResourceId | None, service_name: ServiceName | None
    ) -> r.Would:
        """What a call would meet, as the path of a call says it."""
        try:
            if self._life.is_draining:
                raise Unavailable("draining", delivery="not_delivered")
            owner = self._flights.look_ahead(caller, resource_id, service_name).owner
        except RouterError as error:
            return r.Would(error=r.ErrorInfo(code=error.code, message=str(error), data=wire_data(error)))
        assert owner is not None, "calls go to instances"
        return r.Would(deliver_to=owner.instance_id)

    def _candidates(
        self, resource_id: ResourceId | None, service_name: ServiceName | None, grant: Grant | None
    ) -> list[Session]:
        """Who could have the call, best first: the owner alone, or the instances of the service."""
        if resource_id is not None:
            session = None if grant is None else self._sessions.get(grant.owner.session_id)
            return [] if session is None else [session]
        assert service_name is not None
        return list(
            islice(chain(self._pools.in_order(service_name), self._draining(service_name)), MAX_CANDIDATES)
        )

    def _suspended(self, service_name: ServiceName | None, grant: Grant | None) -> Iterator[OwnerRecord]:
        """Who may come back: the owner, or instances of the service."""
        service = None if service_name is None else self._state.service(service_name)
        found = () if service is None else service.instances.values()
        for owner in found if grant is None else (grant.owner,):
            if owner.suspended_until is not None:
                yield owner

    def _draining(self, service_name: ServiceName) -> Iterator[Session]:
        """The instances of a service that get nothing more."""
        service = self._state.service(service_name)
        for owner in () if service is None else service.instances.values():
            session = self._sessions.get(owner.session_id)
            if owner.is_draining and session is not None:
                yield session

    def _obstacle(self, session: Session, caller: Session, *, by_service: bool) -> Obstacle | None:
        """Why an instance gets no call now. Only a call by service looks for another that is better off."""
        if by_service and session.owner is not None and session.owner.is_draining:
            return "draining"
        if by_service and not session.is_responsive:
            return "unresponsive"
        if not session.has_room and (by_service or not _may_stand_in_line(caller, session)):
            return "max_concurrency"
        if session.backlog_bytes > self._settings.outbox_soft_bytes:
            return "outbox_full"
        return "left_alone" if by_service and is_left_alone(session, trio.current_time()) else None

    def _recent_calls(
        self, resource_id: ResourceId | None, service_name: ServiceName | None, grant: Grant | None
    ) -> Mapping[str, int]:
        """How calls under the grant in force have ended; of a service, all that the router remembers."""
        if resource_id is not None:
            return {} if grant is None else _outcomes(grant.calls_ok, grant.failures or {})
        traffic = None if service_name is None else self._metrics.services.get(service_name)
        return {} if traffic is None else _outcomes(traffic.ok, traffic.errors)


def _may_stand_in_line(caller: Session, callee: Session) -> bool:
    try:
        if callee.line is not None:
            callee.line.make_room_for(caller)
    except Unavailable:
        return False
    return True


def _outcomes(ok: int, failures: Mapping[str, int]) -> Mapping[str, int]:
    return {"ok": ok, **failures} if ok else failures


def _candidate(session: Session, obstacle: Obstacle | None, is_admin: bool) -> r.Candidate:
    assert session.owner is not None, "only instances are candidates"
    info = instance_info(session.owner, session, is_admin)
    reason = UNSET if obstacle is None else obstacle
    return r.Candidate(**msgspec.structs.asdict(info), able=obstacle is None, reason=reason)


def _suspended_candidate(owner: OwnerRecord, is_admin: bool) -> r.Candidate:
    info = instance_info(owner, None, is_admin)
    return r.Candidate(**msgspec.structs.asdict(info), able=False, reason="suspended")


def _transition(transition: Transition) -> r.TransitionInfo:
    event, owner, cause = told(transition.fact)
    return r.TransitionInfo(
        revision=transition.entry.revision,
        event=event,
        cause=cause,
        instance_id=owner.instance_id,
        at=rfc3339(transition.entry.at),
    )
