"""One callee that tells ten callers parts of their results at a steady rate, packed as ndjson allows.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.progress` makes
meanwhile. For the same reason it does little: what it sends is made before, it wakes up once for each pack, and what its
callers read is only counted then, and looked at part by part when all is over. Prints one JSON object.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle, islice

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.wire import Client, text_frame

CALLERS = 10
_NDJSON = "resroute.v1.ndjson"
_PACK_SECONDS = 0.005
_PACKS = 20  # that differ; told again and again
_MARK = b'"$/progress"'
_TIMEOUT_SECONDS = 60


def begin(callee: Client, callers: list[Client]) -> list[int]:
    """Each caller makes one call that it wants parts of. Returns their ids at the callee."""
    callee.request("instance.register", {"service_name": "parts"})
    callee.request("resource.register", {"resource_ids": ["bench:parts"]})
    params = {"resource_id": "bench:parts", "method": "m", "timeout_seconds": _TIMEOUT_SECONDS}
    call = {"jsonrpc": "2.0", "id": 1, "method": "route.call", "params": params, "meta": {"progress": True}}
    for caller in callers:
        caller.send(orjson.dumps(call))
    tokens: list[int] = []
    while len(tokens) < len(callers):
        tokens += [orjson.loads(line)["id"] for line in callee.receive().split(b"\n")]
    return tokens


class Listener:
    """A caller that keeps what it reads.

    Attributes:
        heard: how many parts there were.
    """

    def __init__(self, client: Client) -> None:
        self.heard = 0
        self._client = client
        self._read: list[bytes] = []
        self._tail = b""  # in which a mark may begin

    def read_ready(self) -> None:
        """Read what is there, up to a quarter of a mebibyte."""
        if data := self._client.read_ready():
            self._read.append(data)
            self.heard += (self._tail + data).count(_MARK)
            self._tail = (self._tail + data)[1 - len(_MARK) :]

    def check(self, order: Sequence[int]) -> None:
        """End with an error unless each part was there once, in this order, again and again."""
        numbers = []
        for text in self._client.messages_of(b"".join(self._read)):
            for message in map(orjson.loads, text.split(b"\n")):
                if "error" in message:
                    sys.exit(f"a call ended: {message['error']}")
                numbers.append(message["params"]["value"]["done"])
        if numbers != list(islice(cycle(order), len(numbers))):
            sys.exit("the parts did not come in order, each of them once")


def packs_of(tokens: list[int], each: int) -> list[bytes]:
    """Some packs with so many parts of each call, which are numbered."""
    one = b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":{"done":%d,"text":"a few words"}}}'
    return [
        text_frame(
            b"\n".join([one % (token, pack * each + part) for token in tokens for part in range(each)])
        )
        for pack in range(_PACKS)
    ]


def stream(callee: Client, listeners: list[Listener], packs: list[bytes], seconds: float) -> None:
    """Tell a pack after the other, again and again, and wait until all parts were heard, or none comes any more."""
    count = round(seconds / _PACK_SECONDS)
    wanted = sum(pack.count(_MARK) for pack in islice(cycle(packs), count))
    began = time.perf_counter()
    end = began + seconds + _TIMEOUT_SECONDS
    for number, pack in enumerate(islice(cycle(packs), count), 1):
        callee.send_frames(pack)
        time.sleep(max(0.0, began + number * _PACK_SECONDS - time.perf_counter()))
        for listener in listeners:
            listener.read_ready()
    while sum(listener.heard for listener in listeners) < wanted and time.perf_counter() < end:
        time.sleep(_PACK_SECONDS)
        for listener in listeners:
            listener.read_ready()


def main() -> None:
    """Let them flow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    os.nice(10)  # the router and who measures it go first
    with ExitStack() as stack:
        callee = stack.enter_context(Client(args.port, _NDJSON))
        callers = [stack.enter_context(Client(args.port, _NDJSON)) for _ in range(CALLERS)]
        tokens = begin(callee, callers)
        cpu_before, began = cpu_seconds(args.pid), time.perf_counter()
        listeners = [Listener(caller) for caller in callers]
        each = round(args.rate * _PACK_SECONDS / len(tokens))
        stream(callee, listeners, packs_of(tokens, each), args.seconds)
        figures = {
            "heard": sum(listener.heard for listener in listeners),
            "wanted": round(args.rate * args.seconds),
            "seconds": time.perf_counter() - began,
            "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
        }
        for listener in listeners:
            listener.check(range(each * _PACKS))
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
