"""How the demonstration speaks: in colours on a terminal, plainly elsewhere."""

import os
import sys
from collections.abc import Mapping, Sequence

from resroute import RouterError

_CODES = {"strong": "1", "faint": "2", "name": "36", "good": "32", "bad": "31"}


class Voice:
    """Writes to the standard output, each line at once."""

    def __init__(self) -> None:
        is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self._has_colours = sys.stdout.isatty() and not is_plain
        self._step = 0

    def paint(self, style: str, text: str) -> str:
        """A text in one of the styles."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._has_colours else text

    def say(self, line: str = "") -> None:
        """Write a line."""
        print(line, flush=True)

    def step(self, heading: str) -> None:
        """Begin the next part of the story."""
        self._step += 1
        self.say(f"\n{self.paint('strong', f'{self._step}. {heading}')}")

    def item(self, name: str, text: str, remark: str = "") -> None:
        """Say something about somebody."""
        remark = f"  {self.paint('faint', remark)}" if remark else ""
        self.say(f"   {self.paint('name', f'{name:<12}')} {text}{remark}")

    def note(self, text: str) -> None:
        """Say something."""
        self.say(f"   {text}")

    def remark(self, text: str) -> None:
        """Add what need not be read."""
        self.say(f"   {self.paint('faint', text)}")

    def good(self, text: str) -> None:
        """Say that something went well."""
        self.say(f"   {self.paint('good', 'ok')}  {text}")

    def refused(self, code: int, kind: str, text: str) -> None:
        """Show an error as its receiver sees it."""
        self.say(f"   {self.paint('bad', f'{code} {kind}')}  {text}")

    def fall_silent(self) -> None:
        """Nobody listens: what is still to be said goes nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def failed(self, sentence: str, last_words: Mapping[str, Sequence[str]]) -> None:
        """Say that the demonstration failed, and why."""
        print(f"\n{self.paint('bad', 'FAILED:')} {sentence}", file=sys.stderr)
        for name, lines in last_words.items():
            for line in lines:
                print(f"   {name}: {line}", file=sys.stderr)

    def error(self, error: RouterError) -> None:
        """Show an error of the router's."""
        self.refused(error.code, error.type, str(error))
