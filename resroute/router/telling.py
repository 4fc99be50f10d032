"""How a change of ownership is told: as an event with the resource as it was then, in the encoding of who is told. Pure,
but for what the router alone knows of an owner.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from resroute.core.commands import Cause
from resroute.core.facts import (
    Owner,
    ResourceRegistered,
    ResourceReleased,
    ResourceTransferred,
    ResourceUpdated,
)
from resroute.core.filters import Filter
from resroute.ids import Revision, SessionId
from resroute.protocol import messagepack
from resroute.protocol.envelope import notification_message
from resroute.protocol.results import EventName, ResourceEvent, encode_result
from resroute.router.history import OwnershipFact
from resroute.router.infos import info_of
from resroute.router.session import Session
from resroute.times import rfc3339

HEAD_BYTES = 256
"""More than what stands around the events in a message."""

_END = b"]}}"
_rfc3339 = lru_cache(maxsize=1024)(rfc3339)  # what is registered together has one time


def told(fact: OwnershipFact) -> tuple[EventName, Owner, Cause]:
    """A change as an event: what it is called, whom it is about, and why it came about."""
    match fact:
        case ResourceRegistered():
            return "registered", fact.owner, "request"
        case ResourceTransferred():
            return "transferred", fact.owner, fact.cause
        case ResourceUpdated():
            return "updated", fact.owner, fact.cause
        case ResourceReleased():
            event: EventName = "expired" if fact.cause == "expired" else "released"
            return event, fact.previous_owner, fact.cause


def concerns(wanted: Filter, fact: OwnershipFact) -> bool:
    """Whether the resource matches before the change or after it."""
    resource_id, metadata = fact.resource_id, fact.details.metadata
    owner = fact.previous_owner if isinstance(fact, ResourceReleased) else fact.owner
    if wanted.matches(resource_id, owner, metadata):
        return True
    match fact:
        case ResourceTransferred():
            return wanted.matches(resource_id, fact.previous_owner, fact.metadata_before)
        case ResourceUpdated():
            return wanted.matches(resource_id, owner, fact.metadata_before)
    return False


class EventWriter:
    """Writes events, and messages of them, for sessions of either encoding.

    Args:
        wall_time_of: the wall-clock time of a time on Trio's clock.
    """

    def __init__(self, sessions: Mapping[SessionId, Session], wall_time_of: Callable[[float], float]) -> None:
        self._sessions = sessions
        self._wall_time_of = wall_time_of

    def event(self, fact: OwnershipFact, *, packed: bool) -> bytes:
        """One event. How healthy the owner is, is told as it is now; everything else as it was then."""
        name, owner, cause = told(fact)
        info = info_of(
            fact.resource_id,
            owner,
            fact.epoch,
            fact.details,
            self._sessions.get(owner.session_id),
            self._wall_time_of,
            time=_rfc3339,
        )
        event = ResourceEvent(event=name, resource=info, cause=cause)
        if isinstance(fact, ResourceTransferred | ResourceReleased):
            event.previous_owner = fact.previous_owner.instance_id
        text = encode_result(event)
        return messagepack.from_json(text) if packed else text


def events_message(
    watch_id: str, revision: Revision, index: int, count: int, events: Sequence[bytes], *, packed: bool
) -> bytes:
    """Events of one revision as one of so many messages."""
    if not packed:
        params = {"watch_id": watch_id, "revision": revision, "index": index, "count": count, "events": []}
        message = notification_message("resource.events", params)
        return b"".join((message[: -len(_END)], b",".join(events), _END))
    pack = messagepack.pack
    members = messagepack.object_of(
        {
            "watch_id": pack(watch_id),
            "revision": pack(revision),
            "index": pack(index),
            "count": pack(count),
            "events": messagepack.array_of(list(events)),
        }
    )
    return messagepack.object_of(
        {"jsonrpc": pack("2.0"), "method": pack("resource.events"), "params": members}
    )
