"""``resroute serve`` as a process: what it listens on, and how it ends."""

import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.cli.running import open_program, open_serve


@asynccontextmanager
async def open_session(url: str) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket connection on a stream of our own, closed whatever becomes of the other side."""
    authority = url.removeprefix("ws://").rstrip("/")
    host, port = authority.rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, authority, "/")
        nursery.cancel_scope.cancel()


async def ask(connection: WebSocketConnection, method: str, **params: Any) -> Any:
    await connection.send_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    while True:
        answer = json.loads(await connection.get_message())
        if answer.get("id") == 1:
            return answer["result"]


async def test_one_line_says_where_it_listens_and_both_places_answer() -> None:
    async with open_serve() as serving, open_session(serving.url) as connection:
        assert (await ask(connection, "session.ping"))["trace_id"]
        assert await serving.ask_admin("/healthz") == (200, "ok\n")
        status, body = await serving.ask_admin("/readyz")
        assert (status, json.loads(body)) == (200, {"status": "ready"})
        status, body = await serving.ask_admin("/metrics")
        assert status == 200
        assert "\nresroute_sessions 1.0\n" in body
        assert '\nresroute_operations_total{operation="session.ping",status="ok"} 1.0\n' in body


async def test_settings_reach_the_router() -> None:
    async with (
        open_serve(RESROUTE_MAX_RESOURCES_PER_INSTANCE="7") as serving,
        open_session(serving.url) as connection,
    ):
        assert (await ask(connection, "session.info"))["limits"]["max_resources_per_instance"] == 7


async def test_localhost_is_one_port_for_all_its_addresses() -> None:
    async with open_serve("--host=localhost") as serving:
        port = int(serving.url.rstrip("/").rsplit(":", 1)[1])
        for *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            stream = await trio.open_tcp_stream(str(address[0]), port)
            await stream.aclose()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    async with open_serve() as serving:
        serving.program.signal(number)
        assert await serving.program.wait_ended() == 0
        lines = [json.loads(line) for line in serving.program.stderr.splitlines()[1:]]
        about_audit, *rest = [line["message"] for line in lines]
        assert about_audit.startswith("the audit log is in memory")
        assert rest == ["drain begins", "drain ended"]


async def test_sessions_are_told_before_it_ends() -> None:
    async with open_serve() as serving:
        async with open_session(serving.url) as connection:
            await ask(connection, "session.ping")
            serving.program.signal(signal.SIGTERM)
            notice = json.loads(await connection.get_message())
            assert notice["method"] == "session.closing"
            with pytest.raises(ConnectionClosed) as closed:
                await connection.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1001
        assert await serving.program.wait_ended() == 0


async def test_while_it_drains_it_is_not_ready_and_a_second_signal_ends_it_at_once() -> None:
    async with (
        open_serve(RESROUTE_DRAIN_SECONDS="60") as serving,
        open_session(serving.url) as owner,
        open_session(serving.url) as caller,
    ):
        await ask(owner, "instance.register", service_name="store")
        await ask(owner, "resource.register", resource_ids=["user:42"])
        call = {"resource_id": "user:42", "method": "get"}
        await caller.send_message(
            json.dumps({"jsonrpc": "2.0", "id": 2, "method": "route.call", "params": call})
        )
        assert json.loads(await owner.get_message())["method"] == "get"

        serving.program.signal(signal.SIGTERM)
        ready = (200, "")
        while ready[0] == 200:
            ready = await serving.ask_admin("/readyz")
        assert ready[0] == 503
        assert json.loads(ready[1])["status"] == "draining"
        serving.program.signal(signal.SIGTERM)
        assert await serving.program.wait_ended() == -signal.SIGTERM


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
async def test_a_port_in_use_is_one_line_and_exit_code_1(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "resroute",
            "serve",
            "--port=0",
            "--admin-port=0",
            f"{option}={port}",
        ]
        done = await trio.run_process(command, check=False, capture_stderr=True)
    assert done.returncode == 1
    assert done.stderr.decode() == f"resroute: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_with_a_data_dir_epochs_grow_over_restarts(tmp_path: Path) -> None:
    epochs = []
    for _ in range(2):
        async with (
            open_serve(f"--data-dir={tmp_path}") as serving,
            open_session(serving.url) as owner,
        ):
            await ask(owner, "instance.register", service_name="store")
            granted = await ask(owner, "resource.register", resource_ids=["user:42"])
            epochs.append(granted["epochs"]["user:42"])
        # what a clock that is set back between the runs would need
        assert int((tmp_path / "revision").read_text()) > epochs[-1]
    assert epochs[0] < epochs[1]


async def test_a_data_dir_that_cannot_be_used_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "revision").write_text("mine")
    command = [
        sys.executable,
        "-m",
        "resroute",
        "serve",
        "--port=0",
        "--admin-port=0",
        f"--data-dir={tmp_path}",
    ]
    done = await trio.run_process(command, check=False, capture_stderr=True)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"resroute: cannot keep the highest revision in {tmp_path / 'revision'}: "
        "its content is not a number; move it away to begin anew\n"
    )


async def test_a_data_dir_that_another_router_uses_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    async with open_serve(f"--data-dir={tmp_path}") as serving:
        async with open_program("serve", "--port=0", "--admin-port=0", f"--data-dir={tmp_path}") as second:
            assert await second.wait_ended() == 1
            assert second.stderr == (
                f"resroute: cannot use the data_dir {tmp_path}: another router uses it "
                f"(process {serving.program.process.pid}); give each router its own\n"
            )
        serving.program.signal(signal.SIGKILL)
        await serving.program.wait_ended()
    async with open_serve(f"--data-dir={tmp_path}"):
        pass  # a crash leaves nothing that must be put right


_FAULTY = """
import sys
from resroute.cli.serving import run_router
from resroute.router import Router
from resroute.settings import Settings

class Faulty(Router):
    async def serve_listener(self, listener, *, task_status):
        task_status.started()
        self.fail(RuntimeError("for this test"))

sys.exit(run_router(Faulty(Settings(port=0, admin_port=0))))
"""


async def test_a_router_that_cannot_trust_its_state_exits_with_70() -> None:
    done = await trio.run_process([sys.executable, "-c", _FAULTY], check=False, capture_stderr=True)
    assert done.returncode == 70
