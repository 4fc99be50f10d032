"""Node.js and what a ``package-lock.json`` names: for tests of the router with other people's programs, and of the SDK.

A test asks for the fixture ``node`` (see ``conftest.py``) and runs a module that stands beside it. Without Node.js it is
skipped, and says so.
"""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import attrs

HERE = Path(__file__).parent
INSTALLING_SECONDS = 300
RUNNING_SECONDS = 60


class NoNode(Exception):
    """Node.js is not installed here."""


@attrs.frozen
class Node:
    """Node.js, with the packages installed."""

    program: str
    folder: Path = HERE
    """Where the packages are, and the modules that use them."""

    def run(self, module: str, *arguments: str, stdin: str = "") -> str:
        """Run a module of the folder to its end. Returns what it printed.

        Raises:
            AssertionError: it failed; with what it said.
        """
        done = subprocess.run(
            [self.program, self.folder / module, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=RUNNING_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{module} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout


def find_node(folder: Path = HERE) -> Node:
    """Node.js, with the locked packages in this folder; installs them when the lock file there has changed.

    Raises:
        NoNode: there is none, or no npm.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NoNode
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".stamp"
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(npm, folder)
            stamp.write_text(wanted)
    return Node(node, folder)


def _install(npm: str, folder: Path) -> None:
    done = subprocess.run(
        [npm, "ci", "--loglevel=error"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALLING_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm could not install what package-lock.json names:\n{done.stdout}{done.stderr}")
