"""Many sessions that come at a steady rate; each registers as an instance and five resources, and drops.

A process of its own, so that what it costs is not held against the calls that :mod:`benchmarks.sessions` makes
meanwhile. Prints one JSON object.
"""

import argparse
import time
from contextlib import ExitStack

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.crowd import make_room_for_connections
from benchmarks.wire import Client, request

RESOURCES = 5
_WAVE_SECONDS = 0.01


def wave(port: int, number: int, sessions: int) -> int:
    """So many sessions come together, register, and drop once all have what they asked for.

    Returns:
        How many were refused anything.
    """
    refused = 0
    with ExitStack() as stack:
        opening: list[Client] = []
        for _ in range(sessions):
            opening.append(stack.enter_context(Client(port, wait=False)))
        opened = []
        for index, client in enumerate(opening):
            try:
                client.wait_open()
            except OSError:
                refused += 1
                continue
            ids = [f"storm:{number}:{index}:{each}" for each in range(RESOURCES)]
            client.send(
                request(1, "instance.register", {"service_name": "storm"}),
                request(2, "resource.register", {"resource_ids": ids}),
            )
            opened.append(client)
        for client in opened:
            refused += not _is_registered(client)
    return refused


def _is_registered(client: Client) -> bool:
    """Whether both requests succeeded."""
    try:
        answers = [orjson.loads(client.receive()) for _ in range(2)]
    except OSError:
        return False
    return all("result" in answer for answer in answers)


def main() -> None:
    """Let them come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    make_room_for_connections()
    each = max(1, round(args.rate * _WAVE_SECONDS))
    waves = round(args.rate * args.seconds / each)
    cpu_before, began = cpu_seconds(args.pid), time.perf_counter()
    refused = 0
    for number in range(waves):
        refused += wave(args.port, number, each)
        time.sleep(max(0.0, began + (number + 1) * each / args.rate - time.perf_counter()))
    took = time.perf_counter() - began
    figures = {
        "sessions": waves * each,
        "refused": refused,
        "seconds": took,
        "cpu_seconds": cpu_seconds(args.pid) - cpu_before,
    }
    print(orjson.dumps(figures).decode())


if __name__ == "__main__":
    main()
