"""How long calls are held up while something else goes on in the router.

A small call goes from this process to this process again and again while a :mod:`benchmarks.disturbance` does its
work in another one. The delay of a call is by how much it takes longer than such calls usually do. Other processes
of the machine delay calls as well, but not each time, while what the router itself does shows each time: so the
worst delay of each round is taken, and of these the least. What the quiet machine does in rounds of the same length
is told beside it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import orjson

from benchmarks.environments import WORK
from benchmarks.holds import Event
from benchmarks.processes import Target, running
from benchmarks.report import NotMeasured, Row, in_words, median, percentile
from benchmarks.wire import Client, request

_PAUSE_SECONDS = 0.0005
_DISTURBANCE_SECONDS = 300.0


@attrs.frozen
class Delays:
    """What calls suffered.

    Attributes:
        rounds: what the disturbance told of each thing it did, and the worst and the typical delay meanwhile.
        quiet: seconds; for each round the worst delay with nothing else going on.
        usual: seconds that a call takes usually.
    """

    rounds: list[list[Event]]
    quiet: list[float]
    usual: float

    def of(self, what: str) -> "Delays":
        """Those while one of several things was done."""
        return attrs.evolve(
            self, rounds=[[event for event in done if event["what"] == what] for done in self.rounds]
        )

    @property
    def events(self) -> list[Event]:
        """Each thing that was done, of all rounds."""
        return [event for done in self.rounds for event in done]

    def row(self, operation: str, target_seconds: float) -> Row:
        """What other calls suffered, in the table."""
        worst_of_rounds = [max(event["worst_delay_seconds"] for event in done) for done in self.rounds]
        worst = min(worst_of_rounds)
        typical = median(event["typical_delay_seconds"] for event in self.events)
        return Row(
            operation=operation,
            ours=worst * 1e3,
            unit="ms",
            target=f"≤ {in_words(target_seconds)}",
            met=worst <= target_seconds,
            reference=f"quiet {in_words(max(0.0, min(self.quiet)))}",
            note=f"the worst of the best of {len(self.rounds)} rounds; "
            f"the worst of all {in_words(max(worst_of_rounds))} ({in_words(max(self.quiet))} quiet); "
            f"in the median of all calls meanwhile {in_words(max(0.0, typical))}",
            raw={"worst_seconds": worst_of_rounds, "quiet_seconds": self.quiet, "usual_seconds": self.usual}
            | {"events": self.events},
        )


class Probe:
    """A caller and a callee in this process, one small call at a time."""

    def __init__(self, port: int) -> None:
        self._stack = ExitStack()
        self._callee = self._stack.enter_context(Client(port))
        self._caller = self._stack.enter_context(Client(port))
        self._callee.request("instance.register", {"service_name": "probe"})
        self._callee.request("resource.register", {"resource_ids": ["bench:probe"]})
        params = {"resource_id": "bench:probe", "method": "m", "params": [1]}
        self._call = request(1, "route.call", params)

    def close(self) -> None:
        """End both connections."""
        self._stack.close()

    def call(self) -> tuple[float, float]:
        """Make one call; when it began and when it was over."""
        began = time.perf_counter()
        self._caller.send(self._call)
        delivered = orjson.loads(self._callee.receive())
        self._callee.send(b'{"jsonrpc":"2.0","id":%b,"result":1}' % orjson.dumps(delivered["id"]))
        answer = orjson.loads(self._caller.receive())
        ended = time.perf_counter()
        if "result" not in answer:
            raise NotMeasured(f"a call that should have been answered was not: {answer}")
        return began, ended

    def calls_until(
        self, end: float, process: subprocess.Popen[bytes] | None
    ) -> Iterator[tuple[float, float]]:
        """Calls until a point in time, or the end of a process if that comes first."""
        while time.perf_counter() < end and (process is None or process.poll() is None):
            yield self.call()
            time.sleep(_PAUSE_SECONDS)


def delays(router: Target, kind: str, *, rounds: int, times: int) -> Delays:
    """Disturb the router so many times in each of some rounds, and see what other calls suffer meanwhile.

    Raises:
        NotMeasured: if the disturbance fails.
    """
    log = WORK / f"disturbance-{kind}.log"
    command = [
        sys.executable,
        "-m",
        "benchmarks.disturbance",
        kind,
        f"--port={router.port}",
        f"--pid={router.pid}",
        f"--times={times}",
        *(["--watched"] if router.is_watched else []),
    ]
    probe = Probe(router.port)
    try:
        list(probe.calls_until(time.perf_counter() + 0.3, None))
        usual = median(ended - began for began, ended in probe.calls_until(time.perf_counter() + 1, None))
        rounds_done, quiet = [], []
        for _ in range(rounds):
            with running(command, log) as process:
                calls = list(probe.calls_until(time.perf_counter() + _DISTURBANCE_SECONDS, process))
                if process.poll() != 0:
                    raise NotMeasured(f"{kind}: {log.read_text(errors='replace').strip()[-500:]}")
            done = [orjson.loads(line) for line in log.read_bytes().splitlines()]
            for event in done:
                during = [
                    ended - began - usual
                    for began, ended in calls
                    if began <= event["ended"] and ended >= event["began"]
                ]
                event["worst_delay_seconds"] = max(during)
                event["typical_delay_seconds"] = median(during)
                event["p99_delay_seconds"] = percentile(during, 0.99)
            rounds_done.append(done)
            length = sum(event["ended"] - event["began"] for event in done)
            undisturbed = probe.calls_until(time.perf_counter() + length, None)
            quiet.append(max(ended - began - usual for began, ended in undisturbed))
        return Delays(rounds_done, quiet, usual)
    finally:
        probe.close()
