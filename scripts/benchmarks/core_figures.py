"""The core alone, at 1 000 and at 1 000 000 resources: in a process of its own each time, since memory is measured.

    python -m benchmarks.core_figures costs --rounds 9

Prints one JSON object.
"""

import argparse
import gc
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.accounting import resident_bytes
from resroute.cluster.local import LocalLog
from resroute.core.commands import Open, Register, RegisterInstance, Release
from resroute.core.facts import Applied, Outcome
from resroute.core.records import Grant
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId

INSTANCES = 1000
EACH = 1000  # resources of an instance
LIMIT = 1_000_000
SMALL, LARGE = 1000, INSTANCES * EACH
FEW = 4000  # resources that callers use, of a million
LOOKUPS = 20_000
AT = 1.7e9


class _NoFollower:
    def before_answer(self, applied: Applied) -> None: ...
    def after_answer(self, applied: Applied) -> None: ...


class Population:
    """A state with some instances of one service that own as many resources each."""

    def __init__(self, instances: int, each: int) -> None:
        self.log = LocalLog(base=1, follower=_NoFollower(), on_fault=_fail, on_error=_fail)
        self.places = range(instances), range(each)
        self.sessions = [SessionId(f"session-{number}") for number in range(instances)]
        for number, session in enumerate(self.sessions):
            instance = InstanceId(f"instance-{number}")
            self.submit(Open(session))
            self.submit(RegisterInstance(session, ServiceName("bench"), instance, AT))
            ids = tuple(resource_id(number, item) for item in range(each))
            self.submit(Register(session, ids, AT, LIMIT))

    def some(self, chance: random.Random, in_use: int, count: int) -> list[ResourceId]:
        """Ids of so many resources, of which so many different ones are in use. Each is a new string."""
        instances, items = self.places
        places = [(chance.choice(instances), chance.choice(items)) for _ in range(min(in_use, count))]
        return [resource_id(*chance.choice(places)) for _ in range(count)]

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
    """Nanoseconds of CPU for lookups, a registration and a release, in turn at each size.

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
            for in_use in sorted({SMALL, FEW, size}) if size == LARGE else [SMALL]:
                for name, look_up in (("lookup", population.log.state.grant_of), ("dict", look_up_in_dict)):
                    ids = population.some(chance, in_use, LOOKUPS)
                    if in_use < LOOKUPS:
                        _nanoseconds(look_up, list(dict.fromkeys(ids)))  # they are in use already
                    found[f"{name} {in_use} of"] = _nanoseconds(look_up, ids)
            who = [chance.choice(population.sessions) for _ in range(2000)]
            fresh = [
                (ResourceId(f"user:{chance.randrange(99_999_999):08d}:new:{n}"),) for n in range(len(who))
            ]
            registrations = [
                Register(session, ids, AT, LIMIT) for session, ids in zip(who, fresh, strict=True)
            ]
            found["register"] = _nanoseconds(population.submit, registrations)
            releases = [Release(session, ids, AT) for session, ids in zip(who, fresh, strict=True)]
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


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {"costs": costs, "memory": memory}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    print(orjson.dumps(kinds[args.kind](args.rounds)).decode(), flush=True)


if __name__ == "__main__":
    main()
