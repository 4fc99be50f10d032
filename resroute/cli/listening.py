"""Listening on an address before anything is served there."""

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

# This machine has names for addresses it does not have: "localhost" may be ::1 too where there is no IPv6.
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(Exception):
    """The address is not to be had; the text says why."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(host, port, error)
        self.host = host
        self.port = port
        self.error = error

    def __str__(self) -> str:
        # Trio's own text holds the number and the address besides.
        reason = self.error if isinstance(self.error, socket.gaierror) else None
        why = reason.strerror if reason else os.strerror(self.error.errno or 0)
        return f"cannot listen on {show_address(self.host, self.port)}: {why}"


@asynccontextmanager
async def open_listeners(host: str, port: int) -> AsyncIterator[list[trio.SocketListener]]:
    """Listen on every address that ``host`` has, all on one port; closed at the end.

    Port 0 stands for any that is free.

    Raises:
        CannotListen: for example because the port is in use.
    """
    async with AsyncExitStack() as stack:
        listeners: list[trio.SocketListener] = []
        missing: OSError | None = None
        try:
            for address in await _resolve(host, port):
                # A name may have an address of each family; the second must take the port the first one got.
                taken = listeners[0].socket.getsockname()[1] if listeners else port
                try:
                    opened = await trio.open_tcp_listeners(taken, host=address)
                except OSError as error:
                    if error.errno not in _NO_SUCH_ADDRESS:
                        raise
                    missing = error
                else:
                    listeners += [await stack.enter_async_context(listener) for listener in opened]
            if missing is not None and not listeners:
                raise missing
        except OSError as error:
            raise CannotListen(host, port, error) from error
        yield listeners


async def _resolve(host: str, port: int) -> list[str]:
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def show_address(host: str, port: int) -> str:
    """``host:port`` as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
