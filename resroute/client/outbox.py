"""What waits for a session's writer. No I/O: the writer draws messages from it."""

from itertools import islice

import trio

SOFT_BYTES = 1024 * 1024
"""Above this, what can wait (calls, answers) waits at the door; see :meth:`Outbox.wait_room`."""


class Entry:
    """One line for the router. ``handed_over`` is set when the writer takes it: from then on it may have arrived."""

    __slots__ = ("handed_over", "line")

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.handed_over = False


class Outbox:
    """Lines in the order they were put. Bounded, as calls and answers wait for room before they are put."""

    def __init__(self) -> None:
        # in order; a dictionary, so that withdrawing takes no search
        self._waiting: dict[Entry, None] = {}
        self._bytes = 0
        self._is_finished = False
        self._some = trio.Event()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, line: bytes) -> Entry:
        """Add a line, whether there is room or not. After :meth:`finish` it is dropped, and so never handed over."""
        entry = Entry(line)
        if not self._is_finished:
            self._waiting[entry] = None
            self._bytes += len(line)
            self._some.set()
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Take back a line that was not handed over; does nothing if it is not here any more."""
        if entry in self._waiting:
            self._remove(entry)
            self._room.set()

    def take(self, max_bytes: int) -> list[bytes]:
        """Hand over the lines of one message: as many as fit, joined by one byte each; at least one if there is any."""
        taken: list[bytes] = []
        size = -1
        for entry in self._waiting:
            line = entry.line
            size += len(line) + 1
            if size > max_bytes and taken:
                break
            entry.handed_over = True
            taken.append(line)
        if len(taken) == len(self._waiting):
            self.clear()
        else:
            for entry in list(islice(self._waiting, len(taken))):
                self._remove(entry)
        self._room.set()
        return taken

    def finish(self) -> None:
        """Take nothing new. What is here can still be taken, and :meth:`wait_some` then ends with False."""
        self._is_finished = True
        self._some.set()
        self._room.set()

    def clear(self) -> None:
        """Drop what is here, for nobody will take it."""
        self._waiting.clear()
        self._bytes = 0

    async def wait_some(self) -> bool:
        """Wait until there is a line to take. False: there is none, and none will come."""
        while not self._waiting and not self._is_finished:
            self._some = trio.Event()
            await self._some.wait()
        return bool(self._waiting)

    async def wait_room(self, max_bytes: int = SOFT_BYTES) -> None:
        """Wait until less than ``max_bytes`` waits, or the outbox is finished. No checkpoint if that is so now."""
        while self._bytes >= max_bytes and not self._is_finished:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    def _remove(self, entry: Entry) -> None:
        del self._waiting[entry]
        self._bytes -= len(entry.line)
