"""Programs that end in the middle of things say what has happened, in time and with nothing besides."""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

import attrs
import trio

from tests.processes.running import Serving, open_router

NOT_OURS = ("never awaited", "ResourceWarning", "Exception ignored", "GroupError", "corrupted")
"""What Python says of what was left behind."""


@attrs.define
class Ended:
    """How a program has ended."""

    said: list[str]
    complaints: str
    code: int


@contextmanager
def _interrupts_as_in_a_terminal() -> Iterator[None]:
    """What is started inside heeds SIGINT, even where whoever runs the tests has put them in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@asynccontextmanager
async def open_ended(router: Serving, name: str, *, interrupt_at: str | None = None) -> AsyncGenerator[Ended]:
    """Run a program to its end, and interrupt it when it has said that word."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.processes.odd", name, router.url]
    with _interrupts_as_in_a_terminal():
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    async def read(which: str, stream: trio.abc.ReceiveStream | None) -> None:
        assert stream is not None
        async for chunk in stream:
            said[which] += chunk
            if interrupt_at is not None and chunk.strip() == interrupt_at.encode():
                process.send_signal(signal.SIGINT)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "stdout", process.stdout)
            nursery.start_soon(read, "stderr", process.stderr)
            code = await process.wait()
    finally:
        process.kill()
    ended = Ended(said["stdout"].decode().split(), said["stderr"].decode(), code)
    assert not [complaint for complaint in NOT_OURS if complaint in ended.complaints], ended.complaints
    yield ended


async def test_who_leaves_with_calls_in_flight_cancels_them_and_goes() -> None:
    async with open_router() as router, open_ended(router, "closing") as ended:
        assert (ended.code, ended.complaints) == (0, ""), ended.complaints
        assert sorted(ended.said) == ["ConnectionLost", "OwnerDisconnected", "OwnerDisconnected"]


async def test_what_the_block_raises_is_all_that_is_raised() -> None:
    async with open_router() as router, open_ended(router, "raising") as ended:
        assert ended.code == 1
        assert "KeyError: 'mine'" in ended.complaints
        assert ended.complaints.count("Traceback") <= 2, "in the group of the program's own nursery"


async def test_who_is_interrupted_with_calls_in_flight_goes_at_once() -> None:
    async with open_router() as router, open_ended(router, "interrupted", interrupt_at="ready") as ended:
        assert ended.said[:1] == ["ready"]
        assert ended.code in (1, -signal.SIGINT)
        assert "KeyboardInterrupt" in ended.complaints
        async with router.open_session() as session:
            assert (await session.ask("resource.query"))["resources"] == []


async def test_a_handler_that_ends_the_program_ends_it() -> None:
    async with open_router() as router, open_ended(router, "exiting") as ended:
        assert (ended.code, ended.complaints) == (3, "")


async def test_a_handler_that_blocks_is_warned_about_and_one_that_hangs_has_its_time() -> None:
    async with open_router() as router, open_ended(router, "blocking") as ended:
        assert (ended.code, ended.said) == (0, ["blocked", "alive"])
        [warning] = ended.complaints.splitlines()
        assert warning.startswith("handler_blocked method=block seconds=0.8")
