"""What commands print: results on stdout, everything else on stderr, and nothing that a terminal would obey."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from resroute.cli.exits import FAULT, SIGNALLED

_SIGPIPE = 13

# What a terminal would take for a command, and what UTF-8 cannot say. In JSON these stand in strings only.
_UNSEEN = r"\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(rf"[\x00-\x1f{_UNSEEN}]")
_UNSAFE_IN_TEXT = re.compile(rf"[\x00-\x09\x0b\x0c\x0e-\x1f{_UNSEEN}]")  # which has lines
_UNSAFE_IN_JSON = re.compile(f"[{_UNSEEN}]")  # which escapes the first 32 itself


class OutputLost(Exception):
    """Stdout takes nothing any more."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error

    def settle(self) -> int:
        """Give stdout up, and return the exit code. A reader that has seen enough is no mistake worth a word."""
        _give_up(1)
        if self.error.errno == errno.EPIPE:
            return SIGNALLED + _SIGPIPE
        complain(f"cannot write the output: {self.error.strerror}")
        return FAULT


def settle_streams() -> None:
    """Flush stdout and stderr at the end of the program, and give up what takes nothing any more."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except AttributeError:
            pass  # it is None: closed before the program began
        except OSError:
            _give_up(descriptor)


def _give_up(descriptor: int) -> None:
    """Have writes go nowhere: else the interpreter would try once more at its end, and make it exit code 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def write(text: str) -> None:
    """Print on stdout, now.

    Raises:
        OutputLost: it cannot be done.
    """
    try:
        click.echo(text)
    except OSError as error:
        raise OutputLost(error) from error


def write_text(text: str) -> None:
    """Print lines on stdout, now, that have their ends already; with everything escaped that a terminal would obey.

    Raises:
        OutputLost: it cannot be done.
    """
    try:
        click.echo(_UNSAFE_IN_TEXT.sub(_escaped, text), nl=False)
    except OSError as error:
        raise OutputLost(error) from error


def complain(line: str) -> None:
    """Say what is wrong: one line on stderr."""
    note(f"resroute: {line}")


def note(line: str) -> None:
    """Say something that is no result: one line on stderr."""
    try:
        click.echo(one_line(line), err=True)
    except OSError:
        pass  # nobody listens; there is nobody to say that to


def one_line(text: str) -> str:
    """The text with everything escaped that could leave the line, or that a terminal would obey."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def to_json(value: Any, *, pretty: bool) -> str:
    """A value as JSON: indented, or in one line."""
    ascii_only = (getattr(sys.stdout, "encoding", None) or "").replace("-", "").lower() != "utf8"
    separators = None if pretty else (",", ":")
    text = json.dumps(
        value, indent=2 if pretty else None, separators=separators, ensure_ascii=ascii_only, default=str
    )
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Table:
    """Rows under headings, in columns. Grows by pages: a column gets wider where it must, never narrower."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._widths = [0] * len(headings)
        self._headings: list[Sequence[str]] = [headings]

    def lines(self, rows: Iterable[Sequence[str]]) -> str:
        """The next rows as text; the headings stand above the first."""
        cells = [*self._headings, *([one_line(cell) for cell in row] for row in rows)]
        self._headings = []
        for row in cells:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, self._widths)).rstrip() for row in cells)
