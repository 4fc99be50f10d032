"""Sending spans: a bounded queue, and one task that has a thread send what is in it. Nobody who makes spans ever waits."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

import structlog
import trio
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

BATCH_SPANS = 128
"""How many are sent at a time. While a thread encodes them it holds everything else up, a few milliseconds at most."""

PAUSE_SECONDS = 0.5
"""How long spans may wait for more to be sent with them."""

LAST_SECONDS = 3.0
"""How long sending the last of them may take when the router stops."""

_log = structlog.get_logger("resroute.traces")


class SpanSink(SpanProcessor):
    """Takes spans that have ended. Never waits, never raises.

    Attributes:
        counts: ``exported``, ``failed`` (the receiver did not take them) or ``dropped`` (too many waited) -> spans.
    """

    def __init__(self) -> None:
        self.counts = {"exported": 0, "failed": 0, "dropped": 0}

    async def run(self) -> None:
        """Do with them what is to be done, until :meth:`finish`. Cancelling it does nothing."""
        raise NotImplementedError

    def finish(self) -> None:
        """No more spans come: :meth:`run` returns once all are sent, after :data:`LAST_SECONDS` at the latest."""
        raise NotImplementedError


class SpanMemory(SpanSink):
    """Keeps the last spans in memory, and sends none.

    Attributes:
        spans: oldest first.
        open: those that have begun and not ended, by their names.
    """

    def __init__(self, max_spans: int = 10_000) -> None:
        super().__init__()
        self.spans: deque[ReadableSpan] = deque(maxlen=max_spans)
        self.open: Counter[str] = Counter()
        self._finished = trio.Event()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See :class:`SpanSink`."""
        self.open[span.name] += 1

    def on_end(self, span: ReadableSpan) -> None:
        """See :class:`SpanSink`."""
        self.open[span.name] -= 1
        self.spans.append(span)
        self.counts["exported"] += 1

    async def run(self) -> None:
        """See :meth:`SpanSink.run`."""
        with trio.CancelScope(shield=True):
            await self._finished.wait()

    def finish(self) -> None:
        """See :meth:`SpanSink.finish`."""
        self._finished.set()


class SpanQueue(SpanSink):
    """Sends spans, some at a time, in a thread.

    Args:
        exporter: where to.
        max_queued: how many may wait. What goes beyond is dropped.
        reason: why the last spans were not taken, as far as anybody knows.
    """

    def __init__(
        self, exporter: SpanExporter, max_queued: int, reason: Callable[[], str] = lambda: "unknown"
    ) -> None:
        super().__init__()
        self._exporter = exporter
        self._max_queued = max_queued
        self._reason = reason
        self._spans: deque[ReadableSpan] = deque()
        self._waiting = trio.lowlevel.ParkingLot()
        self._finished = trio.Event()
        self._is_failing = False

    def __len__(self) -> int:
        return len(self._spans)

    def on_end(self, span: ReadableSpan) -> None:
        """See :class:`SpanSink`."""
        if len(self._spans) >= self._max_queued:
            self.counts["dropped"] += 1
            return
        self._spans.append(span)
        if len(self._spans) in (1, BATCH_SPANS):
            self._waiting.unpark()

    def finish(self) -> None:
        """See :meth:`SpanSink.finish`."""
        self._finished.set()
        self._waiting.unpark()

    async def run(self) -> None:
        """See :meth:`SpanSink.run`."""
        with trio.CancelScope(shield=True) as whole:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_in_time, whole)
                await self._send_all()
                await trio.to_thread.run_sync(self._exporter.shutdown, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
        if self._spans:
            _log.warning("spans were not sent in time", count=len(self._spans))
            self.counts["dropped"] += len(self._spans)
            self._spans.clear()

    async def _end_in_time(self, whole: trio.CancelScope) -> None:
        await self._finished.wait()
        whole.deadline = trio.current_time() + LAST_SECONDS

    async def _send_all(self) -> None:
        """Send what there is, some at a time, until nothing more comes and all is sent."""
        while self._spans or not self._finished.is_set():
            if not self._spans:
                await self._waiting.park()
                continue
            with trio.move_on_after(PAUSE_SECONDS):
                while len(self._spans) < BATCH_SPANS and not self._finished.is_set():
                    await self._waiting.park()
            await self._send()

    async def _send(self) -> None:
        batch = [self._spans.popleft() for _ in range(min(BATCH_SPANS, len(self._spans)))]
        outcome = "failed"
        try:
            result = await trio.to_thread.run_sync(self._export, batch, abandon_on_cancel=True)
            if result is SpanExportResult.SUCCESS:
                outcome = "exported"
        finally:
            self.counts[outcome] += len(batch)
            self._report(is_failing=outcome == "failed")

    def _export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            return self._exporter.export(batch)
        except Exception:
            _log.exception("an exporter of spans failed")
            return SpanExportResult.FAILURE

    def _report(self, *, is_failing: bool) -> None:
        """Say once that sending fails, and once that it works again."""
        if is_failing != self._is_failing:
            self._is_failing = is_failing
            if is_failing:
                _log.warning("spans cannot be sent", reason=self._reason())
            else:
                _log.info("spans can be sent again")
