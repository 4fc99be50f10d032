"""Those who come and go get on one after the other, however many do so at once, with turns of everybody else in between."""

import trio

PASSES = 3
"""One for whose turn it is; one to read what has arrived meanwhile; one to send what that led to."""


class Turnstile:
    """A queue of which one gets on every :data:`PASSES` passes of the loop.

    To shake hands, to open a session, to register it, to register what it owns and to end it takes some 100 µs each. A
    thousand that do so at once would be one pass of many milliseconds, and a call of somebody else takes four passes.
    """

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()
        self._outside = trio.lowlevel.ParkingLot()
        self._watching = trio.lowlevel.ParkingLot()
        self._is_kept = False
        self._is_free = True

    def __len__(self) -> int:
        return len(self._waiting) + len(self._outside)

    async def wait_turn(self, *, behind_all: bool = False) -> None:
        """Wait for one's turn, which lasts until the next checkpoint. The order is that of the calls.

        Args:
            behind_all: whether all others have theirs before, those who come later too. Who lets more of them in does so only
                then: the fewer are under way, the more of what each needs is still in the processor's caches.

        Not a checkpoint for who finds nobody there before. Safe to cancel.
        """
        if self._is_free:
            self._is_free = not self._is_kept
            self._watching.unpark()
        else:
            await (self._outside if behind_all else self._waiting).park()

    async def run(self) -> None:
        """Keep the order until cancelled. Before and after, everybody gets on at once."""
        self._is_kept = True
        try:
            while True:
                if self._waiting or self._outside:
                    (self._waiting or self._outside).unpark()
                    for _ in range(PASSES):
                        await trio.lowlevel.checkpoint()
                else:
                    self._is_free = True
                    await self._watching.park()
        finally:
            self.open()

    def open(self) -> None:
        """Let everybody get on at once from here on."""
        self._is_kept = False
        self._is_free = True
        self._waiting.unpark_all()
        self._outside.unpark_all()
