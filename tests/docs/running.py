"""Routers, and programs that talk to them, as processes of their own: what the documentation tells its readers to run."""

import os
import re
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.started import start

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"

DOCUMENTED_URL = "ws://127.0.0.1:8765/"
"""Where the documentation's router is."""

_LISTENS = re.compile(r"^resroute listens on (ws://\S+) \(admin pages on (http://\S+)\)\n", re.MULTILINE)


def environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RESROUTE_")}


@asynccontextmanager
async def open_process(
    command: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> AsyncIterator[trio.Process]:
    """A process for the length of the block; its stderr is a pipe."""
    process = await trio.lowlevel.open_process(
        command, env=environment(), cwd=ROOT, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    await pipe.aclose()


@asynccontextmanager
async def open_router(*options: str) -> AsyncIterator[str]:
    """A router on free ports; yields its URL."""
    async with open_administered(*options) as (url, _):
        yield url


@asynccontextmanager
async def open_administered(*options: str) -> AsyncIterator[tuple[str, str]]:
    """The same; yields its URL and that of its admin API."""
    command = ["resroute", "serve", "--port=0", "--admin-port=0", *options]
    async with (
        start(*command, environ=environment(), pipes=["stderr"]) as process,
        trio.open_nursery() as nursery,
    ):
        assert process.stderr is not None
        said = b""
        while (listens := _LISTENS.search(said.decode())) is None:
            chunk = await process.stderr.receive_some()
            assert chunk, f"the router ended: {said.decode()}"
            said += chunk
        nursery.start_soon(_drain, process.stderr)
        yield listens[1], listens[2]
        nursery.cancel_scope.cancel()


async def _drain(pipe: trio.abc.ReceiveStream) -> None:
    async for _ in pipe:
        pass


async def read_line(process: trio.Process) -> str:
    """The first line that a process prints.

    Raises:
        AssertionError: it ended before; with what it said.
    """
    assert process.stdout is not None and process.stderr is not None
    said = b""
    while not said.endswith(b"\n"):
        chunk = await process.stdout.receive_some()
        if not chunk:
            complaint = b"".join([chunk async for chunk in process.stderr])
            raise AssertionError(f"it ended: {said.decode()}{complaint.decode()}")
        said += chunk
    return said.decode()
