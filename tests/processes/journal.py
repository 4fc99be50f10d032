"""What all sessions of a test said and heard, in whichever process, put in one order and shown to the checker.

All processes of a machine share a monotonic clock: what is noted before it is sent and after it is received stands in
the order of cause and effect.
"""

import time
from typing import Literal

import attrs

from tests.checker import Checker, Word, read_json

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

    def open_record(self, name: str) -> Record:
        """The record of one more session. Names may recur."""
        self._count += 1
        return Record(f"{name} (#{self._count})", self._entries)

    def find_faults(self) -> list[str]:
        """Every promise that the router broke, in sentences."""
        checker = Checker()
        records = {
            name: checker.open_record(name, takes_lines=False)
            for name in dict.fromkeys(entry.name for entry in self._entries)
        }
        for position, entry in enumerate(sorted(self._entries, key=lambda entry: entry.at)):
            record = records[entry.name]
            match entry.kind:
                case "left":
                    if record.left_at is None:
                        record.left_at, record.left_position = entry.at, position
                case "stalled":
                    record.is_deaf, record.late_since = True, position
                case kind:
                    message = read_json(entry.text)
                    record.words.append(Word(record, position, entry.at, kind == "said", message))
        return checker.find_faults()
