"""Calls in flight, and the other requests that a session waits for."""

from typing import TYPE_CHECKING

import orjson

from resroute.errors import AnswerTooLarge, RouterError
from resroute.ids import CorrelationId, Epoch, ResourceId, ServiceName
from resroute.protocol.envelope import RequestId, error_message

if TYPE_CHECKING:
    from resroute.router.session import Session

MAX_EXTRA_BYTES = 4096
"""What a message that the router delivers may take beyond ``max_message_bytes``."""


class Call:
    """One routed request, from its acceptance to its one answer.

    It stands in the caller's ``made``, the callee's ``delivered`` and the deadlines, and leaves all three at once.
    """

    __slots__ = (
        "batch",
        "callee",
        "caller",
        "caller_id",
        "epoch",
        "extra",
        "number",
        "resource_id",
        "service_name",
        "started",
        "tick",
        "timeout_seconds",
        "trace_id",
        "wants_meta",
    )

    caller: "Session"
    caller_id: RequestId
    batch: "Batch | None"
    callee: "Session"
    number: CorrelationId
    """The correlation id at the callee, and the number of the entry in its outbox."""
    resource_id: ResourceId | None
    service_name: ServiceName | None
    """As the caller gave it: by which to find another instance."""
    epoch: Epoch | None
    trace_id: str
    extra: bytes
    """Further members of the delivered ``meta``, each as ``,"name":value``."""
    wants_meta: bool
    started: float
    timeout_seconds: float
    tick: int

    @property
    def is_handed_over(self) -> bool:
        """Whether the callee's writer has taken it: from then on it may have run."""
        return self.number <= self.callee.outbox.taken


class Batch:
    """The answers to one JSON-RPC batch, sent as one array once the last of them is there."""

    __slots__ = ("_answers", "_is_open", "_limit", "_pending", "_session", "_size")

    def __init__(self, session: "Session", limit: int) -> None:
        self._session = session
        self._limit = limit
        self._answers: list[bytes] = []
        self._size = 2
        self._pending = 0
        self._is_open = True
        session.batches += 1

    def expect(self) -> None:
        """One more of its requests will be answered."""
        self._pending += 1

    def add(self, request_id: RequestId | None, message: bytes, trace_id: str) -> None:
        """The answer to one of its requests. One that takes the array over the limit becomes an error."""
        self._pending -= 1
        if self._size + len(message) + 1 > self._limit:
            error: RouterError = AnswerTooLarge(self._limit, delivery="unknown", trace_id=trace_id)
            message = error_message(request_id, error)
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
            self._session.reserve(2 - self._size)
            self._session.post(b"[%b]" % b",".join(self._answers))


def meta_of_refusal(trace_id: str) -> dict[str, object]:
    """The ``meta`` of an error that a request with a ``meta`` meets at once."""
    return {"trace_id": trace_id, "duration_ms": 0.0}


def meta_of(call: Call, duration_seconds: float) -> bytes:
    """The ``meta`` of the answer to a request that had one, as JSON."""
    meta: dict[str, object] = {"trace_id": call.trace_id}
    if call.resource_id is not None:
        meta["resource_id"] = call.resource_id
    if call.callee.owner is not None:
        meta["instance_id"] = call.callee.owner.instance_id
    if call.epoch is not None:
        meta["epoch"] = call.epoch
    meta["duration_ms"] = round(duration_seconds * 1000, 3)
    return orjson.dumps(meta)
