"""The core alone, at 1 000 and at 1 000 000 resources: in a process of its own each time, since memory is measured.

    python -m benchmarks.core_figures costs --rounds 9

Prints one JSON object.
"""

import argparse
import gc
import itertools
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.accounting import resident_bytes
from resroute.cluster.local import LocalLog
from resroute.core.commands import End, Open, Reclaim, Register, RegisterInstance, Release
from resroute.core.facts import Applied, Outcome
from resroute.core.records import Grant
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId

INSTANCES = 1000
EACH = 1000  # resources of an instance
LIMIT = 1_000_000
BATCH = 100  # ids in one command, where many are registered
RECLAIM = 100  # grants of the dead that are reclaimed in one command
SMALL, LARGE = 1000, INSTANCES * EACH
AT = 1.7e9


class _NoFollower:
    def before_answer(self, applied: Applied) -> None: ...
    def after_answer(self, applied: Applied) -> None: ...


class Population:
    """A state with some instances of one service that own as many resources each."""

    def __init__(self, instances: int, each: int) -> None:
        self._numbers = itertools.count()
        self.log = LocalLog(base=1, follower=_NoFollower(), on_fault=_fail, on_error=_fail)
        self.each = each
        self.sessions: list[SessionId] = []
        self.owned: dict[SessionId, int] = {}
        for _ in range(instances):
            for step in self.join():
                step()

    def join(self) -> list[Callable[[], None]]:
        """The steps by which a new instance comes and registers its resources."""
        number = next(self._numbers)
        session = SessionId(f"session-{number}")
        self.sessions.append(session)
        self.owned[session] = number
        instance = RegisterInstance(session, ServiceName("bench"), InstanceId(f"instance-{number}"), AT)
        steps: list[Callable[[], None]] = [lambda: self.submit(Open(session)), lambda: self.submit(instance)]
        for start in range(0, self.each, BATCH):
            ids = tuple(resource_id(number, item) for item in range(start, min(start + BATCH, self.each)))
            steps.append(lambda ids=ids: self.submit(Register(session, ids, AT, LIMIT)))  # type: ignore[misc]
        return steps

    def leave(self, session: SessionId) -> list[Callable[[], None]]:
        """The steps by which an instance goes and what it owned is tidied up."""
        self.sessions.remove(session)
        del self.owned[session]
        steps: list[Callable[[], None]] = [lambda: self.submit(End(session, "session_ended"))]
        steps += [lambda: self.submit(Reclaim(session, RECLAIM))] * -(-self.each // RECLAIM)
        return steps

    def some_ids(self, chance: random.Random, count: int, *, few: bool = False) -> list[ResourceId]:
        """Ids of resources that are registered, each made anew; ``few``: of a thousand of them only."""
        numbers = list(self.owned.values())
        places = [
            (chance.choice(numbers), chance.randrange(self.each)) for _ in range(SMALL if few else count)
        ]
        return [resource_id(*(chance.choice(places) if few else places[n])) for n in range(count)]

    def submit(self, command: Any) -> None:
        """Put a command into the log, as a session does, and expect that it is not refused."""
        self.log.submit(command, _expect_applied)


def resource_id(instance: int, item: int) -> ResourceId:
    """The id of the so-manieth resource of an instance, made anew: as it is when it comes over the wire."""
    return ResourceId(f"user:{(instance * EACH + item) * 7919 % 99_999_989:08d}:session")


def _fail(error: Exception) -> None:
    raise error


def _expect_applied(outcome: Outcome) -> None:
    if not isinstance(outcome, Applied):
        raise TypeError(f"refused: {outcome}")


def costs(rounds: int) -> dict[str, Any]:
    """Nanoseconds of CPU for a lookup, a registration and a release, in turn at each size.

    And for a lookup in a plain dictionary of that size: what memory that no cache holds does to any table.
    """
    chance = random.Random(1)
    populations = {SMALL: Population(10, SMALL // 10), LARGE: Population(INSTANCES, EACH)}
    plain = {
        size: {grant.resource_id: grant for grant in population.log.state.grants_after()}
        for size, population in populations.items()
    }

    def look_up_in_dict(resource_id: ResourceId) -> Grant | None:
        grant = table.get(resource_id)
        return grant if grant is not None and grant.owner.alive else None

    gc.collect()
    gc.freeze()
    figures: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for size, population in populations.items():
            table = plain[size]
            found = {}
            for few, suffix in ((False, ""), (True, " few")):
                for name, look_up in (("lookup", population.log.state.grant_of), ("dict", look_up_in_dict)):
                    ids = population.some_ids(chance, 20_000, few=few)
                    found[name + suffix] = _nanoseconds(look_up, ids)
            who = [chance.choice(population.sessions) for _ in range(2000)]
            fresh = [
                (ResourceId(f"user:{chance.randrange(99_999_999):08d}:new:{n}"),) for n in range(len(who))
            ]
            registrations = [
                Register(session, ids, AT, LIMIT) for session, ids in zip(who, fresh, strict=True)
            ]
            found["register"] = _nanoseconds(population.submit, registrations)
            releases = [Release(session, ids) for session, ids in zip(who, fresh, strict=True)]
            chance.shuffle(releases)
            found["release"] = _nanoseconds(population.submit, releases)
            if number:  # the first one warms up
                for name, nanoseconds in found.items():
                    figures.setdefault(f"{name} {size}", []).append(nanoseconds)
    return figures


def _nanoseconds(function: Callable[[Any], object], arguments: list[Any]) -> float:
    began = time.thread_time_ns()
    for argument in arguments:
        function(argument)
    return (time.thread_time_ns() - began) / len(arguments)


def memory(_: int) -> dict[str, Any]:
    """Bytes for each resource without metadata, its id and its place in every table included."""
    gc.collect()
    before = resident_bytes(os.getpid())
    population = Population(INSTANCES, EACH)
    gc.collect()
    resident = resident_bytes(os.getpid()) - before
    del population
    gc.collect()
    tracemalloc.start()
    again = Population(INSTANCES // 10, EACH)
    gc.collect()
    traced, _ = tracemalloc.get_traced_memory()
    return {"resident": resident / (INSTANCES * EACH), "traced": traced / again.log.state.resource_count}


def holds(_: int) -> dict[str, Any]:
    """The longest single step while resources come and go, with the garbage collector as the router runs it."""
    chance = random.Random(1)
    gc.collect()
    gc.freeze()  # as the router does when it has started, before the first resource
    pauses: list[tuple[int, float]] = []
    began = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append((info["generation"], time.thread_time() - began))

    population = Population(0, EACH)
    gc.callbacks.append(note)
    filling = [_seconds(step) for _ in range(INSTANCES) for step in population.join()]
    filled = len(pauses)
    changing: list[float] = []
    singles = 0
    for _ in range(INSTANCES // 4):
        steps = population.leave(chance.choice(population.sessions)) + population.join()
        for _ in range(200):
            session = chance.choice(population.sessions)
            ids = (ResourceId(f"user:{chance.randrange(99_999_999):08d}:new:{singles}"),)
            singles += 1
            steps += [
                lambda ids=ids, session=session: population.submit(Register(session, ids, AT, LIMIT)),  # type: ignore[misc]
                lambda ids=ids, session=session: population.submit(Release(session, ids)),  # type: ignore[misc]
            ]
        changing += map(_seconds, steps)
    gc.callbacks.remove(note)
    counts = gc.get_count()
    full = _seconds(gc.collect)
    return {
        "filling": sorted(filling)[-5:],
        "changing": sorted(changing)[-5:],
        "steps": len(filling) + len(changing),
        "collections_while_filling": _worst(pauses[:filled]),
        "collections_while_changing": _worst(pauses[filled:]),
        "counts_at_the_end": counts,
        "full_collection": full,
        "resources": population.log.state.resource_count,
    }


def _seconds(step: Callable[[], object]) -> float:
    # of this thread's CPU: what holds the loop of a router, without what other processes took meanwhile
    began = time.thread_time()
    step()
    return time.thread_time() - began


def _worst(pauses: list[tuple[int, float]]) -> dict[str, Any]:
    """For each generation how many collections there were, and the longest."""
    return {
        str(generation): {
            "count": sum(1 for which, _ in pauses if which == generation),
            "longest": max((seconds for which, seconds in pauses if which == generation), default=0.0),
        }
        for generation in range(3)
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {"costs": costs, "memory": memory, "holds": holds}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    print(orjson.dumps(kinds[args.kind](args.rounds)).decode(), flush=True)


if __name__ == "__main__":
    main()
