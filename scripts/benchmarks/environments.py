"""Environments that only benchmarks need, made from their locks under ``.bench/``."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.report import NotMeasured

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORK = ROOT / ".bench"
_INSTALL_SECONDS = 900


def environment(name: str) -> Path:
    """The folder of programs of the environment that ``NAME.lock`` describes; makes it if need be.

    Raises:
        NotMeasured: if it cannot be made.
    """
    folder = WORK / name
    stamp = folder / ".stamp"
    wanted = f"{folder} {sys.version}\n{(HERE / f'{name}.lock').read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making .bench/{name} (up to a few minutes, once)", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        install: list[str | Path] = [
            folder / "bin/python",
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
        ]
        commands: tuple[list[str | Path], ...] = (
            [sys.executable, "-m", "venv", folder],
            [*install, "--require-hashes", "--requirement", HERE / f"{name}.lock"],
        )
        for command in commands:
            try:
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=_INSTALL_SECONDS,
                )
            except subprocess.SubprocessError as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-3:]
                raise NotMeasured(
                    f"the environment .bench/{name} cannot be made: {' / '.join(said)}"
                ) from error
        stamp.write_text(wanted)
    return folder / "bin"
