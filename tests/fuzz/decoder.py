"""Whatever arrives, it is taken apart as JSON and JSON-RPC say, or refused with one of our own errors."""

import json
from contextlib import suppress
from typing import Any

import attrs
import msgspec
import orjson
from hypothesis import strategies as st

from resroute.errors import InvalidParams, InvalidRequest, ParseError, RouterError
from resroute.protocol.envelope import (
    DECODE_ERRORS,
    Envelope,
    decode_envelope,
    diagnose,
    error_message,
    read_callee_error,
    split_batch,
)
from resroute.protocol.methods import METHODS
from resroute.protocol.params import RouteCallParams
from resroute.protocol.structure import structure_params
from tests.fuzz import hostile
from tests.fuzz.corpus import MESSAGES
from tests.fuzz.effort import Target

_MAX_DEPTH = 300
"""What is nested more deeply may be refused for that."""

_MAX_DIGITS = 4000
"""So may integers that are longer."""


class NotComparable(Exception):
    """The standard library may see it otherwise, and may."""


class NotJson(Exception):
    """The standard library, at its strictest, does not take it."""


class _Doubled(dict[str, Any]):
    """An object in which a name is there twice. The last counts."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    json.dumps(members, ensure_ascii=False).encode()  # fails for a lone surrogate, which is no character
    found = dict(members)
    return found if len(found) == len(members) else _Doubled(members)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise NotComparable
    return int(digits)


def _constant(name: str) -> Any:
    raise NotJson(name)


def reference(text: bytes) -> Any:
    """What a text says, according to the standard library.

    Raises:
        NotJson: nothing.
        NotComparable: the two may differ about it.
    """
    if text.count(b"[") + text.count(b"{") > _MAX_DEPTH:
        raise NotComparable
    try:
        text.decode()
    except UnicodeDecodeError:
        raise NotComparable from None  # the transport lets no such text through
    try:
        value = json.loads(
            text.decode(), parse_constant=_constant, object_pairs_hook=_object, parse_int=_integer
        )
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise NotJson(str(error)) from None
    return value


def is_id(value: Any) -> bool:
    """Whether a value may be the id of a request."""
    return type(value) in (int, str)


def is_well_formed(message: dict[str, Any]) -> bool:
    """Whether an object is one that JSON-RPC knows."""
    return (
        message.get("jsonrpc") == "2.0"
        and is_id(message.get("id", 0))
        and isinstance(message.get("method", ""), str)
    )


def take_apart(text: bytes) -> None:
    """A message or batch is what the standard library reads in it, or the error that JSON-RPC names for it."""
    if not _is_message(text):
        members = split_batch(text, len(text))
        if members is None:
            _compare_refusal(text)
            return
        for member in members:
            if not _is_message(bytes(member)):
                _compare_refusal(bytes(member))
        with suppress(NotComparable):
            assert [reference(bytes(member)) for member in members] == reference(text)


def _is_message(text: bytes) -> bool:
    try:
        envelope = decode_envelope(text)
    except DECODE_ERRORS:
        return False
    _compare(envelope, text)
    return True


def _compare(envelope: Envelope, text: bytes) -> None:
    try:
        message = reference(text)
        payloads = {
            name: reference(bytes(raw))
            for name in ("params", "result", "error", "meta")
            if (raw := getattr(envelope, name)) is not msgspec.UNSET
        }
    except NotComparable:
        return
    assert is_well_formed(message)
    heads = {
        name: value for name in ("id", "method") if (value := getattr(envelope, name)) is not msgspec.UNSET
    }
    known = ("id", "method", "params", "result", "error", "meta")
    assert heads | payloads == {name: value for name, value in message.items() if name in known}


def _compare_refusal(text: bytes) -> None:
    malformed = diagnose(text)
    assert_small(malformed.error)
    try:
        message = reference(text)
    except NotComparable:
        return
    except NotJson:
        assert isinstance(malformed.error, ParseError)
        assert malformed.id is None and not malformed.is_answer
        return
    assert isinstance(malformed.error, InvalidRequest)
    request_id = None
    is_answer = False
    if isinstance(message, dict):
        assert isinstance(message, _Doubled) or not is_well_formed(message)
        request_id = message["id"] if is_id(message.get("id")) else None
        is_answer = "method" not in message and ("result" in message or "error" in message)
    assert malformed.id == request_id and type(malformed.id) is type(request_id)
    assert malformed.is_answer == is_answer


def structure(asked: tuple[str, bytes]) -> None:
    """Parameters are taken as they are, uncoerced, or every refusal says what is wrong."""
    method, text = asked
    params_type = RouteCallParams if method == "route.call" else METHODS[method].params
    try:
        params = structure_params(msgspec.Raw(text), params_type)
    except InvalidParams as error:
        assert_small(error)
        return
    try:
        members = reference(text)
    except NotComparable:
        return
    for name, value in attrs.asdict(params, recurse=False).items():
        if name in members:
            assert_taken(value, members[name])
    assert set(members) <= set(attrs.fields_dict(params_type))


_ROUTERS_OWN = {"version", "created_by", "last_modified"}
"""Members of metadata that are ignored, whatever they are."""


def assert_taken(value: Any, said: Any) -> None:
    """What was made of a value is what it says, and all that it says."""
    match value:
        case msgspec.Raw():
            assert reference(bytes(value)) == said
        case msgspec.Struct():
            taken = {name: getattr(value, name) for name in value.__struct_fields__}
            taken = {name: member for name, member in taken.items() if member is not msgspec.UNSET}
            assert taken.keys() <= said.keys() <= taken.keys() | _ROUTERS_OWN
            for name, member in taken.items():
                assert_taken(member, said[name])
        case list():
            for item, said_item in zip(value, said, strict=True):
                assert_taken(item, said_item)
        case dict():
            assert value.keys() == said.keys()
            for key, item in value.items():
                assert_taken(item, said[key])
        case _:
            assert value == said
            assert isinstance(value, bool) == isinstance(said, bool)


def structure_anything(text: bytes) -> None:
    """Whatever stands where parameters belong, a refusal is one of ours."""
    for method in METHODS.values():
        try:
            structure_params(msgspec.Raw(text), method.params)
        except InvalidParams as error:
            assert_small(error)
    if (callee_error := read_callee_error(msgspec.Raw(text))) is not None:
        assert callee_error.is_stale_epoch in (True, False)


def assert_small(error: RouterError) -> None:
    """No refusal is much larger than what it refuses may be for nothing."""
    body = orjson.loads(error_message(1, error))["error"]
    assert body["code"] == error.code and body["data"].get("errors", [{}]) != []
    assert len(error_message(1, error)) < 16 * 1024


TAKE_APART = Target(check=take_apart, inputs=hostile.messages, everyday=150, corpus=MESSAGES)

STRUCTURE = Target(
    check=structure,
    inputs=st.sampled_from(sorted(METHODS)).flatmap(
        lambda name: st.tuples(st.just(name), hostile.params_of(name))
    ),
    everyday=100,
)

STRUCTURE_ANYTHING = Target(
    check=structure_anything,
    inputs=st.one_of(hostile.values, hostile.mutilated(hostile.values), st.binary(max_size=30)),
    everyday=100,
    corpus=MESSAGES,
)
