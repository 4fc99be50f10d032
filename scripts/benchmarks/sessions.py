"""What a session costs: memory while it is idle, CPU when it comes, and what others' calls suffer from many that come."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import orjson

from benchmarks import processes
from benchmarks.accounting import resident_bytes
from benchmarks.crowd import make_room_for_connections
from benchmarks.delays import Probe
from benchmarks.environments import WORK
from benchmarks.processes import Figures, Target, running
from benchmarks.report import NotMeasured, Row, in_words, median, percentile
from benchmarks.running import Run
from benchmarks.storm import RESOURCES
from benchmarks.wire import Client

TITLE = "Sessions that are idle, and sessions that come"

IDLE = 5_000
IDLE_KIB = 20
RATE = 2_000  # connects a second
GROWTH = 2.0
ON_TIME = 0.95  # of the rate: less was not the load that the target speaks of
_WARM_UP = 100  # sessions, after which what is made once is there
_SETTLE_SECONDS = 1.0
_STORM_SECONDS = 120.0


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
    seconds = 3.0 if run.quick else 6.0
    rounds: list[Figures] = []
    probe = Probe(router.port)
    try:
        for number in range(3 if run.quick else 5):
            run.progress(f"{RATE} connects a second: round {number + 1}")
            quiet = [end - began for began, end in probe.calls_until(time.perf_counter() + seconds, None)]
            figures, calls = _calls_in_storm(router, probe, seconds)
            rounds.append(
                figures
                | {"quiet_p99_seconds": percentile(quiet, 0.99), "p99_seconds": percentile(calls, 0.99)}
            )
    finally:
        probe.close()
    cpu = median(each["cpu_seconds"] / each["sessions"] for each in rounds)
    rate = median(each["sessions"] / each["seconds"] for each in rounds)
    refused = sum(each["refused"] for each in rounds)
    came = rate >= ON_TIME * RATE
    short = (
        "" if came else f"only {rate:.0f} a second came, so this is not the load that the target speaks of"
    )
    yield Row(
        operation=f"connect, register an instance and {RESOURCES} ids, drop: refused",
        ours=float(refused),
        unit=f"of {sum(each['sessions'] for each in rounds)}",
        target=f"none at {RATE} a second",
        met=False if refused else (True if came else None),
        reference=f"{rate:.0f} a second came",
        cpu_us=cpu * 1e6,
        note="; ".join(filter(None, [short, "the CPU includes that of the calls that are made meanwhile"])),
        raw={"rounds": rounds},
    )
    growth = median(each["p99_seconds"] / each["quiet_p99_seconds"] for each in rounds)
    before = median(each["quiet_p99_seconds"] for each in rounds)
    yield Row(
        operation="p99 of another's calls meanwhile",
        ours=median(each["p99_seconds"] for each in rounds) * 1e3,
        unit="ms",
        target=f"≤ {GROWTH:g} × that before",
        met=(growth <= GROWTH) if came else None,
        reference=f"before {in_words(before)}",
        ratio=growth,
        note=short or "with the router, what connects and what calls on the cores that there are",
    )


def _calls_in_storm(router: Target, probe: Probe, seconds: float) -> tuple[Figures, list[float]]:
    log = WORK / "storm.log"
    command = [sys.executable, "-m", "benchmarks.storm", f"--port={router.port}", f"--pid={router.pid}"]
    with running([*command, f"--rate={RATE}", f"--seconds={seconds}"], log) as process:
        end = time.perf_counter() + _STORM_SECONDS
        calls = [ended - began for began, ended in probe.calls_until(end, process)]
        if process.poll() != 0:
            raise NotMeasured(f"storm: {log.read_text(errors='replace').strip()[-500:]}")
    figures: Figures = orjson.loads(log.read_bytes().splitlines()[-1])
    return figures, calls
