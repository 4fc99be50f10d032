"""Programs on the Python SDK: an instance that echoes, and callers that keep calls in flight.

    python -m benchmarks.sdk_peer instance --port 8765
    python -m benchmarks.sdk_peer callers router=4711 instance=4712 --port 8765

The callers print one JSON object: for each round, calls per second, and the CPU for a call of each process that is
named, and of their own.
"""

import argparse
import os
import time

import orjson
import trio

from benchmarks.accounting import cpu_seconds
from resroute import Client, open_client

RESOURCES = [f"bench:sdk:{number}" for number in range(100)]
PAYLOAD = {"payload": "x" * 200}


async def echo(port: int) -> None:
    """Own the resources and give back what each call brings, until killed."""
    async with open_client(f"ws://127.0.0.1:{port}/") as client:
        async with client.open_instance("bench", lambda call: call.params) as instance:
            await instance.register(*RESOURCES)
            print("ready", flush=True)
            lost = await client.wait_closed()
            raise lost


async def call(
    port: int, callers: int, window: int, rounds: int, seconds: float, pids: dict[str, int]
) -> None:
    """Keep calls in flight and tell what they cost."""
    finished = 0

    async def keep_calling(client: Client, number: int) -> None:
        nonlocal finished
        while True:
            number += 7
            await client.call("echo", PAYLOAD, resource_id=RESOURCES[number % len(RESOURCES)])
            finished += 1

    async def connect(task_status: trio.TaskStatus[Client]) -> None:
        async with open_client(f"ws://127.0.0.1:{port}/") as client:
            task_status.started(client)
            await trio.sleep_forever()

    figures = []
    async with trio.open_nursery() as connections, trio.open_nursery() as calls:
        for _ in range(callers):
            client: Client = await connections.start(connect)
            for number in range(window):
                calls.start_soon(keep_calling, client, number)
        await trio.sleep(seconds / 2)
        for _ in range(rounds):
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            finished, began = 0, time.perf_counter()
            await trio.sleep(seconds)
            elapsed = time.perf_counter() - began
            used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
            figures.append(
                {"calls_per_second": finished / elapsed}
                | {f"{name}_cpu_us": cpu / finished * 1e6 for name, cpu in used.items()}
            )
        calls.cancel_scope.cancel()
        connections.cancel_scope.cancel()
    print(orjson.dumps({"rounds": figures}).decode(), flush=True)


def main() -> None:
    """Be what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=("instance", "callers"))
    parser.add_argument("processes", nargs="*", metavar="NAME=PID")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--window", type=int, default=64, help="calls in flight of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    args = parser.parse_args()
    if args.role == "instance":
        trio.run(echo, args.port)
    else:
        named = dict(process.split("=") for process in args.processes)
        pids = {name: int(pid) for name, pid in named.items()} | {"callers": os.getpid()}
        trio.run(call, args.port, args.callers, args.window, args.rounds, args.seconds, pids)


if __name__ == "__main__":
    main()
