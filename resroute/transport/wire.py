"""Bytes in and out of a Trio stream, telling when a send that had to wait has moved on.

A plain TCP connection is read and written without the stream's checkpoints around each call: a send that the socket takes
at once costs one system call and no turn through the scheduler. So whoever sends in a loop waits for something in it.
"""

import os
import sys
from typing import Protocol

import trio

from resroute.transport.interface import TransportEnded

RECEIVE_BYTES = 64 * 1024
_SLICE_BYTES = 64 * 1024
_WAIT_SECONDS = 0.001  # a stream does not tell whether it had to wait; one that had room is faster


class Wire(Protocol):
    """The two directions of one connection."""

    progressed_at: float
    """On Trio's clock: when a send that had to wait last moved on; 0 before the first."""

    async def receive_some(self) -> bytes:
        """Wait for bytes; empty at the end. Raises :class:`TransportEnded`. Cancelling it loses nothing."""
        ...

    def receive_nowait(self) -> bytes:
        """Bytes that are there. Empty if there are none, or if that cannot be told without waiting."""
        ...

    def send_nowait(self, data: bytes) -> int:
        """Send what can be sent without waiting: nothing, if that cannot be told. Returns how much of it that was."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send everything. Raises :class:`TransportEnded`. Cancelled, some of it was sent. May not be a checkpoint."""
        ...

    def close_nowait(self) -> bool:
        """Close at once, if that takes no waiting. Returns whether it is closed. Closing twice does no harm."""
        ...

    async def aclose_forcefully(self) -> None:
        """Close at once. May not be a checkpoint. Closing twice does no harm."""
        ...


class StreamWire:
    """Any stream. What it is given at once is sent in slices, so that progress shows."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.progressed_at = 0.0
        self._stream = stream

    async def receive_some(self) -> bytes:
        """See :class:`Wire`."""
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise TransportEnded(None, "the connection broke") from error

    def receive_nowait(self) -> bytes:
        """See :class:`Wire`."""
        return b""

    def send_nowait(self, data: bytes) -> int:
        """See :class:`Wire`."""
        return 0

    async def send_all(self, data: bytes) -> None:
        """See :class:`Wire`."""
        try:
            view = memoryview(data)
            for start in range(0, len(data), _SLICE_BYTES):
                began = trio.current_time()
                await self._stream.send_all(view[start : start + _SLICE_BYTES])
                ended = trio.current_time()
                if ended - began > _WAIT_SECONDS:
                    self.progressed_at = ended
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise TransportEnded(None, "the connection broke") from error

    def close_nowait(self) -> bool:
        """See :class:`Wire`."""
        return False

    async def aclose_forcefully(self) -> None:
        """See :class:`Wire`."""
        await trio.aclose_forcefully(self._stream)


class SocketWire:
    """A TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.progressed_at = 0.0
        self._socket = stream.socket

    async def receive_some(self) -> bytes:
        """See :class:`Wire`."""
        socket = self._socket
        if socket.fileno() < 0:
            raise TransportEnded(None, "the connection is closed")
        try:
            while True:
                await trio.lowlevel.wait_readable(socket)
                try:
                    return os.read(socket.fileno(), RECEIVE_BYTES)
                except BlockingIOError:
                    continue
        except (OSError, trio.ClosedResourceError) as error:
            raise TransportEnded(None, "the connection broke") from error

    def receive_nowait(self) -> bytes:
        """See :class:`Wire`."""
        try:
            return os.read(self._socket.fileno(), RECEIVE_BYTES)
        except OSError:  # there is nothing, or who waits for it finds out what is wrong
            return b""

    def send_nowait(self, data: bytes) -> int:
        """See :class:`Wire`."""
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            return 0

    async def send_all(self, data: bytes) -> None:
        """See :class:`Wire`."""
        socket = self._socket
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[os.write(socket.fileno(), left) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(socket)
                    self.progressed_at = trio.current_time()
        except (OSError, trio.ClosedResourceError) as error:
            raise TransportEnded(None, "the connection broke") from error

    def close_nowait(self) -> bool:
        """See :class:`Wire`."""
        self._socket.close()
        return True

    async def aclose_forcefully(self) -> None:
        """See :class:`Wire`."""
        self.close_nowait()


def wire_of(stream: trio.abc.Stream) -> Wire:
    """The wire for a stream."""
    if sys.platform != "win32" and isinstance(stream, trio.SocketStream):  # there sockets are no files
        return SocketWire(stream)
    return StreamWire(stream)
