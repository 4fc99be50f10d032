"""Log lines on stderr: for people on a terminal, one JSON object a line anywhere else.

Only a program's entry point calls :func:`configure_logging`; importing resroute configures nothing. A line is
an event name and fields. Bind what belongs to a session once, when it begins:
``log = structlog.get_logger().bind(session_id=…)``. The fields have fixed names: ``timestamp``, ``level``,
``message`` (the event), ``trace_id``, ``resource_id``, ``instance_id``, ``operation``, ``duration_ms``,
``metadata_size_bytes``.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

import structlog

from resroute.settings import LogLevel

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(level: LogLevel, stream: TextIO) -> None:
    """Send structlog's lines of ``level`` and above, and the libraries' warnings, to ``stream``.

    For the whole process, instead of what was configured before.
    """
    sturdy = _Sturdy(stream)
    threshold = _LEVELS[level]
    shared: Sequence[structlog.typing.Processor] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    )
    rendering: Sequence[structlog.typing.Processor]
    if stream.isatty():
        # The default shows the values of local variables, which may be secrets.
        rendering = (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),)
    else:
        rendering = (
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        )

    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sturdy),  # type: ignore[arg-type]  # needs write and flush only
    )

    handler = logging.StreamHandler(sturdy)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


class _Sturdy:
    """A stream that loses lines rather than raise.

    Once nobody reads stderr any more each write fails, which must not cost the session that had something to
    say.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
