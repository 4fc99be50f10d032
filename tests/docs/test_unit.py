"""The systemd unit of the documentation: systemd takes it, and it fits the router as it is."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resroute.cli import cli, exits
from resroute.cli.descriptors import descriptors_for
from resroute.router.hosting import GOODBYE_SECONDS
from resroute.settings import Settings
from tests.docs.running import EXAMPLES

UNIT = EXAMPLES / "resroute.service"


def read_service() -> configparser.SectionProxy:
    """The section that says how to run it."""
    parser = configparser.ConfigParser(interpolation=None, strict=True, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are told apart by case
    parser.read_string(UNIT.read_text())
    return parser["Service"]


def test_its_command_is_one_that_there_is() -> None:
    program, name, *arguments = read_service()["ExecStart"].split()
    command = cli.commands[name]
    assert Path(program).name == "resroute"
    assert command.make_context(name, list(arguments)).params["config"] == arguments[-1]


def test_it_is_started_again_unless_that_would_help_nobody() -> None:
    service = read_service()
    prevented = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert service["Restart"] == "on-failure"
    assert prevented == {exits.CANNOT_START, exits.MISTAKE}
    assert {str(code) for code in prevented} | {str(exits.DONE), str(exits.FAULT)} == {
        code for code in exits.SERVE_CODES if code.isdigit()
    }


def test_it_has_the_time_to_drain() -> None:
    assert int(read_service()["TimeoutStopSec"]) > 2 * (Settings().drain_seconds + GOODBYE_SECONDS)


def test_every_session_can_have_its_file() -> None:
    assert int(read_service()["LimitNOFILE"]) >= descriptors_for(Settings())


def test_its_directory_is_where_the_router_keeps_what_outlives_it() -> None:
    service = read_service()
    assert service["Environment"] == f"RESROUTE_DATA_DIR=%S/{service['StateDirectory']}"


def test_the_signal_that_reloads_it_is_the_one_it_reads_its_settings_at() -> None:
    service = read_service()
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert service["Type"] == "notify"


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("there is no systemd-analyze on this machine: nobody holds the unit against systemd")
    unit = tmp_path / UNIT.name
    program = read_service()["ExecStart"].split()[0]
    unit.write_text(UNIT.read_text().replace(program, sys.executable))
    verified = subprocess.run(
        [verifier, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    about_it = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, about_it) == (0, []), verified.stderr
