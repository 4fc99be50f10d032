"""The figures of 0004-outbox-numbers-decide-delivery.md. Run it in the project's environment:

python docs/decisions/outbox.py
"""

import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection

MESSAGE = b"x" * 300
BATCH = 32
ROUNDS = 9
TIMES = 4000


class NumberedOutbox:
    """As it is, without what both would need besides: messages under numbers, and the highest number taken."""

    __slots__ = ("_entries", "size_bytes", "taken")

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}
        self.size_bytes = 0
        self.taken = 0

    def post_call(self, number: int, message: bytes) -> None:
        """Append a message."""
        self._entries[number] = message
        self.size_bytes += len(message)

    def withdraw(self, number: int) -> bytes | None:
        """Take a message back."""
        message = self._entries.pop(number, None)
        if message is not None:
            self.size_bytes -= len(message)
        return message

    def take(self) -> Collection[bytes]:
        """Take what is there."""
        entries, self._entries, self.size_bytes = self._entries, {}, 0
        self.taken = next(reversed(entries))
        return entries.values()


class Entry:
    """One message that knows whether it was handed over."""

    __slots__ = ("is_taken", "is_withdrawn", "message")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.is_taken = False
        self.is_withdrawn = False


class MarkedOutbox:
    """The other way: an object for each message, marked when it is taken, and when it is withdrawn."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.size_bytes = 0

    def post_call(self, message: bytes) -> Entry:
        """Append a message."""
        entry = Entry(message)
        self._entries.append(entry)
        self.size_bytes += len(message)
        return entry

    def withdraw(self, entry: Entry) -> bytes | None:
        """Take a message back. Its entry stays in the queue until the writer comes by."""
        if entry.is_taken or entry.is_withdrawn:
            return None
        entry.is_withdrawn = True
        self.size_bytes -= len(entry.message)
        return entry.message

    def take(self) -> list[bytes]:
        """Take what is there."""
        taken = []
        for entry in self._entries:
            if not entry.is_withdrawn:
                entry.is_taken = True
                taken.append(entry.message)
        self._entries.clear()
        self.size_bytes = 0
        return taken


def numbers() -> Callable[[], None]:
    """As it is: posting a batch and taking it."""
    next_number = itertools.count(1).__next__
    outbox = NumberedOutbox()

    def run() -> None:
        for _ in range(BATCH):
            outbox.post_call(next_number(), MESSAGE)
        b"".join(outbox.take())

    return run


def marks() -> Callable[[], None]:
    """With an object for each message."""
    next_number = itertools.count(1).__next__
    outbox = MarkedOutbox()

    def run() -> None:
        for _ in range(BATCH):
            next_number()  # calls need a correlation id anyway
            outbox.post_call(MESSAGE)
        b"".join(outbox.take())

    return run


def main() -> None:
    """Measure both in turn."""
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for case in (numbers, marks):
            run = case()
            began = time.thread_time()
            for _ in range(TIMES):
                run()
            found.setdefault(str(case.__doc__), []).append((time.thread_time() - began) / TIMES / BATCH)
    for title, times in found.items():
        print(f"{title:45} {statistics.median(times) * 1e9:5.0f} ns a message")


if __name__ == "__main__":
    main()
