"""The processes that a benchmark starts. Each of them is ended by its id, whatever happens."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import orjson

from benchmarks.accounting import descendants, listening_process
from benchmarks.environments import HERE, ROOT, WORK
from benchmarks.report import NotMeasured

Figures = dict[str, Any]

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_LISTENING = re.compile(r"ws://127\.0\.0\.1:(\d+)")


@attrs.frozen
class Target:
    """A router that runs, to be put under load.

    Attributes:
        pid: of the process that does the work.
        log: what it says.
        is_watched: it is a :mod:`benchmarks.watched`.
    """

    name: str
    port: int
    pid: int
    log: Path
    is_watched: bool = False


def _environment(settings: dict[str, str]) -> dict[str, str]:
    # settings of whoever runs this must not get into what is measured
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESROUTE", "PYTHON"))}
    return kept | {"PYTHONPATH": str(HERE.parent)} | settings


def _end(process: subprocess.Popen[bytes]) -> None:
    family = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    finally:  # it takes too long, or so it does for who presses Ctrl-C again
        if process.poll() is None:
            process.kill()
            process.wait()
    for (
        pid
    ) in family:  # those that outlived their parent, which itself is our child and cannot have been replaced
        with suppress(OSError):
            if str(process.pid) in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[2:4]:
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    directory: Path = ROOT,
    settings: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to ``log``, for the length of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(settings or {}),
            cwd=directory,
            process_group=0,  # Ctrl-C is ours: we end it in order
        )
        try:
            yield process
        finally:
            _end(process)


def figures_of(command: Sequence[str | Path], what: str, *, timeout_seconds: float) -> Figures:
    """Run a process that prints one JSON object, and return that.

    Raises:
        NotMeasured: if it fails.
    """
    try:
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env=_environment({}),
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"{what} did not end in {timeout_seconds:g} seconds") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise NotMeasured(f"{what} failed: {' / '.join(said[-2:])}")
    figures: Figures = orjson.loads(done.stdout)
    return figures


@cache
def core_figures(kind: str, rounds: int = 1) -> Figures:
    """What :mod:`benchmarks.core_figures` measures in a process of its own; once in a run."""
    command = [sys.executable, "-m", "benchmarks.core_figures", kind, f"--rounds={rounds}"]
    return figures_of(command, f"the core's {kind}", timeout_seconds=300)


def _wait_started(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until a process has told which port it listens on."""
    return int(wait_said(process, log, _LISTENING)[1])


def wait_said(process: subprocess.Popen[bytes], log: Path, what: re.Pattern[str]) -> re.Match[str]:
    """Wait until a process that was started has said something.

    Raises:
        NotMeasured: if it ends, or too much time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (found := what.search(log.read_text(errors="replace"))) is not None:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise NotMeasured(f"{Path(process.args[0]).name} did not start: {_last_line(log)}")  # type: ignore[index,arg-type]


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip() or "it said nothing").splitlines()[-1]


@contextmanager
def router(
    name: str = "router", *, watched: bool = False, settings: Mapping[str, float | str] | None = None
) -> Iterator[Target]:
    """The router as its users run it, on free ports.

    Args:
        name: that of its log.
        watched: with an eye on its loop; see :mod:`benchmarks.holds`.
        settings: by the names of their variables in the environment, in lower case and without the prefix.

    Raises:
        NotMeasured: if it does not start.
    """
    environment = {f"RESROUTE_{key.upper()}": str(value) for key, value in (settings or {}).items()}
    log = WORK / f"{name}.log"
    module = "benchmarks.watched" if watched else "resroute"
    command = [sys.executable, "-m", module, "serve", "--port=0", "--admin-port=0"]
    with running(command, log, settings=environment) as process:
        yield Target(name, _wait_started(process, log), process.pid, log, watched)


@contextmanager
def yardstick() -> Iterator[Target]:
    """A bare router that does what every call needs and nothing else, on the same interpreter and libraries."""
    log = WORK / "yardstick.log"
    with running([sys.executable, "-m", "benchmarks.yardstick"], log) as process:
        yield Target("yardstick", _wait_started(process, log), process.pid, log)


@contextmanager
def crossbar(programs: Path) -> Iterator[Target]:
    """Crossbar.io with one router worker, in a node folder that lives as long as the block.

    Raises:
        NotMeasured: if it does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = orjson.loads((HERE / "crossbar.json").read_bytes())
    config["workers"][0]["transports"][0]["endpoint"]["port"] = port
    node = Path(tempfile.mkdtemp(prefix="node-", dir=WORK))
    log = WORK / "crossbar.log"
    try:
        (node / ".crossbar").mkdir()
        (node / ".crossbar/config.json").write_bytes(orjson.dumps(config))
        command: list[str | Path] = [
            programs / "crossbar",
            "start",
            "--cbdir",
            node / ".crossbar",
            "--loglevel",
            "warn",
        ]
        with running(command, log, directory=node) as process:
            deadline = time.monotonic() + _START_SECONDS
            while (pid := listening_process(port, descendants(process.pid))) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NotMeasured(f"Crossbar did not start: {_last_line(log)}")
                time.sleep(0.1)
            yield Target("crossbar", port, pid, log)
    finally:
        shutil.rmtree(node, ignore_errors=True)
