"""A process that has imported the project, and of which the programs that tests start are forks.

Nearly all of the time that such a program takes to start, it would spend on importing. A fork is a process like any other:
its streams, environment, folder, limits and signals are its own, it runs a module as ``python -m`` does, and it ends as an
interpreter ends. The other side of this is tests.started.
"""

import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TypedDict

from resroute.admin.rendering import COMPILED
from resroute.protocol.arrays import prepare as prepare_arrays
from resroute.settings import Settings

IMPORTED = ("resroute.cli.serving", "resroute.client", "tests.processes.independent")
MAX_WISH_BYTES = 1 << 20


class Wish(TypedDict):
    """What is to run, and where.

    Attributes:
        limits: of the system's, by their numbers.
    """

    command: Sequence[str]
    folder: str
    environ: dict[str, str]
    limits: list[tuple[int, int]]


class Starter:
    """Forks for each socket that comes over ``control``, until that is closed.

    Such a socket brings a wish, in a line, and the three streams of the process. It is told the id of the process and, when
    that has ended, the exit code, a line each. Until the socket is closed the id is no other's; then the process is killed.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._processes: dict[socket.socket, int] = {}  # who asked for it -> id
        self._running: dict[int, socket.socket] = {}  # the reverse, of those whose end is not told
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> tuple[Wish, list[int]] | None:
        """Returns in each fork what it is to be and its streams; at the end, in this process itself, None."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno())
        while True:
            ready, _, _ = select.select([self._control, self._woken, *self._processes], [], [])
            for asker in self._processes.keys() & ready:
                self._forget(asker)
            if self._woken in ready:
                self._woken.recv(4096)
                self._tell_ends()
            if self._control in ready:
                _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
                if not descriptors:
                    break
                if forked := self._fork(socket.socket(fileno=descriptors[0])):
                    return forked
        for asker in list(self._processes):
            self._forget(asker)
        return None

    def _fork(self, asker: socket.socket) -> tuple[Wish, list[int]] | None:
        text, streams, _, _ = socket.recv_fds(asker, MAX_WISH_BYTES, 3)
        while not text.endswith(b"\n"):
            text += asker.recv(MAX_WISH_BYTES)
        process_id = os.fork()
        if process_id == 0:
            signal.set_wakeup_fd(-1)
            for end in (self._control, self._woken, self._waker, asker, *self._processes):
                end.close()
            return json.loads(text), streams
        for stream in streams:
            os.close(stream)
        self._processes[asker] = process_id
        self._running[process_id] = asker
        _tell(asker, process_id)
        return None

    def _tell_ends(self) -> None:
        for process_id, asker in list(self._running.items()):
            end = os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None:
                del self._running[process_id]
                _tell(asker, end.si_status if end.si_code == os.CLD_EXITED else -end.si_status)

    def _forget(self, asker: socket.socket) -> None:
        process_id = self._processes.pop(asker)
        self._running.pop(process_id, None)
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
        asker.close()


def _tell(asker: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):
        asker.sendall(b"%d\n" % number)


def become(wish: Wish, streams: Sequence[int]) -> NoReturn:
    """Be the program that is wished for, to its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # as in a terminal, even where whoever runs the tests has put them under nohup or in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for limit, value in wish["limits"]:
        resource.setrlimit(limit, (value, value))
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environ"])
    module, *sys.argv[1:] = wish["command"]
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()


def _prepare() -> None:
    """Import, and make, what programs import and make when they start."""
    for module in IMPORTED:
        importlib.import_module(module)
    for template in COMPILED.list_templates():
        COMPILED.get_template(template)
    prepare_arrays(Settings().max_bulk_items + 1)


def main() -> None:
    """Start what is asked for over the socket whose number is the only argument."""
    gc.disable()
    _prepare()
    gc.collect()
    gc.freeze()  # what forks share they share as long as nobody writes to it, and the collector would
    [control] = map(int, sys.argv[1:])
    if forked := Starter(socket.socket(fileno=control)).serve():
        become(*forked)


if __name__ == "__main__":
    main()
