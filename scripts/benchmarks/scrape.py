"""Scrapes of a router with many instances and services: what one costs, and what others' calls suffer from it."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import orjson

from benchmarks import processes
from benchmarks.bystander import ON_TIME, Load, growth_row
from benchmarks.crowd import SETTINGS, make_room_for_connections
from benchmarks.processes import Target
from benchmarks.report import NotMeasured, Row, median
from benchmarks.running import Run
from benchmarks.wire import Client, request

TITLE = "Scrapes of metrics"

INSTANCES = 1000
"""Each of a service of its own, and with one resource and one call."""

GONE = 1000
"""Services that were there before, and are still told apart."""

RATE = 2  # scrapes a second: Prometheus makes one in 15 seconds by default

_ADMIN = re.compile(rb"admin pages on http://127\.0\.0\.1:(\d+)")


def measure(run: Run) -> Iterator[Row]:
    """Calls without and with scrapes, in turn."""
    settings = {**SETTINGS, "metrics_max_services": 200}
    with processes.router("scrape", settings=settings) as router, ExitStack() as stack:
        run.progress(f"{INSTANCES} instances")
        _fill(router, stack)
        found = _ADMIN.search(router.log.read_bytes())
        if found is None:
            raise NotMeasured("the router does not say where its metrics are")
        load = Load("scrapes", RATE, "scrapes", options=(f"--admin-port={int(found[1])}",))
        rounds = load.rounds(run, router)
    rate = median(each["scrapes"] / each["seconds"] for each in rounds)
    short = load.shortfall(rate, came=rate >= ON_TIME * RATE)
    yield Row(
        operation=f"scrape with {INSTANCES} instances and {INSTANCES + GONE} services",
        ours=median(duration for each in rounds for duration in each["durations"]) * 1e3,
        unit="ms",
        cpu_us=median(each["cpu_seconds"] / each["scrapes"] for each in rounds) * 1e6,
        note=f"{rounds[0]['size_bytes']} bytes; the CPU includes that of the calls that are made meanwhile",
        raw={"rounds": rounds},
    )
    yield growth_row(rounds, short, "who scrapes")


def _fill(router: Target, stack: ExitStack) -> None:
    make_room_for_connections(INSTANCES + 100)
    caller = stack.enter_context(Client(router.port))
    for number in range(GONE):
        with Client(router.port) as instance:
            _use(caller, instance, f"gone-{number}")
    for number in range(INSTANCES):
        _use(caller, stack.enter_context(Client(router.port)), f"service-{number}")


def _use(caller: Client, instance: Client, name: str) -> None:
    """Have an instance of a service of this name own something, and answer one call."""
    instance.request("instance.register", {"service_name": name})
    instance.request("resource.register", {"resource_ids": [name]})
    caller.send(request(0, "route.call", {"resource_id": name, "method": "m"}))
    called = orjson.loads(instance.receive())
    instance.send(b'{"jsonrpc":"2.0","id":%d,"result":true}' % called["id"])
    caller.receive()
