"""What waits for a session's writer."""

from collections.abc import Callable, Collection
from itertools import islice

import trio

MAX_TAKE_BYTES = 256 * 1024
"""The most a writer takes at a time, unless a single message is larger."""


class Memory:
    """What a router's outboxes, calls in flight and half-received messages take together, and what it is too much for.

    Args:
        max_bytes: above it, ``relieve`` is called; it has sessions end until the rest fits.
    """

    __slots__ = ("_relieve", "max_bytes", "total_bytes")

    def __init__(self, max_bytes: int, relieve: Callable[[], None]) -> None:
        self.max_bytes = max_bytes
        self.total_bytes = 0
        self._relieve = relieve

    def change(self, by_bytes: int) -> None:
        """Something was added, or with a negative number taken away."""
        self.total_bytes += by_bytes
        if by_bytes >= 0 and self.total_bytes > self.max_bytes:
            self._relieve()


class Outbox:
    """Messages for one session, in order, each under a number that grows.

    What the writer has not taken yet can be withdrawn in O(1). What it has taken counts as handed over, whatever becomes of
    it: since nothing overtakes, those are exactly the numbers up to :attr:`taken`.
    """

    __slots__ = (
        "_entries",
        "_memory",
        "_next_number",
        "_reserved",
        "_waiting",
        "size_bytes",
        "taken",
    )

    def __init__(self, next_number: Callable[[], int], memory: Memory) -> None:
        self._next_number = next_number
        self._memory = memory
        # number -> message; ascending
        self._entries: dict[int, bytes] = {}
        self._reserved = 0
        self.size_bytes = 0
        self.taken = 0
        # the writer while it waits, or what starts one; a task is woken by its name, which is quicker than a parking lot
        self._waiting: trio.lowlevel.Task | Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def post(self, message: bytes) -> None:
        """Append a message that is never withdrawn."""
        self.post_call(self._next_number(), message)

    def post_call(self, number: int, message: bytes) -> None:
        """Append a message under a number that is higher than all before."""
        size = len(message)
        self._entries[number] = message
        self.size_bytes += size
        memory = self._memory  # Memory.change, in place: this is the hot path
        memory.total_bytes += size
        if memory.total_bytes > memory.max_bytes:
            memory.change(0)
        if self._waiting is not None:
            self.wake()

    def withdraw(self, number: int) -> bytes | None:
        """Take a message back. Returns it, or None if the writer has taken it."""
        message = self._entries.pop(number, None)
        if message is not None:
            self.size_bytes -= len(message)
            self._memory.total_bytes -= len(message)
        return message

    def reserve(self, size: int) -> None:
        """Count what will be posted later as if it had been, or with a negative size no longer."""
        self._reserved += size
        self.size_bytes += size
        self._memory.change(size)

    def wake(self) -> bool:
        """Have the writer look again though nothing was posted. Returns whether it was waiting, or has been started."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return False
        if isinstance(waiting, trio.lowlevel.Task):
            trio.lowlevel.reschedule(waiting)
        else:
            waiting()
        return True

    def start_when_ready(self, start: Callable[[], None] | None) -> None:
        """There is no writer: ``start`` one for the next message, or for who wakes it; None: nobody is to be started."""
        self._waiting = start

    async def wait_ready(self) -> None:
        """Wait until there is a message to take, or somebody wakes the writer. Safe to cancel; one task at a time."""
        self._waiting = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def take(self) -> Collection[bytes]:
        """Take what is there, in order, up to :data:`MAX_TAKE_BYTES`. From here on it counts as handed over."""
        entries = self._entries
        if not entries:
            return ()
        size = self.size_bytes - self._reserved
        if size <= MAX_TAKE_BYTES:
            self._entries = {}
        else:
            size = count = 0
            for message in entries.values():
                if count and size + len(message) > MAX_TAKE_BYTES:
                    break
                size += len(message)
                count += 1
            entries = dict(islice(entries.items(), count))
            for number in entries:
                del self._entries[number]
        self.size_bytes -= size
        self._memory.total_bytes -= size
        self.taken = next(reversed(entries))
        return entries.values()

    def discard(self) -> None:
        """Drop everything: nobody will take it any more."""
        self._memory.total_bytes -= self.size_bytes
        self._entries.clear()
        self.size_bytes = self._reserved = 0
