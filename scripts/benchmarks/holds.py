"""What held the loop of a watched router, and for how long. See :mod:`benchmarks.watched`."""

import os
import signal
import time
from collections.abc import Sequence

import attrs
import orjson

from benchmarks.processes import Figures, Target
from benchmarks.report import NotMeasured, Row, in_words

KEPT = 20  # of the longest, for the JSON
_PATIENCE_SECONDS = 30.0

Event = Figures
"""Something that was done to a router: when it ``began`` and ``ended``, and more."""


@attrs.frozen
class Hold:
    """Something that nothing else could run beside: the router's CPU, when it ended, and what it was."""

    seconds: float
    ended: float
    what: str


@attrs.frozen
class Holds:
    """All that took more than half a millisecond; and all garbage collections."""

    steps: list[Hold]
    passes: list[Hold]
    collections: list[Hold]

    def during(self, events: Sequence[Event]) -> "Holds":
        """Those of some events."""
        return Holds(
            *(
                [hold for hold in holds if any(_overlap(hold, event) for event in events)]
                for holds in (self.steps, self.passes, self.collections)
            )
        )

    def row(self, operation: str, target_seconds: float, rounds: Sequence[Sequence[Event]]) -> Row:
        """The longest step while something was done, of the round in which it was shortest."""
        of_round = [self.during(events) for events in rounds]
        longest = [_longest(holds.steps) for holds in of_round]
        best = min(longest, key=_seconds)
        seen = self.during([event for events in rounds for event in events])
        return Row(
            operation=operation,
            ours=best.seconds * 1e3,
            unit="ms",
            target=f"≤ {in_words(target_seconds)}",
            met=best.seconds <= target_seconds,
            reference=f"pass {in_words(min(_longest(holds.passes).seconds for holds in of_round))}",
            note=f"a step of {best.what}, the longest of the best of {len(rounds)} rounds, of all "
            f"{in_words(max(map(_seconds, longest)))}; {_collections(seen)}",
            raw={
                name: [attrs.asdict(hold) for hold in sorted(holds, key=_seconds, reverse=True)[:KEPT]]
                for name, holds in (("steps", seen.steps), ("passes", seen.passes))
            },
        )


def holds_of(router: Target) -> Holds:
    """What a watched router has seen since it started.

    Raises:
        NotMeasured: if it does not tell.
    """
    assert router.is_watched
    os.kill(router.pid, signal.SIGUSR1)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for line in router.log.read_bytes().splitlines(keepends=True):
            if line.startswith(b'{"steps":') and line.endswith(b"\n"):
                told = orjson.loads(line)
                return Holds(
                    *(
                        [Hold(seconds, ended, what) for ended, seconds, what in told[name]]
                        for name in ("steps", "passes", "collections")
                    )
                )
        time.sleep(0.1)
    raise NotMeasured("the watched router did not tell what it saw")


def _overlap(hold: Hold, event: Event) -> bool:
    return bool(hold.ended >= event["began"] and hold.ended - hold.seconds <= event["ended"])


def _seconds(hold: Hold) -> float:
    return hold.seconds


def _longest(holds: Sequence[Hold]) -> Hold:
    return max(holds, key=_seconds, default=Hold(0.0, 0.0, "nothing"))


def _collections(seen: Holds) -> str:
    """In words: garbage collections, and the longest of each generation."""
    found = []
    for generation in "012":
        if some := [hold for hold in seen.collections if hold.what == generation]:
            found.append(
                f"{len(some)} of generation {generation}, the longest {in_words(_longest(some).seconds)}"
            )
    return f"garbage collections: {', '.join(found) or 'none'}"
