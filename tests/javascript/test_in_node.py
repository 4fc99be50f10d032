"""The JavaScript SDK in Node.js: the modules ``*.test.mjs`` beside this one, which start routers of their own."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.interop.node import Node
from tests.javascript.programs import HERE, websocket_options

SECONDS = 240

MODULES = sorted(path.name.removesuffix(".test.mjs") for path in HERE.glob("*.test.mjs"))
OVER_THE_NETWORK = [name for name in MODULES if name != "policy"]


def run(node: Node, name: str, websocket: str) -> None:
    """Run one module.

    Args:
        websocket: whose WebSocket it is to use: ``node``, that of Node.js itself, or ``ws``, the package's.
    """
    # a session of its own: Node runs the module in a process below it, and that one its routers
    with subprocess.Popen(
        [node.program, *websocket_options(node), "--test", "--test-reporter=spec", HERE / f"{name}.test.mjs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={"RESROUTE_TEST_PYTHON": sys.executable, "RESROUTE_TEST_WEBSOCKET": websocket},
    ) as running:
        try:
            said, _ = running.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            _end(running.pid)
            said, _ = running.communicate()
            pytest.fail(f"{name} is not done after {SECONDS} s:\n{said}")
        finally:
            _end(running.pid)
    assert running.returncode == 0, said
    assert "pass 0" not in said


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "schedule" else name for name in MODULES]
)
def test_the_module_passes_with_the_websocket_of_node(name: str, node: Node) -> None:
    run(node, name, "node")


@pytest.mark.slow
@pytest.mark.parametrize("name", OVER_THE_NETWORK)
def test_the_module_passes_with_the_package_ws(name: str, node: Node) -> None:
    run(node, name, "ws")
