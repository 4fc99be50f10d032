"""Long random schedules of commands: the same seed gives the same schedule on every machine."""

import random
from collections.abc import Iterable

from msgspec import UNSET

from resroute.core.commands import (
    Abandon,
    AnyCommand,
    BulkItem,
    Cause,
    Confirm,
    Drain,
    End,
    EndGrace,
    Expire,
    Expiry,
    Genesis,
    GiveUp,
    Open,
    Reclaim,
    Register,
    RegisterInstance,
    Release,
    Renew,
    Reserve,
    ReserveRelease,
    Serve,
    Tidy,
    Transfer,
    Update,
    WaitLimits,
)
from resroute.core.facts import Outcome
from resroute.core.metadata import MetadataChange
from resroute.core.state import State
from resroute.ids import BulkId, Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId

Entry = tuple[str, int, AnyCommand]
"""Origin, number, command: what :meth:`State.apply` takes."""

POOL = tuple(ResourceId(f"{kind}{n}") for n in range(40) for kind in ("user:", "User/", "~", "a@b=", "é"))
"""Ids that the schedules are about: few enough to be fought over."""

MANY_TAGS = ("b", *(f"tag-{n}" for n in range(70)), "x")
"""More than the index by tags takes of one resource."""

_ORIGINS = ("router-1", "router-2", "router-3")
_CAUSES: tuple[Cause, ...] = ("session_ended", "heartbeat_lost", "admin")


def random_schedule(seed: int, length: int) -> list[Entry]:
    """Sessions come, become instances, fight over resources, die, and are reclaimed bit by bit."""
    rng = random.Random(seed)
    numbers = dict.fromkeys(_ORIGINS, 0)
    live: list[SessionId] = []
    ended = [SessionId("never-opened")]
    schedule: list[Entry] = []

    def add(command: AnyCommand) -> None:
        origin = rng.choice(_ORIGINS)
        numbers[origin] += 1
        schedule.append((origin, numbers[origin], command))

    def somebody() -> SessionId:
        return rng.choice(live if live and rng.random() < 0.95 else ended)

    def some_ids() -> tuple[ResourceId, ...]:
        return tuple(rng.choices(POOL, k=rng.choice((0, 1, 1, 2, 5, 20))))

    # instances of which there may be a token, by their ids: their services, and the last tokens
    known: dict[InstanceId, tuple[ServiceName, list[bytes]]] = {}

    def become(session_id: SessionId) -> RegisterInstance:
        instance_id = InstanceId(f"instance-{rng.randrange(12)}")
        service_name = ServiceName(rng.choice(("store", "mail", "Mail")))
        resumes = None
        if instance_id in known and rng.random() < 0.6:
            service_name, tokens = known[instance_id]
            resumes = rng.choice(tokens[-3:])
        token = f"token-{len(schedule)}".encode()
        known[instance_id] = service_name, [*(known[instance_id][1] if resumes else ()), token]
        return RegisterInstance(
            session_id,
            service_name,
            instance_id,
            float(len(schedule)),
            priority=rng.randrange(3),
            max_concurrency=rng.choice((None, 4)),
            plain=rng.random() < 0.1,
            metadata=rng.choice((None, b'{"zone":"b","host":{"y":[1,null],"x":0.5}}')),
            subject=rng.choice(("ann", "ann", "ann", "bob")),
            token=token,
            resumes=resumes,
            grace_seconds=rng.choice((0.0, 5.0)),
        )

    def change() -> MetadataChange:
        return MetadataChange(
            resource_type=rng.choice((UNSET, None, "document")),
            tags=rng.choice((UNSET, (), ("b", "a"), MANY_TAGS)),
            attributes=rng.choice(
                (UNSET, b"{}", b'{"b":{"y":100.0},"a":[null]}', b'{"b":null,"c":"\\u00e9"}')
            ),
            priority=rng.choice((UNSET, 0, -3)),
            ttl_seconds=rng.choice((UNSET, UNSET, None, 1.0, 20.0)),
        )

    def some_items() -> tuple[BulkItem, ...]:
        return tuple(
            BulkItem(r, change() if rng.random() < 0.4 else None, rng.random() < 0.2) for r in some_ids()
        )

    # all bulks
    bulks: dict[BulkId, SessionId] = {}
    # those that go on: whoever went on with one that has ended would begin it anew, under an id that was used
    open_bulks: dict[BulkId, tuple[SessionId, SessionId]] = {}

    def in_bulk() -> None:
        at = float(len(schedule))
        done, release = rng.random() < 0.2, rng.random() < 0.3
        bulk_id = BulkId(f"bulk-{len(schedule)}")
        asker = somebody()
        owner, partial = somebody() if rng.random() < 0.2 else asker, rng.random() < 0.5
        bulks[bulk_id] = asker
        if partial and not done:  # what fails does not end it
            open_bulks[bulk_id] = asker, owner
        if release:
            add(ReserveRelease(asker, bulk_id, owner, some_ids(), at, partial, done))
        else:
            limit, max_bytes = rng.choice((10, 50, 1000)), rng.choice((20, 1000, 1000))
            add(Reserve(asker, bulk_id, owner, some_items(), at, limit, max_bytes, partial, done))

    def with_bulk() -> None:
        at = float(len(schedule))
        if open_bulks and rng.random() < 0.4:
            bulk_id = rng.choice(list(open_bulks)[-4:])
            asker, owner = open_bulks.pop(bulk_id)
            add(Reserve(asker, bulk_id, owner, some_items(), at, 50, 1000, True, True))
            return
        bulk_id = rng.choice(list(bulks)[-6:])
        match rng.randrange(3):
            case 0:
                open_bulks.pop(bulk_id, None)
                add(Abandon(bulks[bulk_id], bulk_id, at))
            case _:
                add(Tidy(bulk_id, rng.randrange(8)))

    base = rng.randrange(1, 2**40)
    add(Genesis(base))
    while len(schedule) < length:
        match rng.randrange(47):
            case 0 | 1 | 2:
                live.append(SessionId(f"session-{len(schedule)}"))
                add(Open(live[-1]))
                if rng.random() < 0.9:
                    add(become(live[-1]))
            case 3 if live and len(live) > rng.randrange(8):
                leaving = live.pop(rng.randrange(len(live)))
                ended.append(leaving)
                add(End(leaving, rng.choice(_CAUSES), float(len(schedule)), rng.random() < 0.5))
            case 4:
                add(become(somebody()))
            case 5 | 6 | 7:
                at, partial, as_admin = float(len(schedule)), rng.random() < 0.7, rng.random() < 0.1
                add(Release(somebody(), some_ids(), at, partial, as_admin))
            case 10 | 11 | 12:
                expected = rng.choice((None, None, None, 0, 1, 2))
                at, merge, as_admin = float(len(schedule)), rng.random() < 0.5, rng.random() < 0.5
                target, max_bytes = rng.choice(POOL), rng.choice((20, 1000, 1000))
                add(Update(somebody(), target, change(), at, max_bytes, merge, expected, as_admin))
            case 13:
                at, once = float(len(schedule)), rng.choice((None, 5.0))
                add(Renew(somebody(), some_ids()[:2], at, once))
            case 14:
                now = len(schedule)
                add(
                    Expire(
                        tuple(
                            Expiry(
                                r, Epoch(rng.randrange(base, base + now + 1)), float(rng.randrange(now + 20))
                            )
                            for r in some_ids()
                        ),
                        float(now),
                    )
                )
            case 32 | 33:
                wanted, at = some_ids(), float(len(schedule))
                giver, heir = (InstanceId(f"instance-{rng.randrange(12)}") for _ in range(2))
                add(
                    Transfer(
                        somebody(),
                        wanted,
                        giver,
                        heir,
                        at,
                        rng.choice((3, 50)),
                        f"transfer-{len(schedule)}",
                        "why not",
                        partial=rng.random() < 0.7,
                        as_admin=rng.random() < 0.7,
                        verify_ownership=rng.random() < 0.5,
                        across_services=rng.random() < 0.5,
                        cause=rng.choice(("transfer", "drain", "rebalance")),
                        state={r: b'{"at":1}' for r in wanted[:1]} or None,
                    )
                )
            case 34 if rng.random() < 0.5:
                add(Drain(somebody(), float(len(schedule))))
            case 44 if live:
                add(Confirm(somebody()))
            case 45 | 46:
                at, whose = float(len(schedule)), rng.choice(ended[-4:])
                until = rng.choice((None, at - rng.randrange(20) + 5.0))
                add(EndGrace(whose, until, at, "admin" if rng.random() < 0.3 else None))
            case 15 | 16 | 17 | 18:
                in_bulk()
            case 19 | 20 | 21 | 22 if bulks:
                with_bulk()
            case 8 | 9:
                add(Reclaim(rng.choice(ended[-3:]), rng.randrange(8)))
            case 26 | 27 | 28 | 29:
                limits = WaitLimits(rng.choice((3, 1000)), rng.choice((2, 1000)))
                at, limit = float(len(schedule)), rng.choice((20, 1000))
                add(
                    Register(
                        somebody(),
                        tuple(rng.choices(POOL[:12], k=rng.choice((1, 1, 2, 3)))),
                        at,
                        limit,
                        wait=limits,
                    )
                )
            case 30:
                number = Revision(base + rng.randrange(max(1, len(schedule) - 15), len(schedule) + 1))
                add(GiveUp(number, float(len(schedule)), rng.random() < 0.5))
            case 31:
                add(Serve(float(len(schedule))))
            case _:
                limit = rng.choice((3, 10, 50, 1000))
                partial, force = rng.random() < 0.6, rng.random() < 0.2
                wanted = some_ids()
                metadata = {r: change() for r in wanted if rng.random() < 0.5}
                at, max_bytes = float(len(schedule)), rng.choice((20, 1000, 1000))
                add(Register(somebody(), wanted, at, limit, partial, force, metadata, max_bytes))
    return schedule[:length]


def play(state: State, schedule: Iterable[Entry]) -> list[Outcome | None]:
    """Apply all of it."""
    return [state.apply(*entry) for entry in schedule]
