"""A piece of network that can fall silent: nothing arrives any more, and nobody is told."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from tests.processes.independent import open_nursery


class Proxy:
    """Forwards connections to a router until it is cut.

    Attributes:
        url: where it listens, as the router's URL.
    """

    def __init__(self, url: str, target: int) -> None:
        self.url = url
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
            nursery.start_soon(self._forward, client, router)
            nursery.start_soon(self._forward, router, client)
        self._connections -= ends

    async def _forward(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                if not self._forwards:
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
