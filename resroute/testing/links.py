"""A piece of network in memory between a client and a router, that can be slow, stand still, or break."""

import trio
from trio.testing import memory_stream_pair


class Link:
    """One connection.

    Attributes:
        theirs: the router's end.
        delay_seconds: how long each piece of what is sent takes, either way.
    """

    def __init__(self) -> None:
        ours, self.theirs = memory_stream_pair()
        self.delay_seconds = 0.0
        self._moving = trio.Event()
        self._moving.set()
        self._ours = ours

    @property
    def ours(self) -> trio.abc.Stream:
        """The client's end."""
        return _Delayed(self._ours, self)

    def stall(self) -> None:
        """Nothing arrives any more, either way, and nobody is told."""
        if self._moving.is_set():  # or what waits already would wait for ever
            self._moving = trio.Event()

    def go_on(self) -> None:
        """What was held up arrives now."""
        self._moving.set()

    async def drop(self) -> None:
        """Break it. The router's end notices at once, and so does the client's, unless it stands still."""
        await trio.aclose_forcefully(self.theirs)

    async def pass_through(self) -> None:
        """Wait as long as what is on its way takes."""
        if self.delay_seconds:
            await trio.sleep(self.delay_seconds)
        await self._moving.wait()


class _Delayed(trio.abc.Stream):
    """A stream whose other end is reached through a link."""

    def __init__(self, stream: trio.abc.Stream, link: Link) -> None:
        self._stream = stream
        self._link = link

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._link.pass_through()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        await self._link.pass_through()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()
