"""Calls and streams through the Python SDK at both ends: the callers in one program, an instance in another."""

import re
import sys
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.environments import WORK
from benchmarks.processes import Target, figures_of
from benchmarks.report import Row, median, number
from benchmarks.running import Run

TITLE = "Calls and streams through the Python SDK (200 bytes; three processes share the cores)"

CALLERS = 4
WINDOW = 64
READERS = 10  # of a stream each
FLOOR = 28_000  # calls per second that the router must be able to carry
_PEER = (sys.executable, "-m", "benchmarks.sdk_peer")
_READY = re.compile("^ready$", re.MULTILINE)


def measure(run: Run) -> Iterator[Row]:
    """All rows about the SDK."""
    log = WORK / "sdk-instance.log"
    with (
        processes.router() as router,
        processes.running([*_PEER, "instance", f"--port={router.port}"], log) as instance,
    ):
        processes.wait_said(instance, log, _READY)
        run.progress("calls through the SDK")
        yield from _about_calls(_press(run, router, instance.pid, "callers", CALLERS, WINDOW))
        run.progress("streams through the SDK")
        yield from _about_chunks(_press(run, router, instance.pid, "readers", READERS, 1))


def _press(
    run: Run, router: Target, instance: int, role: str, clients: int, window: int
) -> list[dict[str, float]]:
    command = [*_PEER, role, f"router={router.pid}", f"instance={instance}", f"--port={router.port}"]
    command += [f"--clients={clients}", f"--window={window}"]
    command += [f"--rounds={run.rounds}", f"--seconds={0.5 if run.quick else 1.0}"]
    rounds: list[dict[str, float]] = figures_of(command, f"{role} on the SDK", timeout_seconds=120)["rounds"]
    return rounds


def _typical(rounds: list[dict[str, float]], figure: str) -> float:
    return median(found[figure] for found in rounds)


def _about_calls(rounds: list[dict[str, float]]) -> Iterator[Row]:
    cpu = {name: _typical(rounds, f"{name}_cpu_us") for name in ("router", "callers", "instance")}
    name = f"{CALLERS} × {WINDOW} in flight"
    yield Row(
        operation=f"calls, {name}",
        ours=_typical(rounds, "per_second"),
        unit="/s",
        reference=f"{number(1e6 / max(cpu.values()))}/s on a core each",
        cpu_us=cpu["router"],
        note="on a core each: what the process that uses most CPU for a call could do alone",
        raw={"rounds": rounds},
    )
    yield Row(
        operation=f"the router, {name}",
        ours=cpu["router"],
        target=f"≥ {number(FLOOR)}/s",
        met=1e6 / cpu["router"] >= FLOOR,
        reference=f"{number(1e6 / cpu['router'])}/s",
        cpu_us=cpu["router"],
        note="what its core could carry",
    )
    for role in ("callers", "instance"):
        yield Row(operation=f"the SDK of the {role}, {name}", ours=cpu[role])


def _about_chunks(rounds: list[dict[str, float]]) -> Iterator[Row]:
    cpu = {name: _typical(rounds, f"{name}_cpu_us") for name in ("router", "readers", "instance")}
    name = f"{READERS} streams of one instance"
    yield Row(
        operation=f"chunks, {name}",
        ours=_typical(rounds, "per_second"),
        unit="/s",
        reference=f"{number(1e6 / max(cpu.values()))}/s on a core each",
        cpu_us=cpu["router"],
        raw={"rounds": rounds},
    )
    for role in ("readers", "instance"):
        yield Row(operation=f"the SDK of the {role}, {name}", ours=cpu[role])
