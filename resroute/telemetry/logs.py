"""Log lines on stderr: for people on a terminal, one JSON object a line anywhere else.

Only a program's entry point calls :func:`configure_logging`; importing resroute configures nothing. A line is
an event name and fields. Bind what belongs to a session once, when it begins:
``log = structlog.get_logger().bind(session_id=…)``. The fields have fixed names: ``timestamp``, ``level``,
``message`` (the event), ``trace_id``, ``resource_id``, ``instance_id``, ``operation``, ``duration_ms``,
``metadata_size_bytes``.
"""

import io
import json
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson
import structlog

from resroute.settings import LogLevel

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# What a terminal would obey. Peers choose some of what is logged, the reason they leave for example.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def configure_logging(level: LogLevel, stream: TextIO) -> None:
    """Send structlog's lines of ``level`` and above, and the libraries' warnings, to ``stream``.

    For the whole process, instead of what was configured before.
    """
    sturdy = _Sturdy(stream)
    shared: Sequence[structlog.typing.Processor] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    )
    rendering: Sequence[structlog.typing.Processor]
    own: Sequence[structlog.typing.Processor]
    if stream.isatty():
        rendering = (_escape_fields, structlog.dev.ConsoleRenderer(exception_formatter=_render_exception))
        own = (*shared, *rendering)
    else:
        rendering = (_format_exception, structlog.processors.EventRenamer("message"), _render_json)
        own = (_render_line,)

    structlog.configure(
        processors=own,
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(sturdy),  # type: ignore[arg-type]  # needs write and flush only
    )

    handler = logging.StreamHandler(sturdy)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)
    set_log_level(level)


def set_log_level(level: LogLevel) -> None:
    """From now on log lines of ``level`` and above; loggers that were bound before obey, too."""
    threshold = _LEVELS[level]
    template = structlog.make_filtering_bound_logger(threshold)
    for name, method in vars(template).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)
    logging.getLogger().setLevel(max(threshold, logging.WARNING))


class _Logger(structlog.BoundLoggerBase):
    """Has the methods of the level in force; those below it do nothing, in no time.

    structlog's own loggers are of one level for good, and each session binds one when it begins.
    """


_to_json = json.JSONEncoder(default=repr).encode  # json.dumps would make an encoder for each line


_format_stack = structlog.processors.StackInfoRenderer()
_format_exception = structlog.processors.format_exc_info


def _render_json(_logger: Any, _name: str, event_dict: structlog.typing.EventDict) -> str:
    try:
        line = orjson.dumps(event_dict, default=repr)
    except TypeError:  # large integers, lone surrogates
        return _to_json(event_dict)
    return line.decode() if line.isascii() else _to_json(event_dict)  # which any stream takes


def _render_line(logger: Any, name: str, event_dict: structlog.typing.EventDict) -> str:
    """All that is done with a line on its way to JSON, at once: each session has two of them."""
    event_dict["level"] = "error" if name == "exception" else name
    event_dict["timestamp"] = f"{datetime.now(UTC).isoformat()[: -len('+00:00')]}Z"
    if "stack_info" in event_dict:
        event_dict = _format_stack(logger, name, event_dict)
    if "exc_info" in event_dict:
        event_dict = _format_exception(logger, name, event_dict)
    event_dict["message"] = event_dict.pop("event")
    return _render_json(logger, name, event_dict)


# --- on a terminal ------------------------------------------------------------------------------------------


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _escape_fields(
    _logger: Any, _name: str, event_dict: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {name: _escape(value) if isinstance(value, str) else value for name, value in event_dict.items()}


def _render_exception(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Without the values of local variables, which may be secrets."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(_escape(text.getvalue()))


class _Sturdy:
    """A stream that loses lines rather than raise.

    Once nobody reads stderr any more each write fails, which must not cost the session that had something to
    say.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass
