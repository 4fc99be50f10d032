"""The size of every table of a router: what must be zero again once everybody has left."""

from collections.abc import Collection

import attrs

from resroute.core.state import State
from resroute.router.outbox import Memory
from resroute.router.owner_changes import OwnerChanges
from resroute.router.routing import Routing
from resroute.router.session import Session


@attrs.frozen(kw_only=True)
class RouterStatistics:
    """The size of every table of a router, and what waits to be sent. An idle router has zeros."""

    sessions: int
    instances: int
    suspended: int
    """Instances that were cut off, and may come back."""
    services: int
    resources: int
    unreclaimed: int
    bulks: int
    """Registrations and releases in bulk that have set something aside."""
    calls_in_flight: int
    calls_delivered: int
    notes: int
    """Notifications for resources that are still in the outboxes of their owners."""
    deadlines: int
    waiters: int
    """Registrations that wait."""
    timers: int
    """Grants that will expire."""
    clean_ups: int
    """Sessions that ended, and left something behind of which the audit log has not heard yet."""
    batches: int
    owner_listeners: int
    """Bound connections that are told when their resource changes hands."""
    watches: int
    outbox_messages: int
    outbox_bytes: int
    memory_bytes: int
    """What waits to be sent, what calls in flight keep and what has arrived of messages that are not complete, as it is held
    against ``max_outbox_total_bytes``.
    """


def statistics_of(
    state: State,
    sessions: Collection[Session],
    routing: Routing,
    owner_changes: OwnerChanges,
    memory: Memory,
    timers: int,
    watches: int,
    clean_ups: int,
) -> RouterStatistics:
    """The sizes right now."""
    return RouterStatistics(
        sessions=state.session_count,
        instances=state.instance_count,
        suspended=state.suspended_count,
        services=sum(1 for _ in state.services()),
        resources=state.resource_count,
        unreclaimed=state.unreclaimed_count + state.leftover_count,
        bulks=state.bulk_count,
        calls_in_flight=sum(len(session.made) for session in sessions),
        calls_delivered=sum(len(session.delivered) for session in sessions),
        notes=sum(len(session.notes) for session in sessions),
        deadlines=len(routing.flights.deadlines),
        waiters=state.waiter_count,
        timers=timers,
        clean_ups=clean_ups,
        batches=sum(session.batches for session in sessions),
        owner_listeners=len(owner_changes),
        watches=watches,
        outbox_messages=sum(len(session.outbox) for session in sessions),
        outbox_bytes=sum(session.outbox.size_bytes for session in sessions),
        memory_bytes=memory.total_bytes,
    )
