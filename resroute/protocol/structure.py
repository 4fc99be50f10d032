"""Parameters from JSON to typed values: everything that is wrong is named with its path, and nothing wrong costs much."""

import heapq
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from itertools import islice
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidParams, ParamError
from resroute.protocol.arrays import first_items
from resroute.protocol.compact import (
    LARGE,
    MAX_INT,
    NUL,
    Wrong,
    compact_object,
    compact_value,
    has_nul,
    name_of,
)
from resroute.protocol.converting import (
    MAX_ERRORS,
    MAX_SHOWN,
    JsonObject,
    JsonValue,
    Payload,
    converter,
    errors_in,
    is_later,
)
from resroute.protocol.envelope import is_null

LARGE_BYTES = 16 * 1024
"""Larger params are read in steps."""

_OBJECT_BEGINS = ord("{")
_MANY_MEMBERS = 16 * 1024  # an object with so many takes some milliseconds to build
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_BUILT_IN_A_STEP = 8

_Kind = Literal["scalar", "list", "later", "object", "struct", "map", "payload", "anything"]

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FAULTS = (Wrong, InvalidParams, *_DECODE_ERRORS)


@attrs.frozen
class Bounds:
    """How much of what parameters may hold.

    Attributes:
        max_items: what a list or an object with any keys may hold. Nobody looks at the items of a longer one.
        max_object_bytes: what a free-form object may take as compact JSON: as sent, without white space between tokens.
        max_value_bytes: what a value of an object with any keys may take likewise, if it is of any type.
    """

    max_items: int | None = None
    max_object_bytes: int | None = None
    max_value_bytes: int | None = None


UNBOUNDED = Bounds()


@attrs.frozen
class _Member:
    """How a member is built: what there is to build, of which type, and of which class what is inside."""

    kind: _Kind
    type: Any
    may_be_null: bool
    inner: "type[msgspec.Struct] | None" = None


# class of parameters, or of what is inside them -> how its members are built; one entry for each that was ever asked for
_members_of: dict[type, Mapping[str, _Member]] = {}
_structs: dict[type, "_Struct"] = {}


def structure_params[T](params: Raw | None, cls: type[T], bounds: Bounds = UNBOUNDED) -> T:
    """As :func:`structure_in_steps`, at once."""
    steps = structure_in_steps(params, cls, bounds)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)


def structure_in_steps[T](params: Raw | None, cls: type[T], bounds: Bounds) -> Generator[None, None, T]:
    """The parameters of one of the router's own methods. In steps, if they are large.

    Only what may be right is built: a request can be a mebibyte of small values, of which each costs time.

    Args:
        params: the JSON of an object, or None where the request has no params.
        cls: an attrs class; members with a default may be left out, and of type ``Any`` stay JSON. A struct inside it has
            members that may all be left out, and ignores those of type ``Raw``, whatever they are.

    Raises:
        InvalidParams: naming every member that is missing, unknown or wrong, the first :data:`MAX_ERRORS` of them.
    """
    members = _members(cls)
    is_large = params is not None and memoryview(params).nbytes > LARGE_BYTES
    given = _decode_given(params, members) if params is not None else {}
    values: dict[str, Any] = {}
    wrong: dict[str, list[ParamError]] = {}  # what cattrs need not see; by the name of the member
    for name in members.keys() & given.keys():
        if is_large:
            yield
        value, member = given[name], members[name]
        try:
            if member.kind == "map" and not (member.may_be_null and is_null(value)):
                values[name] = yield from _build_map(value, member.inner, bounds)
            else:
                values[name] = _build(value, member, bounds)
        except _FAULTS as error:
            wrong[name] = list(islice(errors_in(error, name), MAX_ERRORS))
    if len(given) > len(values) + len(wrong):
        values |= dict.fromkeys(_unknown(given, members))
    if is_large:
        yield
    errors = [error for found in wrong.values() for error in found]
    try:
        structured = converter.get_structure_hook(cls)(values, cls)
        if not errors:
            return cast("T", structured)
    except (cattrs.BaseValidationError, Wrong) as error:
        errors += [found for found in islice(errors_in(error, ""), MAX_ERRORS) if found["path"] not in wrong]
    raise InvalidParams(errors[:MAX_ERRORS])


def _decode_given(params: Raw, members: Mapping[str, _Member]) -> Mapping[str, Raw]:
    """The members of some params, by their names.

    Raises:
        InvalidParams: they are no object; or there may be very many of them, and one is unknown.
    """
    view = memoryview(params)
    if not view.nbytes or view[0] != _OBJECT_BEGINS:
        raise InvalidParams.at("", "params are by name: an object")
    try:
        if view.nbytes <= LARGE_BYTES or bytes(params).count(b":") <= _MANY_MEMBERS:
            return _decode_members(params)
        known = _known_decoder(tuple(members))(params)
        return {name: value for name in members if (value := getattr(known, name)) is not UNSET}
    except msgspec.ValidationError as error:
        named = _UNKNOWN_FIELD.fullmatch(str(error))
        raise InvalidParams.at(named[1][:MAX_SHOWN] if named else "", "unknown member") from None
    except _DECODE_ERRORS as error:
        raise InvalidParams.at("", str(error)) from None


@cache
def _known_decoder(names: tuple[str, ...]) -> Callable[[Raw], Any]:
    """Of an object with some of these members, and no others, into one that has them as attributes."""
    fields: list[tuple[str, Any, Any]] = [(name, Raw | UnsetType, UNSET) for name in names]
    known = msgspec.defstruct("Known", fields, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(known).decode


def _members(cls: type) -> Mapping[str, _Member]:
    """How each member of a class is built."""
    members = _members_of.get(cls)
    if members is None:
        if attrs.has(cls):
            members = {field.name: _member(field.type) for field in attrs.fields(cls)}
        else:
            members = {name: _member(kind) for name, kind in get_type_hints(cls).items()}
        _members_of[cls] = members
    return members


def _member(target: Any) -> _Member:
    if target is Any:
        return _Member("anything", target, may_be_null=False)
    if is_later(target):
        return _Member("later", target, may_be_null=False)
    choices = get_args(target) if get_origin(target) in (Union, UnionType) else (target,)
    choices = tuple(choice for choice in choices if choice is not UnsetType)
    kind: _Kind = "scalar"
    inner = None
    for choice in choices:
        if choice is JsonObject:
            kind = "object"
        elif choice is Raw:
            kind = "anything"
        elif choice is Payload:
            kind = "payload"
        elif get_origin(choice) is list:
            kind = "list"
        elif get_origin(choice) is dict:
            kind, inner = "map", get_args(choice)[1]
        elif isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            kind, inner = "struct", choice
    return _Member(kind, Union[choices], type(None) in choices, inner)  # noqa: UP007  # they are not known before


def _unknown(given: Mapping[str, Raw], members: Mapping[str, _Member]) -> list[str]:
    return heapq.nsmallest(MAX_ERRORS, given.keys() - members.keys())


def _build(value: Raw, member: _Member, bounds: Bounds) -> Any:
    """What there is to build for cattrs, of anything but a map."""
    if member.may_be_null and is_null(value):
        return None
    match member.kind:
        case "anything" | "payload":
            return value
        case "object":
            return compact_object(value, bounds.max_object_bytes)
        case "struct":
            return _build_struct(value, member.inner, bounds)
        case "later" if memoryview(value)[0] == ord("["):
            return _few_enough(value, bounds.max_items)
        case "later":
            raise Wrong(f"must be an array, not {name_of(value)}")
        case "list" if memoryview(value)[0] == ord("["):
            return _build_list(value, bounds.max_items)
        case _:
            return _build_scalar(value)


def _build_map(value: Raw, inner: Any, bounds: Bounds) -> Generator[None, None, dict[str, Any]]:
    given = _decode_object(value)
    if bounds.max_items is not None and len(given) > bounds.max_items:
        raise Wrong(f"at most {bounds.max_items} in one request")
    built: dict[str, Any] = {}
    errors: list[ParamError] = []
    for count, (key, item) in enumerate(given.items(), 1):
        try:
            if inner is JsonValue:
                built[key] = compact_value(item, bounds.max_value_bytes)
            else:
                built[key] = _build_struct(item, inner, bounds)
        except _FAULTS as error:
            errors += errors_in(error, key[:MAX_SHOWN])
            if len(errors) >= MAX_ERRORS:
                break
        if not count % _BUILT_IN_A_STEP:
            yield
    if errors:
        raise InvalidParams(errors)
    return built


def _build_struct(value: Raw, cls: Any, bounds: Bounds) -> Any:
    """A struct that is right is built many times as fast as one in which something may be wrong."""
    if bounds.max_object_bytes is None or memoryview(value).nbytes <= bounds.max_object_bytes:
        try:
            return finish_struct(_struct_of(cls).decode(value), bytes(value), bounds.max_object_bytes)
        except _FAULTS:
            pass
    given = _decode_object(value)
    members = _members(cls)
    values: dict[str, Any] = {}
    errors: list[ParamError] = [
        {"path": name[:MAX_SHOWN], "message": "unknown member"} for name in _unknown(given, members)
    ]
    for name in members.keys() & given.keys():
        member = members[name]
        if member.kind != "anything":
            try:
                values[name] = converter.structure(_build(given[name], member, bounds), member.type)
            except (*_FAULTS, cattrs.BaseValidationError) as error:
                errors += islice(errors_in(error, name), MAX_ERRORS)
    if errors:
        raise InvalidParams(errors[:MAX_ERRORS])
    return cls(**values)


def finish_struct[T: msgspec.Struct](built: T, text: bytes, max_object_bytes: int | None) -> T:
    """What a decoder does not look at: whether there is a NUL, how large integers are, and the objects that are kept.

    Args:
        built: by a decoder of JSON.
        text: the JSON, with more around it perhaps.
        max_object_bytes: what an object that is kept may take as compact JSON.

    Raises:
        Wrong: there is something for a closer look.
    """
    if has_nul(text):
        raise Wrong(NUL)
    struct = _struct_of(type(built))
    for name in struct.kept:
        kept = getattr(built, name)
        if isinstance(kept, Raw):
            setattr(built, name, compact_object(kept, max_object_bytes))
    for name in struct.integers:
        number = getattr(built, name)
        if isinstance(number, int) and not -MAX_INT <= number < 2 * MAX_INT:
            raise Wrong(LARGE)
    return built


@attrs.frozen
class _Struct:
    """How a struct is built in one go, and which of its members are to be looked at then."""

    decode: Callable[[Raw], Any]
    kept: Sequence[str]
    integers: Sequence[str]


def _struct_of(cls: type) -> _Struct:
    struct = _structs.get(cls)
    if struct is None:
        members = _members(cls)
        kept = [name for name, member in members.items() if member.kind == "object"]
        integers = [name for name, member in members.items() if int in (member.type, *get_args(member.type))]
        struct = _structs[cls] = _Struct(msgspec.json.Decoder(cls).decode, kept, integers)
    return struct


def _decode_object(value: Raw) -> dict[str, Raw]:
    if memoryview(value)[0] != ord("{"):
        raise Wrong(f"must be an object, not {name_of(value)}")
    return _decode_members(value)


def _few_enough(array: Raw, max_items: int | None) -> list[Raw]:
    """The items, as JSON."""
    items = _decode_items(array) if max_items is None else first_items(array, max_items + 1)
    if max_items is not None and len(items) > max_items:
        raise Wrong(f"at most {max_items} in one request")
    return items


def _build_list(member: Raw, max_items: int | None) -> list[Any]:
    if max_items is not None and len(first_items(member, max_items + 1)) > max_items:
        raise Wrong(f"at most {max_items} in one request")
    try:
        return _decode_strings(member)
    except _DECODE_ERRORS:
        return list(map(_build_scalar, _decode_items(member)))


def _build_scalar(value: Raw) -> Any:
    """A value that should have no others in it: of an array or object only that it is one."""
    match memoryview(value)[0]:
        case 0x5B:  # [
            return []
        case 0x7B:  # {
            return {}
        case _:
            return _decode(value)
