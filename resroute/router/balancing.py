"""Which resources go from the busy instances of a service to those that have less to do. Pure.

Resources are looked at from the lowest priority up, and of the same priority those of whoever has most at that moment. Each
is moved at most once, to whoever has least, and only if that leaves the new owner with less than the old one had. So no move
makes the most that anybody has more, nor the least that anybody has less.
"""

from collections.abc import Generator, Iterable, Sequence
from heapq import heapify, heappop, heappush, merge
from math import inf
from typing import Literal

import msgspec

from resroute.core.records import Grant, Weighed
from resroute.ids import InstanceId, ResourceId
from resroute.protocol.results import Move

Measure = Literal["count", "calls"]
"""What is to be evened out: how many resources an instance owns, or how many calls are for them."""

HALF_LIFE_SECONDS = 60.0
"""Of calls that were weighed before, half as many count after that time."""

SLACK = 0.1
"""Whoever has no more than that much above the average of calls gives nothing away: calls are never spread evenly."""


class Offer(msgspec.Struct, frozen=True, order=True, gc=False):
    """A resource that may be moved. Of several the least one goes first."""

    priority: int
    minus_load: float
    resource_id: ResourceId


class _Giver(msgspec.Struct, frozen=True, order=True, gc=False):
    """Whose turn it is to give: the least one's, which has most if it has nothing of a higher priority to offer."""

    priority: int
    minus_load: float
    position: int
    offer: Offer


class _Taker(msgspec.Struct, frozen=True, order=True, gc=False):
    """Who is to take: the least one, as long as that is its load."""

    load: float
    position: int


class Share(msgspec.Struct):
    """What one instance has to do with the load of its service."""

    instance_id: InstanceId
    load: float
    room: int
    """How many resources more it may own."""
    floor: float = inf
    """It gives nothing away that it needs to have as much as this."""
    offers: list[Iterable[Offer]] = []
    """What it may give away, in any number of pieces, of which each is sorted."""


def weighed(grant: Grant, now: float) -> Weighed:
    """How busy a resource is: the calls since it was weighed last, and what is left of those before."""
    before, calls = grant.weighed, grant.calls_total
    if before is None:
        return Weighed(calls, calls, now)
    kept = before.load * 0.5 ** ((now - before.at) / HALF_LIFE_SECONDS)
    return Weighed(kept + calls - before.calls_total, calls, now)


def set_floors(shares: Sequence[Share], by: Measure) -> None:
    """Work out what each is to keep.

    By count as many as the others, or one more for those that have most. By calls the average and a little more.
    """
    total = sum(share.load for share in shares)
    if by == "calls":
        for share in shares:
            share.floor = (1 + SLACK) * total / len(shares)
        return
    base, extra = divmod(total, len(shares))
    most_first = sorted(shares, key=lambda share: -share.load)
    for position, share in enumerate(most_first):
        share.floor = base + (position < extra)


def moves(shares: Sequence[Share]) -> Generator[Move | None]:
    """The moves that even out the loads, in order, and the loads follow them. None for each resource that stays.

    Nothing that is asked for takes long: stop at any moment, and go on later.
    """
    offers = [merge(*share.offers) for share in shares]
    givers: list[_Giver] = []
    takers: list[_Taker] = []

    def offer(position: int) -> None:
        share = shares[position]
        if share.load > share.floor and (best := next(offers[position], None)) is not None:
            heappush(givers, _Giver(best.priority, -share.load, position, best))

    for position, share in enumerate(shares):
        offer(position)
        takers.append(_Taker(share.load, position))
        yield None
    heapify(takers)
    while givers:
        giver = heappop(givers)
        best, source = giver.offer, shares[giver.position]
        taker = _least(takers, shares)
        if taker is None:
            return
        target, load = shares[taker], -best.minus_load
        if source.load > source.floor and load < source.load - target.load:
            source.load -= load
            target.load += load
            source.room += 1
            target.room -= 1
            heappush(takers, _Taker(source.load, giver.position))
            heappush(takers, _Taker(target.load, taker))
            yield Move(
                resource_id=best.resource_id,
                from_instance_id=source.instance_id,
                to_instance_id=target.instance_id,
            )
        else:
            yield None
        offer(giver.position)


def _least(takers: list[_Taker], shares: Sequence[Share]) -> int | None:
    """Who has least of those that have room; what is noted of others, or was noted before a move, is forgotten."""
    while takers:
        taker = takers[0]
        share = shares[taker.position]
        if share.load == taker.load and share.room > 0:
            return taker.position
        heappop(takers)
    return None
