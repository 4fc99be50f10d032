"""Closed-loop load on a WebSocket call router: callees that echo, callers that keep a window of calls in flight.

Speaks the router's own protocol (``resroute``, with or without ndjson framing) and WAMP (``wamp``, for Crossbar.io),
so that both are measured by the same generator on the same machine. It is written on picows and uvloop to cost far
less than the router it loads, and runs in the environment of ``load.lock``:

    PYTHONPATH=scripts .bench/load/bin/python -m benchmarks.rpc_load resroute --port 8765 --pid PID

What matters is the router's CPU per call, from the accounting of process ``--pid``: that holds on a busy machine,
calls per second do not. Prints one JSON object.
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


def arguments() -> argparse.Namespace:
    """What to do, from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=["resroute", "wamp"])
    parser.add_argument("--port", type=int, required=True, help="of 127.0.0.1; load goes nowhere else")
    parser.add_argument("--pid", type=int, required=True, help="the router's process")
    parser.add_argument("--callees", type=int, default=4)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--window", type=int, default=16, help="calls in flight per caller")
    parser.add_argument("--resources", type=int, default=100)
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--warm-up-seconds", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument(
        "--ndjson", action="store_true", help="offer resroute.v1.ndjson and pack what is ready"
    )
    return parser.parse_args()


class Load:
    """What all peers share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.ndjson: bool = args.ndjson
        self.resources = [f"bench.resource.{n}" for n in range(args.resources)]
        self.payload = "x" * args.payload_bytes
        self.latencies: list[float] = []
        self.errors = 0


class Peer(WSListener):  # type: ignore[misc, unused-ignore]
    """One WebSocket connection that packs what it wants to send until the end of the loop's turn."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.ndjson = load.ndjson
        self.outgoing: list[bytes] = []
        self.loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.ended = False

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

    def fill_window(self) -> None:
        """Begin to call."""
        self.last_id = 0
        self.started: dict[int, float] = {}
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
        self.call_next()

    def call(self, call_id: int, resource: str) -> None:
        """Send a call."""


class ResrouteCallee(Peer):
    """Owns its share of the resources and echoes."""

    def begin(self) -> None:
        instance = {"service_name": "bench", "instance_id": f"bench-{self.number}"}
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
    wamp = load.args.protocol == "wamp"
    subprotocol = "wamp.2.json" if wamp else "resroute.v1.ndjson" if load.ndjson else "resroute.v1"
    url = f"ws://127.0.0.1:{load.args.port}/{'ws' if wamp else ''}"
    headers = {"Sec-WebSocket-Protocol": subprotocol}
    peer = kind(load, number)
    await ws_connect(lambda: peer, url, extra_headers=headers)
    await asyncio.wait_for(peer.ready, 30)
    return peer


async def main() -> None:
    """Load the router and say what it cost."""
    args = arguments()
    load = Load(args)
    callee, caller = (WampCallee, WampCaller) if args.protocol == "wamp" else (ResrouteCallee, ResrouteCaller)
    callees = [await connect(callee, load, n) for n in range(args.callees)]
    callers = [await connect(caller, load, n) for n in range(args.callers)]
    for peer in callers:
        peer.fill_window()
    await asyncio.sleep(args.warm_up_seconds)
    load.latencies.clear()
    cpu, began, own = cpu_seconds(args.pid), time.perf_counter(), time.process_time()
    await asyncio.sleep(args.seconds)
    calls, elapsed = len(load.latencies), time.perf_counter() - began
    cpu, own = cpu_seconds(args.pid) - cpu, time.process_time() - own
    ordered = sorted(load.latencies) or [0.0]
    report = {
        "calls": calls,
        "errors": load.errors,
        "calls_per_second": round(calls / elapsed),
        "p50_us": round(ordered[len(ordered) // 2] * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
        "router_cpu_us": round(cpu / max(calls, 1) * 1e6, 2),
        "router_busy": round(cpu / elapsed, 3),
        "load_cpu_us": round(own / max(calls, 1) * 1e6, 2),
    }
    print(orjson.dumps(report).decode(), flush=True)
    os._exit(1 if load.errors or not calls or not callees else 0)  # calls are in flight for ever


if __name__ == "__main__":
    uvloop.run(main())
