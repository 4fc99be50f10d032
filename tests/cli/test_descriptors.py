"""Room for sessions, each in a process of its own whose limit of open files is its own."""

import json
import resource
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from resroute.cli.descriptors import make_room_for_sessions
from resroute.settings import Settings
from resroute.telemetry.logs import configure_logging

soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
configure_logging("info", sys.stderr)
settings = make_room_for_sessions(Settings(max_sessions=wanted))
print(json.dumps([settings.max_sessions, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "sessions", "limit"),
    [
        (400, 400, 200, 200, 400),  # enough as it is
        (200, 400, 200, 200, 328),  # enough once asked for
        (200, 300, 1000, 172, 300),  # not enough
        (60, 60, 10, 1, 60),  # hopeless
    ],
)
def test_the_limit_of_open_files_is_raised_or_sessions_are_fewer(
    soft: int, hard: int, wanted: int, sessions: int, limit: int
) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= hard
    arguments = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(done.stdout) == [sessions, limit]
    if sessions == wanted:
        assert done.stderr == ""
    else:
        told = json.loads(done.stderr)
        assert (told["level"], told["max_sessions"], told["wanted"]) == ("warning", sessions, wanted)
