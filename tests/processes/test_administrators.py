"""Administrators of a router that is a process of its own: their tokens, what they do, and what the log keeps of it."""

import contextlib
import signal
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed

from tests.admin.asking import Client
from tests.admin.test_tls import Files
from tests.cli.running import Serving, open_program, open_serve
from tests.cli.test_serve import ask, open_session

ADA = "0123456789abcdef-ada"
BOB = "fedcba9876543210-bob"


def client_of(serving: Serving, token: str) -> Client:
    """Somebody with a token."""
    port = int(serving.admin_url.rstrip("/").rsplit(":", 1)[1])
    return Client(port, {"Authorization": f"Bearer {token}"})


async def status_of(serving: Serving, token: str) -> int:
    return (await client_of(serving, token).ask("GET", "/api/v1/statistics")).status


async def test_tokens_come_from_a_file_and_are_withdrawn_while_the_router_runs(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ada:sha256:{sha256(ADA.encode()).hexdigest()}\nbob:{BOB}\n")
    with trio.fail_after(60):
        async with open_serve(RESROUTE_ADMIN_TOKENS_FILE=str(path)) as serving:
            assert await status_of(serving, ADA) == 200
            assert await status_of(serving, BOB) == 200
            assert await status_of(serving, "nobody-nobody-nobody") == 401
            path.write_text(f"bob:{BOB}\n")
            serving.program.signal(signal.SIGHUP)
            await serving.program.wait_said("settings read again")
            assert await status_of(serving, ADA) == 401
            assert await status_of(serving, BOB) == 200
            # a file that cannot be read locks nobody out, and lets nobody in
            path.unlink()
            serving.program.signal(signal.SIGHUP)
            await serving.program.wait_said("the settings were not read again")
            assert await status_of(serving, ADA) == 401
            assert await status_of(serving, BOB) == 200
        said = serving.program.stdout + serving.program.stderr
        assert ADA not in said and BOB not in said


async def test_a_file_of_tokens_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with trio.fail_after(60):
        path = tmp_path / "none"
        async with open_program(
            "serve", "--port=0", "--admin-port=0", RESROUTE_ADMIN_TOKENS_FILE=str(path)
        ) as program:
            assert await program.wait_ended() == 1
        assert (
            program.stderr == f"resroute: cannot read admin_tokens_file {path}: No such file or directory\n"
        )


async def test_the_admin_port_speaks_tls_with_a_certificate_that_may_be_renewed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    variables = {
        "RESROUTE_ADMIN_TLS_CERTIFICATE_FILE": str(files.certificate),
        "RESROUTE_ADMIN_TLS_KEY_FILE": str(files.key),
    }
    with trio.fail_after(60):
        async with open_serve(**variables) as serving:
            assert serving.admin_url.startswith("https://127.0.0.1:")
            port = int(serving.admin_url.rstrip("/").rsplit(":", 1)[1])
            assert (await Client(port, tls=files.trust()).get("/api/v1/statistics"))["sessions"] == 1
            files.authority = trustme.CA()
            files.renew()
            with pytest.raises(trio.BrokenResourceError):  # it is still the one of before
                await Client(port, tls=files.trust()).get("/api/v1/statistics")
            serving.program.signal(signal.SIGHUP)
            await serving.program.wait_said("the admin port has another certificate")
            assert (await Client(port, tls=files.trust()).get("/api/v1/statistics"))["sessions"] == 1
            files.key.unlink()
            serving.program.signal(signal.SIGHUP)
            await serving.program.wait_said("cannot read admin_tls_key_file")
            assert (await Client(port, tls=files.trust()).get("/api/v1/statistics"))["sessions"] == 1
        async with open_program("serve", "--port=0", "--admin-port=0", **variables) as program:
            assert await program.wait_ended() == 1
        told = f"resroute: cannot read admin_tls_key_file {files.key}: No such file or directory\n"
        assert program.stderr == told


@pytest.mark.parametrize("is_tls", [False, True])
async def test_a_crowd_at_the_admin_port_keeps_out_neither_administrators_nor_sessions(
    tmp_path: Path, is_tls: bool
) -> None:
    files = Files(tmp_path)
    variables = {"RESROUTE_ADMIN_TOKENS": f"ada:{ADA}"}
    if is_tls:
        variables["RESROUTE_ADMIN_TLS_CERTIFICATE_FILE"] = str(files.certificate)
        variables["RESROUTE_ADMIN_TLS_KEY_FILE"] = str(files.key)
    with trio.fail_after(60):
        async with open_serve(**variables) as serving, AsyncExitStack() as crowd:
            ada = client_of(serving, ADA)
            ada.tls = files.trust() if is_tls else None
            for number in range(200):
                stream = await trio.open_tcp_stream("127.0.0.1", ada.port)
                await crowd.enter_async_context(stream)
                with contextlib.suppress(trio.BrokenResourceError):  # it has lost its place already
                    await stream.send_all((b"", b"\x16", b"GET / HT", SLOW_FORM)[number % 4])
                if number % 20 == 0:
                    assert (await ada.get("/api/v1/statistics"))["sessions"] == 1
            async with open_session(serving.url) as connection:
                await ask(connection, "instance.register", service_name="rooms", instance_id="one")
                assert (await ada.get("/api/v1/instances/one"))["instance"]["service_name"] == "rooms"
        assert "admin connection failed" not in serving.program.stderr


SLOW_FORM = (
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 1000\r\n\r\ntoken="
)


async def test_what_was_done_is_in_the_audit_log_on_disk_by_name(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_serve(
            f"--data-dir={tmp_path}", "--admin-host=0.0.0.0", RESROUTE_ADMIN_TOKENS=f"ada:{ADA}"
        ) as serving:
            ada = client_of(serving, ADA)
            async with open_session(serving.url) as connection:
                await ask(connection, "instance.register", service_name="rooms", instance_id="one")
                it = (await ada.get("/api/v1/instances/one"))["instance"]
                path = f"/api/v1/sessions/{it['session_id']}/end"
                assert (await ada.ask("POST", path, {"reason": "test"})).status == 200
                with pytest.raises(ConnectionClosed) as closed:
                    await connection.get_message()
                assert closed.value.reason is not None and closed.value.reason.code == 4010
            path = "/api/v1/audit?event=session_ended"
            while not (records := (await ada.get(path))["records"]):  # noqa: ASYNC110
                await trio.sleep(0.05)
            assert records[0]["actor"]["subject"] == "ada"
            assert records[0]["reason"] == "test"
            settings = (await ada.get("/api/v1/settings"))["settings"]
            assert settings["admin_tokens"] == ["********"]
