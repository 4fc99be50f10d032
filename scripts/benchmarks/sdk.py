"""Calls and streams through the Python SDK at both ends: the callers in one program, an instance in another.

Beside it, in turn, the same calls through autobahn's client for asyncio and Crossbar.io.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks import processes
from benchmarks.environments import WORK, environment
from benchmarks.processes import Target, figures_of
from benchmarks.report import NotMeasured, Row, in_words, median, number
from benchmarks.running import Run

TITLE = "Calls and streams through the Python SDK (200 bytes; three processes share the cores)"

CALLERS = 4
WINDOW = 64
READERS = 10  # of a stream each
FLOOR = 28_000  # calls per second that the router must be able to carry
SDK_US = 45  # of each side for a call
AUTOBAHN_RATIO = 5  # times less than it
ALONE_RATIO = 0.7  # of its round trip
_READY = re.compile("^ready$", re.MULTILINE)

Rounds = list[dict[str, float]]


@attrs.frozen
class Contender:
    """A router with an instance, and the program that calls it."""

    command: tuple[str | Path, ...]
    router: Target
    instance: int

    def press(self, role: str, clients: int, window: int, rounds: int, seconds: float) -> Rounds:
        """Load it, and return what each round came to."""
        command = [*self.command, role, f"router={self.router.pid}", f"instance={self.instance}"]
        command += [f"--port={self.router.port}", f"--clients={clients}", f"--window={window}"]
        command += [f"--rounds={rounds}", f"--seconds={seconds}"]
        found: Rounds = figures_of(command, f"{role} on the SDK", timeout_seconds=120)["rounds"]
        return found


def measure(run: Run) -> Iterator[Row]:
    """All rows about the SDK."""
    seconds = 0.5 if run.quick else 1.0
    with ExitStack() as stack:
        ours = stack.enter_context(_contender(sys.executable, "sdk_peer", processes.router()))
        autobahn = None
        if run.peer:
            try:
                programs = environment("peer")
                router = processes.crossbar(programs)
                autobahn = stack.enter_context(_contender(programs / "python", "wamp_peer", router))
            except NotMeasured as error:
                run.warn(f"{error}. Autobahn's column stays empty.")
        many: dict[str, Rounds] = {"ours": [], "autobahn": []}
        alone: dict[str, Rounds] = {"ours": [], "autobahn": []}
        contenders = {"ours": ours, "autobahn": autobahn}
        for turn in range(run.rounds):
            run.progress(f"calls through SDKs, turn {turn + 1}")
            for name, contender in contenders.items():
                if contender is not None:
                    many[name] += contender.press("callers", CALLERS, WINDOW, 1, seconds)
                    alone[name] += contender.press("callers", 1, 1, 1, seconds)
        yield from _about_calls(many["ours"], many["autobahn"])
        yield _alone(alone["ours"], alone["autobahn"])
        run.progress("streams through the SDK")
        yield from _about_chunks(ours.press("readers", READERS, 1, run.rounds, seconds))


@contextmanager
def _contender(
    python: str | Path, module: str, router: AbstractContextManager[Target]
) -> Iterator[Contender]:
    command = (python, "-m", f"benchmarks.{module}")
    log = WORK / f"{module}-instance.log"
    with (
        router as target,
        processes.running([*command, "instance", f"--port={target.port}"], log) as instance,
    ):
        processes.wait_said(instance, log, _READY)
        yield Contender(command, target, instance.pid)


def _typical(rounds: Rounds, figure: str) -> float:
    return median(found[figure] for found in rounds)


def _about_calls(rounds: Rounds, autobahn: Rounds) -> Iterator[Row]:
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
        figure = f"{role}_cpu_us"
        operation = f"the SDK of the {role}, {name}"
        yield Row(operation=operation, ours=cpu[role], target=f"≤ {SDK_US} µs", met=cpu[role] <= SDK_US)
        row = Row(operation=operation, ours=cpu[role], target=f"{AUTOBAHN_RATIO} times less than autobahn")
        if autobahn:
            ratio = median(a[figure] / b[figure] for a, b in zip(autobahn, rounds, strict=True))
            row = attrs.evolve(
                row,
                met=ratio >= AUTOBAHN_RATIO,
                reference=f"autobahn {number(_typical(autobahn, figure))} µs",
                ratio=ratio,
                raw={"ours": rounds, "autobahn": autobahn},
            )
        yield row


def _alone(rounds: Rounds, autobahn: Rounds) -> Row:
    """One call after the other: how long each takes there and back."""
    row = Row(
        operation="call through the SDK, alone, mean",
        ours=1e6 / _typical(rounds, "per_second"),
        target=f"≤ {ALONE_RATIO} of autobahn's",
        cpu_us=_typical(rounds, "router_cpu_us"),
    )
    if not autobahn:
        return row
    ratio = median(a["per_second"] / b["per_second"] for a, b in zip(autobahn, rounds, strict=True))
    return attrs.evolve(
        row,
        met=ratio <= ALONE_RATIO,
        reference=f"autobahn {in_words(1 / _typical(autobahn, 'per_second'))}",
        ratio=ratio,
        raw={"ours": rounds, "autobahn": autobahn},
    )


def _about_chunks(rounds: Rounds) -> Iterator[Row]:
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
