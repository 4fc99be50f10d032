"""A bare router on the architecture's hot path, with what a real call carries: the yardstick for CPU per call.

It knows just enough of the protocol for rpc_load.py: instance.register, resource.register, route.call by
resource. Envelopes are split from payloads without building them; a delivered call carries its meta; calls have
deadlines, withdrawable outbox entries and counters. It checks nothing that a benchmark does not need, and is no
base to build on.

It listens on a free port and says so on standard error. Its hot path stays as it is, for targets are multiples
of it.
"""

# mypy: disable-error-code="arg-type, union-attr"
# (narrowing what a benchmark never sends would cost what is being measured)

import itertools
import random
import sys
from functools import partial

import msgspec
import trio
from msgspec import UNSET, Raw, UnsetType
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

SUBPROTOCOLS = [Subprotocol("resroute.v1.ndjson"), Subprotocol("resroute.v1")]


class Envelope(msgspec.Struct):
    jsonrpc: str
    id: int | str | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    meta: Raw | UnsetType = UNSET


class RouteCall(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    resource_id: str | UnsetType = UNSET
    service_name: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    timeout_seconds: float = 30.0
    idempotency_key: str | UnsetType = UNSET
    wait_for_owner_seconds: float = 0.0
    trace_id: str | UnsetType = UNSET


DELIVERED = (
    b'{"jsonrpc":"2.0","id":%d,"method":%b,"meta":{"resource_id":%b,"epoch":%d,"service_name":"bench",'
    b'"caller":%b,"timeout_seconds":%b,"trace_id":"%b"}'
)


class Call:
    __slots__ = ("callee", "caller", "caller_id", "entry", "epoch", "resource", "started", "tick", "trace_id")

    caller: "Session"
    caller_id: int | str
    callee: "Session"
    resource: str
    epoch: int
    trace_id: str
    started: float
    tick: int


decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_call = msgspec.json.Decoder(RouteCall).decode
encode = msgspec.json.encode
random_bits = random.Random().getrandbits
owners: dict[str, tuple["Session", int]] = {}  # resource -> (owner's session, epoch)
deadlines: dict[int, dict[int, Call]] = {}  # tick of 10 ms -> {correlation id: call}
numbers = itertools.count(1)
counters = {"calls": 0, "results": 0, "errors": 0}
histogram = [0] * 24


class Session:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.protocol = ServerProtocol(max_size=1 << 20, subprotocols=SUBPROTOCOLS)
        self.id = f"s{next(numbers)}"
        self.caller_meta = encode({"session_id": self.id})
        self.wake = trio.Event()
        self.outbox: list[bytes] = []
        self.outbox_bytes = 0
        self.ndjson = False
        self.delivered: dict[int, Call] = {}  # correlation id -> call this session is to answer
        self.made: dict[int | str, Call] = {}  # caller's id -> call this session waits for
        self.now = 0.0

    def post(self, message: bytes) -> None:
        self.outbox_bytes += len(message)
        self.outbox.append(message)
        self.wake.set()

    async def write(self) -> None:
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            entries, self.outbox, self.outbox_bytes = self.outbox, [], 0
            send_text = self.protocol.send_text
            if self.ndjson and entries:
                pack: list[bytes] = []
                size = 0
                for entry in entries:
                    if size and size + len(entry) > 65536:
                        send_text(b"\n".join(pack))
                        pack, size = [], 0
                    pack.append(entry)
                    size += len(entry)
                send_text(b"\n".join(pack))
            else:
                for entry in entries:
                    send_text(entry)
            data = b"".join(self.protocol.data_to_send())
            if data:
                await self.stream.send_all(data)

    async def run(self) -> None:
        self.stream.setsockopt(6, 1, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.write)
            while True:
                data = await self.stream.receive_some(65536)
                if not data:
                    nursery.cancel_scope.cancel()
                    return
                self.now = trio.current_time()
                self.protocol.receive_data(data)
                for event in self.protocol.events_received():
                    if not isinstance(event, Frame):
                        self.protocol.send_response(self.protocol.accept(event))
                        self.ndjson = self.protocol.subprotocol == "resroute.v1.ndjson"
                        self.wake.set()
                    elif event.opcode is Opcode.TEXT:
                        if self.ndjson:
                            for line in event.data.split(b"\n"):
                                self.handle(decode_envelope(line))
                        else:
                            self.handle(decode_envelope(event.data))

    def handle(self, message: Envelope) -> None:
        if message.method is UNSET:
            self.settle(message)
        elif message.method == "route.call":
            self.route(message.id, decode_call(message.params), message.meta is not UNSET)
        else:
            params = msgspec.json.decode(message.params)
            for resource in params.get("resource_ids", ()):
                owners[resource] = self, next(numbers)
            self.post(encode({"jsonrpc": "2.0", "id": message.id, "result": True}))

    def route(self, caller_id: int | str, params: RouteCall, wants_meta: bool) -> None:
        counters["calls"] += 1
        owned = owners.get(params.resource_id)
        if owned is None or not 0 < params.timeout_seconds <= 600:
            self.refuse(caller_id, 404, "no owner")
            return
        callee, epoch = owned
        if callee.outbox_bytes > 1 << 20 or len(self.made) >= 1024:
            self.refuse(caller_id, 503, "overloaded")
            return
        call = Call()
        call.caller, call.caller_id, call.callee = self, caller_id, callee
        call.resource, call.epoch = params.resource_id, epoch  # type: ignore[assignment]
        call.trace_id = f"{random_bits(128):032x}" if params.trace_id is UNSET else params.trace_id
        call.started = self.now
        call.tick = int((self.now + params.timeout_seconds) * 100)
        number = next(numbers)
        callee.delivered[number] = call
        self.made[caller_id] = call
        bucket = deadlines.get(call.tick)
        if bucket is None:
            bucket = deadlines[call.tick] = {}
        bucket[number] = call
        body = DELIVERED % (
            number,
            encode(params.method),
            encode(params.resource_id),
            epoch,
            self.caller_meta,
            repr(params.timeout_seconds).encode(),
            call.trace_id.encode(),
        )
        if params.params is not UNSET:
            raw = bytes(params.params)
            if b"\n" in raw:
                raw = raw.replace(b"\n", b" ")
            body += b',"params":' + raw
        callee.post(body + b"}")

    def refuse(self, caller_id: int | str, code: int, text: str) -> None:
        self.post(encode({"jsonrpc": "2.0", "id": caller_id, "error": {"code": code, "message": text}}))

    def settle(self, message: Envelope) -> None:
        call = self.delivered.pop(message.id, None)
        if call is None:
            return
        bucket = deadlines[call.tick]
        del bucket[message.id]
        if not bucket:
            del deadlines[call.tick]
        caller = call.caller
        caller.made.pop(call.caller_id, None)
        histogram[min(23, int((self.now - call.started) * 1e4).bit_length())] += 1
        if message.error is UNSET:
            counters["results"] += 1
            raw, key = bytes(message.result), b',"result":'
        else:
            counters["errors"] += 1
            raw, key = bytes(message.error), b',"error":'
        if b"\n" in raw:
            raw = raw.replace(b"\n", b" ")
        caller.post(b'{"jsonrpc":"2.0","id":' + encode(call.caller_id) + key + raw + b"}")


async def serve(stream: trio.SocketStream) -> None:
    try:
        await Session(stream).run()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port: int = listeners[0].socket.getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    trio.run(main)
