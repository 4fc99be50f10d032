"""What a router remembers of its revisions on disk, so that epochs never run backwards over restarts.

A router begins above the wall clock, and so above its earlier runs, unless that clock was set back. The ceiling is a number
in a file that no revision has reached yet. It is raised long before one does, and a new run begins above it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import trio

_HEADROOM = 2**20
_LOOK_EVERY_SECONDS = 1.0


class CannotKeep(Exception):
    """The directory cannot be used, or what is in the file is not ours.

    Attributes:
        path: the file.
        reason: what is wrong.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot keep the highest revision in {self.path}: {self.reason}"


class RevisionCeiling:
    """A number above every revision that was ever in force here.

    Args:
        directory: made if it is missing.

    Raises:
        CannotKeep: the directory or the file cannot be read or written.
    """

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / "revision"
        self._problem: OSError | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.value = int(self._path.read_text(encoding="ascii")) if self._path.exists() else 0
            self._write(self.value)  # now is the time to find out
        except OSError as error:
            raise CannotKeep(self._path, error.strerror or str(error)) from error
        except ValueError as error:
            raise CannotKeep(self._path, "its content is not a number; move it away to begin anew") from error

    async def keep_above(
        self,
        revision: Callable[[], int],
        report: Callable[[OSError | None], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Raise the ceiling whenever the revision comes near, until cancelled.

        Has started once the ceiling on disk is above the revision. Later failures are reported once each time they begin,
        and None when writing works again; meanwhile the wall clock alone keeps revisions apart.

        Raises:
            CannotKeep: the first write failed.
        """
        try:
            await self._raise_to(revision() + _HEADROOM)
        except OSError as error:
            raise CannotKeep(self._path, error.strerror or str(error)) from error
        task_status.started()
        while True:
            await trio.sleep(_LOOK_EVERY_SECONDS)
            if revision() + _HEADROOM // 2 > self.value:
                try:
                    await self._raise_to(revision() + _HEADROOM)
                except OSError as error:
                    if self._problem is None:
                        report(error)
                    self._problem = error
                else:
                    if self._problem is not None:
                        report(None)
                    self._problem = None

    async def _raise_to(self, value: int) -> None:
        await trio.to_thread.run_sync(self._write, value)
        self.value = value

    def _write(self, value: int) -> None:
        """Replace the file as a whole, durably: after a crash it holds the old number or the new one."""
        beside = self._path.with_suffix(".new")
        with beside.open("w", encoding="ascii") as file:
            file.write(f"{value}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
