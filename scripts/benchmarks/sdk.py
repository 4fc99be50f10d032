"""Calls through the Python SDK at both ends: four callers in one program, an instance in another."""

import re
import sys
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.environments import WORK
from benchmarks.processes import figures_of
from benchmarks.report import Row, median, number
from benchmarks.running import Run

TITLE = "Calls through the Python SDK (200 bytes; three processes share the cores)"

CALLERS = 4
WINDOW = 64
FLOOR = 28_000  # calls per second that the router must be able to carry
_READY = re.compile("^ready$", re.MULTILINE)


def measure(run: Run) -> Iterator[Row]:
    """All rows about the SDK."""
    run.progress("calls through the SDK")
    log = WORK / "sdk-instance.log"
    peer = [sys.executable, "-m", "benchmarks.sdk_peer"]
    with (
        processes.router() as router,
        processes.running([*peer, "instance", f"--port={router.port}"], log) as instance,
    ):
        processes.wait_said(instance, log, _READY)
        command = [*peer, "callers", f"router={router.pid}", f"instance={instance.pid}"]
        command += [f"--port={router.port}", f"--callers={CALLERS}", f"--window={WINDOW}"]
        command += [f"--rounds={run.rounds}", f"--seconds={0.5 if run.quick else 1.0}"]
        rounds = figures_of(command, "callers on the SDK", timeout_seconds=120)["rounds"]

    def typical(figure: str) -> float:
        return median(found[figure] for found in rounds)

    cpu = {name: typical(f"{name}_cpu_us") for name in ("router", "callers", "instance")}
    name = f"{CALLERS} × {WINDOW} in flight"
    yield Row(
        operation=f"calls, {name}",
        ours=typical("calls_per_second"),
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
