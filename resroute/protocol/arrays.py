"""JSON arrays that may be longer than anybody wants: taken apart no further than need be. Pure."""

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

_MAX_FIELDS = 10_001  # a class with that many takes 40 ms to make, once

_decode_all = msgspec.json.Decoder(list[Raw]).decode


def first_items(array: bytes | Raw, at_most: int) -> list[Raw]:
    """The first items of an array. All of it must be JSON, but what is beyond them is not built.

    A mebibyte holds half a million items: building them all takes twenty milliseconds, and stepping over them two.

    Raises:
        msgspec.DecodeError: it is no array, or no JSON. Also what else the decoder raises for what is no JSON.
    """
    if at_most > _MAX_FIELDS or bytes(array).count(b",") < at_most:
        return _decode_all(array)[:at_most]
    fields = msgspec.structs.astuple(_decoder(at_most)(array))
    count = bisect_left(fields, True, key=lambda item: item is UNSET)  # those come after all items
    return list(fields[:count])


def prepare(at_most: int) -> None:
    """Have :func:`first_items` be quick from the first array on: what it takes to know is made once, in some 50 ms."""
    if at_most <= _MAX_FIELDS:
        _decoder(at_most)


@cache
def _decoder(count: int) -> Callable[[bytes | Raw], msgspec.Struct]:
    """Of an array into a struct with a field for each of the first items: what has no field is stepped over."""
    fields: list[tuple[str, Any, Any]] = [(f"item{index}", Raw | UnsetType, UNSET) for index in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("FirstItems", fields, array_like=True, gc=False)).decode
