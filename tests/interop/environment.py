"""A Python environment for libraries that the project itself does not use, made under ``.bench/`` from locks.

``tests/interop/lock`` renews these.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".bench" / "interop"
INSTALLING_SECONDS = 300


def find_python() -> Path:
    """An interpreter that has what ``python.lock`` names; installs it when the locks have changed."""
    build, python = HERE / "build.lock", HERE / "python.lock"
    wanted = f"{FOLDER} {sys.version}\n{build.read_text()}{python.read_text()}"
    stamp = FOLDER / ".stamp"
    with python.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be at it
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(FOLDER, ignore_errors=True)
            _run(sys.executable, "-m", "venv", FOLDER)
            # what builds the others comes first, so that pip fetches nothing that is not locked
            _install("--requirement", build)
            _install("--no-build-isolation", "--requirement", python)
            stamp.write_text(wanted)
    return FOLDER / "bin" / "python"


def _install(*arguments: str | Path) -> None:
    pip = (FOLDER / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--require-hashes", *arguments)


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALLING_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{FOLDER} could not be made:\n{done.stdout}{done.stderr}")
