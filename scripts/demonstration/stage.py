"""The processes of the demonstration: started one by one, and all of them stopped at the end, whatever happens."""

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

STARTING_SECONDS = 30
STOPPING_SECONDS = 5


class Failure(Exception):
    """Something did not hold; the text is a sentence for whoever watches."""


class Program:
    """A process, and the last that it said."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.said: deque[str] = deque(maxlen=40)
        self._has_said = trio.Event()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def listen(self, stream: trio.abc.ReceiveStream) -> None:
        """Read what it says."""
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            self.said += [line.decode(errors="replace") for line in lines]
            self._tell()
        self._tell()

    def _tell(self) -> None:
        self._has_said.set()
        self._has_said = trio.Event()

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it has said this."""
        with trio.move_on_after(STARTING_SECONDS):
            while True:
                for line in self.said:
                    if match := re.fullmatch(pattern, line):
                        return match
                if self.process.poll() is not None:
                    raise Failure(f"{self.name} has ended with code {self.process.returncode}")
                with trio.move_on_after(0.2):
                    await self._has_said.wait()
        raise Failure(f"{self.name} did not start within {STARTING_SECONDS} s")

    def last_words(self) -> list[str]:
        """The last lines that it said."""
        return list(self.said)[-10:]

    async def stop(self) -> None:
        """Have it end, and wait for that; kill it if it takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
            with trio.move_on_after(STOPPING_SECONDS):
                await self.process.wait()
        if self.process.poll() is None:
            self.process.kill()
        await self.process.wait()


class Stage:
    """Who plays."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.programs: list[Program] = []
        self._nursery = nursery

    async def start(self, name: str, *command: str) -> Program:
        """Start a Python module as a process."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("RESROUTE_")}
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C reaches this program, which then stops the others in order
        )
        program = Program(name, process)
        self.programs.append(program)
        assert process.stdout is not None
        self._nursery.start_soon(program.listen, process.stdout)
        return program

    async def aclose(self) -> None:
        """Stop everybody: the router last, so that the others can say goodbye to it."""
        async with trio.open_nursery() as nursery:
            for program in self.programs[1:]:
                nursery.start_soon(program.stop)
        for router in self.programs[:1]:
            await router.stop()


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    """A stage that is empty at the end as it is at the beginning."""
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery)
        try:
            yield stage
        finally:
            with trio.CancelScope(shield=True):
                await stage.aclose()
            nursery.cancel_scope.cancel()
