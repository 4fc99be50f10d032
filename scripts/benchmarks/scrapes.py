"""Scrapes of a router's metrics at a steady rate.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.scrape` makes meanwhile.
Prints one JSON object.
"""

import argparse
import http.client
import time

import orjson

from benchmarks.accounting import cpu_seconds

_TIMEOUT_SECONDS = 30.0


def main() -> None:
    """Scrape."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    args = parser.parse_args()
    connection = http.client.HTTPConnection("127.0.0.1", args.admin_port, timeout=_TIMEOUT_SECONDS)
    durations: list[float] = []
    size = 0
    cpu_before, began = cpu_seconds(args.pid), time.perf_counter()
    while (now := time.perf_counter()) < began + args.seconds:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        size = len(answer.read())
        if answer.status != 200:
            raise SystemExit(f"/metrics answered {answer.status}")
        durations.append(time.perf_counter() - now)
        time.sleep(max(0.0, began + len(durations) / args.rate - time.perf_counter()))
    figures = {
        "scrapes": len(durations),
        "durations": durations,
        "size_bytes": size,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
    }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
