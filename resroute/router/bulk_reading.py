"""Reading what a request in bulk is about, a slice of the loop at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio
from msgspec import Raw

from resroute.core.commands import BulkItem
from resroute.errors import InvalidParams, ParamError
from resroute.ids import ResourceId
from resroute.protocol.bulk_items import read_id, read_resource
from resroute.protocol.converting import MAX_ERRORS
from resroute.router.describing import change_of

SLICE_SECONDS = 0.001
"""How long reading items may hold the loop."""

_ITEMS_PER_LOOK_AT_THE_CLOCK = 32


class Items(NamedTuple):
    """What was read.

    Attributes:
        items: all of them, in order.
        repeated: the places of ids that are there before.
    """

    items: list[BulkItem]
    repeated: set[int]


def read_registration(raw: Raw, place: int, max_metadata_bytes: int) -> BulkItem:
    """A resource that is to be registered."""
    item = read_resource(raw, f"resources.{place}", max_object_bytes=max_metadata_bytes)
    change = None
    if item.metadata is not None:
        change = change_of(item.metadata, f"resources.{place}.metadata")
    return BulkItem(item.resource_id, change, item.force)


def read_release(raw: Raw, place: int) -> BulkItem:
    """A resource that is to be given up."""
    return BulkItem(read_id(raw, f"resource_ids.{place}").resource_id)


async def read_items(
    raws: Sequence[Raw], read: Callable[[Raw, int], BulkItem], turn_clock: Callable[[], float]
) -> Items:
    """Read all of the items.

    Args:
        read: reads one, and is told its place.
        turn_clock: seconds on any clock.

    Raises:
        InvalidParams: some are wrong.
    """
    items: list[BulkItem] = []
    repeated: set[int] = set()
    errors: list[ParamError] = []
    seen: set[ResourceId] = set()
    until = turn_clock() + SLICE_SECONDS
    for place, raw in enumerate(raws):
        if not place % _ITEMS_PER_LOOK_AT_THE_CLOCK and turn_clock() > until:
            await trio.lowlevel.checkpoint()
            until = turn_clock() + SLICE_SECONDS
        try:
            item = read(raw, place)
        except InvalidParams as error:
            errors += error.errors
            if len(errors) >= MAX_ERRORS:
                break
            continue
        if item.resource_id in seen:
            repeated.add(place)
        seen.add(item.resource_id)
        items.append(item)
    if errors:
        raise InvalidParams(errors[:MAX_ERRORS])
    return Items(items, repeated)
