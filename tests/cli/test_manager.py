"""A service manager that asks is told how far the router is; one that does not listen does no harm."""

import io
import json
import signal
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from resroute.cli.manager import ServiceManager
from resroute.telemetry.logs import configure_logging
from tests.cli.running import open_serve


@asynccontextmanager
async def open_manager(address: str) -> AsyncGenerator[trio.socket.SocketType]:
    """The other end of ``NOTIFY_SOCKET``."""
    with trio.fail_after(60), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        await listening.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        yield listening


async def next_told(listening: trio.socket.SocketType) -> dict[str, str]:
    """What it is told next."""
    text = (await listening.recv(4096)).decode()
    return dict(fact.split("=", 1) for fact in text.split("\n"))


async def test_a_router_says_when_it_is_ready_when_it_reads_its_settings_and_when_it_drains(
    tmp_path: Path,
) -> None:
    address = str(tmp_path / "notify")
    async with open_manager(address) as manager, open_serve(NOTIFY_SOCKET=address) as serving:
        ready = {"READY": "1", "STATUS": f"listens on {serving.url}"}
        assert await next_told(manager) == ready

        before = time.monotonic_ns() // 1000
        serving.program.signal(signal.SIGHUP)
        reloading = await next_told(manager)
        assert reloading.pop("RELOADING") == "1"
        assert before <= int(reloading.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
        assert reloading == {}
        assert await next_told(manager) == ready

        serving.program.signal(signal.SIGTERM)
        assert await next_told(manager) == {"STOPPING": "1", "STATUS": "drains"}
        assert await serving.program.wait_ended() == 0


async def test_a_name_in_the_abstract_namespace_will_do() -> None:
    address = f"@resroute-test-{time.time_ns()}"
    async with open_manager(address) as listening:
        await ServiceManager(address).tell_stopping()
        assert (await next_told(listening))["STOPPING"] == "1"


async def test_without_a_manager_nobody_is_told() -> None:
    configure_logging("debug", stream := io.StringIO())
    await ServiceManager.from_environment({}).tell_ready("ws://127.0.0.1:8765/")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:9999", "@" + "x" * 200])
async def test_a_manager_that_is_not_there_is_a_line_in_the_log_and_the_router_runs(address: str) -> None:
    async with open_serve(NOTIFY_SOCKET=address) as serving:
        serving.program.signal(signal.SIGTERM)
        assert await serving.program.wait_ended() == 0
        lines = [json.loads(line) for line in serving.program.stderr.splitlines()[1:]]
        told = [line["facts"][0] for line in lines if line["message"] == "the service manager was not told"]
        assert told == ["READY=1", "STOPPING=1"]


async def test_a_manager_that_does_not_read_holds_nobody_up_for_long(tmp_path: Path) -> None:
    configure_logging("info", stream := io.StringIO())
    address = str(tmp_path / "notify")
    async with open_manager(address):
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
            with trio.move_on_after(0.5):
                while True:
                    await filling.sendto(b"x" * 4096, address)
            await ServiceManager(address).tell_stopping()
    line = json.loads(stream.getvalue())
    assert (line["message"], line["reason"]) == ("the service manager was not told", "no room")
