"""MessagePack by hand, so that nothing of what is held against the router comes from a library that it uses itself."""

import struct
from contextlib import suppress
from itertools import batched
from typing import Any

import attrs

from tests.records import Object, decimal_of

_FIXED: dict[int, str] = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZED: dict[int, tuple[str, int]] = {
    0xD9: ("string", 1),
    0xDA: ("string", 2),
    0xDB: ("string", 4),
    0xDC: ("array", 2),
    0xDD: ("array", 4),
    0xDE: ("object", 2),
    0xDF: ("object", 4),
    0xC4: ("binary", 1),
    0xC5: ("binary", 2),
    0xC6: ("binary", 4),
    0xC7: ("extension", 1),
    0xC8: ("extension", 2),
    0xC9: ("extension", 4),
}


@attrs.define
class _Container:
    """An array or object of which not all has been read."""

    size: int
    is_object: bool
    items: list[Any] = attrs.field(factory=list)

    @property
    def value(self) -> Any:
        if not self.is_object:
            return self.items
        return Object([(_as_name(key), value) for key, value in batched(self.items, 2, strict=True)])


def _as_name(key: Any) -> Any:
    """No dictionary takes an array or an object as a key. Nor does JSON, which is all there is to say of one."""
    return ("key", repr(key)) if isinstance(key, list | dict) else key


def read_packed(data: bytes) -> Any:
    """MessagePack in which nothing is lost but how it was written.

    What JSON cannot say is a tuple of its kind and its bytes.

    Raises:
        ValueError: it is none.
    """
    at = 0
    within: list[_Container] = []
    try:
        while True:
            value, at = _read(data, at)
            if isinstance(value, _Container) and value.size:
                within.append(value)
                continue
            value = value.value if isinstance(value, _Container) else value
            while within:
                within[-1].items.append(value)
                if len(within[-1].items) < within[-1].size:
                    break
                value = within.pop().value
            else:
                break
    except (IndexError, struct.error) as error:
        raise ValueError(str(error)) from error
    if at != len(data):
        raise ValueError("more than one value")
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    """One value, of an array or object only its beginning, and where it ends."""
    first = data[at]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return first - 0x100 * (first >= 0xE0), at
    if first < 0xC0:
        kind = "object" if first < 0x90 else "array" if first < 0xA0 else "string"
        return _sized(data, at, kind, first & (0x1F if kind == "string" else 0x0F))
    if first in _CONSTANTS:
        return _CONSTANTS[first], at
    if first in _FIXED:
        [number] = struct.unpack_from(_FIXED[first], data, at)
        return decimal_of(number), at + struct.calcsize(_FIXED[first])
    if first in _SIZED:
        kind, width = _SIZED[first]
        if len(data) < at + width:
            raise ValueError("cut off")
        return _sized(data, at + width, kind, int.from_bytes(data[at : at + width]))
    if 0xD4 <= first <= 0xD8:
        return _sized(data, at, "extension", 1 << (first - 0xD4))
    raise ValueError("no value begins like that")


def _sized(data: bytes, at: int, kind: str, size: int) -> tuple[Any, int]:
    if kind in ("array", "object"):
        is_object = kind == "object"
        return _Container(size * (1 + is_object), is_object), at
    end = at + size + (kind == "extension")
    if end > len(data):
        raise ValueError("cut off")
    if kind == "string":
        with suppress(UnicodeDecodeError):
            return data[at:end].decode(), end
    return (kind, data[at:end]), end
