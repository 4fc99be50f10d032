"""What a WebSocket library costs the router, and the SDK: the figures behind docs/decisions/0001-websocket-library.md.

The yardstick's routing is run behind each way to speak WebSocket, so that nothing else differs:

- ``trio-websocket``: a ``get_message`` and a ``send_message`` for each message.
- ``websockets.trio``: likewise, a ``recv`` and a ``send``.
- ``sans-I/O``: the protocol of ``websockets`` on a Trio stream; what has arrived is read at once, what waits is sent at once.
- ``ours``: the transport of resroute, which does the same and takes whole text frames apart itself.

    PYTHONPATH=scripts python -m benchmarks.transports              all of it, about three minutes
    PYTHONPATH=scripts python -m benchmarks.transports --rounds 2   less of it

It ends what it starts, by process id.
"""

# mypy: disable-error-code="arg-type"

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import trio
import trio_websocket
import websockets.trio.server

from benchmarks import processes, yardstick
from benchmarks.environments import WORK, environment
from benchmarks.processes import Figures, Target, figures_of
from benchmarks.report import median
from resroute import open_client
from resroute.client import websocket as sdk
from resroute.client.connection import JSON, NDJSON
from resroute.transport.websocket import WebSocketTransport

BASE = "trio-websocket"
PACK_BYTES = 65536


def packed(entries: list[bytes]) -> Iterator[bytes]:
    """Entries joined into ndjson packs, as the yardstick does it."""
    pack: list[bytes] = []
    size = 0
    for entry in entries:
        if size and size + len(entry) > PACK_BYTES:
            yield b"\n".join(pack)
            pack, size = [], 0
        pack.append(entry)
        size += len(entry)
    if pack:
        yield b"\n".join(pack)


class Session(yardstick.Session):
    """The yardstick's session over one of the other ways to speak WebSocket."""

    def __init__(self, stream: trio.SocketStream, connection: Any, subprotocol: str | None) -> None:
        super().__init__(stream)
        self.connection = connection
        self.ndjson = subprotocol == NDJSON

    async def write(self) -> None:
        """One task sends what waits."""
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            entries, self.outbox, self.outbox_bytes = self.outbox, [], 0
            await self.send(packed(entries) if self.ndjson else entries)

    async def run(self) -> None:
        """One task receives."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write)
            while True:
                for text in await self.receive():
                    self.now = trio.current_time()
                    for line in text.split(b"\n") if self.ndjson else (text,):
                        self.handle(yardstick.decode_envelope(line))

    async def receive(self) -> Sequence[bytes]:
        """Wait for messages."""
        return [(await self.connection.get_message()).encode()]

    async def send(self, messages: Any) -> None:
        """Send each of them."""
        for message in messages:
            await self.connection.send_message(message.decode())


class WebsocketsSession(Session):
    """Over ``websockets.trio``."""

    async def receive(self) -> Sequence[bytes]:
        return [await self.connection.recv(decode=False)]

    async def send(self, messages: Any) -> None:
        for message in messages:
            await self.connection.send(message, text=True)


class OurSession(Session):
    """Over resroute's own transport."""

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write)
            while True:
                lines: Sequence[bytes] = await self.connection.receive()
                self.now = trio.current_time()
                for line in lines:
                    self.handle(yardstick.decode_envelope(line))

    async def write(self) -> None:
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            entries, self.outbox, self.outbox_bytes = self.outbox, [], 0
            await self.connection.send(entries)  # it packs them itself


async def over_trio_websocket(stream: trio.SocketStream) -> None:
    """Serve one connection, with queues and buffers as large as help."""
    async with trio.open_nursery() as nursery:
        request = await trio_websocket.wrap_server_stream(
            nursery, stream, message_queue_size=64, receive_buffer_size=65536
        )
        subprotocol = request.proposed_subprotocols[0]
        connection = await request.accept(subprotocol=subprotocol)
        await Session(stream, connection, subprotocol).run()


async def over_websockets_trio(connection: websockets.trio.server.ServerConnection) -> None:
    """Serve one connection."""
    stream: Any = connection.stream
    await WebsocketsSession(stream, connection, connection.subprotocol).run()


async def over_ours(stream: trio.SocketStream) -> None:
    """Serve one connection."""
    transport = WebSocketTransport(stream, max_message_bytes=1 << 20)
    await transport.handshake(lambda _: None)
    await OurSession(stream, transport, transport.subprotocol).run()


async def over_the_yardsticks(stream: trio.SocketStream) -> None:
    """Serve one connection as the yardstick does."""
    await yardstick.Session(stream).run()


HANDLERS: dict[str, Any] = {
    "trio-websocket": over_trio_websocket,
    "websockets.trio": over_websockets_trio,
    "sans-I/O": over_the_yardsticks,
    "ours": over_ours,
}


async def serve(name: str) -> None:
    """Be the router that is measured, until it is killed."""

    async def handle(connection: Any) -> None:
        try:
            await HANDLERS[name](connection)
        except* Exception:  # the load generator hangs up in the middle of calls
            pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    # in the words that the other benchmarks look for
    print(f"listening on ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}", file=sys.stderr, flush=True)
    if name == "websockets.trio":
        await websockets.trio.server.serve(
            handle,
            listeners=listeners,
            subprotocols=yardstick.SUBPROTOCOLS,
            compression=None,
            ping_interval=None,
        )
    else:
        await trio.serve_listeners(handle, listeners)


@contextmanager
def serving(name: str) -> Iterator[Target]:
    """A process that serves in one of these ways."""
    log = WORK / f"transport-{name.replace('/', '-')}.log"
    command = [sys.executable, "-m", "benchmarks.transports", "--serve", name]
    with processes.running(command, log) as process:
        yield Target(name, processes._wait_started(process, log), process.pid, log)


# --- the SDK ------------------------------------------------------------------------------------------------------


async def call_with_sdk(url: str, subprotocol: str, window: int, seconds: float) -> None:
    """Call through a router with ``window`` calls in flight, both ends in this process; print what its CPU did."""
    vars(sdk)["SUBPROTOCOLS"] = (subprotocol,)  # offer this one only
    done = 0

    async def keep_calling(client: Any) -> None:
        nonlocal done
        while True:
            await client.call("echo", {"payload": "x" * 200}, resource_id="bench")
            done += 1

    async with open_client(url) as callee, open_client(url) as caller:
        async with callee.open_instance("bench", lambda call: call.params) as instance:
            await instance.register("bench")
            async with trio.open_nursery() as nursery:
                for _ in range(window):
                    nursery.start_soon(keep_calling, caller)
                await trio.sleep(seconds / 2)
                done, began, cpu = 0, time.perf_counter(), time.process_time()
                await trio.sleep(seconds)
                elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
                nursery.cancel_scope.cancel()
    figures = {"sdk_cpu_us": cpu / done * 1e6, "calls_per_second": done / elapsed}
    print(orjson.dumps(figures).decode(), flush=True)


# --- measuring ----------------------------------------------------------------------------------------------------


def measure_router(rounds: int) -> None:
    """The router's CPU for a call, all ways in turn."""
    python = environment("load") / "python"
    with ExitStack() as stack:
        targets = [stack.enter_context(serving(name)) for name in HANDLERS]
        for window in (16, 64):
            for subprotocol, protocol in ((JSON, "resroute"), (NDJSON, "resroute.ndjson")):
                command: list[str | Path] = [python, "-m", "benchmarks.rpc_load"]
                command += [f"{target.name}={protocol}:{target.port}:{target.pid}" for target in targets]
                command += [f"--window={window}", f"--rounds={rounds}", "--turns=3"]
                found = figures_of(command, "the load", timeout_seconds=300)
                _print(
                    f"Router CPU a call, 4 x {window} in flight, {subprotocol}", found, "router_cpu_us", BASE
                )


def measure_sdk(rounds: int, seconds: float) -> None:
    """The SDK's CPU for a call, both ends, with a frame for each message and with packs."""
    for window in (1, 64):
        found: dict[str, list[Figures]] = {JSON: [], NDJSON: []}
        with processes.router() as router:
            for number in range(rounds):
                for name in list(found)[:: -1 if number % 2 else 1]:
                    command = [sys.executable, "-m", "benchmarks.transports", "--sdk", name]
                    command += [f"--url=ws://127.0.0.1:{router.port}/", f"--window={window}"]
                    command += [f"--seconds={seconds}"]
                    found[name].append(figures_of(command, "the SDK", timeout_seconds=60))
        _print(f"SDK CPU a call, caller and callee, {window} in flight", found, "sdk_cpu_us", JSON)


def _print(title: str, found: dict[str, list[Figures]], figure: str, base: str) -> None:
    print(f"\n{title}")
    for name, figures in found.items():
        times = median(b[figure] / a[figure] for a, b in zip(figures, found[base], strict=True))
        micros = median(one[figure] for one in figures)
        print(f"  {name:20} {micros:7.1f} us   {times:5.2f} times less than {base}", flush=True)


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round of the SDK")
    parser.add_argument("--only", choices=("router", "sdk"))
    for internal in ("--serve", "--sdk", "--url"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, default=64, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        trio.run(serve, args.serve)
    elif args.sdk:
        trio.run(call_with_sdk, args.url, args.sdk, args.window, args.seconds)
    else:
        WORK.mkdir(exist_ok=True)
        if args.only != "sdk":
            measure_router(args.rounds)
        if args.only != "router":
            measure_sdk(args.rounds, args.seconds)


if __name__ == "__main__":
    main()
