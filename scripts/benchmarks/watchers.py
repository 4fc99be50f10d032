"""Resources that come and go at a steady rate, and watchers that are told: each its own part, or all of them everything.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.watches` makes meanwhile.
Prints one JSON object.
"""

import argparse
import os
import select
import time

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.wire import Client, request, text_frame

NARROW, ALL = 100, 10
"""How many watchers there are: of a part each, or of everything."""

EACH = 100  # resources in a request
_GIVE_UP_SECONDS = 20.0  # without an event, once all requests are sent


class _Counter:
    """Counts what stands in what it hears; does not look at it otherwise."""

    def __init__(self, port: int, mark: bytes) -> None:
        self.client = Client(port, "resroute.v1.ndjson")
        self.heard = 0
        self.is_lost = False
        self._mark = mark
        self._rest = b""

    def read(self) -> None:
        """Something has arrived."""
        data = self._rest + os.read(self.client.fileno(), 1 << 20)
        self.heard += data.count(self._mark)
        self.is_lost = self.is_lost or b"watch_lost" in data
        self._rest = data[-len(self._mark) + 1 :]  # it may be cut


def _watchers(port: int, kind: str) -> list[_Counter]:
    watchers = [_Counter(port, b'"event":') for _ in range({"narrow": NARROW, "all": ALL, "none": 0}[kind])]
    for number, watcher in enumerate(watchers):
        watcher.client.request(
            "resource.watch", {"prefix": f"bench:{number:03}:"} if kind == "narrow" else {}
        )
    return watchers


def main() -> None:
    """Let them come and go."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--watchers", choices=("narrow", "all", "none"), default="narrow")
    args = parser.parse_args()
    watchers = _watchers(args.port, args.watchers)
    owner = _Counter(args.port, b'"success":true')
    owner.client.request("instance.register", {"service_name": "watched"})
    poll = select.epoll()
    by_number = {counter.client.fileno(): counter for counter in (*watchers, owner)}
    for descriptor in by_number:
        poll.register(descriptor, select.EPOLLIN)
    rounds = round(args.rate * args.seconds / EACH)
    ids = [f"bench:{number:03}:1" for number in range(EACH)]
    frames = text_frame(request(1, "resource.register", {"resource_ids": ids})) + text_frame(
        request(2, "resource.release", {"resource_ids": ids})
    )
    wanted = 2 * EACH * rounds * (len(watchers) if args.watchers == "all" else bool(watchers))
    sent = 0
    cpu_before, began = cpu_seconds(args.pid), time.perf_counter()
    heard_at = began
    while sent < rounds or owner.heard < 2 * rounds or sum(watcher.heard for watcher in watchers) < wanted:
        now = time.perf_counter()
        while sent < rounds and now >= began + sent * EACH / args.rate and sent * 2 - owner.heard < 200:
            owner.client.send_frames(frames)
            sent += 1
        due = max(0.0, began + sent * EACH / args.rate - now) if sent < rounds else 0.05
        for descriptor, _ in poll.poll(min(due, 0.05)):
            heard_at = now
            by_number[descriptor].read()
        if now > heard_at + _GIVE_UP_SECONDS or any(watcher.is_lost for watcher in watchers):
            break
    figures = {
        "changes": 2 * EACH * rounds,
        "wanted": wanted,
        "heard": sum(watcher.heard for watcher in watchers),
        "lost": sum(watcher.is_lost for watcher in watchers),
        "seconds": time.perf_counter() - began,
        "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
    }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
