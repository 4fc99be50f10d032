"""The command line as a person meets it: what it prints, where, and the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from resroute.settings import Settings
from tests.cli.running import run, run_process


def test_it_tells_its_version() -> None:
    done = run_process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("resroute ")
    assert done.stderr == ""


def test_telling_the_version_needs_nothing_of_the_router() -> None:
    program = (
        "import sys; sys.argv = ['resroute', '--version']\n"
        "from resroute.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert not {"quart", "hypercorn", "trio", "structlog", "typed_settings"} & set(done.stdout.split())


def test_help_shows_the_defaults_and_the_exit_codes() -> None:
    done = run("serve", "--help")
    assert done.returncode == 0
    assert f"[default: {Settings().port}]" in done.stdout
    assert "could not start: a port is in use" in " ".join(done.stdout.split())


def test_without_a_command_it_shows_help() -> None:
    done = run_process()
    assert done.returncode == 2
    assert "serve" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (("serv",), {}, "No such command 'serv'. Did you mean 'serve'? Try 'resroute --help'."),
        (("serve", "--prot=1"), {}, "No such option '--prot'."),
        (("completion",), {}, "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish. Try '"),
        (
            ("ls", "--url=ws://127.0.0.1:8765/resources/doc:1"),
            {},
            "'ws://127.0.0.1:8765/resources/doc:1' is for programs that know nothing of a router; this one needs",
        ),
        (
            ("ls",),
            {"RESROUTE_URL": "ws://127.0.0.1:8765/services/documents"},
            "'ws://127.0.0.1:8765/services/",
        ),
        (("serve", "--port=abc"), {}, "port must be a whole number, not 'abc' (from --port)"),
        (
            ("serve", "--admin-port=70000"),
            {},
            "admin_port must be between 0 and 65535, not 70000 (from --admin-port)",
        ),
        (("serve",), {"RESROUTE_PORT": "abc"}, "port must be a whole number, not 'abc' (from RESROUTE_PORT)"),
        (("serve", "--host=0.0.0.0"), {}, "host must be a loopback address such as 127.0.0.1, not 0.0.0.0: "),
        (
            ("serve", "--config=missing.toml"),
            {},
            "cannot read missing.toml: No such file or directory",
        ),
        (
            ("serve",),
            {"RESROUTE_CONFIG": "missing.toml"},
            "cannot read missing.toml: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_one_line_on_stderr(
    arguments: tuple[str, ...], environ: dict[str, str], line: str
) -> None:
    done = run(*arguments, environ=environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"resroute: {line}")
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_a_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text("[resroute.heartbeat]\ntimeout_seconds = 5")
    done = run("serve", "--config", str(config))
    assert done.returncode == 2
    assert done.stderr == (
        "resroute: heartbeat.timeout_seconds must be more than interval_seconds: 5 is not more than 10.0 "
        f"(timeout_seconds from {config}; interval_seconds is the default)\n"
    )
