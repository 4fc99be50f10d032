"""Large MessagePack read in steps: the same as what is built at once."""

import json
from collections.abc import Generator
from typing import Any

import msgspec
import ormsgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from resroute.protocol.envelope import DECODE_ERRORS, Envelope, Malformed
from resroute.protocol.messagepack import Translated, Unsayable, decode_envelope, read, to_json
from resroute.protocol.spelling import MAX_DEPTH, is_dense, read_in_steps, spell_in_steps
from tests.core.effort import effort

check_syntax = msgspec.msgpack.Decoder(Raw).decode

numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=4), inner, max_size=20),
    max_leaves=40,
)


def finished[T](steps: Generator[None, None, T]) -> T:
    """What all steps come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def said(envelope: Envelope | Malformed) -> list[Any]:
    """All that a message says, whatever its JSON looks like."""
    if isinstance(envelope, Malformed):
        return [str(envelope.error), envelope.id, envelope.is_answer]
    assert isinstance(envelope, Translated)
    found = [
        getattr(envelope, name) for name in ("jsonrpc", "id", "method", "params", "result", "error", "meta")
    ]
    spelled = [json.loads(bytes(it)) if isinstance(it, Raw) else it for it in found]
    return [*spelled, UNSET if envelope.payload is UNSET else bytes(envelope.payload)]


@given(value=values)
@effort(200)
def test_a_value_is_spelled_as_what_is_built(value: object) -> None:
    packed = ormsgpack.packb(value)
    assert json.loads(finished(spell_in_steps(packed))) == json.loads(to_json(packed))


@given(
    packed=st.lists(
        st.sampled_from(b"\x01\x7f\x80\x81\x91\x92\xa0\xa1\xc0\xc4\xc7\xca\xcb\xd4\xd9\xff"), max_size=24
    )
)
@example(packed=list(b"\x81\x01\xc0"))
@example(packed=list(b"\xa1\xff"))
@example(packed=list(b"\xd4\x01\x01"))
@example(packed=list(b"\xc4\x00"))
@example(packed=list(b"\xca\x7f\xff\xff\xff"))
@effort(500)
def test_what_json_cannot_say_is_found(packed: list[int]) -> None:
    text = bytes(packed)
    try:
        check_syntax(text)
    except DECODE_ERRORS:
        return
    try:
        expected = json.loads(to_json(text))
    except Unsayable:
        with pytest.raises(Unsayable):
            finished(spell_in_steps(text))
    else:
        assert json.loads(finished(spell_in_steps(text))) == expected


@pytest.mark.parametrize("within", [b"\xc0", b"\x90", b"\x80", b"\xa1x"])
def test_it_may_be_nested_as_deep_as_what_is_built(within: bytes) -> None:
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        packed = b"\x91" * depth + within
        outcomes = []
        for spell in (to_json, lambda it: finished(spell_in_steps(it))):
            try:
                outcomes.append(bytes(spell(packed)))
            except Unsayable as error:
                outcomes.append(str(error).encode())
        assert outcomes[0] == outcomes[1]


MEMBERS = {
    "id": st.sampled_from([1, "one"]),
    "method": st.sampled_from(
        ["route.call", "session.notify", "$/progress", "resource.register", "work", "$/x"]
    ),
    "params": values
    | st.fixed_dictionaries({}, optional={"params": values, "value": values, "token": values}),
    "result": values,
    "error": values,
    "meta": values,
}


@given(members=st.fixed_dictionaries({}, optional=MEMBERS), is_bound=st.booleans(), binary=st.booleans())
@effort(300)
def test_a_message_is_read_as_what_is_built(members: dict[str, Any], is_bound: bool, binary: bool) -> None:
    if binary:
        members["more"] = b"binary"
    message = ormsgpack.packb({"jsonrpc": "2.0", **members})
    assert said(finished(read_in_steps(message, is_bound=is_bound))) == said(read(message, is_bound=is_bound))


def test_what_is_no_message_is_diagnosed_as_ever() -> None:
    for message in (b"\xc1", b"\x80", ormsgpack.packb({"jsonrpc": "1.0", "id": 5}), b"\x91" * 5):
        assert said(finished(read_in_steps(message, is_bound=False))) == said(read(message))


def test_only_very_many_values_are_read_in_steps() -> None:
    assert is_dense(ormsgpack.packb([[]] * 10_000))
    assert is_dense(ormsgpack.packb([0] * 10_000))
    assert not is_dense(ormsgpack.packb(["a text"] * 1000 + ["x" * 100_000]))
    assert not is_dense(ormsgpack.packb([[]] * 1000))


def test_a_step_is_a_small_part_of_it() -> None:
    message = ormsgpack.packb({"jsonrpc": "2.0", "id": 1, "method": "m", "params": [[]] * 100_000})
    assert sum(1 for _ in read_in_steps(message, is_bound=False)) > 1000
    assert decode_envelope(message).method == "m"
