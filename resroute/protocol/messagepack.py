"""MessagePack beside JSON: messages of the same shape, and the same value in the other encoding. Pure.

A message that comes as MessagePack is split like one that comes as JSON: its payload stays the sender's own bytes, and all
that the router itself looks at is handed on as JSON, so that there is one way to read it, as strict as ever. The library is
an extra: without it a router does not offer the subprotocol.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidParams
from resroute.protocol.binding import Binding
from resroute.protocol.envelope import DECODE_ERRORS, Envelope, LooseDecoders, Malformed, diagnose

try:
    from ormsgpack import unpackb as _unpack
except ModuleNotFoundError:
    IS_AVAILABLE = False
else:
    IS_AVAILABLE = True

# How binary, and floats that are not finite, begin. The same bytes may stand elsewhere, and mean nothing there.
_BINARY = (b"\xc4", b"\xc5", b"\xc6")
_NOT_FINITE = (b"\xca\x7f", b"\xca\xff", b"\xcb\x7f", b"\xcb\xff")
NULL = Raw(b"null")
_NO_PARAMS = Raw(b"0")  # neither an object nor an array, nor absent


OTHER_KEY = "JSON cannot say it: a key or a value of another type"
OTHER_TYPE = "JSON cannot say it: an extension type"
NOT_UTF8 = "JSON cannot say it: a string that is not UTF-8"
NOT_JSON = "JSON cannot say it: binary, or a number that is not finite"
DEEP = "nested too deeply"


class Unsayable(Exception):
    """A value that one of the encodings cannot say. The text says why."""


class Translated(Envelope):
    """An envelope that came as MessagePack: its members as JSON, in which something small stands for the payload."""

    payload: Raw | UnsetType = UNSET
    """The payload as it came: the params of a call or of a notification, a part of a result, a result or an error."""


class _Params(msgspec.Struct):
    params: Raw


class _Value(msgspec.Struct):
    value: Raw


PASSED_ON: Mapping[str, str] = {"route.call": "params", "session.notify": "params", "$/progress": "value"}
"""Method -> the member of its params that is passed on."""

decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
"""As :data:`resroute.protocol.envelope.decode_envelope`; what JSON cannot say goes unnoticed."""

_decode_members = msgspec.msgpack.Decoder(list[Raw]).decode
_check_syntax = msgspec.msgpack.Decoder(Raw).decode
_decode_params = msgspec.msgpack.Decoder(_Params).decode
_decode_value = msgspec.msgpack.Decoder(_Value).decode
_loose = LooseDecoders.of(msgspec.msgpack.Decoder)

encode_json = msgspec.json.encode
decode_json = msgspec.json.decode

pack = msgspec.msgpack.encode
"""A value as MessagePack."""


def build(packed: bytes | Raw) -> Any:
    """The value that MessagePack says. Of duplicate keys the last counts.

    Building it is the check: see ``docs/decisions`` for what that takes.

    Raises:
        Unsayable: JSON cannot say it, or it is nested more than a thousand levels deep.
    """
    data = bytes(packed)
    try:
        value = _unpack(data)
    except ValueError as error:
        # also for extension types, other keys than strings, and strings that are not UTF-8
        raise Unsayable(_REASONS.get(str(error), OTHER_KEY)) from None
    if not _is_sayable(value, data):
        raise Unsayable(NOT_JSON)
    return value


def _is_sayable(value: Any, data: bytes) -> bool:
    """Whether there is neither binary nor a number that is not finite in a value."""
    if not any(start in data for start in _NOT_FINITE):
        if not any(start in data for start in _BINARY):
            return True
        try:
            orjson.dumps(value)
        except TypeError:  # there is binary, or it is nested more deeply than this goes
            pass
        else:
            return True
    # JSON of binary is a string, and of what is no finite number null: what comes back differs
    return bool(decode_json(encode_json(value)) == value)


_REASONS = {
    "ext_hook missing": OTHER_TYPE,
    "invalid UTF-8 string": NOT_UTF8,
    "Recursion limit reached": DEEP,
}


def to_json(packed: bytes | Raw) -> bytes:
    """The same value as JSON.

    Raises:
        Unsayable: JSON cannot say it.
    """
    return encode_json(build(packed))


def from_json(text: bytes | Raw) -> bytes:
    """The same value as MessagePack. Of duplicate keys the last counts.

    Raises:
        Unsayable: a number is beyond 64 bits, or nothing that a program could build.
    """
    try:
        return pack(decode_json(text))
    except (OverflowError, *DECODE_ERRORS) as error:
        raise Unsayable(f"MessagePack cannot say it: {error}") from None


def own_payload[T: (Raw, None)](envelope: Envelope, member: T) -> Raw | T:
    """The payload of a message in its sender's encoding. ``member`` is the payload as the envelope has it."""
    if isinstance(envelope, Translated) and envelope.payload is not UNSET:
        return envelope.payload
    return member


def read(message: bytes | Raw, *, is_bound: bool = False) -> Envelope | Malformed:
    """One message. What the router looks at is JSON in it: see :class:`Translated`.

    Args:
        is_bound: the connection is, so that the params of what is routed are the payload as a whole.
    """
    try:
        given = decode_envelope(message)
    except DECODE_ERRORS:
        return diagnose(message, _loose)
    try:
        value = build(message)
    except Unsayable as error:
        return refused(given, error)
    read = Translated(given.jsonrpc, given.id, given.method)
    if given.meta is not UNSET:
        read.meta = Raw(encode_json(value["meta"]))
    if given.method is UNSET:
        if given.result is not UNSET:
            read.result, read.payload = NULL, given.result
        if given.error is not UNSET:
            read.error, read.payload = Raw(encode_json(value["error"])), given.error
    elif given.params is not UNSET:
        if is_bound and Binding.covers(given.method):
            read.params, read.payload = Raw(encode_json(_stand_in(value["params"]))), given.params
        else:
            _read_params(read, given.method, given.params, value["params"])
    return read


def refused(given: Envelope, error: Unsayable) -> Envelope | Malformed:
    """What becomes of a message of which something cannot be said as JSON."""
    if given.id is UNSET and given.method is not UNSET:
        # a notification has no answer, not even this one: with such params nobody does anything about it
        return Translated(given.jsonrpc, method=given.method, params=_NO_PARAMS)
    is_answer = given.method is UNSET and (given.result is not UNSET or given.error is not UNSET)
    request_id = None if given.id is UNSET else given.id
    return Malformed(InvalidParams.at("", str(error)), request_id, is_answer)


def _read_params(read: Translated, method: str, given: Raw, params: Any) -> None:
    passed_on = PASSED_ON.get(method)
    if passed_on is not None and isinstance(params, dict) and passed_on in params:
        read.payload = _decode_value(given).value if passed_on == "value" else _decode_params(given).params
        params = {**params, passed_on: _stand_in(params[passed_on])}
    read.params = Raw(encode_json(params))


def _stand_in(payload: Any) -> Any:
    """Something small of the same kind."""
    if isinstance(payload, dict):
        return {}
    return [] if isinstance(payload, list) else payload


def split_batch(message: bytes, max_members: int) -> list[Raw] | None:
    """The members of a batch array, or None if the message is no array (or no MessagePack). Of too many, too many nulls."""
    count = _count_items(message)
    if count is None:
        return None
    try:
        if count > max_members:
            _check_syntax(message)
            return [Raw(pack(None))] * (max_members + 1)
        return _decode_members(message)
    except DECODE_ERRORS:
        return None


def _count_items(array: bytes) -> int | None:
    """How many items an array says that it has."""
    first = array[0] if array else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F
    if first in (0xDC, 0xDD):
        return int.from_bytes(array[1 : 3 if first == 0xDC else 5])
    return None


def string_at(packed: bytes, at: int) -> str | None:
    """The string that begins there; None if it is none, or longer than 64 KiB."""
    first = packed[at] if at < len(packed) else 0
    if first & 0xE0 == 0xA0:
        start, size = at + 1, first & 0x1F
    elif first in (0xD9, 0xDA):
        start = at + (2 if first == 0xD9 else 3)
        size = int.from_bytes(packed[at + 1 : start])
    else:
        return None
    return packed[start : start + size].decode()


def array_of(items: list[bytes]) -> bytes:
    """An array of values that are packed already."""
    count = len(items)
    if count < 16:
        head = bytes((0x90 + count,))
    elif count < 1 << 16:
        head = b"\xdc%b" % count.to_bytes(2)
    else:
        head = b"\xdd%b" % count.to_bytes(4)
    return head + b"".join(items)


def object_of(members: Mapping[str, bytes]) -> bytes:
    """An object of fewer than 16 members that are packed already."""
    return add_members(b"\x80", members)


def add_members(packed: bytes, members: Mapping[str, bytes]) -> bytes:
    """An object of :func:`object_of` with more members; fewer than 16 in all."""
    head = bytes((packed[0] + len(members),))
    return head + packed[1:] + b"".join([pack(name) + value for name, value in members.items()])
