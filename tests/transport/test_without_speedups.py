"""Where the WebSocket library has no compiled part, frames are masked by its other one."""

import subprocess
import sys

_PROGRAM = """
import sys
sys.modules["websockets.speedups"] = None  # as where there is no wheel with it
import resroute.client, resroute.router
from resroute.transport.frames import apply_mask
from tests.fuzz import said

print(apply_mask(b"resroute", said.MASK) == said.masked(b"resroute", said.MASK))
"""


def test_frames_are_masked_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "True\n", done.stderr
