"""What becomes of calls, counted where people look for it: by service, by grant, and in the rankings of resources."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from msgspec import UNSET

from resroute.core.state import State
from resroute.errors import ResourceNotFound, RouterError, Unavailable
from resroute.ids import ResourceId, ServiceName
from resroute.protocol.params import RouteCall
from resroute.router.ranking import Busiest, Sketch
from resroute.telemetry.metrics import Metrics
from resroute.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from resroute.router.calls import Call


class Tally:
    """Each call is counted once when it is routed, and once when it ends.

    Attributes:
        busiest: to be told of each grant that comes to its ``next_count``, by whoever counts a grant's calls.
        unowned: resources that were called while nobody owned them.
        conflicts: resources that somebody wanted to register while another owned them.
    """

    def __init__(self, state: State, metrics: Metrics, wall_clock: Callable[[], float]) -> None:
        self.busiest = Busiest(state.grant_of)
        self.unowned = Sketch()
        self.conflicts = Sketch()
        self._state = state
        self._metrics = metrics
        self._wall_clock = wall_clock

    def failed(self, call: "Call", outcome: str) -> None:
        """A call that was taken on has ended without a result: ``error`` if its callee said so. It may have had none."""
        grant = call.grant
        traffic = call.callee.traffic if call.callee is not None else None
        if grant is not None:
            grant.note_failure(outcome)
            traffic = traffic or self._metrics.services.get(grant.owner.service.name)
        self._count(traffic, outcome)
        if outcome == ResourceNotFound.type and call.resource_id is not None:
            self.unowned.add(call.resource_id, self._wall_clock())

    def looked_up_in_vain(self, service_name: ServiceName | None) -> None:
        """A call was for a resource that nobody owns, and for this service if it named one."""
        self._metrics.count_lookup_in_vain(service_name)

    def _count(self, traffic: Traffic | None, outcome: str) -> None:
        if traffic is None:
            self._metrics.count_call(outcome)
        else:
            traffic.count_error(outcome)

    def refused(self, request: RouteCall | None, error: RouterError) -> None:
        """A call was not routed to anybody. Without a ``request`` it could not even be read."""
        traffic = None
        if isinstance(error, ResourceNotFound):
            self.unowned.add(ResourceId(error.resource_id), self._wall_clock())
        elif isinstance(error, Unavailable) and request is not None:
            traffic = self._traffic_for(request)
        self._count(traffic, error.type)

    def _traffic_for(self, request: RouteCall) -> Traffic | None:
        """The counters of the service that a call is for, as far as it is there."""
        if request.resource_id is not UNSET:
            grant = self._state.grant_of(request.resource_id)
            return None if grant is None else self._metrics.services.get(grant.owner.service.name)
        return None if request.service_name is UNSET else self._metrics.services.get(request.service_name)

    def registered(self, service_name: ServiceName, status: str, count: int) -> None:
        """An instance of a service wanted to register so many resources. ``status``: ``ok``, or the type of the error."""
        self._metrics.ownership_of(service_name).count_registrations(status, count)

    def conflicted(self, service_name: ServiceName, resource_ids: Collection[ResourceId]) -> None:
        """An instance of a service could not register resources, because others own them."""
        self._metrics.ownership_of(service_name).conflicts += len(resource_ids)
        now = self._wall_clock()
        for resource_id in resource_ids:
            self.conflicts.add(resource_id, now)
