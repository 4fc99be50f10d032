"""What a log line looks like, and where libraries' lines go."""

import io
import json
import logging
import re
import subprocess
import sys
import time
import timeit
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from resroute.telemetry.logs import configure_logging, set_log_level


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """Nobody reads it any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_bound_fields() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    log = structlog.get_logger().bind(instance_id="store-1")
    log.info(
        "transferred", trace_id="abc", resource_id="user:42", operation="resource.transfer", duration_ms=1.5
    )

    (line,) = lines(stream)
    when = datetime.fromisoformat(line.pop("timestamp"))
    assert when.tzname() == "UTC"
    assert line == {
        "level": "info",
        "message": "transferred",
        "trace_id": "abc",
        "resource_id": "user:42",
        "instance_id": "store-1",
        "operation": "resource.transfer",
        "duration_ms": 1.5,
    }


def test_nothing_a_field_holds_can_break_the_line() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    structlog.get_logger().info("odd", text="a\nb\ud800", number=2**80, other=object())
    (line,) = lines(stream)
    assert (line["text"], line["number"]) == ("a\nb\ud800", 2**80)


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure_logging("warning", stream)
    log = structlog.get_logger()
    log.info("no")
    log.warning("yes")
    assert [line["message"] for line in lines(stream)] == ["yes"]


def test_a_change_of_level_reaches_loggers_that_were_bound_before() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    log = structlog.get_logger().bind(session_id="s")
    log.debug("no")
    set_log_level("debug")
    log.debug("first")
    set_log_level("error")
    log.warning("no")
    logging.getLogger("hypercorn.error").warning("no")
    log.error("second")
    set_log_level("info")
    log.bind(instance_id="i").info("third")
    assert [line["message"] for line in lines(stream)] == ["first", "second", "third"]


def test_what_is_not_logged_costs_next_to_nothing() -> None:
    configure_logging("info", io.StringIO())
    log = structlog.get_logger().bind(session_id="s")
    took = timeit.repeat(
        lambda: log.debug("registered", count=1), number=1000, repeat=5, timer=time.thread_time
    )
    assert min(took) / 1000 < 0.000_005  # some 0.1 µs; ten times that on a busy machine


def test_an_exception_stands_in_the_line_it_belongs_to() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    try:
        raise LookupError("gone")
    except LookupError:
        structlog.get_logger().exception("request failed", trace_id="abc")
    (line,) = lines(stream)
    assert (line["level"], line["message"], line["trace_id"]) == ("error", "request failed", "abc")
    assert line["exception"].endswith("LookupError: gone")


def test_libraries_are_heard_from_warnings_on() -> None:
    stream = io.StringIO()
    configure_logging("debug", stream)
    logging.getLogger("hypercorn.error").info("Running on %s", "http://127.0.0.1:1")
    logging.getLogger("hypercorn.error").warning("late by %d s", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    late, old = lines(stream)
    assert (late["level"], late["message"], late["logger"]) == ("warning", "late by 3 s", "hypercorn.error")
    assert "DeprecationWarning: old" in old["message"]


def test_on_a_terminal_lines_are_for_people() -> None:
    stream = Terminal()
    configure_logging("info", stream)
    structlog.get_logger().info("transferred", resource_id="user:42")
    (line,) = stream.getvalue().splitlines()
    assert "transferred" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def test_a_terminal_does_not_show_the_values_of_variables() -> None:
    stream = Terminal()
    configure_logging("info", stream)
    token = "hidden"  # noqa: F841  # what must not be shown
    try:
        raise LookupError("gone")
    except LookupError:
        structlog.get_logger().exception("request failed")
    assert "LookupError" in stream.getvalue()
    assert "'hidden'" not in stream.getvalue()


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x9b31m", "a\rb", "\u202e"])
def test_a_terminal_is_not_commanded_by_what_is_logged(text: str) -> None:
    stream = Terminal()
    configure_logging("info", stream)
    structlog.get_logger().info(f"event{text}", reason=text)
    logging.getLogger("hypercorn.error").warning("peer %s", text)
    try:
        raise LookupError(text)
    except LookupError:
        structlog.get_logger().exception("request failed")
    shown = re.sub(r"\x1b\[[0-9]*m", "", stream.getvalue())  # its own colours
    assert not set("\x1b\x07\x9b\r\u202e") & set(shown)
    assert shown.count(text.encode("unicode_escape").decode()) >= 4


def test_a_line_that_nobody_reads_costs_nobody_anything() -> None:
    configure_logging("info", Closed())
    structlog.get_logger().info("lost")
    logging.getLogger("hypercorn.error").warning("lost")


def test_importing_configures_nothing() -> None:
    program = (
        "import logging, structlog\n"
        "import resroute.telemetry.logs, resroute.telemetry.metrics\n"
        "assert not structlog.is_configured()\n"
        "assert not logging.getLogger().handlers"
    )
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)
