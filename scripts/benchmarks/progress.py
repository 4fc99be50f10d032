"""Partial results at 50 000 a second: what each costs the router, and what others' calls suffer. And what calls leave."""

import sys
import time
from collections.abc import Iterator

import orjson

from benchmarks import processes
from benchmarks.accounting import resident_bytes
from benchmarks.delays import Probe
from benchmarks.environments import WORK
from benchmarks.parts import CALLERS
from benchmarks.processes import Figures, Target, running
from benchmarks.report import NotMeasured, Row, in_words, median, percentile
from benchmarks.running import Run
from benchmarks.wire import Client, text_frame

TITLE = "Partial results, and what a million calls leave"

RATE = 50_000  # partial results a second
GROWTH = 2.0
ON_TIME = 0.95  # of the rate: less was not the load that the target speaks of
CALLS = 1_000_000
LEFT_BYTES = 2 * 1024 * 1024  # of a million calls: two bytes each would be over it
_IN_FLIGHT = 64
_STREAM_SECONDS = 120.0


def measure(run: Run) -> Iterator[Row]:
    """All rows about partial results, and about memory after calls."""
    with processes.router("progress") as router:
        yield from _flood(run, router)
    with processes.router("calls-memory") as router:
        yield _memory(run, router)


def _flood(run: Run, router: Target) -> Iterator[Row]:
    """Calls without and with partial results that flow between others, in turn."""
    seconds = 3.0 if run.quick else 6.0
    rounds: list[Figures] = []
    probe = Probe(router.port)
    try:
        for number in range(3 if run.quick else 5):
            run.progress(f"{RATE} partial results a second: round {number + 1}")
            quiet = [end - began for began, end in probe.calls_until(time.perf_counter() + seconds, None)]
            figures, calls = _calls_in_flood(router, probe, seconds)
            rounds.append(
                figures
                | {"quiet_p99_seconds": percentile(quiet, 0.99), "p99_seconds": percentile(calls, 0.99)}
            )
    finally:
        probe.close()
    rate = median(each["heard"] / each["seconds"] for each in rounds)
    came = rate >= ON_TIME * RATE and all(each["heard"] == each["wanted"] for each in rounds)
    short = (
        "" if came else f"only {rate:.0f} a second came, so this is not the load that the target speaks of"
    )
    yield Row(
        operation=f"partial results of one callee to {CALLERS} callers",
        ours=rate,
        unit="a second",
        target=f"{RATE} a second",
        met=came,
        cpu_us=median(each["cpu_seconds"] / each["heard"] for each in rounds) * 1e6,
        note="; ".join(filter(None, [short, "the CPU includes that of the calls that are made meanwhile"])),
        raw={"rounds": rounds},
    )
    growth = median(each["p99_seconds"] / each["quiet_p99_seconds"] for each in rounds)
    yield Row(
        operation="p99 of another's calls meanwhile",
        ours=median(each["p99_seconds"] for each in rounds) * 1e3,
        unit="ms",
        target=f"≤ {GROWTH:g} × that before",
        met=(growth <= GROWTH) if came else None,
        reference=f"before {in_words(median(each['quiet_p99_seconds'] for each in rounds))}",
        ratio=growth,
        note=short or "with the router, both ends of the stream and what calls on the cores that there are",
    )


def _calls_in_flood(router: Target, probe: Probe, seconds: float) -> tuple[Figures, list[float]]:
    log = WORK / "parts.log"
    command = [sys.executable, "-m", "benchmarks.parts", f"--port={router.port}", f"--pid={router.pid}"]
    with running([*command, f"--rate={RATE}", f"--seconds={seconds}"], log) as process:
        end = time.perf_counter() + _STREAM_SECONDS
        calls = [ended - began for began, ended in probe.calls_until(end, process)]
        if process.poll() != 0:
            raise NotMeasured(f"parts: {log.read_text(errors='replace').strip()[-500:]}")
    figures: Figures = orjson.loads(log.read_bytes().splitlines()[-1])
    return figures, calls


def _memory(run: Run, router: Target) -> Row:
    """By how much the router's memory grows while very many calls come and go, after as many that warm it up."""
    calls = CALLS // 10 if run.quick else CALLS
    with (
        Client(router.port, "resroute.v1.ndjson") as callee,
        Client(router.port, "resroute.v1.ndjson") as caller,
    ):
        callee.request("instance.register", {"service_name": "memory"})
        callee.request("resource.register", {"resource_ids": ["bench:memory"]})
        _call(callee, caller, calls // 10)
        before = resident_bytes(router.pid)
        for part in range(10):
            run.progress(f"{calls} calls: {part} tenths")
            _call(callee, caller, calls // 10)
        left = resident_bytes(router.pid) - before
    return Row(
        operation=f"memory that {calls} calls leave",
        ours=left / 1024,
        unit="KiB",
        target=f"≤ {LEFT_BYTES // 1024} KiB",
        met=left <= LEFT_BYTES,
        note="by how much the router's resident memory grew after a tenth as many had warmed it up",
        raw={"calls": calls, "left_bytes": left},
    )


def _call(callee: Client, caller: Client, calls: int) -> None:
    """Make so many calls, a pack of them at a time."""
    head = b'{"jsonrpc":"2.0","id":%d,"method":"route.call","params":'
    one = head + b'{"resource_id":"bench:memory","method":"m","params":[1]}}'
    pack = text_frame(b"\n".join([one % number for number in range(_IN_FLIGHT)]))
    for _ in range(calls // _IN_FLIGHT):
        caller.send_frames(pack)
        missing = _IN_FLIGHT
        while missing:
            called = [orjson.loads(line)["id"] for line in callee.receive().split(b"\n")]
            missing -= len(called)
            callee.send(b"\n".join([b'{"jsonrpc":"2.0","id":%d,"result":1}' % number for number in called]))
        missing = _IN_FLIGHT
        while missing:
            answers = caller.receive()
            missing -= answers.count(b"\n") + 1
            if b'"error"' in answers:
                raise NotMeasured(f"a call that should have been answered was not: {answers[:300]!r}")
