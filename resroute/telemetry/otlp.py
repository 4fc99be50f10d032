"""A tracer that sends its spans by OTLP over HTTP, to a collector or to what understands the same."""

import logging
import os
import socket
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from resroute.settings import mask_urls
from resroute.telemetry.exporting import SpanQueue
from resroute.telemetry.tracing import Tracer

SEND_SECONDS = 5.0
"""How long a batch may take to be sent, with all that is tried again."""


class _LastWords(logging.Handler):
    """What the library said last: it complains about each attempt, and we about the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = "unknown"

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "max retries" not in text:  # which says that an attempt was the last, and those before say why
            self.text = mask_urls(text)


def make_otlp_tracer(endpoint: str, *, sample_ratio: float, max_per_second: int, max_queued: int) -> Tracer:
    """Make the tracer of this process.

    Certificates, headers and the like are taken from the variables that OpenTelemetry defines for them
    (``OTEL_EXPORTER_OTLP_HEADERS`` and others), as by any other program that sends traces.

    Args:
        endpoint: the URL for spans, with its path.
        sample_ratio: see :class:`~resroute.telemetry.tracing.Tracer`.
        max_per_second: likewise.
        max_queued: see :class:`~resroute.telemetry.exporting.SpanQueue`.
    """
    last_words = _LastWords()
    library = logging.getLogger("opentelemetry")
    library.handlers, library.propagate = [last_words], False
    sink = SpanQueue(OTLPSpanExporter(endpoint, timeout=SEND_SECONDS), max_queued, lambda: last_words.text)
    resource = {
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "service.version": version("resroute"),
    }
    return Tracer(sink, resource=resource, sample_ratio=sample_ratio, max_per_second=max_per_second)
