"""Closed-loop load on WebSocket call routers: callees that echo, callers that keep a window of calls in flight.

Speaks the router's own protocol (``resroute``, or ``resroute.ndjson``: with as many messages in a frame as are
ready) and WAMP (``wamp``, for Crossbar.io), so that all are measured by the same generator. It is written on picows
and uvloop to cost far less than the routers it loads, and runs in the environment of ``load.lock``:

    PYTHONPATH=scripts .bench/load/bin/python -m benchmarks.rpc_load ours=resroute:8765:PID peer=wamp:9110:PID

The contenders are loaded in turn, a fifth of a second each, again and again: whatever else the machine does then
hits all of them alike. Prints, for each contender and round, what a call cost: above all the router's CPU, from the
accounting of its process.
"""

import argparse
import asyncio
import os
import time
from typing import Any

import orjson
import uvloop  # type: ignore[import-not-found, unused-ignore]
from picows import (  # type: ignore[import-not-found, unused-ignore]
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from benchmarks.accounting import cpu_seconds

SLICE_SECONDS = 0.2
WARM_UP_SECONDS = 0.05


def arguments() -> argparse.Namespace:
    """What to do, from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contenders", nargs="+", metavar="NAME=PROTOCOL:PORT:PID")
    parser.add_argument("--callees", type=int, default=4)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--window", type=int, default=16, help="calls in flight per caller")
    parser.add_argument("--resources", type=int, default=100)
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5, help="slices of each contender in a round")
    return parser.parse_args()


class Load:
    """What all peers of one contender share."""

    def __init__(self, number: int, contender: str, args: argparse.Namespace) -> None:
        self.name, _, how = contender.partition("=")
        protocol, port, pid = how.split(":")
        self.args = args
        self.wamp = protocol == "wamp"
        self.ndjson = protocol == "resroute.ndjson"
        self.port = int(port)
        self.pid = int(pid)
        # two contenders may be one router, spoken to in two ways
        self.prefix = f"bench.{number}"
        self.resources = [f"{self.prefix}.resource.{n}" for n in range(args.resources)]
        self.payload = "x" * args.payload_bytes
        self.callers: list[Caller] = []
        self.callees: list[Peer] = []
        self.calling = False
        self.latencies: list[float] = []
        self.errors = 0
        # of one round
        self.cpu_seconds = self.elapsed_seconds = 0.0
        self.calls = 0

    async def connect(self) -> None:
        """Have all callees and callers ready."""
        callee, caller = (WampCallee, WampCaller) if self.wamp else (ResrouteCallee, ResrouteCaller)
        self.callees = [await connect(callee, self, n) for n in range(self.args.callees)]
        self.callers = [await connect(caller, self, n) for n in range(self.args.callers)]

    async def measure_slice(self) -> None:
        """Load the router for a moment, and leave it idle."""
        self.calling = True
        for caller in self.callers:
            caller.fill_window()
        await asyncio.sleep(WARM_UP_SECONDS)
        calls, cpu, began = len(self.latencies), cpu_seconds(self.pid), time.perf_counter()
        await asyncio.sleep(SLICE_SECONDS)
        self.calls += len(self.latencies) - calls
        self.cpu_seconds += cpu_seconds(self.pid) - cpu
        self.elapsed_seconds += time.perf_counter() - began
        self.calling = False
        for _ in range(5000):
            if not any(caller.started for caller in self.callers):
                return
            await asyncio.sleep(0.001)
        raise RuntimeError(f"{self.name}: calls were not answered")

    def report(self) -> dict[str, float]:
        """What a round came to; the next one begins."""
        if self.errors or not self.calls:
            raise RuntimeError(f"{self.name}: {self.errors} of {self.calls} calls failed")
        ordered = sorted(self.latencies)
        report = {
            "calls": self.calls,
            "calls_per_second": round(self.calls / self.elapsed_seconds),
            "p50_us": round(ordered[len(ordered) // 2] * 1e6, 1),
            "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
            "router_cpu_us": round(self.cpu_seconds / self.calls * 1e6, 2),
            "router_busy": round(self.cpu_seconds / self.elapsed_seconds, 3),
        }
        self.latencies.clear()
        self.cpu_seconds = self.elapsed_seconds = 0.0
        self.calls = 0
        return report


class Peer(WSListener):  # type: ignore[misc, unused-ignore]
    """One WebSocket connection that packs what it wants to send until the end of the loop's turn."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.ndjson = load.ndjson
        self.outgoing: list[bytes] = []
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Called by picows."""
        self.transport = transport
        self.begin()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows, which answers pings itself."""
        if frame.msg_type == WSMsgType.TEXT:
            for line in frame.get_payload_as_bytes().split(b"\n"):
                self.receive(orjson.loads(line))
        elif frame.msg_type == WSMsgType.CLOSE:
            self.fail(f"closed by the router: {frame.get_close_code()} {frame.get_close_message()!r}")
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Called by picows."""
        self.fail("the router hung up")

    def post(self, message: object) -> None:
        """Send a message, with others that are posted in the same turn."""
        data = orjson.dumps(message)
        if not self.ndjson:
            self.transport.send(WSMsgType.TEXT, data)
            return
        if not self.outgoing:
            self.loop.call_soon(self.flush)
        self.outgoing.append(data)

    def flush(self) -> None:
        """Send what was posted."""
        self.transport.send(WSMsgType.TEXT, b"\n".join(self.outgoing))
        self.outgoing.clear()

    def fail(self, reason: str) -> None:
        """Something happened that ends the measurement."""
        if self.ready.done():
            self.load.errors += 1
        else:
            self.ready.set_exception(RuntimeError(reason))

    def begin(self) -> None:
        """Connected: introduce yourself."""

    def receive(self, message: Any) -> None:
        """A message came."""


class Caller(Peer):
    """Keeps a window of calls in flight."""

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(load, number)
        self.last_id = 0
        self.started: dict[int, float] = {}

    def fill_window(self) -> None:
        """Begin to call."""
        for _ in range(self.load.args.window):
            self.call_next()

    def call_next(self) -> None:
        """Make one call more."""
        self.last_id += 1
        self.started[self.last_id] = time.perf_counter()
        resources = self.load.resources
        self.call(self.last_id, resources[(self.last_id * 7 + self.number) % len(resources)])

    def finished(self, call_id: int, *, failed: bool = False) -> None:
        """A call is done: count it and make the next one."""
        self.load.errors += failed
        self.load.latencies.append(time.perf_counter() - self.started.pop(call_id))
        if self.load.calling:
            self.call_next()

    def call(self, call_id: int, resource: str) -> None:
        """Send a call."""


class ResrouteCallee(Peer):
    """Owns its share of the resources and echoes."""

    def begin(self) -> None:
        instance = {"service_name": "bench", "instance_id": f"{self.load.prefix}.{self.number}"}
        self.post({"jsonrpc": "2.0", "id": 1, "method": "instance.register", "params": instance})
        resources = {"resource_ids": self.load.resources[self.number :: self.load.args.callees]}
        self.post({"jsonrpc": "2.0", "id": 2, "method": "resource.register", "params": resources})

    def receive(self, message: Any) -> None:
        if "method" in message:
            if "id" in message:
                self.post({"jsonrpc": "2.0", "id": message["id"], "result": message["params"]})
        elif "error" in message:
            self.fail(str(message["error"]))
        elif message["id"] == 2:
            self.ready.set_result(None)


class ResrouteCaller(Caller):
    """Calls resources by id."""

    def begin(self) -> None:
        self.ready.set_result(None)

    def receive(self, message: Any) -> None:
        if "id" in message:
            self.finished(message["id"], failed="error" in message)

    def call(self, call_id: int, resource: str) -> None:
        params = {"resource_id": resource, "method": "echo", "params": {"payload": self.load.payload}}
        self.post({"jsonrpc": "2.0", "id": call_id, "method": "route.call", "params": params})


class WampCallee(Peer):
    """Registers its share of the procedures and echoes."""

    def begin(self) -> None:
        self.post([1, "realm1", {"roles": {"callee": {}}}])

    def receive(self, message: Any) -> None:
        match message:
            case [2, *_]:
                resources = self.load.resources[self.number :: self.load.args.callees]
                self.missing = len(resources)
                for number, resource in enumerate(resources, 1):
                    self.post([64, number, {}, resource])
            case [65, *_]:
                self.missing -= 1
                if not self.missing:
                    self.ready.set_result(None)
            case [68, request, _, _, parameters]:
                self.post([70, request, {}, parameters])


class WampCaller(Caller):
    """Calls procedures."""

    def begin(self) -> None:
        self.post([1, "realm1", {"roles": {"caller": {}}}])

    def receive(self, message: Any) -> None:
        match message:
            case [2, *_]:
                self.ready.set_result(None)
            case [50, request, *_]:
                self.finished(request)
            case [8, 48, request, *_]:
                self.finished(request, failed=True)

    def call(self, call_id: int, resource: str) -> None:
        self.post([48, call_id, {}, resource, [self.load.payload]])


async def connect[P: Peer](kind: type[P], load: Load, number: int) -> P:
    """A peer that is ready for calls."""
    subprotocol = "wamp.2.json" if load.wamp else "resroute.v1.ndjson" if load.ndjson else "resroute.v1"
    url = f"ws://127.0.0.1:{load.port}/{'ws' if load.wamp else ''}"
    peer = kind(load, number)
    await ws_connect(lambda: peer, url, extra_headers={"Sec-WebSocket-Protocol": subprotocol})
    await asyncio.wait_for(peer.ready, 30)
    return peer


async def main() -> None:
    """Load the contenders in turn and say what it cost them."""
    args = arguments()
    loads = [Load(number, contender, args) for number, contender in enumerate(args.contenders)]
    for load in loads:
        await load.connect()
        await load.measure_slice()  # warms up
        load.report()
    rounds: dict[str, list[dict[str, float]]] = {load.name: [] for load in loads}
    for _ in range(args.rounds):
        for turn in range(args.turns):
            for load in loads[:: -1 if turn % 2 else 1]:
                await load.measure_slice()
        for load in loads:
            rounds[load.name].append(load.report())
    print(orjson.dumps(rounds).decode(), flush=True)
    os._exit(0)  # without goodbyes


if __name__ == "__main__":
    uvloop.run(main())
