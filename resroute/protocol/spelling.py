"""Large messages in MessagePack of very many values, read a few of these at a time. Pure.

To build a mebibyte of tiny values takes a tenth of a second, in which nothing else could happen. To look at them here takes
several times as long, with turns for others in between.
"""

import struct
from collections.abc import Callable, Generator
from math import isfinite

import msgspec
from msgspec import UNSET, Raw

from resroute.protocol.binding import Binding
from resroute.protocol.envelope import DECODE_ERRORS, Envelope, Malformed
from resroute.protocol.messagepack import (
    DEEP,
    NOT_JSON,
    NOT_UTF8,
    NULL,
    OTHER_KEY,
    OTHER_TYPE,
    PASSED_ON,
    Translated,
    Unsayable,
    decode_envelope,
    read,
    refused,
    to_json,
)

_MANY_VALUES = 8 * 1024
"""So many small ones are built in a millisecond."""

_LETTERS = bytes(range(0x20, 0x80))

MAX_DEPTH = 1022
"""How deep arrays and objects may be nested, the message itself among them. As for what is built at once."""

_SPELLED_IN_A_STEP = 128
_encode = msgspec.json.encode
_decode_members = msgspec.msgpack.Decoder(dict[str, Raw]).decode

# first byte -> the JSON of what is that byte alone
_ALONE: dict[int, bytes] = {
    **{byte: b"%d" % byte for byte in range(0x80)},
    **{byte: b"%d" % (byte - 256) for byte in range(0xE0, 0x100)},
    0x80: b"{}",
    0x90: b"[]",
    0xC0: b"null",
    0xC2: b"false",
    0xC3: b"true",
}
# first byte -> how many bytes follow that are a number, and what reads them
_NUMBERS: dict[int, tuple[int, Callable[[bytes], tuple[float, ...]]]] = {
    0xCA: (4, struct.Struct(">f").unpack),
    0xCB: (8, struct.Struct(">d").unpack),
    0xCC: (1, struct.Struct(">B").unpack),
    0xCD: (2, struct.Struct(">H").unpack),
    0xCE: (4, struct.Struct(">I").unpack),
    0xCF: (8, struct.Struct(">Q").unpack),
    0xD0: (1, struct.Struct(">b").unpack),
    0xD1: (2, struct.Struct(">h").unpack),
    0xD2: (4, struct.Struct(">i").unpack),
    0xD3: (8, struct.Struct(">q").unpack),
}
# first byte -> how many bytes follow that say how long it is
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_OBJECTS = {0xDE: 2, 0xDF: 4}
_OBJECT = Raw(b"{}")
_BINARY = (0xC4, 0xC5, 0xC6)


def is_dense(packed: bytes | Raw) -> bool:
    """Whether there may be very many values in a message. Also true of long texts in other letters than those of ASCII."""
    size = memoryview(packed).nbytes
    return size > _MANY_VALUES and len(bytes(packed).translate(None, _LETTERS)) > _MANY_VALUES


def read_in_steps(message: bytes | Raw, *, is_bound: bool) -> Generator[None, None, Envelope | Malformed]:
    """As :func:`resroute.protocol.messagepack.read`."""
    try:
        given = decode_envelope(message)
    except DECODE_ERRORS:
        return read(message, is_bound=is_bound)
    try:
        yield from spell_in_steps(bytes(message), keeps=False)
    except Unsayable as error:
        return refused(given, error)
    translated = Translated(given.jsonrpc, given.id, given.method)
    if given.meta is not UNSET:
        translated.meta = yield from _spell(given.meta)
    if given.method is UNSET:
        if given.result is not UNSET:
            translated.result, translated.payload = NULL, given.result
        if given.error is not UNSET:
            translated.error, translated.payload = (yield from _spell(given.error)), given.error
    elif given.params is not UNSET:
        if is_bound and Binding.covers(given.method):
            translated.params, translated.payload = _stand_in(given.params), given.params
        elif given.method in PASSED_ON and _stand_in(given.params) == _OBJECT:
            yield from _spell_but_payload(translated, given.params, PASSED_ON[given.method])
        else:
            translated.params = yield from _spell(given.params)
    return translated


def _spell_but_payload(translated: Translated, params: Raw, passed_on: str) -> Generator[None]:
    """Params that are an object, with something small for the member that is passed on."""
    members: list[bytes] = []
    for name, value in _decode_members(params).items():
        if name == passed_on:
            translated.payload = value
            spelled = _stand_in(value)
        else:
            spelled = yield from _spell(value)
        members.append(b"%b:%b" % (_encode(name), spelled))
    translated.params = Raw(b"{%b}" % b",".join(members))


def _spell(value: Raw) -> Generator[None, None, Raw]:
    return Raw((yield from spell_in_steps(bytes(value))))


def _stand_in(value: Raw) -> Raw:
    """The JSON of something small of the same kind."""
    first = memoryview(value)[0]
    if first & 0xF0 == 0x80 or first in _OBJECTS:
        return _OBJECT
    return Raw(b"[]") if first & 0xF0 == 0x90 or first in _ARRAYS else Raw(to_json(value))


def spell_in_steps(packed: bytes, *, keeps: bool = True) -> Generator[None, None, bytes]:
    """The JSON of a value that is well-formed MessagePack.

    Args:
        keeps: whether there is to be JSON at all, or only to be seen that there is some.

    Raises:
        Unsayable: JSON cannot say it, or it is nested more than :data:`MAX_DEPTH` deep.
    """
    parts: list[bytes] = []
    spelled: list[bytes] = []
    around: list[tuple[int, bytes]] = []  # of what is open: values to come, and how it ends
    left, end = 1, b""
    at = count = 0
    before = b""  # what stands between the last value and the next
    while True:
        while not left and around:
            spelled.append(end)
            left, end = around.pop()
            before = b","
        if not left:
            break
        first = packed[at]
        at += 1
        left -= 1
        is_key = end == b"}" and left & 1
        spelled.append(before)
        before = b":" if is_key else b","
        if 0xA0 <= first < 0xC0 or first in _STRINGS:
            if first < 0xC0:
                size = first & 0x1F
            else:
                width = _STRINGS[first]
                size = int.from_bytes(packed[at : at + width])
                at += width
            spelled.append(_string(packed[at : at + size]))
            at += size
        elif is_key:
            raise Unsayable(OTHER_KEY)
        elif (alone := _ALONE.get(first)) is not None:
            spelled.append(alone)
        elif (number := _NUMBERS.get(first)) is not None:
            size, read = number
            [value] = read(packed[at : at + size])
            if not isfinite(value):
                raise Unsayable(NOT_JSON)
            spelled.append(_encode(value))
            at += size
        else:
            if len(around) >= MAX_DEPTH:
                raise Unsayable(DEEP)
            around.append((left, end))
            left, end, at = _open(packed, first, at)
            spelled.append(b"{" if end == b"}" else b"[")
            before = b""
        count += 1
        if not count % _SPELLED_IN_A_STEP:
            if keeps:
                parts.append(b"".join(spelled))
            spelled.clear()
            yield
    parts.append(b"".join(spelled))
    return b"".join(parts)


def _string(text: bytes) -> bytes:
    try:
        return _encode(text.decode())
    except UnicodeDecodeError:
        raise Unsayable(NOT_UTF8) from None


def _open(packed: bytes, first: int, at: int) -> tuple[int, bytes, int]:
    """How many values there are in an array or object, keys among them; how it ends; where the first begins."""
    if first & 0xF0 == 0x90:
        return first & 0x0F, b"]", at
    if first & 0xF0 == 0x80:
        return 2 * (first & 0x0F), b"}", at
    if (width := _ARRAYS.get(first)) is not None:
        return int.from_bytes(packed[at : at + width]), b"]", at + width
    if (width := _OBJECTS.get(first)) is not None:
        return 2 * int.from_bytes(packed[at : at + width]), b"}", at + width
    raise Unsayable(NOT_JSON if first in _BINARY else OTHER_TYPE)
