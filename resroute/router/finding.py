"""Whom a call goes to: the owner of a resource, or an instance of a service."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from resroute.core.records import Grant
from resroute.core.state import State
from resroute.errors import InvalidParams, ResourceNotFound, RouterError, ServiceMismatch, Unavailable
from resroute.ids import ID_RULE, ResourceId, ServiceName, SessionId, is_id
from resroute.router.placement import Pools

if TYPE_CHECKING:
    from resroute.router.session import Session


class Finder:
    """Finds who is to have a call now.

    Args:
        state: who owns what.
        sessions: the sessions that have not ended.
        soft_bytes: an instance for which more than this waits, to be sent or in line, gets no more calls.
    """

    def __init__(self, state: State, sessions: "Mapping[SessionId, Session]", soft_bytes: int) -> None:
        self.pools = Pools(state, sessions, soft_bytes)
        self._state = state
        self._sessions = sessions
        self._soft_bytes = soft_bytes

    def find(
        self, resource_id: ResourceId | None, service_name: ServiceName | None, now: float
    ) -> "tuple[Session, Grant | None]":
        """Who gets the call, and by which grant if it is addressed to a resource.

        Raises:
            InvalidParams: nothing can have that name, or neither name is given.
            ResourceNotFound: nobody owns the resource.
            ServiceMismatch: the owner belongs to another service.
            ServiceNotFound: no instance of the service is registered.
            Unavailable: whoever could have it takes no more now, or is suspended.
        """
        if resource_id is None:
            if service_name is None:
                raise InvalidParams.at("", "resource_id or service_name is needed")
            _check_names(resource_id, service_name)
            return self.pools.choose(service_name, now), None
        grant = self._state.grant_of(resource_id)
        callee = None if grant is None else self._sessions.get(grant.owner.session_id)
        if grant is None or (callee is None and not grant.owner.may_return):
            _check_names(resource_id, service_name)
            raise ResourceNotFound(resource_id)
        if service_name is not None and service_name != grant.owner.service.name:
            _check_names(resource_id, service_name)
            raise ServiceMismatch(service_name, resource_id=resource_id)
        if callee is None:
            raise Unavailable("suspended", delivery="not_delivered")
        waits = (
            callee.outbox.size_bytes if callee.line is None else callee.backlog_bytes
        )  # in place, for most
        if waits > self._soft_bytes:
            raise Unavailable("overloaded", delivery="not_delivered")
        return callee, grant

    def lack_of_owner(self, resource_id: ResourceId) -> RouterError:
        """What a call meets, or one that has waited long enough, while nobody is there who owns the resource."""
        grant = self._state.grant_of(resource_id)
        if grant is not None and grant.owner.may_return:
            return Unavailable("suspended", delivery="not_delivered")
        return ResourceNotFound(resource_id)

    def grant_of(self, resource_id: ResourceId) -> Grant | None:
        """The grant in force, if anybody owns the resource."""
        return self._state.grant_of(resource_id)

    def grant_at(self, callee: "Session", resource_id: ResourceId | None) -> Grant | None:
        """The grant by which this instance owns the resource, if it does."""
        grant = None if resource_id is None else self._state.grant_of(resource_id)
        return grant if grant is not None and grant.owner.session_id == callee.id else None


def lacks_owner(error: RouterError) -> bool:
    """Whether a call that has met this may wait for an owner."""
    return isinstance(error, ResourceNotFound) or (
        isinstance(error, Unavailable) and error.reason == "suspended"
    )


def _check_names(resource_id: ResourceId | None, service_name: ServiceName | None) -> None:
    """Why something was not found: it may be that nothing can have that name. What is found needs no check."""
    for path, name in (("resource_id", resource_id), ("service_name", service_name)):
        if name is not None and not is_id(name):
            raise InvalidParams.at(path, f"not a valid name: {ID_RULE}")
