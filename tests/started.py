"""Programs of the project as processes of their own, which start quickly: see tests.starter."""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.starter import Wish

_ROOT = Path(__file__).parents[1]


@attrs.define
class Started:
    """A process, and those of its streams that are pipes."""

    pid: int
    stdin: trio.abc.SendStream
    stdout: trio.abc.ReceiveStream | None
    stderr: trio.abc.ReceiveStream | None
    _told: trio.abc.ReceiveStream
    _code: int | None = None
    _reading: trio.Lock = attrs.field(factory=trio.Lock)

    async def wait(self) -> int:
        """Wait until it has ended. Returns its exit code; below zero, the signal that ended it."""
        async with self._reading:
            if self._code is None:
                self._code = await _read_number(self._told)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, now; nothing comes of it if it has ended."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, now."""
        self.send_signal(signal.SIGKILL)


@asynccontextmanager
async def start(
    *command: str,
    environ: Mapping[str, str],
    pipes: Collection[str] = ("stdout", "stderr"),
    limits: Mapping[int, int] | None = None,
) -> AsyncGenerator[Started]:
    """Start ``python -m COMMAND``; killed at the end, whether it runs, is stopped or has ended.

    Args:
        environ: all of its environment.
        pipes: what is read of what it says; the rest goes where the tests' own goes. It can always be written to.
        limits: of the system's, by their numbers.
    """
    wish = Wish(
        command=command, folder=str(_ROOT), environ=dict(environ), limits=list((limits or {}).items())
    )
    told, asker = socket.socketpair()
    stdin, writes = os.pipe()
    given, read = [stdin], dict[str, int]()
    for number, name in enumerate(("stdout", "stderr"), 1):
        if name in pipes:
            read[name], end = os.pipe()
        else:
            end = os.dup(number)
        given.append(end)
    socket.send_fds(_starter(), [b"\n"], [asker.fileno()])
    socket.send_fds(told, [json.dumps(wish).encode() + b"\n"], given)
    asker.close()
    for descriptor in given:
        os.close(descriptor)
    async with (
        trio.lowlevel.FdStream(writes) as fed,
        trio.SocketStream(trio.socket.from_stdlib_socket(told)) as news,
        AsyncExitStack() as said,
    ):
        streams = {name: trio.lowlevel.FdStream(end) for name, end in read.items()}
        for stream in streams.values():
            await said.enter_async_context(stream)
        process = Started(await _read_number(news), fed, streams.get("stdout"), streams.get("stderr"), news)
        try:
            yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _read_number(stream: trio.abc.ReceiveStream) -> int:
    line = b""
    while not line.endswith(b"\n"):
        read = await stream.receive_some(1)
        assert read, "tests.starter has ended"
        line += read
    return int(line)


@functools.cache
def _starter() -> socket.socket:
    """What takes wishes, until these tests end."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.starter", str(theirs.fileno())], cwd=_ROOT, pass_fds=[theirs.fileno()]
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
