"""The JavaScript SDK in Node.js: the modules ``*.test.mjs`` beside this one, which start routers of their own."""

import subprocess
import sys

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
    done = subprocess.run(
        [node.program, *websocket_options(node), "--test", "--test-reporter=spec", HERE / f"{name}.test.mjs"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={"RESROUTE_TEST_PYTHON": sys.executable, "RESROUTE_TEST_WEBSOCKET": websocket},
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "pass 0" not in done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "schedule" else name for name in MODULES]
)
def test_the_module_passes_with_the_websocket_of_node(name: str, node: Node) -> None:
    run(node, name, "node")


@pytest.mark.slow
@pytest.mark.parametrize("name", OVER_THE_NETWORK)
def test_the_module_passes_with_the_package_ws(name: str, node: Node) -> None:
    run(node, name, "ws")
