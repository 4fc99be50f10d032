"""One callee that tells ten callers parts of their results at a steady rate, packed as ndjson allows.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.progress` makes
meanwhile. Prints one JSON object.
"""

import argparse
import os
import select
import sys
import time
from contextlib import ExitStack

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.wire import Client

CALLERS = 10
_NDJSON = "resroute.v1.ndjson"
_PACK_SECONDS = 0.005
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


def stream(callee: Client, callers: list[Client], tokens: list[int], rate: int, seconds: float) -> int:
    """Tell so many parts a second, and read them. Returns how many were heard of those that were told."""
    one = b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":{"done":123,"text":"a few words"}}}'
    each = round(rate * _PACK_SECONDS / len(tokens))
    pack = b"\n".join([one % token for token in tokens for _ in range(each)])
    packs = round(seconds / _PACK_SECONDS)
    told = packs * each * len(tokens)
    heard = 0
    with select.epoll() as poll:
        by_descriptor = {caller.fileno(): caller for caller in callers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)

        def read_for(span: float) -> int:
            ready = poll.poll(max(0.0, span))
            messages = [text for descriptor, _ in ready for text in by_descriptor[descriptor].receive_ready()]
            if any(b'"error"' in text for text in messages):
                sys.exit(f"a call ended: {messages[-1][:500].decode()}")
            return sum(text.count(_MARK) for text in messages)

        began = time.perf_counter()
        for number in range(packs):
            callee.send(pack)
            next_at = began + (number + 1) * _PACK_SECONDS
            while (span := next_at - time.perf_counter()) > 0:
                heard += read_for(span)
        end = time.perf_counter() + _TIMEOUT_SECONDS
        while heard < told and time.perf_counter() < end:
            heard += read_for(1.0)
    return heard


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
        heard = stream(callee, callers, tokens, args.rate, args.seconds)
        figures = {
            "heard": heard,
            "wanted": round(args.rate * args.seconds),
            "seconds": time.perf_counter() - began,
            "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
        }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
