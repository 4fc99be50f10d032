"""What the system has booked on a process: CPU time and memory. Linux only."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads that the process has now, in steps of a nanosecond where the kernel offers them.

    It holds on a busy machine, as elapsed time does not.
    """
    try:
        return (
            sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
            / 1e9
        )
    except (FileNotFoundError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> list[int]:
    """The process's children and theirs, parents first."""
    found = [pid]
    for parent in found:
        try:
            for path in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, path.read_text().split())
        except OSError:  # it has just ended
            continue
    return found[1:]


def listening_process(port: int, among: list[int]) -> int | None:
    """Which of these processes listens on the TCP port of 127.0.0.1, if one does."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}" and fields[3] == "0A":
            inode = fields[9]
    for pid in among if inode is not None else []:
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if path.readlink().name == f"socket:[{inode}]":
                    return pid
            except OSError:  # closed meanwhile
                continue
    return None
