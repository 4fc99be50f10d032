"""``resroute config``, and ``resroute completion``."""

import json
import subprocess
from pathlib import Path

import pytest

from resroute.cli import cli
from resroute.settings import Settings, flatten
from tests.cli.running import command, environment, run


def test_every_setting_is_told_with_its_value_and_where_it_comes_from(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text('[resroute]\nport = 1\nallowed_origins = ["http://a", "http://b"]\nhost = "localhost"')
    done = run(
        "config",
        f"--config={config}",
        "--log-level=debug",
        environ={"RESROUTE_HEARTBEAT_INTERVAL_SECONDS": "2.5", "RESROUTE_PORT": "2"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert heading == ["SETTING", heading[1]]
    assert [row[0] for row in rows] == list(flatten(Settings()))
    told = {name: rest.split("  ") for name, rest in rows}
    told = {name: [part.strip() for part in rest if part.strip()] for name, rest in told.items()}
    assert told["port"] == ["2", "RESROUTE_PORT"]
    assert told["allowed_origins"] == ["http://a, http://b", str(config)]
    assert told["host"] == ["localhost", str(config)]
    assert told["log_level"] == ["debug", "--log-level"]
    assert told["heartbeat.interval_seconds"] == ["2.5", "RESROUTE_HEARTBEAT_INTERVAL_SECONDS"]
    assert told["admin_port"] == ["8766", "default"]
    assert told["data_dir"] == ["(none)", "default"]


def test_as_json_it_is_one_object() -> None:
    done = run("config", "--json", "--port=1", environ={"RESROUTE_ANONYMOUS_ROLES": "caller"})
    told = json.loads(done.stdout)
    assert list(told) == list(flatten(Settings()))
    assert told["port"] == {"value": 1, "source": "option", "name": "--port"}
    assert told["anonymous_roles"] == {
        "value": ["caller"],
        "source": "environment",
        "name": "RESROUTE_ANONYMOUS_ROLES",
    }
    assert told["data_dir"] == {"value": None, "source": "default"}
    assert told["allowed_origins"] == {"value": [], "source": "default"}


def test_it_is_told_of_mistakes_as_serve_is() -> None:
    done = run("config", "--port=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "resroute: port must be a whole number, not 'x' (from --port)\n"


# --- completion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_RESROUTE_COMPLETE={shell}_complete" in done.stdout


def test_another_shell_is_a_mistake() -> None:
    done = run("completion", "tcsh")
    assert done.returncode == 2
    assert done.stderr.startswith("resroute: Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of ")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("resroute ", set(cli.commands)),
        ("resroute co", {"completion", "config"}),
        ("resroute ls i", {"instances"}),
        ("resroute call --ti", {"--timeout"}),
        ("resroute call --to", {"--token-file"}),
        ("resroute serve --admin", {"--admin-host", "--admin-port"}),
    ],
)
def test_a_shell_is_told_what_can_follow(words: str, completed: set[str]) -> None:
    done = subprocess.run(
        command(),
        env=environment(
            _RESROUTE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completed


def test_bash_takes_the_script() -> None:
    done = run("completion", "bash")
    checked = subprocess.run(["bash", "-n"], input=done.stdout, text=True, timeout=30, check=False)
    assert checked.returncode == 0


def test_a_secret_is_not_shown() -> None:
    environ = {
        "RESROUTE_ADMIN_TOKENS": "ada:0123456789abcdef,bob:fedcba9876543210",
        "RESROUTE_TRACES_ENDPOINT": "http://ada:pa55word@traces.example/v1/traces?key=pa55word#pa55word",
    }
    for arguments in (("config",), ("config", "--json")):
        ran = run(*arguments, environ=environ)
        assert ran.returncode == 0
        assert "0123456789abcdef" not in ran.stdout and "fedcba9876543210" not in ran.stdout
        assert "********" in ran.stdout
        assert "pa55word" not in ran.stdout
        assert "http://********@traces.example/v1/traces?********" in ran.stdout
