"""Parameters from JSON to typed values, strictly: nothing is coerced, and everything that is wrong is named with its path."""

import heapq
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.cols import mapping_structure_factory
from cattrs.gen import make_dict_structure_fn
from msgspec import Raw

from resroute.errors import InvalidParams, ParamError
from resroute.ids import ID_RULE, InstanceId, ResourceId, ServiceName, is_id, is_trace_id
from resroute.protocol.arrays import first_items
from resroute.protocol.envelope import is_null, is_scalar

TraceId = NewType("TraceId", str)
JsonObject = NewType("JsonObject", Raw)  # free-form members, checked, and kept as compact JSON of their own
Payload = NewType("Payload", Raw)  # an object or an array that passes through: the sender's own bytes

_Kind = Literal["scalar", "list", "object", "payload", "anything"]

# class of parameters -> how each of its members is built; one entry for each class that was ever asked for
_kinds_of: dict[type, Mapping[str, _Kind]] = {}

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

MAX_ERRORS = 20
"""No more mistakes than that are looked for and named: an answer must not be many times as large as the request."""

_MAX_INT = 2**63
_MAX_SHOWN = 80  # characters of what should be a name
_NUL = "a NUL character is not allowed here"
_LARGE = "the number is too large"


class Wrong(Exception):
    """A value is not what its place wants. The text says what it wants."""


def _strict(kind: type, wanted: str, *, but: type | None = None) -> Any:
    def structure(value: Any, _type: Any) -> Any:
        if not isinstance(value, kind) or (but is not None and isinstance(value, but)):
            raise Wrong(f"must be {wanted}, not {_name(value)}")
        _check_plain(value)
        return value

    return structure


def _name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _check_plain(value: Any) -> None:
    match value:
        case str():
            if "\0" in value:
                raise Wrong(_NUL)
        case bool() | None:
            pass
        case int():
            if not -_MAX_INT <= value < 2 * _MAX_INT:
                raise Wrong(_LARGE)
        case float():
            if value in (float("inf"), float("-inf")):
                raise Wrong(_LARGE)
        case list():
            for item in value:
                _check_plain(item)
        case dict():
            for key, item in value.items():
                _check_plain(key)
                _check_plain(item)


def _float(value: Any, _type: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"must be a number, not {_name(value)}")
    _check_plain(value)
    return float(value)


def _id(value: Any, _type: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a string, not {_name(value)}")
    if not is_id(value):
        raise Wrong(f"{value[:_MAX_SHOWN]!r} is not a valid name: {ID_RULE}")
    return value


def _trace_id(value: Any, _type: Any) -> str:
    if not isinstance(value, str) or not is_trace_id(value):
        raise Wrong("must be 1 to 128 characters of A-Z a-z 0-9 _ -")
    return value


def _payload(value: Any, _type: Any) -> Raw:
    if not isinstance(value, Raw) or is_scalar(value):
        raise Wrong("must be an object or an array")
    return value


converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
converter.register_structure_hook(str, _strict(str, "a string"))
converter.register_structure_hook(bool, _strict(bool, "true or false"))
converter.register_structure_hook(int, _strict(int, "an integer", but=bool))
converter.register_structure_hook(float, _float)
for _type in (ResourceId, InstanceId, ServiceName):
    converter.register_structure_hook(_type, _id)
converter.register_structure_hook(TraceId, _trace_id)
converter.register_structure_hook(Payload, _payload)
converter.register_structure_hook(JsonObject, lambda value, _type: value)  # checked when it was built


def _only(kind: type, wanted: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Before cattrs iterates over whatever it is given: is it of the right kind at all?"""

    def structure(value: Any, target: Any) -> Any:
        if not isinstance(value, kind):
            raise Wrong(f"must be {wanted}, not {_name(value)}")
        return inner(value, target)

    return structure


def _made_from(origin: Any) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) == origin


@converter.register_structure_hook_factory(attrs.has)
def _attrs_hook(cls: Any) -> Any:
    return _only(dict, "an object", make_dict_structure_fn(cls, converter))


@converter.register_structure_hook_factory(_made_from(list))
def _list_hook(cls: Any) -> Any:
    [item_type] = get_args(cls)
    inner = converter.get_structure_hook(item_type)

    def structure(value: list[Any], _type: Any) -> list[Any]:
        items: list[Any] = []
        errors: list[Exception] = []
        for index, item in enumerate(value):
            try:
                items.append(inner(item, item_type))
            except Exception as error:
                error.add_note(cattrs.IterableValidationNote("in an array", index, item_type))
                errors.append(error)
                if len(errors) == MAX_ERRORS:
                    break
        if errors:
            raise cattrs.IterableValidationError("items are wrong", errors, cls)
        return items

    return _only(list, "an array", structure)


@converter.register_structure_hook_factory(_made_from(dict))
def _dict_hook(cls: Any) -> Any:
    return _only(dict, "an object", mapping_structure_factory(cls, converter))


@converter.register_structure_hook_factory(_made_from(Literal))
def _literal_hook(cls: Any) -> Any:
    choices = get_args(cls)

    def structure(value: Any, _type: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise Wrong(f"must be one of {', '.join(choices)}")
        return value

    return structure


def structure_params[T](
    params: Raw | None, cls: type[T], *, max_items: int | None = None, max_object_bytes: int | None = None
) -> T:
    """The parameters of one of the router's own methods.

    Only what may be right is built: a request can be a mebibyte of small values, of which each costs time.

    Args:
        params: the JSON of an object, or None where the request has no params.
        cls: an attrs class; members with a default may be left out, and of type ``Any`` stay JSON.
        max_items: what a list may hold. Nobody looks at the items of a longer one.
        max_object_bytes: what a free-form object may take as compact JSON: as sent, without white space between tokens.

    Raises:
        InvalidParams: naming every member that is missing, unknown or wrong, the first :data:`MAX_ERRORS` of them.
    """
    try:
        members = _decode_members(params) if params is not None else {}
    except msgspec.ValidationError:
        raise InvalidParams.at("", "params are by name: an object") from None
    except _DECODE_ERRORS as error:
        raise InvalidParams.at("", str(error)) from None
    kinds = _kinds(cls)
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}  # what cattrs need not see; by the name of the member
    for name in kinds.keys() & members.keys():
        try:
            values[name] = _build(members[name], kinds[name], max_items, max_object_bytes)
        except (Wrong, *_DECODE_ERRORS) as error:
            wrong[name] = str(error)
    if len(members) > len(values) + len(wrong):
        values |= dict.fromkeys(heapq.nsmallest(MAX_ERRORS, members.keys() - kinds.keys()))
    errors: list[ParamError] = [{"path": name, "message": message} for name, message in wrong.items()]
    try:
        structured = converter.structure(values, cls)
        if not errors:
            return structured
    except (cattrs.BaseValidationError, Wrong) as error:
        errors += [found for found in islice(_errors(error, ""), MAX_ERRORS) if found["path"] not in wrong]
    raise InvalidParams(errors[:MAX_ERRORS])


def _kinds(cls: type) -> Mapping[str, _Kind]:
    """How each member of an attrs class is built."""
    kinds = _kinds_of.get(cls)
    if kinds is None:
        kinds = _kinds_of[cls] = {field.name: _kind(field.type) for field in attrs.fields(cls)}
    return kinds


def _kind(target: Any) -> _Kind:
    if target is Any:
        return "anything"
    choices = get_args(target) if get_origin(target) in (Union, UnionType) else (target,)
    if JsonObject in choices:
        return "object"
    if Payload in choices:
        return "payload"
    return "list" if any(get_origin(choice) is list for choice in choices) else "scalar"


def _build(member: Raw, kind: _Kind, max_items: int | None, max_object_bytes: int | None) -> Any:
    if kind == "anything":
        return member
    if kind == "payload":
        return None if is_null(member) else member
    if kind == "object":
        return None if is_null(member) else _build_object(member, max_object_bytes)
    if kind == "list" and memoryview(member)[0] == ord("["):
        return _build_list(member, max_items)
    return _build_scalar(member)


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


def _build_object(value: Raw, max_bytes: int | None) -> Raw:
    """What takes a twentieth of the memory that its members would, and does not hold on to the message it came in."""
    compact = msgspec.json.format(value, indent=-1)
    if max_bytes is not None and len(compact) > max_bytes:
        raise Wrong(f"at most {max_bytes} bytes of compact JSON")
    members = _decode(compact)
    if not isinstance(members, dict):
        raise Wrong(f"must be an object, not {_name(members)}")
    _check_plain(members)
    return Raw(compact)


def _errors(error: BaseException, path: str) -> Iterator[ParamError]:
    """Flatten what cattrs raised into paths and messages."""
    if isinstance(error, cattrs.ClassValidationError):
        located, rest = error.group_exceptions()
        for inner, note in located:
            yield from _errors(inner, _join(path, note.name))
        for inner in rest:
            yield from _errors(inner, path)
    elif isinstance(error, cattrs.IterableValidationError):
        indexed, rest = error.group_exceptions()
        for inner, item_note in indexed:
            yield from _errors(inner, _join(path, item_note.index))
        for inner in rest:
            yield from _errors(inner, path)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield {"path": _join(path, name[:_MAX_SHOWN]), "message": "unknown member"}
    elif isinstance(error, KeyError):
        yield {"path": path, "message": "is missing"}
    else:
        yield {"path": path, "message": str(error)}


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
