"""What each command costs the core with a million resources in place, bare or with typical metadata, and their memory.

    python -m benchmarks.command_figures described --rounds 3

In a process of its own each time, since memory is measured. Prints one JSON object.
"""

import argparse
import gc
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import orjson

from benchmarks.accounting import resident_bytes
from benchmarks.core_figures import AT, EACH, INSTANCES, LIMIT, Population, resource_id
from resroute.core.commands import (
    End,
    Expire,
    Expiry,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Update,
)
from resroute.core.metadata import MetadataChange
from resroute.ids import InstanceId, ResourceId, ServiceName, SessionId

TYPES, RARE_TAGS, COMMON_TAGS = 2, 10_000, 8
OPERATIONS = 2000
MAX_METADATA_BYTES = 16 * 1024


def described(number: int) -> dict[str, Any]:
    """Typical metadata: a type that half of all have, a tag of every eighth and one of a hundred, and small attributes."""
    return {
        "resource_type": ("document", "image")[number % TYPES],
        "tags": [f"tag-{number % RARE_TAGS}", f"region-{number % COMMON_TAGS}"],
        "attributes": {"title": f"{number:08d}", "pages": 12},
    }


def _change(number: int, *, ttl_seconds: float | None = None) -> MetadataChange:
    """The same as a command carries it: with strings that are its own, as decoding makes them."""
    said = orjson.loads(orjson.dumps(described(number)))
    # not orjson: its bytes keep the 4 KiB they were written into
    attributes = msgspec.json.encode(said["attributes"])
    return MetadataChange(said["resource_type"], tuple(said["tags"]), attributes, ttl_seconds=ttl_seconds)


class Crowd(Population):
    """A thousand instances with a thousand resources each."""

    def __init__(self, *, is_described: bool) -> None:
        super().__init__(0, 0)
        self.is_described = is_described
        self.numbers = iter(range(2_000_000_000))
        for _ in range(INSTANCES):
            self.join(EACH)

    def join(self, each: int) -> SessionId:
        """One more instance."""
        number = len(self.sessions)
        session = SessionId(f"session-{number}")
        self.sessions.append(session)
        self.submit(Open(session))
        self.submit(RegisterInstance(session, ServiceName("bench"), InstanceId(f"instance-{number}"), AT))
        self.submit(self.registration(session, each))
        return session

    def registration(self, session: SessionId, count: int, *, ttl_seconds: float | None = None) -> Register:
        """A command that registers so many."""
        numbers = [next(self.numbers) for _ in range(count)]
        ids = {number: resource_id(*divmod(number, EACH)) for number in numbers}
        metadata: Mapping[ResourceId, MetadataChange] | None = None
        if self.is_described:
            metadata = {ids[number]: _change(number, ttl_seconds=ttl_seconds) for number in numbers}
        elif ttl_seconds is not None:
            metadata = {ids[number]: MetadataChange(ttl_seconds=ttl_seconds) for number in numbers}
        return Register(
            session, tuple(ids.values()), AT, LIMIT, metadata=metadata, max_metadata_bytes=MAX_METADATA_BYTES
        )


def figures(*, is_described: bool, rounds: int) -> dict[str, Any]:
    """Bytes of each resource, milliseconds of a full collection, and nanoseconds of each command, for one resource."""
    gc.collect()
    before = resident_bytes(os.getpid())
    crowd = Crowd(is_described=is_described)
    gc.collect()
    found: dict[str, Any] = {"bytes": (resident_bytes(os.getpid()) - before) / (INSTANCES * EACH)}
    began = time.thread_time()
    gc.collect()
    found["full_collection_ms"] = (time.thread_time() - began) * 1e3
    gc.freeze()
    chance = random.Random(1)
    costs: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, nanoseconds in _round(crowd, chance).items():
            if number:  # the first one warms up
                costs.setdefault(name, []).append(nanoseconds)
    return found | {"costs": costs}


def _round(crowd: Crowd, chance: random.Random) -> dict[str, float]:
    who = [chance.choice(crowd.sessions[:INSTANCES]) for _ in range(OPERATIONS)]
    costs: dict[str, float] = {}
    registrations = [crowd.registration(session, 1) for session in who]
    costs["register"] = _nanoseconds(crowd.submit, registrations)
    targets = [(command.session_id, command.resource_ids) for command in registrations]
    chance.shuffle(targets)
    costs["update"] = _nanoseconds(
        crowd.submit,
        (
            Update(
                session,
                ids[0],
                MetadataChange(tags=(f"tag-{n}", "region-1")),
                AT,
                MAX_METADATA_BYTES,
                merge=True,
            )
            for n, (session, ids) in enumerate(targets)
        ),
    )
    costs["release"] = _nanoseconds(crowd.submit, (Release(session, ids, AT) for session, ids in targets))

    expiring = [crowd.registration(session, 1, ttl_seconds=60.0) for session in who]
    for command in expiring:
        crowd.submit(command)
    costs["renew"] = _nanoseconds(
        crowd.submit, (Renew(command.session_id, command.resource_ids, AT + 1) for command in expiring)
    )
    grants = [crowd.log.state.grant_of(command.resource_ids[0]) for command in expiring]
    expiries = [
        Expiry(grant.resource_id, grant.epoch, grant.expires_at)
        for grant in grants
        if grant is not None and grant.expires_at is not None
    ]
    costs["expire"] = _nanoseconds(crowd.submit, (Expire((expiry,), AT) for expiry in expiries))

    leaving = crowd.join(OPERATIONS)
    began = time.thread_time_ns()
    crowd.submit(End(leaving, "session_ended", AT))
    for _ in range(0, OPERATIONS, 100):
        crowd.submit(Reclaim(leaving, 100))
    costs["end and reclaim"] = (time.thread_time_ns() - began) / OPERATIONS
    return costs


def _nanoseconds(function: Callable[[Any], object], arguments: Iterable[Any]) -> float:
    made = list(arguments)
    began = time.thread_time_ns()
    for argument in made:
        function(argument)
    return (time.thread_time_ns() - began) / len(made)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("bare", "described"))
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    found = figures(is_described=args.kind == "described", rounds=args.rounds)
    print(orjson.dumps(found).decode(), flush=True)


if __name__ == "__main__":
    main()
