"""Programs on the Python SDK: an instance that echoes, callers that keep calls in flight, readers of streams.

    python -m benchmarks.sdk_peer instance --port 8765
    python -m benchmarks.sdk_peer callers router=4711 instance=4712 --port 8765
    python -m benchmarks.sdk_peer readers router=4711 instance=4712 --port 8765

Callers print one JSON object: for each round, calls per second, and the CPU for a call of each process that is named,
and of their own. Readers do the same for the chunks of streams.
"""

import argparse
import os
import time
from collections.abc import AsyncIterator, Callable

import orjson
import trio

from benchmarks.accounting import cpu_seconds
from resroute import Call, Client, open_client

RESOURCES = [f"bench:sdk:{number}" for number in range(100)]
PAYLOAD = {"payload": "x" * 200}


async def chunks() -> AsyncIterator[object]:
    """Partial results without an end."""
    while True:
        yield PAYLOAD


async def echo(call: Call) -> object:
    """Give back what a call brings."""
    return call.params


async def serve(port: int) -> None:
    """Own the resources and answer their calls until killed."""
    answer: dict[str, Callable[[Call], object]] = {"echo": echo, "chunks": lambda call: chunks()}
    async with open_client(f"ws://127.0.0.1:{port}/") as client:
        async with client.open_instance("bench", lambda call: answer[call.method](call)) as instance:
            await instance.register(*RESOURCES)
            print("ready", flush=True)
            lost = await client.wait_closed()
            raise lost


class Load:
    """What keeps the router busy, and how much of it is done."""

    def __init__(self) -> None:
        self.finished = 0

    async def keep_calling(self, client: Client, number: int) -> None:
        """Make one call after the other."""
        while True:
            number += 7
            await client.call("echo", PAYLOAD, resource_id=RESOURCES[number % len(RESOURCES)])
            self.finished += 1

    async def keep_reading(self, client: Client, number: int) -> None:
        """Read a stream that has no end."""
        async with client.open_stream("chunks", resource_id=RESOURCES[number]) as stream:
            async for _ in stream:
                self.finished += 1


async def connect(port: int, task_status: trio.TaskStatus[Client]) -> None:
    """Hold a connection."""
    async with open_client(f"ws://127.0.0.1:{port}/") as client:
        task_status.started(client)
        await trio.sleep_forever()


async def press(
    role: str, port: int, clients: int, window: int, rounds: int, seconds: float, pids: dict[str, int]
) -> None:
    """Keep calls in flight, or read streams, and tell what each call or chunk costs."""
    load = Load()
    keep_busy = load.keep_calling if role == "callers" else load.keep_reading
    figures = []
    async with trio.open_nursery() as connections, trio.open_nursery() as tasks:
        for _ in range(clients):
            client: Client = await connections.start(connect, port)
            for number in range(window):
                tasks.start_soon(keep_busy, client, number)
        await trio.sleep(seconds / 2)
        for _ in range(rounds):
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            load.finished, began = 0, time.perf_counter()
            await trio.sleep(seconds)
            elapsed = time.perf_counter() - began
            used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
            figures.append(
                {"per_second": load.finished / elapsed}
                | {f"{name}_cpu_us": cpu / load.finished * 1e6 for name, cpu in used.items()}
            )
        tasks.cancel_scope.cancel()
        connections.cancel_scope.cancel()
    print(orjson.dumps({"rounds": figures}).decode(), flush=True)


def main() -> None:
    """Be what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=("instance", "callers", "readers"))
    parser.add_argument("processes", nargs="*", metavar="NAME=PID")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--window", type=int, default=64, help="calls in flight, or streams, of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    args = parser.parse_args()
    if args.role == "instance":
        trio.run(serve, args.port)
    else:
        named = dict(process.split("=") for process in args.processes)
        pids = {name: int(pid) for name, pid in named.items()} | {args.role: os.getpid()}
        trio.run(press, args.role, args.port, args.clients, args.window, args.rounds, args.seconds, pids)


if __name__ == "__main__":
    main()
