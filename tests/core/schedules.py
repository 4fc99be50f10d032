"""Long random schedules of commands: the same seed gives the same schedule on every machine."""

import random
from collections.abc import Callable, Iterable

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
    scheduler = _Scheduler(random.Random(seed))
    while len(scheduler.schedule) < length:
        scheduler.go_on()
    return scheduler.schedule[:length]


class _Scheduler:
    """Adds one thing after the other that somebody may ask for."""

    def __init__(self, rng: random.Random) -> None:
        self.schedule: list[Entry] = []
        self._rng = rng
        self._numbers = dict.fromkeys(_ORIGINS, 0)
        self._live: list[SessionId] = []
        self._ended = [SessionId("never-opened")]
        # instances of which there may be a token, by their ids: their services, and the last tokens
        self._known: dict[InstanceId, tuple[ServiceName, list[bytes]]] = {}
        # all bulks, and who asked for them
        self._bulks: dict[BulkId, SessionId] = {}
        # those that go on: whoever went on with one that has ended would begin it anew, under an id that was used
        self._open_bulks: dict[BulkId, tuple[SessionId, SessionId]] = {}
        self._base = rng.randrange(1, 2**40)
        # what may come next, and how often it does
        self._kinds: dict[Callable[[], None], int] = {
            self._register: 12,
            self._register_or_wait: 4,
            self._begin_bulk: 4,
            self._go_on_with_bulk: 4,
            self._open: 3,
            self._release: 3,
            self._update: 3,
            self._reclaim: 2,
            self._transfer: 2,
            self._end_grace: 2,
            self._end: 1,
            self._become: 1,
            self._renew: 1,
            self._expire: 1,
            self._drain: 1,
            self._confirm: 1,
            self._give_up: 1,
            self._serve: 1,
        }
        self._add(Genesis(self._base))

    def go_on(self) -> None:
        """One more thing, unless that makes no sense yet."""
        [kind] = self._rng.choices(list(self._kinds), list(self._kinds.values()))
        kind()

    def _add(self, command: AnyCommand) -> None:
        origin = self._rng.choice(_ORIGINS)
        self._numbers[origin] += 1
        self.schedule.append((origin, self._numbers[origin], command))

    # --- what it is about -------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return float(len(self.schedule))

    def _one_in(self, count: float) -> bool:
        return self._rng.random() * count < 1

    def _somebody(self) -> SessionId:
        return self._rng.choice(self._ended if not self._live or self._one_in(20) else self._live)

    def _some_ids(self) -> tuple[ResourceId, ...]:
        return tuple(self._rng.choices(POOL, k=self._rng.choice((0, 1, 1, 2, 5, 20))))

    def _some_instance(self) -> InstanceId:
        return InstanceId(f"instance-{self._rng.randrange(12)}")

    def _change(self) -> MetadataChange:
        rng = self._rng
        return MetadataChange(
            resource_type=rng.choice((UNSET, None, "document")),
            tags=rng.choice((UNSET, (), ("b", "a"), MANY_TAGS)),
            attributes=rng.choice(
                (UNSET, b"{}", b'{"b":{"y":100.0},"a":[null]}', b'{"b":null,"c":"\\u00e9"}')
            ),
            priority=rng.choice((UNSET, 0, -3)),
            ttl_seconds=rng.choice((UNSET, UNSET, None, 1.0, 20.0)),
        )

    def _max_bytes(self) -> int:
        return self._rng.choice((20, 1000, 1000))

    # --- sessions ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._live.append(SessionId(f"session-{len(self.schedule)}"))
        self._add(Open(self._live[-1]))
        if not self._one_in(10):
            self._add(self._registration(self._live[-1]))

    def _become(self) -> None:
        self._add(self._registration(self._somebody()))

    def _registration(self, session_id: SessionId) -> RegisterInstance:
        rng, instance_id = self._rng, self._some_instance()
        service_name = ServiceName(rng.choice(("store", "mail", "Mail")))
        token = f"token-{len(self.schedule)}".encode()
        tokens: list[bytes] = []
        if instance_id in self._known and rng.random() < 0.6:
            service_name, tokens = self._known[instance_id]
        self._known[instance_id] = service_name, [*tokens, token]
        return RegisterInstance(
            session_id,
            service_name,
            instance_id,
            self._now,
            priority=rng.randrange(3),
            max_concurrency=rng.choice((None, 4)),
            plain=self._one_in(10),
            metadata=rng.choice((None, b'{"zone":"b","host":{"y":[1,null],"x":0.5}}')),
            subject=rng.choice(("ann", "ann", "ann", "bob")),
            token=token,
            resumes=rng.choice(tokens[-3:]) if tokens else None,
            grace_seconds=rng.choice((0.0, 5.0)),
        )

    def _confirm(self) -> None:
        if self._live:
            self._add(Confirm(self._somebody()))

    def _drain(self) -> None:
        if self._one_in(2):
            self._add(Drain(self._somebody(), self._now))

    def _end(self) -> None:
        if self._live and len(self._live) > self._rng.randrange(8):
            leaving = self._live.pop(self._rng.randrange(len(self._live)))
            self._ended.append(leaving)
            self._add(End(leaving, self._rng.choice(_CAUSES), self._now, self._one_in(2)))

    def _end_grace(self) -> None:
        whose = self._rng.choice(self._ended[-4:])
        until = self._rng.choice((None, self._now - self._rng.randrange(20) + 5.0))
        self._add(EndGrace(whose, until, self._now, "admin" if self._one_in(3) else None))

    def _reclaim(self) -> None:
        self._add(Reclaim(self._rng.choice(self._ended[-3:]), self._rng.randrange(8)))

    # --- resources --------------------------------------------------------------------------------------------

    def _register(self) -> None:
        wanted = self._some_ids()
        self._add(
            Register(
                self._somebody(),
                wanted,
                self._now,
                self._rng.choice((3, 10, 50, 1000)),
                partial=self._rng.random() < 0.6,
                force=self._one_in(5),
                metadata={r: self._change() for r in wanted if self._one_in(2)},
                max_metadata_bytes=self._max_bytes(),
            )
        )

    def _register_or_wait(self) -> None:
        limits = WaitLimits(self._rng.choice((3, 1000)), self._rng.choice((2, 1000)))
        wanted = tuple(self._rng.choices(POOL[:12], k=self._rng.choice((1, 1, 2, 3))))
        self._add(Register(self._somebody(), wanted, self._now, self._rng.choice((20, 1000)), wait=limits))

    def _give_up(self) -> None:
        count = len(self.schedule)
        number = Revision(self._base + self._rng.randrange(max(1, count - 15), count + 1))
        self._add(GiveUp(number, self._now, self._one_in(2)))

    def _serve(self) -> None:
        self._add(Serve(self._now))

    def _release(self) -> None:
        partial = self._rng.random() < 0.7
        self._add(Release(self._somebody(), self._some_ids(), self._now, partial, self._one_in(10)))

    def _update(self) -> None:
        self._add(
            Update(
                self._somebody(),
                self._rng.choice(POOL),
                self._change(),
                self._now,
                self._max_bytes(),
                merge=self._one_in(2),
                expected_version=self._rng.choice((None, None, None, 0, 1, 2)),
                as_admin=self._one_in(2),
            )
        )

    def _renew(self) -> None:
        self._add(Renew(self._somebody(), self._some_ids()[:2], self._now, self._rng.choice((None, 5.0))))

    def _expire(self) -> None:
        rng, now = self._rng, len(self.schedule)
        expiries = tuple(
            Expiry(r, Epoch(rng.randrange(self._base, self._base + now + 1)), float(rng.randrange(now + 20)))
            for r in self._some_ids()
        )
        self._add(Expire(expiries, self._now))

    def _transfer(self) -> None:
        rng, wanted = self._rng, self._some_ids()
        self._add(
            Transfer(
                self._somebody(),
                wanted,
                self._some_instance(),
                self._some_instance(),
                self._now,
                rng.choice((3, 50)),
                f"transfer-{len(self.schedule)}",
                "why not",
                partial=rng.random() < 0.7,
                as_admin=rng.random() < 0.7,
                verify_ownership=self._one_in(2),
                across_services=self._one_in(2),
                cause=rng.choice(("transfer", "drain", "rebalance")),
                state={r: b'{"at":1}' for r in wanted[:1]} or None,
            )
        )

    # --- bulks ------------------------------------------------------------------------------------------------

    def _some_items(self) -> tuple[BulkItem, ...]:
        return tuple(
            BulkItem(r, self._change() if self._rng.random() < 0.4 else None, self._one_in(5))
            for r in self._some_ids()
        )

    def _begin_bulk(self) -> None:
        bulk_id, asker = BulkId(f"bulk-{len(self.schedule)}"), self._somebody()
        owner = self._somebody() if self._one_in(5) else asker
        is_partial, is_all = self._one_in(2), self._one_in(5)
        self._bulks[bulk_id] = asker
        if is_partial and not is_all:  # what fails does not end it
            self._open_bulks[bulk_id] = asker, owner
        if self._one_in(3):
            ids = self._some_ids()
            self._add(ReserveRelease(asker, bulk_id, owner, ids, self._now, is_partial, is_all))
        else:
            items, limit, size = self._some_items(), self._rng.choice((10, 50, 1000)), self._max_bytes()
            self._add(Reserve(asker, bulk_id, owner, items, self._now, limit, size, is_partial, is_all))

    def _go_on_with_bulk(self) -> None:
        if self._open_bulks and self._rng.random() < 0.4:
            bulk_id = self._rng.choice(list(self._open_bulks)[-4:])
            asker, owner = self._open_bulks.pop(bulk_id)
            items = self._some_items()
            if self._one_in(2):
                wanted = tuple(item.resource_id for item in items)
                self._add(
                    Reserve(asker, bulk_id, owner, items, self._now, 50, 1000, partial=True, goes_on=True)
                )
                self._add(Register(owner, wanted, self._now, 1000, partial=True, bulk_id=bulk_id))
                return
            self._add(Reserve(asker, bulk_id, owner, items, self._now, 50, 1000, partial=True, commit=True))
        elif self._bulks:
            bulk_id = self._rng.choice(list(self._bulks)[-6:])
            if self._one_in(3):
                self._open_bulks.pop(bulk_id, None)
                self._add(Abandon(self._bulks[bulk_id], bulk_id, self._now))
            else:
                self._add(Tidy(bulk_id, self._rng.randrange(8)))


def play(state: State, schedule: Iterable[Entry]) -> list[Outcome | None]:
    """Apply all of it."""
    return [state.apply(*entry) for entry in schedule]
