"""Routers and other programs as processes of their own, every one of them ended at the end of its block."""

import json
import os
import re
import resource
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

import attrs
import trio

from tests.processes.independent import Json, Session, open_nursery, open_session
from tests.processes.journal import Journal, Record
from tests.started import Started, start

_LISTENS = re.compile(rb"resroute listens on (ws://\S+) \(admin pages on (https?://\S+)\)\n")

TABLES = (
    "sessions",
    "instances",
    "suspended_instances",
    "resources",
    "calls_in_flight",
    "waiters",
    "watches",
    "outbox_bytes",
)
"""Gauges that are zero in a router that nobody uses."""


@attrs.define
class Program:
    """A process and what it says, line by line."""

    process: Started
    lines: list[bytes] = attrs.field(factory=list)
    has_ended: bool = False  # it will say nothing more
    _said: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self, stream: trio.abc.ReceiveStream) -> None:
        """Read until it has ended."""
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).splitlines(keepends=True)
            if rest.endswith(b"\n"):
                lines, rest = [*lines, rest], b""
            self.lines += lines
            self._tell()
        self.has_ended = True
        self._tell()

    def _tell(self) -> None:
        self._said.set()
        self._said = trio.Event()

    async def wait_until(self, is_so: Callable[[], object]) -> None:
        """Wait until what it has said makes this so.

        Raises:
            AssertionError: it has ended, and never will.
        """
        while not is_so():
            assert not self.has_ended, b"".join(self.lines).decode()
            await self._said.wait()

    async def wait_ended(self) -> int:
        """Wait until it has ended and all that it said is here. Returns its exit code."""
        code = await self.process.wait()
        while not self.has_ended:
            await self._said.wait()
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, now."""
        self.process.send_signal(number)


@asynccontextmanager
async def _open_program(
    listen_to: str,
    command: list[str],
    *,
    limits: Mapping[int, int] | None = None,
    **environ: str,
) -> AsyncGenerator[Program]:
    """Start a process; killed at the end, whether it runs, is stopped or has ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RESROUTE_")}
    async with start(*command, environ=clean | environ, pipes=[listen_to], limits=limits) as process:
        stream = process.stdout or process.stderr
        assert stream is not None
        program = Program(process)
        async with stream, process.stdin, open_nursery() as nursery:
            nursery.start_soon(program.listen, stream)
            yield program


# --- programs that use a router -------------------------------------------------------------------------------------


@attrs.define
class Peer:
    """A program that tells what happens to it, a JSON object a line."""

    program: Program
    _events: list[Json] = attrs.field(factory=list)

    @property
    def events(self) -> list[Json]:
        """All that it has told so far."""
        self._events += map(json.loads, self.program.lines[len(self._events) :])
        return self._events

    def heard(self) -> list[Json]:
        """All messages that it has heard, in order."""
        return [json.loads(event["text"]) for event in self.events if event.get("kind") == "heard"]

    def requests(self) -> list[Json]:
        """The calls that were delivered to it, in order."""
        return [message for message in self.heard() if "method" in message and "id" in message]

    def notices(self) -> list[Json]:
        """The notifications that it has heard, in order."""
        return [message for message in self.heard() if "method" in message and "id" not in message]

    async def wait_event(self, name: str) -> Json:
        """Wait for the first event of this name, which may have happened already."""
        await self.program.wait_until(lambda: any(name in event for event in self.events))
        return next(event for event in self.events if name in event)

    async def wait_requests(self, count: int) -> None:
        """Wait until so many calls have been delivered to it."""
        await self.program.wait_until(lambda: len(self.requests()) >= count)

    async def tell(self, **wishes: object) -> None:
        """Write it a line."""
        await self.program.process.stdin.send_all(json.dumps(wishes).encode() + b"\n")

    def kill(self) -> float:
        """Kill it. Returns when, on Trio's clock."""
        killed_at = trio.current_time()
        self.program.send_signal(signal.SIGKILL)
        return killed_at


@asynccontextmanager
async def start_peer(program_name: str, **wishes: object) -> AsyncGenerator[Peer]:
    """Start the program ``tests.processes.NAME``. It tells when it is ready."""
    command = [f"tests.processes.{program_name}", json.dumps(wishes)]
    async with _open_program("stdout", command) as program:
        yield Peer(program)


@attrs.define
class KnownPeer(Peer):
    """A peer that does what it does under one name, and what the journal has to know of its fate."""

    record: Record = attrs.field(kw_only=True)

    def is_cut_off(self) -> None:
        """From now on it hears what is said to it late, or never."""
        self.record.note("stalled")

    def stop(self) -> None:
        """Have it stand still, alive."""
        self.is_cut_off()
        self.program.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End that."""
        self.program.send_signal(signal.SIGCONT)

    def kill(self) -> float:
        """Kill it. Returns when, on Trio's clock."""
        self.record.note("left")
        return Peer.kill(self)


# --- routers --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Serving:
    """A router in a process of its own, and all who have to do with it."""

    program: Program
    url: str
    admin_url: str
    journal: Journal = attrs.field(factory=Journal)

    @property
    def port(self) -> int:
        """Where it takes sessions."""
        return int(self.url.rstrip("/").rsplit(":", 1)[1])

    # --- its numbers ----------------------------------------------------------------------------------------------

    async def ask_admin(self, path: str) -> str:
        """The body of an admin page."""
        status, body = await self._get(path)
        assert status == 200, body
        return body

    async def ask_ready(self) -> tuple[int, str]:
        """What it says of being ready: a status and a body."""
        return await self._get("/readyz")

    async def _get(self, path: str) -> tuple[int, str]:
        host, port = self.admin_url.removeprefix("http://").rstrip("/").rsplit(":", 1)
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            received = b"".join([chunk async for chunk in stream]).decode()
        head, _, body = received.partition("\r\n\r\n")
        return int(head.split()[1]), body

    async def metrics(self) -> dict[str, float]:
        """Its numbers, without the prefix of their names; of those with labels, each by itself."""
        lines = [line for line in (await self.ask_admin("/metrics")).splitlines() if not line.startswith("#")]
        return {
            name.removeprefix("resroute_"): float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines)
        }

    async def wait_metrics(self, is_it: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Ask for its numbers until they are right."""
        while True:
            metrics = await self.metrics()
            if is_it(metrics):
                return metrics
            await trio.sleep(0.05)

    async def wait_baseline(self) -> None:
        """Wait until its tables are empty again: nothing of who was here is left."""
        await self.wait_metrics(lambda metrics: not any(metrics[name] for name in TABLES))

    # --- who uses it ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open_session(self, name: str = "caller") -> AsyncGenerator[Session]:
        """A session of this process."""
        async with open_session(self.url, self.journal.open_record(name).note) as session:
            yield session

    @asynccontextmanager
    async def open_bound(self, resource_id: str, query: str = "") -> AsyncGenerator[Session]:
        """A session of this process that is bound to a resource."""
        note = self.journal.open_record("bound", ("resource_id", resource_id)).note
        path = f"/resources/{quote(resource_id)}{query}"
        async with open_session(self.url, note, path=path) as session:
            yield session

    @asynccontextmanager
    async def open_instance(self, instance_id: str, *resource_ids: str) -> AsyncGenerator[Session]:
        """A session of this process that is an instance and owns resources."""
        async with self.open_session(instance_id) as session:
            await session.become("store", *resource_ids, instance_id=instance_id)
            yield session

    @asynccontextmanager
    async def open_owner(
        self,
        instance_id: str,
        *resource_ids: str,
        url: str | None = None,
        waits_for: Sequence[str] = (),
        **identity: int,
    ) -> AsyncGenerator[KnownPeer]:
        """A process that is an instance and owns resources.

        Args:
            url: where it finds the router, if there is something between.
            waits_for: what it waits for once it is ready.
            identity: further parameters of its ``instance.register``.
        """
        wishes = {"service_name": "store", "instance_id": instance_id, **identity}
        owner = self._open_peer(
            "owner",
            instance_id,
            url=url or self.url,
            resource_ids=resource_ids,
            waits_for=waits_for,
            **wishes,
        )
        async with owner as peer:
            yield peer

    @asynccontextmanager
    async def open_caller(
        self, resource_id: str, count: int, url: str | None = None
    ) -> AsyncGenerator[KnownPeer]:
        """A process that makes so many calls to an owner that holds them."""
        async with self._open_peer(
            "caller", "caller", url=url or self.url, resource_id=resource_id, count=count
        ) as peer:
            yield peer

    @asynccontextmanager
    async def _open_peer(
        self, program_name: str, session_name: str, **wishes: object
    ) -> AsyncGenerator[KnownPeer]:
        async with start_peer(program_name, **wishes) as started:
            peer = KnownPeer(started.program, record=self.journal.open_record(session_name))
            await peer.wait_event("ready")
            try:
                yield peer
            finally:
                for event in peer.events:
                    if "kind" in event:
                        peer.record.copy(**event)


@asynccontextmanager
async def open_router(
    *,
    port: int = 0,
    max_open_files: int | None = None,
    max_file_kib: int | None = None,
    **settings: float | str,
) -> AsyncGenerator[Serving]:
    """Start a router, and at the end hold what all of its sessions saw against what it promises.

    Args:
        max_open_files: its limit of them, hard and soft.
        max_file_kib: the most that the system lets it write into any file.
        settings: by their names in the environment, in small letters and without the prefix.
    """
    environ = {f"RESROUTE_{name.upper()}": str(value) for name, value in settings.items()}
    limits = {
        limit: value
        for limit, value in (
            (resource.RLIMIT_NOFILE, max_open_files),
            (resource.RLIMIT_FSIZE, max_file_kib and 1024 * max_file_kib),
        )
        if value is not None
    }
    command = ["resroute", "serve", f"--port={port}", "--admin-port=0"]
    async with _open_program("stderr", command, limits=limits, **environ) as program:
        await program.wait_until(lambda: any(map(_LISTENS.fullmatch, program.lines)))
        [match] = filter(None, map(_LISTENS.fullmatch, program.lines))
        serving = Serving(program, match[1].decode(), match[2].decode())
        try:
            yield serving
        except BaseException:
            print("The router's log ended with:", b"".join(program.lines[-20:]).decode(), sep="\n")
            raise
        assert not (faults := await serving.journal.find_faults()), "\n".join(faults)
