"""Queries among a million resources with metadata: what each costs, and what it holds up."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import processes
from benchmarks.accounting import cpu_seconds, resident_bytes
from benchmarks.command_figures import described
from benchmarks.core_figures import EACH, LARGE, SMALL
from benchmarks.crowd import SETTINGS, Crowd
from benchmarks.holds import Event, holds_of
from benchmarks.report import Row, in_words, median
from benchmarks.running import Run
from benchmarks.wire import Client

TITLE = "Queries among a million resources with metadata"

COST_SECONDS = 0.005
HOLD_SECONDS = 0.002
BYTES_EACH = 450
IN_A_ROUND = 20

# what is asked for, and whether that has to be quick
QUERIES: dict[str, tuple[dict[str, Any], bool]] = {
    "a tag of 100": ({"tags": ["tag-77"]}, True),
    "a tag of 125 000": ({"tags": ["region-3"]}, True),
    "a type of 500 000": ({"resource_type": "image"}, True),
    "a prefix of about 100": ({"prefix": "user:0012"}, True),
    "a prefix of all": ({"prefix": "user:"}, True),
    "a tag of 100 and a prefix of all": ({"tags": ["tag-77"], "prefix": "user:"}, True),
    "a type of 500 000 and a tag of 125 000 of it": (
        {"resource_type": "document", "tags": ["region-2"]},
        False,
    ),
    "a type of 500 000 and a tag of 125 000 others": (
        {"resource_type": "image", "tags": ["region-2"]},
        False,
    ),
    "a prefix of all, from the 10 000th on": ({"prefix": "user:", "offset": 10_000}, False),
    "a prefix of all, a page of 1 000": ({"prefix": "user:", "limit": 1000}, False),
}


def measure(run: Run) -> Iterator[Row]:
    """All rows about queries, and about what indexes cost."""
    with processes.router("watched-queries", watched=True, settings=SETTINGS) as router:
        run.progress("a million come, with metadata")
        with Crowd(router.port, router.pid, metadata_of=described) as crowd, Client(router.port) as client:
            crowd.fill(SMALL // len(crowd.owned))
            before = resident_bytes(router.pid)
            crowd.fill(EACH)
            bytes_each = (resident_bytes(router.pid) - before) / LARGE
            found: dict[str, list[Event]] = {}
            for number in range(run.rounds + 1):
                for name, (params, _) in QUERIES.items():
                    run.progress(f"{name}: round {number} of {run.rounds}")
                    event = _ask(client, router.pid, params)
                    if number:  # the first one warms up
                        found.setdefault(name, []).append(event)
            seen = holds_of(router)
    for name, (_, is_to_be_quick) in QUERIES.items():
        events = found[name]
        cost = median(event["cpu_seconds"] for event in events)
        yield Row(
            operation=name,
            ours=cost * 1e3,
            unit="ms",
            target=f"< {in_words(COST_SECONDS)}" if is_to_be_quick else "",
            met=cost < COST_SECONDS if is_to_be_quick else None,
            reference=f"answered in {in_words(median(event['seconds'] for event in events))}",
            cpu_us=cost * 1e6,
            note=f"{events[0]['resources']} of {events[0]['total']}",
            raw={"cpu_seconds": [event["cpu_seconds"] for event in events]},
        )
        yield seen.row(f"{name}: longest hold", HOLD_SECONDS, [[event] for event in events])
    yield from _indexes(run, bytes_each)


def _ask(client: Client, pid: int, params: dict[str, Any]) -> Event:
    """The same query some times, one after the other."""
    cpu, began = cpu_seconds(pid), time.perf_counter()
    for _ in range(IN_A_ROUND):
        page = client.request("resource.query", params)
    ended = time.perf_counter()
    return {
        "began": began,
        "ended": ended,
        "seconds": (ended - began) / IN_A_ROUND,
        "cpu_seconds": (cpu_seconds(pid) - cpu) / IN_A_ROUND,
        "resources": len(page["resources"]),
        "total": page["total_count"],
    }


def _indexes(run: Run, bytes_each: float) -> Iterator[Row]:
    """What commands cost the core, and memory: with nothing said of any resource, and with typical metadata."""
    figures = {}
    for kind in ("bare", "described"):
        run.progress(f"the core, {kind}")
        command = [sys.executable, "-m", "benchmarks.command_figures", kind, f"--rounds={run.rounds}"]
        figures[kind] = processes.figures_of(command, f"the core, {kind}", timeout_seconds=900)
    for name in figures["bare"]["costs"]:
        bare, typical = (median(figures[kind]["costs"][name]) for kind in ("bare", "described"))
        yield Row(
            operation=f"{name}, a million in place",
            ours=typical / 1e3,
            reference=f"without metadata {in_words(bare / 1e9)}",
            ratio=typical / bare,
            note="in the core alone, for each resource, in every index",
            raw={kind: figures[kind]["costs"][name] for kind in figures},
        )
    bare_bytes = figures["bare"]["bytes"]
    yield Row(
        operation="memory of a bare resource, in the core",
        ours=bare_bytes,
        unit="bytes",
        target=f"≤ {BYTES_EACH} bytes",
        met=bare_bytes <= BYTES_EACH,
    )
    yield Row(
        operation="memory of a resource with typical metadata",
        ours=bytes_each,
        unit="bytes",
        reference=f"core alone {figures['described']['bytes']:.0f} bytes",
        note="a type, two tags and small attributes; a full garbage collection of the core takes "
        f"{figures['described']['full_collection_ms']:.1f} ms, bare {figures['bare']['full_collection_ms']:.1f} ms",
    )
