"""Calls in flight, and what a session's batches wait for."""

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Protocol

import msgspec
import orjson

from resroute.core.records import Grant
from resroute.errors import AnswerTooLarge
from resroute.ids import MAX_TRACE_ID_LENGTH, CorrelationId, Epoch, ResourceId, ServiceName
from resroute.protocol import messagepack
from resroute.protocol.envelope import RequestId, encode_id, error_message

if TYPE_CHECKING:
    from resroute.router.request import Request
    from resroute.router.session import Session
    from resroute.router.tracing import CallTrace

MAX_EXTRA_BYTES = 4096
"""What a message that the router delivers may take beyond ``max_message_bytes``."""

MAX_KEPT_BYTES = 64 * 1024
"""A call with its callee keeps a body up to this size, so as to go to another owner if the callee refuses it as stale."""

NOWHERE = CorrelationId(0)
"""The number of a call that stands in no line and no outbox."""

type RequestKey = RequestId | tuple[CorrelationId] | Request
"""Under what a session's requests are kept: their own ids, and for a notification that waits a key that no id equals."""


class Place(Protocol):
    """Where a call waits inside the router."""

    def add(self, call: "Call") -> None:
        """The call waits here from now on."""

    def remove(self, call: "Call") -> None:
        """The call waits here no longer."""


class Call(msgspec.Struct, eq=False):
    """One routed request, from its acceptance to its one answer.

    It stands in the caller's ``made``, in the deadlines, and in one more place: in line somewhere in the router, or with its
    callee, in whose ``delivered`` it is from when it is in its outbox. It leaves all of them at once. A notification is in
    none of them, unless it waits in line.
    """

    caller: "Session"
    caller_id: RequestId | None
    """None: a notification, which has no answer."""
    resource_id: ResourceId | None
    service_name: ServiceName | None
    """As the caller gave it: by which to find another instance."""
    trace_id: str
    body: bytes
    """What is called, the sender's own bytes: see :func:`resroute.router.wording.body_of`. Empty while a large one
    is with its callee."""
    extra: bytes
    """Further members of the delivered ``meta``, each as ``,"name":value``."""
    started: float
    timeout_seconds: float
    heard_at: float
    """From when the time-out counts: its start, or the last progress that was asked for."""
    wait_until: float
    """How long it may wait for its resource to have an owner."""
    wants_meta: bool
    wants_progress: bool
    batch: "Batch | None" = None
    is_rerouted: bool = False
    """Whether it went to another owner because the first called its epoch stale."""
    number: CorrelationId = NOWHERE
    """The correlation id at the callee and the number of the entry in its outbox; in line, its number there."""
    tick: int = 0
    place: Place | None = None
    """Where it waits; None if it is with its callee."""
    callee: "Session | None" = None
    epoch: Epoch | None = None
    left_out_bytes: int = 0
    """The size of a body that is left out."""
    grant: Grant | None = None
    """By which it was last routed to an owner."""
    trace: "CallTrace | None" = None
    """There if it is traced."""

    @property
    def key(self) -> RequestKey:
        """Under what its caller's ``made`` holds it: a notification only while it waits in line."""
        return (self.number,) if self.caller_id is None else self.caller_id

    @property
    def size_bytes(self) -> int:
        """What it keeps in memory that a peer can make large, beside its id."""
        return len(self.body) + len(self.extra)

    @property
    def deadline(self) -> float:
        """When its time is up."""
        return self.heard_at + self.timeout_seconds


class Batch:
    """The answers to one JSON-RPC batch, sent as one array once the last of them is there.

    The array is never larger than ``max_message_bytes``. From the start each member that may be answered has room set aside
    for its least entry, an error that says no more than that its answer was too large; a batch whose least entries do not
    all fit is refused before any of it is handled. An answer gives up the room of its own entry, and is taken as it is only
    if it fits beside the room that is still set aside for others; else it becomes its least entry, which is no larger than
    what was given up. So what is there and what is set aside never exceed the limit together. Room is counted in JSON: the
    same entry takes less as MessagePack.

    Args:
        rooms: of all its members; see :func:`room_for`.
    """

    __slots__ = ("_answers", "_is_open", "_limit", "_pending", "_session", "_set_aside", "_size")

    def __init__(self, session: "Session", rooms: Collection[int]) -> None:
        self._session = session
        self._limit = session.settings.max_message_bytes
        self._answers: list[bytes] = []
        self._size = len("[]")
        self._set_aside = sum(rooms)
        self._pending = 0
        self._is_open = True
        session.batches += 1

    @staticmethod
    def can_answer(rooms: Collection[int], limit: int) -> bool:
        """Whether even the least answers to members with these rooms fit into one array."""
        return len("[]") + sum(rooms) <= limit

    def free(self, room: int) -> None:
        """A member is about to be handled: if it will be answered, :meth:`expect` takes of its room what it needs."""
        self._set_aside -= room

    def expect(self, request_id: RequestId | None) -> None:
        """The member in hand will be answered under this id: its own, or null."""
        self._pending += 1
        self._set_aside += room_for(request_id, self._limit)

    def add(self, request_id: RequestId | None, message: bytes, trace_id: str) -> None:
        """The answer, in the session's encoding, to a member for which :meth:`expect` was told the same id."""
        self._pending -= 1
        self._set_aside -= room_for(request_id, self._limit)
        if self._size + len(message) + 1 + self._set_aside > self._limit:
            error = AnswerTooLarge(self._limit, delivery="unknown", trace_id=trace_id)
            message = self._session.encoded(error_message(request_id, error))
        self._answers.append(message)
        self._size += len(message) + 1
        self._session.reserve(len(message) + 1)
        self._send_if_done()

    def close(self) -> None:
        """All of its requests have been handled."""
        self._is_open = False
        self._send_if_done()

    def _send_if_done(self) -> None:
        if self._pending or self._is_open:
            return
        self._session.batches -= 1
        if self._answers:
            session, answers = self._session, self._answers
            session.reserve(len("[]") - self._size)
            session.post_encoded(
                messagepack.array_of(answers) if session.speaks_msgpack else b"[%b]" % b",".join(answers)
            )


def room_for(request_id: RequestId | None, limit: int) -> int:
    """The most that the least entry of a batch takes for a request with this id, with the comma behind it."""
    return _bytes_beside_id(limit) + max(len(encode_id(request_id)), len("null"))


@cache
def _bytes_beside_id(limit: int) -> int:
    least = AnswerTooLarge(limit, delivery="unknown", trace_id="x" * MAX_TRACE_ID_LENGTH)
    return len(error_message(None, least)) - len("null") + len(",")


def meta_of_refusal(trace_id: str) -> dict[str, object]:
    """The ``meta`` of an error that a request with a ``meta`` meets at once."""
    return {"trace_id": trace_id, "duration_ms": 0.0}


def meta_of(call: Call, duration_seconds: float) -> bytes:
    """The ``meta`` of the answer to a request that had one, as JSON."""
    meta: dict[str, object] = {"trace_id": call.trace_id}
    if call.resource_id is not None:
        meta["resource_id"] = call.resource_id
    if call.callee is not None and call.callee.owner is not None:
        meta["instance_id"] = call.callee.owner.instance_id
    if call.epoch is not None:
        meta["epoch"] = call.epoch
    meta["duration_ms"] = round(duration_seconds * 1000, 3)
    return orjson.dumps(meta)
