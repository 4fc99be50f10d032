"""A piece of network that can fall silent: nothing arrives any more, and nobody is told. Or break in the midst of a frame."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from tests.processes.independent import open_nursery


class Proxy:
    """Forwards connections to a router until it is cut.

    Attributes:
        url: where it listens, as the router's URL.
        breaks_after: how many bytes go over a connection, both ways together, until it breaks in the middle of a piece. It
            is asked for each connection. None: they do not.
    """

    def __init__(self, url: str, target: int) -> None:
        self.url = url
        self.breaks_after: Callable[[], int] | None = None
        self._target = target
        self._forwards = True
        self._connections: set[trio.SocketStream] = set()

    async def drop(self) -> None:
        """Reset the connections that there are, at both ends. New ones are forwarded."""
        for stream in list(self._connections):
            await trio.aclose_forcefully(stream)

    def cut(self) -> None:
        """Forward nothing any more, and close nothing either."""
        self._forwards = False

    async def serve(self, client: trio.SocketStream) -> None:
        """Forward one connection."""
        async with (
            await trio.open_tcp_stream("127.0.0.1", self._target) as router,
            trio.open_nursery() as nursery,
        ):
            ends = {client, router}
            self._connections |= ends
            left = None if self.breaks_after is None else [self.breaks_after()]
            nursery.start_soon(self._forward, client, router, left)
            nursery.start_soon(self._forward, router, client, left)
        self._connections -= ends

    async def _forward(
        self, source: trio.SocketStream, sink: trio.SocketStream, left: list[int] | None
    ) -> None:
        try:
            async for data in source:
                if not self._forwards:
                    break
                if left is not None and self.breaks_after is not None:
                    left[0] -= len(data)
                    if left[0] < 0:
                        await sink.send_all(data[: left[0]])
                        await trio.aclose_forcefully(source)
                        break
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if not self._forwards:
            await trio.sleep_forever()
        with trio.move_on_after(1):
            await sink.aclose()


@asynccontextmanager
async def open_proxy(port: int) -> AsyncGenerator[Proxy]:
    """Listen on a free port and forward to this one."""
    async with open_nursery() as nursery:
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = Proxy(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/", port)
        await nursery.start(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
