"""SIGHUP: what changes while a router runs, what waits for the next one, and what is only told."""

import io
import json
import logging
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from resroute.admin import Access
from resroute.cli.rereading import Rereader
from resroute.cli.sources import SettingsMistake
from resroute.router import Router
from resroute.router.router import CHANGEABLE
from resroute.settings import Heartbeat, Settings
from resroute.telemetry.logs import configure_logging, set_log_level
from tests.cli.running import Serving, command, environment, open_serve

type Line = dict[str, Any]

WITHDRAWN = {"level": "info", "message": "settings read again: nothing has changed"}


class Sources:
    """Settings that a test changes, and what the log says about it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.mistake: str | None = None
        self.router = Router(self.settings)
        self._stream = io.StringIO()
        configure_logging("info", self._stream)
        self.access = Access.read(self.settings)
        self._rereader = Rereader(self.router, self.settings, self._read, self.access)

    def _read(self) -> Settings:
        if self.mistake is not None:
            raise SettingsMistake(self.mistake)
        return self.settings

    def reread(self, **changes: Any) -> list[Line]:
        """Have them read again, changed."""
        self.settings = attrs.evolve(self.settings, **changes)
        self._rereader.reread()
        return self.take_lines()

    def take_lines(self) -> list[Line]:
        """What was logged since it was last asked."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        self._stream.seek(0)
        self._stream.truncate()
        return [{name: value for name, value in line.items() if name != "timestamp"} for line in lines]


@pytest.fixture
def sources() -> Iterator[Sources]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Sources()
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    set_log_level("info")


def told(changed: Line, needs_restart: list[str]) -> list[Line]:
    line = {"level": "info", "message": "settings read again"}
    return [line | {"changed": changed, "needs_restart": needs_restart}]


def test_what_can_change_changes_and_the_rest_is_named(sources: Sources) -> None:
    assert sources.reread(
        allowed_origins=("http://a",), port=1, heartbeat=Heartbeat(interval_seconds=5)
    ) == told({"allowed_origins": ["http://a"]}, ["port", "heartbeat.interval_seconds"])
    assert sources.router.settings == Settings(allowed_origins=("http://a",))


def test_what_waits_for_a_restart_is_told_until_it_is_taken_back(sources: Sources) -> None:
    assert sources.reread(port=1) == told({}, ["port"])
    assert sources.reread(drain_seconds=1.0) == told({"drain_seconds": 1.0}, ["port"])
    assert sources.reread(port=Settings().port) == [WITHDRAWN]
    assert sources.router.settings.drain_seconds == 1.0


def test_a_mistake_keeps_what_was_and_is_one_line(sources: Sources) -> None:
    sources.reread(drain_seconds=1.0)
    sources.mistake = "port must be a number"
    assert sources.reread(drain_seconds=2.0) == [
        {
            "level": "error",
            "message": "the settings were not read again: those in force stay",
            "reason": "port must be a number",
        }
    ]
    assert sources.router.settings.drain_seconds == 1.0
    sources.mistake = None
    assert sources.reread() == told({"drain_seconds": 2.0}, [])


def test_a_change_of_level_reaches_loggers_that_are_bound_and_is_told_at_either_level(
    sources: Sources,
) -> None:
    log = structlog.get_logger().bind(session_id="s")
    assert sources.reread(log_level="error") == told({"log_level": "error"}, [])
    log.warning("no")
    assert sources.take_lines() == []
    assert sources.reread(log_level="warning") == [], "at neither of them"
    log.warning("yes")
    assert [line["message"] for line in sources.take_lines()] == ["yes"]
    assert sources.reread(log_level="debug") == told({"log_level": "debug"}, [])


def test_tokens_change_while_the_router_runs_and_are_not_shown(sources: Sources, tmp_path: Path) -> None:
    assert sources.reread(admin_tokens=("ada:0123456789abcdef",)) == [
        {
            "level": "error",
            "message": "the settings were not read again: those in force stay",
            "reason": "whether administrators need a token cannot change while the router runs",
        }
    ]
    sources = Sources(Settings(admin_tokens=("ada:0123456789abcdef",)))
    [line] = sources.reread(admin_tokens=("bob:fedcba9876543210",))
    assert line["changed"] == {"admin_tokens": ["********"]}
    path = tmp_path / "tokens"
    [line] = sources.reread(admin_tokens_file=str(path))
    assert line["reason"] == f"cannot read admin_tokens_file {path}: No such file or directory"
    path.write_text("# operators\ncyd:sha256:" + "0" * 64 + "\n")
    [line] = sources.reread()
    assert line["changed"] == {"admin_tokens_file": str(path)}


def test_trusted_proxies_change_while_the_router_runs(sources: Sources) -> None:
    changed = {"admin_trusted_proxies": ["10.0.0.0/8"]}
    assert sources.reread(admin_trusted_proxies=("10.0.0.0/8",)) == told(changed, [])
    assert sources.router.settings.admin_trusted_proxies == ("10.0.0.0/8",)


def test_a_mistake_about_the_certificate_changes_nothing_else_either(sources: Sources) -> None:
    files = {"admin_tls_certificate_file": "/none", "admin_tls_key_file": "/none"}
    [line] = sources.reread(drain_seconds=1.0, **files)
    assert line["reason"] == "cannot read admin_tls_certificate_file /none: No such file or directory"
    assert sources.router.settings == Settings()


def test_what_can_change_is_nothing_that_clients_are_told_as_a_limit() -> None:
    assert not set(CHANGEABLE) & Settings().limits().keys()


# --- as a process -------------------------------------------------------------------------------------------


async def shake_hands(serving: Serving, origin: str) -> int:
    """The status of a handshake from a page of some origin."""
    host, port = serving.url.removeprefix("ws://").rstrip("/").rsplit(":", 1)
    request = (
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(request.encode())
        return int((await stream.receive_some()).split()[1])


async def test_sighup_changes_what_can_change_and_sessions_live_on(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text("[resroute]\n")
    async with open_serve(f"--config={config}") as serving:
        assert await shake_hands(serving, "https://a.example") == 403
        config.write_text(
            '[resroute]\nallowed_origins = ["https://a.example"]\nmax_sessions = 5\nlog_level = "debug"'
        )
        serving.program.signal(signal.SIGHUP)
        match = await serving.program.wait_said(r'\{"changed".*\}\n')
        line = json.loads(match[0])
        assert line["changed"] == {"log_level": "debug", "allowed_origins": ["https://a.example"]}
        assert line["needs_restart"] == ["max_sessions"]
        assert await shake_hands(serving, "https://a.example") == 101
        await serving.program.wait_said('"session opened"')

        config.write_text("[resroute]\nport = true")
        serving.program.signal(signal.SIGHUP)
        match = await serving.program.wait_said(r".*not read again.*\n")
        assert json.loads(match[0])["reason"] == f"port must be a whole number, not True (from {config})"
        assert await shake_hands(serving, "https://a.example") == 101

        serving.program.signal(signal.SIGTERM)
        assert await serving.program.wait_ended() == 0


def test_a_terminal_that_closes_takes_the_router_along() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("serve", "--port=0", "--admin-port=0"),
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    try:
        os.close(theirs)
        said = b""
        while b"resroute listens on" not in said:
            said += os.read(ours, 1000)
        os.close(ours)
        process.send_signal(signal.SIGHUP)  # it is not its controlling terminal, so the kernel does not
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
