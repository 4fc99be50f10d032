"""Programs on autobahn's client for asyncio, beside which those of :mod:`benchmarks.sdk_peer` are measured.

Runs in the environment of ``peer.lock``:

    PYTHONPATH=scripts .bench/peer/bin/python -m benchmarks.wamp_peer instance --port 9110
    PYTHONPATH=scripts .bench/peer/bin/python -m benchmarks.wamp_peer callers router=4711 instance=4712 --port 9110

What they do and print is the same.
"""

import argparse
import asyncio
import json
import os
import time
from typing import Any

from autobahn.asyncio.wamp import (  # type: ignore[import-not-found, unused-ignore]
    ApplicationRunner,
    ApplicationSession,
)
from autobahn.wamp.serializer import JsonSerializer  # type: ignore[import-not-found, unused-ignore]

from benchmarks.accounting import cpu_seconds

RESOURCES = [f"bench.sdk.{number}" for number in range(100)]
PAYLOAD = {"payload": "x" * 200}


class Session(ApplicationSession):  # type: ignore[misc, unused-ignore]
    """One that tells when it has joined the realm."""

    joined: "asyncio.Future[Session]"

    async def onJoin(self, details: object) -> None:
        """Called by autobahn."""
        self.joined.set_result(self)


async def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Give back what a call brings."""
    return payload


class Load:
    """What keeps the router busy, and how much of it is done."""

    def __init__(self) -> None:
        self.finished = 0

    async def keep_calling(self, session: Session, number: int) -> None:
        """Make one call after the other."""
        while True:
            number += 7
            await session.call(RESOURCES[number % len(RESOURCES)], PAYLOAD)
            self.finished += 1


async def join(port: int) -> Session:
    """A session in the realm. Its connection is the event loop's."""
    joined: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    def make(config: object) -> Session:
        session = Session(config)
        session.joined = joined
        return session

    runner = ApplicationRunner(f"ws://127.0.0.1:{port}/", "realm1", serializers=[JsonSerializer()])
    await runner.run(make, start_loop=False, log_level="error")
    return await asyncio.wait_for(joined, 20)


async def press(
    port: int, clients: int, window: int, rounds: int, seconds: float, pids: dict[str, int]
) -> None:
    """Keep calls in flight, and tell what each of them costs."""
    load = Load()
    figures = []
    sessions = [await join(port) for _ in range(clients)]
    tasks = [
        asyncio.create_task(load.keep_calling(session, number))
        for session in sessions
        for number in range(window)
    ]
    await asyncio.sleep(seconds / 2)
    for _ in range(rounds):
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        load.finished, began = 0, time.perf_counter()
        await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - began
        used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        figures.append(
            {"per_second": load.finished / elapsed}
            | {f"{name}_cpu_us": cpu / load.finished * 1e6 for name, cpu in used.items()}
        )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"rounds": figures}), flush=True)


async def serve(port: int) -> None:
    """Own the resources until killed."""
    session = await join(port)
    for name in RESOURCES:
        await session.register(echo, name)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Be what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("role", choices=("instance", "callers"))
    parser.add_argument("processes", nargs="*", metavar="NAME=PID")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--window", type=int, default=64, help="calls in flight of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    args = parser.parse_args()
    if args.role == "instance":
        asyncio.run(serve(args.port))
    else:
        named = dict(process.split("=") for process in args.processes)
        pids = {name: int(pid) for name, pid in named.items()} | {args.role: os.getpid()}
        asyncio.run(press(args.port, args.clients, args.window, args.rounds, args.seconds, pids))


if __name__ == "__main__":
    main()
