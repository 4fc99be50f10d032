"""The folder in which a router keeps what outlives it: of one router at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "lock"


class CannotHold(Exception):
    """The folder cannot be used, or another router uses it.

    Attributes:
        path: the folder.
        reason: what is wrong, and what to do.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot use the data_dir {self.path}: {self.reason}"


@contextmanager
def hold_data_dir(directory: str) -> Iterator[None]:
    """Keep every other router out of ``directory`` until the end of the block.

    The system lets go of the lock when the process ends, however it ends: nothing has to be put right after a crash. The
    file stays. It holds the number of the process that locked it last, for people.

    Args:
        directory: made if it is missing.

    Raises:
        CannotHold: another process holds it, or the folder cannot be made or written.
    """
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CannotHold(path, error.strerror or str(error)) from error
    try:
        _take(lock, path)
        yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        raise CannotHold(
            path,
            f"another router uses it{f' (process {holder})' if holder else ''}; give each router its own",
        ) from None
    except OSError as error:
        raise CannotHold(path, error.strerror or str(error)) from error
