"""The size of every table of a router: what must be zero again once everybody has left."""

import attrs

from resroute.router.assembling import Parts
from resroute.router.means import Means


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


def statistics_of(means: Means, parts: Parts) -> RouterStatistics:
    """The sizes right now."""
    state, sessions = means.log.state, means.sessions.values()
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
        deadlines=parts.routing.flights.in_flight,
        waiters=state.waiter_count,
        timers=len(parts.upkeep.expirer),
        clean_ups=len(means.auditor),
        batches=sum(session.batches for session in sessions),
        owner_listeners=len(parts.owner_changes),
        watches=len(parts.watching.watches),
        outbox_messages=sum(len(session.outbox) for session in sessions),
        outbox_bytes=sum(session.outbox.size_bytes for session in sessions),
        memory_bytes=parts.memory.total_bytes,
    )
