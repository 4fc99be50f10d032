"""The command line as processes of their own, and a router for those that need one."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout

import attrs
import pytest
import trio

from resroute.admin import Access, serve_admin
from resroute.cli import main
from resroute.cli.interrupts import Interruption
from resroute.router import Router
from resroute.security.tokens import AdministratorTokens
from resroute.settings import Settings
from tests.admin.asking import Seen
from tests.started import Started, start

_LISTENS = re.compile(r"resroute listens on (ws://\S+) \(admin pages on (https?://\S+)\)\n")


def environment(**more: str) -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RESROUTE_")} | more


def command(*arguments: str) -> list[str]:
    """``resroute``, in whatever environment runs the tests."""
    return [sys.executable, "-m", "resroute", *arguments]


def run_process(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as a process of its own; for tests that are not async."""
    return subprocess.run(
        command(*arguments),
        env=environment(**(environ or {})),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# --- in this process ------------------------------------------------------------------------------------------


def run(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, from where a process enters it to its exit code; for tests that are not async.

    A process of its own would spend nearly all of its time on importing what is here already.
    """
    given = ["resroute", *arguments]
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(stdout), redirect_stderr(stderr), pytest.MonkeyPatch.context() as process:
        process.setattr(sys, "argv", given)
        for name in os.environ.keys() - environment().keys():
            process.delenv(name)
        for name, value in (environ or {}).items():
            process.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code or 0
    assert isinstance(code, int)
    for stream in (stdout, stderr):
        stream.seek(0)
    return subprocess.CompletedProcess(given, code, stdout.read(), stderr.read())


@asynccontextmanager
async def open_router(settings: Settings | None = None) -> AsyncGenerator[str]:
    """A router of this process, on a free port; yields its URL."""
    async with trio.open_nursery() as nursery:
        router = Router(settings)
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(router.serve)
        await nursery.start(router.serve_listener, listener)
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_both(
    settings: Settings | None = None, *, token: str | None = None
) -> AsyncGenerator[tuple[str, str]]:
    """A router of this process; yields its own URL and that of its admin API, which wants ``token`` if there is one."""
    tokens = AdministratorTokens([] if token is None else [f"ada:{token}"])
    async with trio.open_nursery() as nursery:
        router = Router(settings or Settings(anonymous_roles=("caller", "instance", "admin")))
        [own, admin] = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)]
        await nursery.start(router.serve)
        await nursery.start(router.serve_listener, own)
        await nursery.start(serve_admin, Seen(router), [admin], Access(tokens))
        ports = [listener.socket.getsockname()[1] for listener in (own, admin)]
        yield f"ws://127.0.0.1:{ports[0]}/", f"http://127.0.0.1:{ports[1]}/"
        nursery.cancel_scope.cancel()


def never() -> Interruption:
    """What a command is given whom no signal interrupts."""
    return Interruption(trio.CancelScope())


# --- processes ------------------------------------------------------------------------------------------------


@attrs.define
class Program:
    """A process and what it has said so far."""

    process: Started
    stdout: str = ""
    stderr: str = ""
    _streams_open: int = 2
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def _listen(self, stream: trio.abc.ReceiveStream, name: str) -> None:
        async with stream:
            async for chunk in stream:
                setattr(self, name, getattr(self, name) + chunk.decode())
                self._tell()
        self._streams_open -= 1
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_said(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something, on either stream."""
        while True:
            for said in (self.stdout, self.stderr):
                if match := re.search(pattern, said):
                    return match
            assert self._streams_open, f"it ended: {self.stdout}{self.stderr}"
            await self._changed.wait()

    async def wait_ended(self) -> int:
        """Wait until it has ended and all it said is here. Returns its exit code."""
        code = await self.process.wait()
        while self._streams_open:
            await self._changed.wait()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, now."""
        self.process.send_signal(number)


@asynccontextmanager
async def open_program(*arguments: str, **environ: str) -> AsyncGenerator[Program]:
    """Start a command; killed at the end if it still runs."""
    async with start("resroute", *arguments, environ=environment(**environ)) as process:
        assert process.stdout is not None and process.stderr is not None
        program = Program(process)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program._listen, process.stdout, "stdout")
            nursery.start_soon(program._listen, process.stderr, "stderr")
            yield program
            nursery.cancel_scope.cancel()


@attrs.frozen
class Serving:
    """A router in a process of its own."""

    program: Program
    url: str
    admin_url: str

    async def ask_admin(self, path: str) -> tuple[int, str]:
        """Status and body of an admin page."""
        host, port = self.admin_url.removeprefix("http://").rstrip("/").rsplit(":", 1)
        async with await trio.open_tcp_stream(host.strip("[]"), int(port)) as stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            received = b"".join([chunk async for chunk in stream]).decode()
        head, _, body = received.partition("\r\n\r\n")
        return int(head.split()[1]), body


@asynccontextmanager
async def open_serve(*arguments: str, **environ: str) -> AsyncGenerator[Serving]:
    """Start a router on free ports, and wait until it listens."""
    async with open_program("serve", "--port=0", "--admin-port=0", *arguments, **environ) as program:
        match = await program.wait_said(_LISTENS.pattern)
        yield Serving(program, match[1], match[2])
