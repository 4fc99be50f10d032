"""Registering and releasing over the wire: how long one takes, and the router's CPU for many.

How long is told in multiples of a Ping's round trip on the same connection, measured in between: Ping, register,
release, Ping, … The machine is shared, and what slows one slows the others.
"""

import time
from collections.abc import Callable, Iterator

import attrs

from benchmarks import processes
from benchmarks.accounting import cpu_seconds
from benchmarks.processes import Target
from benchmarks.report import Row, in_words, median, percentile
from benchmarks.running import Run
from benchmarks.wire import Client, pipeline, request

TITLE = "Register and release over the wire (PING: p99 of a Ping's round trip on the same connection)"

PINGS = 3
FLOOR_SECONDS = 0.005
CONCURRENT_CPU_US = 60
CONCURRENT_FLOOR = 1000
INSTANCES = 8
IN_FLIGHT = 8  # of each instance
EACH = 900  # registrations of an instance before it releases them; below the limit of 1000


def measure(run: Run) -> Iterator[Row]:
    """All rows about registering."""
    with processes.router() as router:
        yield from _one_at_a_time(run, router)
        yield _concurrent(run, router)


def _one_at_a_time(run: Run, router: Target) -> Iterator[Row]:
    count = 400 if run.quick else 1000
    with Client(router.port) as client:
        client.request("instance.register", {"service_name": "bench", "instance_id": "bench-register"})
        operations: dict[str, Callable[[str], object]] = {
            "ping": lambda _: client.ping(),
            "register": lambda resource: client.request("resource.register", {"resource_ids": [resource]}),
            "release": lambda resource: client.request("resource.release", {"resource_ids": [resource]}),
        }

        def rounds() -> Iterator[dict[str, list[float]]]:
            for number in range(run.rounds + 1):
                run.progress(f"register, release: round {number} of {run.rounds}")
                seconds: dict[str, list[float]] = {name: [] for name in operations}
                for item in range(count if number else 100):
                    resource = f"bench:register:{item}"
                    for name, operation in operations.items():
                        began = time.perf_counter()
                        operation(resource)
                        seconds[name].append(time.perf_counter() - began)
                if number:  # the first one warms up
                    yield seconds

        measured = list(rounds())
        cpu_us: dict[str, float] = {}
        for name, operation in operations.items():
            cpu = cpu_seconds(router.pid)
            for item in range(EACH):
                operation(f"bench:register:{item}")
            cpu_us[name] = (cpu_seconds(router.pid) - cpu) / EACH * 1e6
        run.progress_done()

    pings = [percentile(seconds["ping"], 0.99) for seconds in measured]
    for name in ("register", "release"):
        p99 = [percentile(seconds[name], 0.99) for seconds in measured]
        ratio = median(own / ping for own, ping in zip(p99, pings, strict=True))
        row = Row(
            operation=f"{name} one, p99",
            ours=median(p99) * 1e6,
            target=f"< {PINGS} PING",
            met=ratio < PINGS,
            reference=f"PING {in_words(median(pings))}",
            ratio=ratio,
            cpu_us=cpu_us[name],
            raw={"p99_seconds": p99, "ping_p99_seconds": pings, "cpu_us": cpu_us}
            | {"p50_seconds": [median(seconds[name]) for seconds in measured]}
            | {"ping_p50_seconds": [median(seconds["ping"]) for seconds in measured]},
        )
        yield row
        met = median(p99) < FLOOR_SECONDS
        yield attrs.evolve(
            row, target=f"< {in_words(FLOOR_SECONDS)}", met=met, reference="", ratio=None, raw={}
        )


def _concurrent(run: Run, router: Target) -> Row:
    """Many instances that each keep some registrations in flight."""
    cpu_us: list[float] = []
    per_second: list[float] = []
    clients = [Client(router.port) for _ in range(INSTANCES)]
    try:
        for number, client in enumerate(clients):
            instance = {"service_name": "bench", "instance_id": f"bench-concurrent-{number}"}
            client.request("instance.register", instance)
        requests = {client: _requests(number) for number, client in enumerate(clients)}
        for number in range(run.rounds + 1):
            run.progress(f"concurrent registrations: round {number} of {run.rounds}")
            cpu, began = cpu_seconds(router.pid), time.perf_counter()
            pipeline(requests, IN_FLIGHT)
            elapsed, cpu = time.perf_counter() - began, cpu_seconds(router.pid) - cpu
            if number:
                cpu_us.append(cpu / (INSTANCES * EACH) * 1e6)
                per_second.append(INSTANCES * EACH / elapsed)
            for client_number, client in enumerate(clients):
                client.request("resource.release", {"resource_ids": _resources(client_number)})
    finally:
        for client in clients:
            client.drop()
        run.progress_done()
    return Row(
        operation=f"register, {INSTANCES} instances × {IN_FLIGHT} in flight",
        ours=median(cpu_us),
        target=f"≤ {CONCURRENT_CPU_US} µs of CPU, {CONCURRENT_FLOOR}/s",
        met=median(cpu_us) <= CONCURRENT_CPU_US and median(per_second) >= CONCURRENT_FLOOR,
        reference=f"{median(per_second):.0f}/s",
        ratio=median(cpu_us) / CONCURRENT_CPU_US,
        cpu_us=median(cpu_us),
        raw={"cpu_us": cpu_us, "per_second": per_second},
    )


def _resources(number: int) -> list[str]:
    return [f"bench:concurrent:{number}:{item}" for item in range(EACH)]


def _requests(number: int) -> list[bytes]:
    return [
        request(1000 + item, "resource.register", {"resource_ids": [resource]})
        for item, resource in enumerate(_resources(number))
    ]
