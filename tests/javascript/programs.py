"""Programs that the tests of the JavaScript SDK run."""

import subprocess
from pathlib import Path

from tests.docs.running import ROOT
from tests.interop.node import Node

HERE = Path(__file__).parent
NPM = ROOT / "scripts" / "npm"


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def websocket_options(node: Node) -> list[str]:
    """What makes Node.js have a WebSocket: 20 and 21 must be asked for it."""
    version = run(node.program, "--version")
    return ["--experimental-websocket"] if int(version.lstrip("v").split(".")[0]) < 22 else []
