"""A stream whose every read is known beforehand, and which keeps what is written."""

from collections import deque
from collections.abc import Iterable

import trio


class ScriptedStream(trio.abc.Stream):
    """The router's end of a connection whose peer says what it says whatever it hears, and then leaves."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.sent = b""
        self.is_closed = False
        self._pieces = deque(pieces)

    @property
    def is_empty(self) -> bool:
        """Whether the peer has said all it will."""
        return not self._pieces

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next piece; at the end nothing."""
        await trio.lowlevel.checkpoint()
        return self._pieces.popleft() if self._pieces else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        """It never blocks."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """The end."""
        self.is_closed = True
        await trio.lowlevel.checkpoint()
