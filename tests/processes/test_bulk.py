"""Requests in bulk over sockets: all or nothing, and nothing of one whose program is killed."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.processes.independent import Session
from tests.processes.running import Serving, open_router

MANY = 10_000
LIMITS = {"max_resources_per_instance": 20_000}


@asynccontextmanager
async def open_bulk_owner(router: Serving) -> AsyncGenerator[tuple[trio.Process, trio.abc.ReceiveStream]]:
    """A program that registers :data:`MANY` resources, and what it says."""
    command = [sys.executable, "-m", "tests.processes.bulk_owner", router.url, str(MANY)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def read_until(stream: trio.abc.ReceiveStream, word: bytes) -> None:
    """Read until a program has said something."""
    said = b""
    while word not in said:
        more = await stream.receive_some()
        assert more, f"it ended after {said!r}"
        said += more


async def total(session: Session) -> int:
    """How many resources have an owner."""
    page = await session.ask("resource.query", limit=1)
    count = page["total_count"]
    assert isinstance(count, int)
    return count


async def test_nobody_sees_anything_of_a_bulk_whose_program_is_killed() -> None:
    async with open_router(**LIMITS) as router, router.open_instance("other") as other:
        for batches in (b"100\n", b"2000\n"):
            async with open_bulk_owner(router) as (process, said):
                await read_until(said, batches)
                seen = await total(other)
                assert seen in (0, MANY), "all of it or nothing"
                process.kill()
                await process.wait()
            while await total(other):  # it was killed after all of it was registered
                pass
            while True:
                pending = await other.start("resource.register", resource_ids=["row:0", "row:9999"])
                await pending.wait_settled()
                if pending.refused is None:
                    break
            await other.ask("resource.release", resource_ids=["row:0", "row:9999"])


@pytest.mark.slow
async def test_ten_thousand_are_registered_at_once_and_free_at_once_when_their_owner_is_killed() -> None:
    async with open_router(**LIMITS) as router, router.open_instance("other") as other:
        async with open_bulk_owner(router) as (process, said):
            await read_until(said, b"complete")
            assert await total(other) == MANY
            result = await other.ask(
                "resource.bulk_register", resources=[{"resource_id": "mine"}, {"resource_id": "row:5"}]
            )
            assert (result["rolled_back"], result["failed"][0]["current_owner"]) == (True, "bulk-owner")
            process.kill()
            await process.wait()
        while await total(other):
            pass
        resources = [{"resource_id": f"row:{number}"} for number in range(MANY)]
        result = await other.ask("resource.bulk_register", resources=resources)
        assert (result["complete"], result["total_registered"]) == (True, MANY)
        released = await other.ask("resource.bulk_release", resource_ids=[f"row:{n}" for n in range(MANY)])
        assert (released["complete"], await total(other)) == (True, 0)
