"""One request for a method of the router's own, and its one answer."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson
import trio
from msgspec import Raw

from resroute.errors import AnswerTooLarge, InternalError, RouterError
from resroute.protocol import results as r
from resroute.protocol.envelope import RequestId, encode_id, error_message, notification_message
from resroute.protocol.methods import Method
from resroute.router.calls import MAX_EXTRA_BYTES, Batch
from resroute.router.session import Session
from resroute.settings import Settings
from resroute.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from resroute.router.tracing import RequestTrace


class Request:
    """One request for a method of the router's own, until it is answered."""

    __slots__ = (
        "_kept_bytes",
        "_metrics",
        "batch",
        "id",
        "method",
        "payload",
        "session",
        "started",
        "trace",
        "trace_id",
        "wants_meta",
        "when_cancelled",
    )

    def __init__(
        self,
        session: Session,
        request_id: RequestId | None,
        method: Method,
        metrics: Metrics,
        *,
        trace_id: str,
        wants_meta: bool,
        batch: Batch | None,
        payload: Raw | None = None,
    ) -> None:
        self.session = session
        self.payload = payload  # what it would have passed on, if that is not in its params
        self.id = request_id
        self.method = method
        self.trace_id = trace_id
        self.wants_meta = wants_meta
        self.batch = batch
        self.started = trio.current_time()
        self._metrics = metrics
        # a notification may have to wait as long as a request, and so counts as one
        session.made[self if request_id is None else request_id] = self
        # what it keeps in memory that a peer can make large
        self._kept_bytes = 0
        self.keep(len(request_id) if isinstance(request_id, str) else 0)
        # what to do when its session cancels it, or has ended; it is answered all the same. None: it takes no time
        self.when_cancelled: Callable[[], None] | None = None
        self.trace: RequestTrace | None = None  # there if it is traced
        if batch is not None and request_id is not None:
            batch.expect(request_id)

    def keep(self, size: int) -> None:
        """Count so many more bytes that it keeps in memory until it is answered."""
        self._kept_bytes += size
        self.session.keep(size)

    def answer(self, result: r.Result | r.Document) -> None:
        """Answer with a result."""
        self._note_end("ok", None)
        if self.id is None:
            self._forget()
            return
        if isinstance(result, r.Result):
            result.trace_id = self.trace_id
        message = b'{"jsonrpc":"2.0","id":%b,"result":%b' % (encode_id(self.id), r.encode_result(result))
        if self.wants_meta:
            message += b',"meta":%b' % orjson.dumps(self._meta())
        self._send(message + b"}")

    def answer_from(self, make: Callable[[], r.Result]) -> None:
        """Answer with what ``make`` returns. That it raises is a bug, which costs this request alone."""
        try:
            result = make()
        except Exception:
            self.session.log.exception("answer failed", operation=self.method.name, trace_id=self.trace_id)
            self.refuse(InternalError())
        else:
            self.answer(result)

    def tell_progress(self, token: object, value: object) -> None:
        """Tell how far it is, if that is wanted, and whoever asked takes what is sent."""
        session = self.session
        if token is not None and session.outbox.size_bytes <= session.settings.outbox_soft_bytes:
            session.post(notification_message("$/progress", {"token": token, "value": value}))

    def refuse(self, error: RouterError) -> None:
        """Answer with an error."""
        self._note_end(error.type, error)
        if self.id is None:
            self._forget()
            return
        error.trace_id = self.trace_id
        self._send(error_message(self.id, error, self._meta() if self.wants_meta else None))

    def abandon(self) -> None:
        """It is not going to be answered, since nobody is there any more."""
        if self.trace is not None:
            self.trace.abandoned()

    def _note_end(self, status: str, error: RouterError | None) -> None:
        self._metrics.count_operation(self.method.name, status, trio.current_time() - self.started)
        if self.trace is not None:
            self.trace.ended(error, status)

    def _meta(self) -> dict[str, object]:
        return {"trace_id": self.trace_id, "duration_ms": self.duration_ms()}

    def duration_ms(self) -> float:
        """How long it has taken so far."""
        return round((trio.current_time() - self.started) * 1000, 3)

    def _forget(self) -> None:
        """Its session has it in flight no longer."""
        if self.session.made.pop(self if self.id is None else self.id, None) is not None:
            self.session.keep(-self._kept_bytes)

    def _send(self, message: bytes) -> None:
        assert self.id is not None
        limit = self.session.settings.max_message_bytes
        encoded = self.session.encoded(message)
        if len(encoded) > limit + MAX_EXTRA_BYTES:
            error = AnswerTooLarge(limit, trace_id=self.trace_id)
            encoded = self.session.encoded(error_message(self.id, error))
        self._forget()
        self.session.answer_encoded(self.id, encoded, self.trace_id, self.batch)


Handler = Callable[[Request, Any], Iterator[None] | None]
"""Does what a request with these parameters asks for. Answers it now or, by callback, later; or raises why not.

What takes long it does in steps, in the iterator that it returns: they are taken before anything else that the session has
sent, others get their turn in between, and the request is answered by the end of them.
"""


def heartbeat_of(settings: Settings) -> r.HeartbeatInfo:
    """What instances and sessions are told about heartbeats."""
    heartbeat = settings.heartbeat
    return r.HeartbeatInfo(
        interval_seconds=heartbeat.interval_seconds, timeout_seconds=heartbeat.timeout_seconds
    )
