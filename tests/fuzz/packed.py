"""Whatever arrives as MessagePack is read as the same message in JSON would be, or refused for what JSON cannot say."""

import json
import struct
from typing import Any

import msgspec
import ormsgpack
from hypothesis import strategies as st
from msgspec import UNSET

from resroute.errors import InvalidParams, InvalidRequest, ParseError
from resroute.protocol import messagepack
from resroute.protocol.envelope import Envelope, Malformed, is_scalar, read_member
from resroute.protocol.methods import METHODS
from tests.fuzz.decoder import assert_small
from tests.fuzz.effort import Target
from tests.packed import read_packed
from tests.records import Object

_MAX_DEPTH = 200
"""What is nested more deeply may be refused for that."""


def read(message: bytes) -> None:
    """One message is what the tests' own reader sees in it."""
    found = messagepack.read(message)
    if isinstance(found, Malformed):
        assert_small(found.error)
    try:
        value = read_packed(message)
    except ValueError:
        assert isinstance(found, Malformed) and isinstance(found.error, ParseError)
        return
    if _depth(value) > _MAX_DEPTH:
        return
    if not _can_be_said(value):
        if isinstance(found, Malformed):
            assert isinstance(found.error, InvalidParams | InvalidRequest)
        elif found.id is not UNSET or found.params is UNSET or not is_scalar(found.params):
            # else a notification, with params that nobody does anything about
            assert _has_doubles(value)  # and of two members of a name the last counts
        return
    if isinstance(value, Object) and len(value) < len(value.pairs):
        return  # each of two members of a name may be refused
    plain = read_member(msgspec.Raw(_as_json(value)))
    if isinstance(found, Malformed) or isinstance(plain, Malformed):
        assert isinstance(found, Malformed) and isinstance(plain, Malformed)
        assert (found.id, found.is_answer, found.error.code) == (plain.id, plain.is_answer, plain.error.code)
        return
    _compare(found, plain)


def _compare(found: Envelope, plain: Envelope) -> None:
    assert isinstance(found, messagepack.Translated)
    assert (found.id, found.method) == (plain.id, plain.method)
    looked_at = ("result", "error", "meta") if plain.method is UNSET else ("params", "meta")
    for name in looked_at:
        assert (getattr(found, name) is UNSET) == (getattr(plain, name) is UNSET)
    if found.payload is UNSET:
        return
    said = json.loads(_as_json(read_packed(bytes(found.payload))))
    if plain.method is UNSET:
        there = plain.result if plain.error is UNSET else plain.error
        assert there is not UNSET and said == json.loads(bytes(there))
    else:
        assert plain.params is not UNSET
        assert said == json.loads(bytes(plain.params))["value" if plain.method == "$/progress" else "params"]
    assert json.loads(messagepack.to_json(found.payload)) == said


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=float).encode()


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [inner for outer in level for inner in _inside(outer)]
    return depth


def _inside(value: Any) -> list[Any]:
    if isinstance(value, Object):
        return [part for pair in value.pairs for part in pair]
    return value if isinstance(value, list) else []


def _has_doubles(value: Any) -> bool:
    is_doubled = isinstance(value, Object) and len(value) < len(value.pairs)
    return is_doubled or any(map(_has_doubles, _inside(value)))


def _can_be_said(value: Any) -> bool:
    """Whether JSON can say it."""
    if isinstance(value, Object):
        return all(isinstance(name, str) and _can_be_said(inner) for name, inner in value.pairs)
    if isinstance(value, list):
        return all(map(_can_be_said, value))
    return not isinstance(value, tuple) and not (hasattr(value, "is_finite") and not value.is_finite())


def translate(text: bytes) -> None:
    """What passes from JSON to MessagePack comes back as the same value, or is refused."""
    try:
        packed = messagepack.from_json(text)
    except messagepack.Unsayable:
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise AssertionError(f"this is no JSON: {text!r}") from None
    assert messagepack.pack(value) == packed
    assert json.loads(messagepack.to_json(packed)) == value


_ODDITIES = (
    *(b"\xc1", b"\xc4\x01a", b"\xc5\x00\x00", b"\xd4\x01a", b"\xd6\xff\x00\x00\x00\x01", b"\xa1\xff", b""),
    *(b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"),
    *(b"\xcf\x00\x00\x00\x00\x00\x00\x00\x05", b"\xd9\x01a", b"\xdc\x00\x00", b"\xde\x00\x00"),
    *(b"\x91" * 150 + b"\x90", b"\x91" * 1100 + b"\x90", b"\xa3\xed\xa0\x80"),
)
_atoms = st.one_of(
    st.sampled_from((b"\xc0", b"\xc2", b"\xc3", b"\x00", b"\xff", b"\x80", b"\x90", b"\xa0", b"\xa12")),
    st.integers(-(2**63), 2**64 - 1).map(ormsgpack.packb),
    st.floats(allow_nan=False, allow_infinity=False).map(ormsgpack.packb),
    st.floats(width=32).map(lambda number: b"\xca" + struct.pack(">f", number)),
    st.text(max_size=40).map(ormsgpack.packb),
    st.sampled_from(_ODDITIES),
)
_names = st.sampled_from(
    [ormsgpack.packb(name) for name in ("a", "", "params", "value", "method", "resource_id", "token", "\0")]
    + [b"\x01", b"\xc0", b"\xc4\x01a", b"\xd9\x01a"]
)


def _array(items: list[bytes]) -> bytes:
    return bytes((0x90 + len(items),)) + b"".join(items)


def _object(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return bytes((0x80 + len(pairs),)) + b"".join(name + value for name, value in pairs)


_values = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(_array),
        st.lists(st.tuples(_names, inner), max_size=4).map(_object),
    ),
    max_leaves=6,
)
_likely: dict[str, st.SearchStrategy[bytes]] = {
    "jsonrpc": st.sampled_from((b"\xa32.0", b"\xa32.0", b"\xa32.0", b"\xa31.0")),
    "id": st.one_of(st.sampled_from((b"\x01", b"\xa1x", b"\xc0", b"\xc3")), _atoms),
    "method": st.sampled_from([*METHODS, "route.call", "$/progress", "no.such"]).map(ormsgpack.packb),
}


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.sampled_from((*_likely, "params", "result", "error", "meta")), max_size=7))
    if draw(st.booleans()):
        names = ["jsonrpc", "id", "method", "params", *names[:2]]
    members = [(ormsgpack.packb(name), draw(_likely.get(name, _values))) for name in names]
    return _object(members)


@st.composite
def _mutilated(draw: st.DrawFn) -> bytes:
    data = draw(_messages())
    start = draw(st.integers(0, len(data)))
    stop = min(len(data), start + draw(st.integers(0, 4)))
    return data[:start] + draw(st.binary(max_size=3)) + data[stop:]


READ_PACKED = Target(
    check=read, inputs=st.one_of(_messages(), _messages(), _mutilated(), _values), everyday=150
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)

TRANSLATE = Target(check=translate, inputs=json_values.map(_as_json), everyday=100)
