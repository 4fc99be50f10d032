"""What a session costs: memory while it is idle, CPU when it comes, and what others' calls suffer from many that come."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import processes
from benchmarks.accounting import resident_bytes
from benchmarks.bystander import ON_TIME, Load, growth_row
from benchmarks.crowd import make_room_for_connections
from benchmarks.processes import Target
from benchmarks.report import Row, median
from benchmarks.running import Run
from benchmarks.storm import RESOURCES
from benchmarks.wire import Client

TITLE = "Sessions that are idle, and sessions that come"

IDLE = 5_000
IDLE_KIB = 20
RATE = 2_000  # connects a second
_WARM_UP = 100  # sessions, after which what is made once is there
_SETTLE_SECONDS = 1.0


def measure(run: Run) -> Iterator[Row]:
    """All rows about sessions."""
    with processes.router("sessions-idle") as router:
        run.progress(f"{IDLE} idle sessions")
        yield _idle(router)
    with processes.router("sessions-storm") as router:
        yield from _storm(run, router)


def _idle(router: Target) -> Row:
    make_room_for_connections(IDLE + _WARM_UP + 100)
    with ExitStack() as stack:
        for _ in range(_WARM_UP):
            stack.enter_context(Client(router.port))
        time.sleep(_SETTLE_SECONDS)
        before = resident_bytes(router.pid)
        for _ in range(IDLE):
            stack.enter_context(Client(router.port))
        time.sleep(_SETTLE_SECONDS)
        each = (resident_bytes(router.pid) - before) / IDLE / 1024
    return Row(
        operation=f"memory of one of {IDLE} idle sessions",
        ours=each,
        unit="KiB",
        target=f"≤ {IDLE_KIB} KiB",
        met=each <= IDLE_KIB,
        note="by how much the router's resident memory grew while they came, shared out; the kernel's is not in it",
        raw={"sessions": IDLE},
    )


def _storm(run: Run, router: Target) -> Iterator[Row]:
    """Calls without and with sessions that come, in turn."""
    load = Load("storm", RATE, "connects")
    rounds = load.rounds(run, router)
    rate = median(each["sessions"] / each["seconds"] for each in rounds)
    refused = sum(each["refused"] for each in rounds)
    came = rate >= ON_TIME * RATE
    short = load.shortfall(rate, came=came)
    yield Row(
        operation=f"connect, register an instance and {RESOURCES} ids, drop: refused",
        ours=float(refused),
        unit=f"of {sum(each['sessions'] for each in rounds)}",
        target=f"none at {RATE} a second",
        met=False if refused else (True if came else None),
        reference=f"{rate:.0f} a second came",
        cpu_us=median(each["cpu_seconds"] / each["sessions"] for each in rounds) * 1e6,
        note="; ".join(filter(None, [short, "the CPU includes that of the calls that are made meanwhile"])),
        raw={"rounds": rounds},
    )
    yield growth_row(rounds, short, "what connects")
