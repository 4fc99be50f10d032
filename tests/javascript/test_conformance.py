"""The conformance vectors over sockets, with the runner that stands beside them for everybody."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conformance.vectors import FOLDER
from tests.docs.running import ROOT, environment
from tests.interop.node import Node

ROUTER = (sys.executable, "-m", "resroute", "serve", "--port=0", "--admin-port=0")


def run_vectors(node: Node, folder: Path, files: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    """What the runner says of vectors, each with a router of its own."""
    runner = folder / "play.mjs"
    runner.write_text((FOLDER / "play.mjs").read_text())
    (folder / "node_modules").symlink_to(node.folder / "node_modules")
    return subprocess.run(
        [node.program, runner, *files, "--", *ROUTER],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_the_runner_finds_that_vectors_hold_and_which_do_not(node: Node, tmp_path: Path) -> None:
    changed = json.loads((FOLDER / "progress.json").read_text())
    changed["vectors"] = [
        {
            "name": "A router is no echo",
            "sessions": {"a": []},
            "steps": [["a", "sends text", "hello"], ["a", "hears nothing"]],
        },
        {
            "name": "A router counts",
            "sessions": {"a": []},
            "steps": [["a", "sends text", "{}"], ["a", "hears", {"id": 1}]],
        },
        *changed["vectors"][:2],
    ]
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    done = run_vectors(node, tmp_path, [tmp_path / "changed.json"])
    assert (done.returncode, done.stderr) == (1, "")
    echo, counts, summary = done.stdout.splitlines()
    assert echo.startswith("changed.json: A router is no echo: step 2: a hears nothing: {")
    assert counts == "changed.json: A router counts: step 2: a hears: the message.id: null is not 1"
    assert summary == f"{len(changed['vectors']) - 2} hold, 2 do not hold, 0 left out"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_the_vectors_hold_over_sockets(node: Node, file: Path, tmp_path: Path) -> None:
    done = run_vectors(node, tmp_path, [file])
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
