"""Calls follow ownership: what becomes of them when a session ends, and when a resource changes hands. Synchronous."""

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from resroute.errors import Delivery, OwnerDisconnected, ResourceNotFound
from resroute.ids import ResourceId
from resroute.router.calls import NOWHERE, Call
from resroute.router.flights import Flights
from resroute.router.placement import Pools
from resroute.router.tally import Tally
from resroute.router.wording import body_of

if TYPE_CHECKING:
    from resroute.router.session import Session


class Rerouting:
    """Moves calls that nobody was handed yet, and ends those that cannot be answered any more."""

    def __init__(self, flights: Flights, pools: Pools, tally: Tally) -> None:
        self._flights = flights
        self._pools = pools
        self._tally = tally

    def instance_leaves(self, session: "Session") -> None:
        """An instance drains, or another takes its place: it gets no more calls by service. Those that it has stay."""
        self._pools.remove(session)

    def session_ended(self, session: "Session") -> None:
        """End or move every call of a session that has ended. Its resources are free already."""
        self._pools.remove(session)
        flights = self._flights
        made = [call for call in session.made.values() if isinstance(call, Call)]
        # first what waits in a line, or it would be delivered there when what is before it goes
        for call in sorted(made, key=lambda call: call.place is None):
            # it is nowhere if one before it took it along
            if call.number != NOWHERE:
                flights.recall(call)
                flights.forget(call)
                if call.trace is not None:
                    call.trace.ended("caller_gone")
                self._tally.failed(call, "caller_gone")
        waiting = self._take_back(session, lambda _: True)
        for call in list(session.delivered.values()):
            flights.fail(call, _disconnected(session, "unknown"))
        for call in waiting:
            flights.reroute(call, _disconnected(session, "not_delivered"))

    def moved(self, session: "Session", resource_ids: Collection[ResourceId]) -> None:
        """A session has lost resources: calls for them that it was not handed yet go to the new owner, in order."""
        for call in self._take_back(session, lambda call: call.resource_id in resource_ids):
            assert call.resource_id is not None
            self._flights.reroute(call, ResourceNotFound(call.resource_id))

    def _take_back(self, session: "Session", is_wanted: Callable[[Call], bool]) -> list[Call]:
        """Take from an instance what it was not handed yet, in the order in which it would have been."""
        in_line = sorted(filter(is_wanted, session.line or ()), key=lambda call: call.number)
        for call in in_line:  # before there is room for them
            self._flights.leave(call)
        taken = session.outbox.taken
        posted = {number: note for number, note in session.notes.items() if is_wanted(note)}
        for call in reversed(session.delivered.values()):
            if call.number <= taken:
                break
            if is_wanted(call):
                posted[call.number] = call
        calls = [(number, posted[number]) for number in sorted(posted)]
        messages = [session.outbox.withdraw(number) for number, _ in calls]  # all, before a line moves up
        for (number, call), message in zip(calls, messages, strict=True):
            session.notes.pop(number, None)
            self._flights.leave(call)
            if not call.body and message is not None:
                call.body = body_of(message, call, number, session)
        return [call for _, call in calls] + in_line

    def granted(self, resource_ids: Iterable[ResourceId]) -> None:
        """Resources have an owner: deliver the calls that waited for one."""
        without_owner = self._flights.without_owner
        if not without_owner:
            return
        for resource_id in resource_ids:
            for call in without_owner.waiting_for(resource_id):
                self._flights.reroute(call, ResourceNotFound(resource_id))


def _disconnected(session: "Session", delivery: Delivery) -> OwnerDisconnected:
    owner = session.owner
    return OwnerDisconnected(owner.instance_id if owner is not None else "", delivery=delivery)
