"""Resources that go from one instance to another: how long that takes, and what calls suffer from it meanwhile.

The calls here are for the very resources that move, one at a time, answered at once by whichever instance hears them. What
others' calls suffer is measured by :mod:`benchmarks.delays`, in a router that watches what holds its loop.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import attrs
import orjson

from benchmarks import processes
from benchmarks.accounting import cpu_seconds
from benchmarks.delays import delays
from benchmarks.holds import holds_of
from benchmarks.processes import Figures, Target
from benchmarks.report import Row, in_words, median, percentile
from benchmarks.running import Run
from benchmarks.wire import Client, request, wait_ready

TITLE = "Resources that change hands (PING: p99 of a Ping's round trip on the same connection)"

SETTINGS = {"max_resources_per_instance": 200_000, "anonymous_roles": "caller,instance,admin"}
PINGS = 4
FLOOR_SECONDS = 0.010
DRAINED = 1000
HEIRS = 3
RESUMED = (1000, 10_000)
DRAIN_SECONDS = 0.300
DELAY_SECONDS = 0.020
HOLD_SECONDS = 0.005
_DRAIN_ID = 1_000_000_000  # of a request; calls have smaller ones


def measure(run: Run) -> Iterator[Row]:
    """All rows about moving."""
    with processes.router(settings=SETTINGS) as router:
        yield from _transfers(run, router)
        yield from _drains(run, router)
        yield from _resumes(run, router)
    with processes.router("watched", watched=True, settings=SETTINGS) as router:
        run.progress("drains, and a service of 100 000 that is rebalanced")
        drained = delays(router, "drain", rounds=3 if run.quick else 6, times=3)
        rebalanced = delays(router, "rebalance", rounds=2 if run.quick else 4, times=1)
        seen = holds_of(router)
    yield seen.row(f"drain {DRAINED} to {HEIRS}: longest hold", HOLD_SECONDS, drained.rounds)
    yield drained.row(f"drain {DRAINED} to {HEIRS}: longest delay of others' calls", DELAY_SECONDS)
    yield seen.row("rebalance 100 000: longest hold", HOLD_SECONDS, rebalanced.rounds)
    yield rebalanced.row("rebalance 100 000: longest delay of others' calls", DELAY_SECONDS)
    steps = [step for event in rebalanced.events for step in event["step_seconds"]]
    yield Row(
        operation="rebalance 100 000: a request that moves 10 000",
        ours=median(steps) * 1e3,
        unit="ms",
        note=f"until half of them are moved {median(event['ended'] - event['began'] for event in rebalanced.events):.1f} s",
        raw={"seconds": steps},
    )


def _transfers(run: Run, router: Target) -> Iterator[Row]:
    """One resource to and fro between two instances, and a Ping, in turn."""
    count = 300 if run.quick else 800
    with Client(router.port) as here, Client(router.port) as there:
        names = {here: "here", there: "there"}
        for client, name in names.items():
            client.request("instance.register", {"service_name": "moving", "instance_id": name})
        here.request("resource.register", {"resource_ids": ["bench:moving"]})

        def transfer(source: Client, target: Client) -> None:
            moved = source.request(
                "resource.transfer",
                {
                    "resource_ids": ["bench:moving"],
                    "from_instance_id": names[source],
                    "to_instance_id": names[target],
                    "reason": "bench",
                },
            )
            assert moved["success"]
            source.notifications.clear()

        operations: list[tuple[str, Callable[[], object]]] = [
            ("ping", here.ping),
            ("transfer", lambda: transfer(here, there)),
            ("ping", there.ping),
            ("transfer", lambda: transfer(there, here)),
        ]
        measured: list[dict[str, list[float]]] = []
        for number in range(run.rounds + 1):
            run.progress(f"transfers: round {number} of {run.rounds}")
            seconds: dict[str, list[float]] = {"ping": [], "transfer": []}
            for _ in range(count if number else 50):
                for name, operation in operations:
                    began = time.perf_counter()
                    operation()
                    seconds[name].append(time.perf_counter() - began)
            if number:  # the first one warms up
                measured.append(seconds)
        cpu = cpu_seconds(router.pid)
        for _ in range(count):
            transfer(here, there)
            transfer(there, here)
        cpu_us = (cpu_seconds(router.pid) - cpu) / (2 * count) * 1e6
        run.progress_done()
    pings = [percentile(seconds["ping"], 0.99) for seconds in measured]
    p99 = [percentile(seconds["transfer"], 0.99) for seconds in measured]
    ratio = median(own / ping for own, ping in zip(p99, pings, strict=True))
    row = Row(
        operation="transfer one, p99",
        ours=median(p99) * 1e6,
        target=f"< {PINGS} PING",
        met=ratio < PINGS,
        reference=f"PING {in_words(median(pings))}",
        ratio=ratio,
        cpu_us=cpu_us,
        note="until its answer has come; both sides have been told by then",
        raw={"p99_seconds": p99, "ping_p99_seconds": pings},
    )
    yield row
    met = median(p99) < FLOOR_SECONDS
    yield attrs.evolve(
        row, target=f"< {in_words(FLOOR_SECONDS)}", met=met, reference="", ratio=None, note="", raw={}
    )


class Service:
    """Instances in this process, the first of which owns all resources, and one who calls these."""

    def __init__(self, port: int, turn: int) -> None:
        self._stack = ExitStack()
        self.ids = [f"bench:{turn}:{number}" for number in range(DRAINED)]
        self.instances = [self._stack.enter_context(Client(port)) for _ in range(1 + HEIRS)]
        self.caller = self._stack.enter_context(Client(port))
        for number, instance in enumerate(self.instances):
            instance.request(
                "instance.register", {"service_name": f"drained-{turn}", "instance_id": f"{turn}:{number}"}
            )
        self.instances[0].request("resource.register", {"resource_ids": self.ids})
        self._poll = self._stack.enter_context(select.epoll())
        self._by_descriptor = {client.fileno(): client for client in (*self.instances, self.caller)}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.EPOLLIN)
        self._number = 0
        self.drained: Figures | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def drain(self) -> None:
        """Have the first instance drain. :attr:`drained` is what it is answered, while calls go on."""
        self.instances[0].send(request(_DRAIN_ID, "instance.drain", {}))

    def call(self) -> float:
        """Make one call and see to it that it is answered. Returns how long it took."""
        self._number += 1
        resource_id = self.ids[self._number * 7 % DRAINED]
        began = time.perf_counter()
        self.caller.send(request(self._number, "route.call", {"resource_id": resource_id, "method": "m"}))
        while True:
            for descriptor, _ in wait_ready(self._poll):
                client = self._by_descriptor[descriptor]
                for text in client.receive_ready():
                    message: dict[str, Any] = orjson.loads(text)
                    if client is self.caller:
                        assert message["id"] == self._number and "result" in message, message
                        return time.perf_counter() - began
                    if "method" in message and "id" in message:
                        client.send(b'{"jsonrpc":"2.0","id":%d,"result":1}' % message["id"])
                    elif message.get("id") == _DRAIN_ID:
                        self.drained = message["result"]


def _drains(run: Run, router: Target) -> Iterator[Row]:
    """A thousand resources go to three others while they are called."""
    seconds: list[float] = []
    worst: list[float] = []
    cpu: list[float] = []
    for turn in range(run.rounds + 1):
        run.progress(f"drains: round {turn} of {run.rounds}")
        with Service(router.port, turn) as service:
            usual = median(service.call() for _ in range(500))
            cpu_before, began = cpu_seconds(router.pid), time.perf_counter()
            service.drain()
            calls: list[float] = []
            while service.drained is None:
                calls.append(service.call() - usual)
            ended = time.perf_counter()
            assert service.drained["handed_over"] == DRAINED
            if turn:  # the first one warms up
                seconds.append(ended - began)
                cpu.append(cpu_seconds(router.pid) - cpu_before)
                worst.append(max(calls))
    run.progress_done()
    yield Row(
        operation=f"drain {DRAINED} to {HEIRS} while they are called",
        ours=median(seconds) * 1e3,
        unit="ms",
        target=f"< {in_words(DRAIN_SECONDS)}",
        met=median(seconds) < DRAIN_SECONDS,
        cpu_us=median(cpu) / DRAINED * 1e6,
        note="CPU for each of them, the calls meanwhile included",
        raw={"seconds": seconds, "cpu_seconds": cpu},
    )
    yield Row(
        operation=f"drain {DRAINED} to {HEIRS}: longest delay of a call for them",
        ours=min(worst) * 1e3,
        unit="ms",
        target=f"≤ {in_words(DELAY_SECONDS)}",
        met=min(worst) <= DELAY_SECONDS,
        note=f"of the best of {len(worst)} rounds; the median {in_words(max(0.0, median(worst)))}, "
        f"the worst of all {in_words(max(worst))}",
        raw={"worst_seconds": worst},
    )


def _resumes(run: Run, router: Target) -> Iterator[Row]:
    """One session after another of an instance takes over all that it owns."""
    for count in RESUMED:
        about = {"service_name": "resumed", "instance_id": f"resumed-{count}"}
        seconds: list[float] = []
        cpu: list[float] = []
        with ExitStack() as stack:
            first = stack.enter_context(Client(router.port))
            token = first.request("instance.register", about)["resume_token"]
            first.request("resource.register", {"resource_ids": [f"resumed:{n}" for n in range(count)]})
            for turn in range(3 * run.rounds + 1):
                run.progress(f"resumes of {count}: round {turn} of {3 * run.rounds}")
                later = stack.enter_context(Client(router.port))
                later.ping()
                cpu_before, began = cpu_seconds(router.pid), time.perf_counter()
                result = later.request("instance.register", {**about, "resume_token": token})
                ended = time.perf_counter()
                assert result["resumed_count"] == count
                token = result["resume_token"]
                later.request("session.ping", {})
                if turn:  # the first one warms up
                    seconds.append(ended - began)
                    cpu.append(cpu_seconds(router.pid) - cpu_before)
        run.progress_done()
        yield Row(
            operation=f"resume {count}",
            ours=median(seconds) * 1e3,
            unit="ms",
            cpu_us=median(cpu) * 1e6,
            note="until its answer has come, which names a thousand of them",
            raw={"seconds": seconds, "cpu_seconds": cpu},
        )
