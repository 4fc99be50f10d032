"""Partial results at 50 000 a second: what each costs the router, and what others' calls suffer. And what calls leave."""

from collections.abc import Iterator

import orjson

from benchmarks import processes
from benchmarks.accounting import resident_bytes
from benchmarks.bystander import ON_TIME, Load, growth_row
from benchmarks.parts import CALLERS
from benchmarks.processes import Target
from benchmarks.report import NotMeasured, Row, median
from benchmarks.running import Run
from benchmarks.wire import Client, text_frame

TITLE = "Partial results, and what a million calls leave"

RATE = 50_000  # partial results a second
CALLS = 1_000_000
LEFT_BYTES = 2 * 1024 * 1024  # of a million calls: two bytes each would be over it
_IN_FLIGHT = 64


def measure(run: Run) -> Iterator[Row]:
    """All rows about partial results, and about memory after calls."""
    with processes.router("progress") as router:
        yield from _flood(run, router)
    with processes.router("calls-memory") as router:
        yield _memory(run, router)


def _flood(run: Run, router: Target) -> Iterator[Row]:
    """Calls without and with partial results that flow between others, in turn."""
    load = Load("parts", RATE, "partial results")
    rounds = load.rounds(run, router)
    rate = median(each["heard"] / each["seconds"] for each in rounds)
    came = rate >= ON_TIME * RATE and all(each["heard"] == each["wanted"] for each in rounds)
    short = load.shortfall(rate, came=came)
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
    yield growth_row(rounds, short, "both ends of the stream")


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
