"""What all sessions of a test said and heard, in whichever process, put in one order and shown to the checker.

All processes of a machine share a monotonic clock: what is noted before it is sent and after it is received stands in
the order of cause and effect.
"""

import time
from typing import Literal

import attrs
import trio
from trio.testing import MockClock

from tests.checker import Checker

Kind = Literal["said", "heard", "left", "stalled"]


@attrs.frozen
class Entry:
    """One message, or that a session left, or that it hears everything late from then on, or never."""

    at: float
    name: str
    kind: Kind
    text: str = ""


@attrs.frozen
class Record:
    """What one session says and hears."""

    _name: str
    _entries: list[Entry]

    def note(self, kind: Kind, text: str = "") -> None:
        """Something happens right now, in this process."""
        self._entries.append(Entry(time.monotonic(), self._name, kind, text))

    def copy(self, at: float, kind: Kind, text: str) -> None:
        """Something has happened, in whichever process."""
        self._entries.append(Entry(at, self._name, kind, text))


class Journal:
    """The entries of all sessions with one router."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._count = 0
        self._bound_to: dict[str, tuple[str, str]] = {}

    def open_record(self, name: str, bound_to: tuple[str, str] | None = None) -> Record:
        """The record of one more session. Names may recur.

        Args:
            bound_to: the parameter of ``route.call`` that its URL stands for.
        """
        self._count += 1
        name = f"{name} (#{self._count})"
        if bound_to is not None:
            self._bound_to[name] = bound_to
        return Record(name, self._entries)

    async def find_faults(self) -> list[str]:
        """Every promise that the router broke, in sentences."""
        clock = MockClock()  # in a run of its own, in which the checker sees everything happen when it did
        return await trio.to_thread.run_sync(lambda: trio.run(self._replay, clock, clock=clock))

    async def _replay(self, clock: MockClock) -> list[str]:
        checker = Checker()
        names = dict.fromkeys(entry.name for entry in self._entries)
        records = {name: checker.open_record(name, takes_lines=False) for name in names}
        for name, record in records.items():
            record.bound_to = self._bound_to.get(name)
        last_at = None
        for entry in sorted(self._entries, key=lambda entry: entry.at):
            clock.jump(entry.at - last_at if last_at is not None else 0)
            last_at = entry.at
            record = records[entry.name]
            match entry.kind:
                case "said":
                    record.said(entry.text.encode())
                case "heard":
                    record.heard(entry.text.encode())
                case "left":
                    record.left()
                case "stalled":
                    record.becomes_late()
                    record.is_deaf = True
        return checker.find_faults()
