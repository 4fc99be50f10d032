"""What may hold a router up, done in a process of its own, so that who looks for delays is not delayed by it.

Each thing done is told in one line: when it began and when it was over, on the clock of :func:`time.perf_counter`,
which all processes of a machine share on Linux.

    python -m benchmarks.disturbance large --port 8765 --pid 4711 --times 20
"""

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import orjson

from benchmarks.crowd import Crowd
from benchmarks.holds import Event
from benchmarks.wire import Client, RequestFailed, text_frame

MESSAGE_BYTES = 1024 * 1024
REPLACED = 100  # instances of a thousand that go and come again
_FILLING_SECONDS = 30  # for a hundred thousand with metadata
_SILENT_SECONDS = 5.0  # well below the time-out of heartbeats
_TIDYING_SECONDS = 10  # for what a million resources leave behind
_ENVELOPE_BYTES = 1024  # room for what stands around the payload
_ID = re.compile(rb'"id":\s*(\d+)')


class Router(NamedTuple):
    """Whom it is done to."""

    port: int
    pid: int
    is_watched: bool

    def collect(self) -> None:
        """Have it make a full garbage collection, if it can be told to."""
        if self.is_watched:
            os.kill(self.pid, signal.SIGUSR2)


def small_objects(size: int) -> bytes:
    """So many bytes of JSON, in objects of about 50 bytes each."""
    one = b'{"id":1%05d,"name":"item %05d","on":true,"x":1.5}'
    objects = b",".join([one % (number, number) for number in range(size // (len(one % (0, 0)) + 1) - 1)])
    assert len(objects) + 2 <= size
    return b"[" + objects + b"]"


def large(router: Router, times: int) -> Iterator[Event]:
    """Calls with 1 MiB of small objects as their params, and as much as their result."""
    payload = small_objects(MESSAGE_BYTES - _ENVELOPE_BYTES)
    with Client(router.port) as callee, Client(router.port) as caller:
        callee.request("instance.register", {"service_name": "large"})
        callee.request("resource.register", {"resource_ids": ["bench:large"]})

        def serve() -> None:
            for _ in range(times):
                called = _ID.search(callee.receive())
                assert called is not None
                callee.send(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (called[1], payload))

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        head = b'{"jsonrpc":"2.0","id":1,"method":"route.call","params":'
        call = text_frame(head + b'{"resource_id":"bench:large","method":"m","params":%b}}' % payload)
        for _ in range(times):
            time.sleep(0.1)
            began = time.perf_counter()
            caller.send_frames(call)
            answer = caller.receive()
            if len(answer) < len(payload):
                sys.exit(f"the large call failed: {answer[:500].decode()}")
            yield {"began": began, "ended": time.perf_counter()}
        server.join()


def drop(router: Router, times: int) -> Iterator[Event]:
    """An instance that owns 100 000 resources is gone, and another registers some of them.

    Tells also how long it took until the first of them was free; then all must be.
    """
    resources = [f"bench:drop:{number}" for number in range(100_000)]
    some = [resources[len(resources) // 2], resources[0], resources[-1]]
    for turn in range(times):
        owner = Client(router.port)
        owner.request("instance.register", {"service_name": "drop", "instance_id": f"owner-{turn}"})
        for start in range(0, len(resources), 1000):
            owner.request("resource.register", {"resource_ids": resources[start : start + 1000]})
        with Client(router.port) as heir:
            heir.request("instance.register", {"service_name": "drop", "instance_id": f"heir-{turn}"})
            time.sleep(0.3)
            began = time.perf_counter()
            owner.drop()
            while not _registered(heir, some[0]):
                if time.perf_counter() > began + 5:
                    sys.exit("5 seconds after its owner was gone a resource was not free")
            free = time.perf_counter() - began
            if not all(_registered(heir, resource) for resource in some[1:]):
                sys.exit("one resource was free and another of the same owner was not")
            time.sleep(0.7)  # tidying up goes on for a while
            yield {"began": began, "ended": time.perf_counter(), "free_seconds": free}


def expire(router: Router, times: int) -> Iterator[Event]:
    """100 000 resources of one instance expire in the same second.

    Tells also by how much later than the last of them was due each notice came.
    """
    resources = [f"bench:expire:{number}" for number in range(100_000)]
    for turn in range(times):
        with Client(router.port) as owner:
            owner.request("instance.register", {"service_name": "expire", "instance_id": f"owner-{turn}"})
            due = time.perf_counter() + _FILLING_SECONDS
            for start in range(0, len(resources), 1000):
                batch = resources[start : start + 1000]
                left = due - time.perf_counter()
                if left < 1:
                    sys.exit(f"100 000 resources took more than {_FILLING_SECONDS} seconds to register")
                metadata = {resource: {"ttl_seconds": left} for resource in batch}
                owner.request("resource.register", {"resource_ids": batch, "metadata": metadata})
            while (left := due - time.perf_counter()) > _SILENT_SECONDS:
                time.sleep(_SILENT_SECONDS / 2)
                owner.request("session.ping", {})  # and answer Pings
            time.sleep(max(0.0, left - 0.2))
            began = time.perf_counter()
            count, late = 0, []
            while count < len(resources):
                count += len(orjson.loads(owner.receive())["params"]["resource_ids"])
                late.append(time.perf_counter() - due)
            yield {"began": began, "ended": time.perf_counter(), "late_seconds": late}


def drain(router: Router, times: int) -> Iterator[Event]:
    """An instance with 1000 resources drains to three others."""
    for turn in range(times):
        with ExitStack() as stack:
            owner, *heirs = (stack.enter_context(Client(router.port)) for _ in range(4))
            for number, client in enumerate((owner, *heirs)):
                name = f"drained-{os.getpid()}-{turn}"
                client.request("instance.register", {"service_name": name, "instance_id": f"{name}-{number}"})
            ids = [f"bench:drained:{number}" for number in range(1000)]
            owner.request("resource.register", {"resource_ids": ids})
            time.sleep(0.2)
            began = time.perf_counter()
            drained = owner.request("instance.drain", {})
            ended = time.perf_counter()
            if drained["handed_over"] != len(ids):
                sys.exit(f"not all were handed over: {drained}")
        time.sleep(0.2)
        yield {"began": began, "ended": ended}


def rebalance(router: Router, times: int) -> Iterator[Event]:
    """An instance joins one that owns 100 000 resources, and is given half of them."""
    ids = [f"bench:rebalanced:{number}" for number in range(100_000)]
    for turn in range(times):
        with Client(router.port) as busy, Client(router.port) as idle:
            name = f"rebalanced-{os.getpid()}-{turn}"
            busy.request("instance.register", {"service_name": name, "instance_id": f"{name}-busy"})
            for start in range(0, len(ids), 1000):
                busy.request("resource.register", {"resource_ids": ids[start : start + 1000]})
            idle.request("instance.register", {"service_name": name, "instance_id": f"{name}-idle"})
            time.sleep(0.3)
            began = time.perf_counter()
            step_seconds: list[float] = []
            moved = 0
            while True:
                step_began = time.perf_counter()
                result = idle.request("service.rebalance", {"service_name": name, "by": "count"})
                moved += len(result["moves"])
                if "has_more" not in result:
                    break
                step_seconds.append(time.perf_counter() - step_began)
                busy.request("session.ping", {})  # and read what it has been told
            ended = time.perf_counter()
            if moved != len(ids) // 2:
                sys.exit(f"{moved} were moved")
        time.sleep(2)  # tidying up goes on for a while
        yield {"began": began, "ended": ended, "step_seconds": step_seconds}


def million(router: Router, times: int) -> Iterator[Event]:
    """A million resources of a thousand instances come; some instances go and come again; all are gone.

    They come in requests of 1000 resources, as from instances that connect again; in between in requests of 100. A
    watched router makes a full garbage collection before they come, and one at a million.
    """
    for _ in range(times):
        with Crowd(router.port, router.pid) as crowd:
            steps: list[tuple[str, Callable[[], object]]] = [
                ("collect before", router.collect),
                ("come", crowd.fill),
                ("collect", router.collect),
                ("change", lambda: crowd.replace(REPLACED, per_request=100)),
                ("go", crowd.leave),
            ]
            for what, do in steps:
                began = time.perf_counter()
                do()
                time.sleep(_TIDYING_SECONDS if what == "go" else 0.5)
                yield {"what": what, "began": began, "ended": time.perf_counter()}


def _registered(client: Client, resource: str) -> bool:
    try:
        client.request("resource.register", {"resource_ids": [resource]})
    except RequestFailed as error:
        if error.code != 409:
            raise
        return False
    return True


def main() -> None:
    """Do what the command line asks for, and tell when."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {each.__name__: each for each in (large, drop, expire, drain, rebalance, million)}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--watched", action="store_true")
    parser.add_argument("--times", type=int, required=True)
    args = parser.parse_args()
    os.nice(10)  # the router and who measures it go first
    for event in kinds[args.kind](Router(args.port, args.pid, args.watched), args.times):
        print(orjson.dumps(event).decode(), flush=True)


if __name__ == "__main__":
    main()
