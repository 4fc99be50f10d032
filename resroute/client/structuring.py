"""Params of methods that say their types: from what JSON has to what a function takes, strictly. Pure.

Nothing is coerced: a text is no number, and no list of its letters. What is wrong is named with its path.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from datetime import date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    TypeAliasType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import attrs
import cattrs
from cattrs.cols import (
    homogenous_tuple_structure_factory,
    is_mapping,
    is_mutable_sequence,
    is_sequence,
    is_set,
    list_structure_factory,
    mapping_structure_factory,
)
from cattrs.gen import make_dict_structure_fn
from cattrs.gen.typeddicts import make_dict_structure_fn as make_typeddict_structure_fn

from resroute.errors import ParamError
from resroute.protocol.converting import errors_in, kind_of

MAX_ERRORS = 20
"""No more mistakes than that are named: an answer must not be many times as large as the request."""

MAX_SAID = 300
"""Characters of the path and of the message of each."""

Structure = Callable[[Any], Any]
"""Makes a value of some type, or raises."""

_Hook = Callable[[Any, Any], Any]

_SIMPLE: Mapping[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    NoneType: "null",
}
_NOT_JSON = (bytes, bytearray, memoryview)
_NO_KEYS = (int, float, bool, NoneType)

converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)


def _only(kind: type | tuple[type, ...], wanted: str, hook: _Hook, *, but: type | None = None) -> _Hook:
    """Before anything iterates over a value, or makes something of it: is it of the right kind at all?"""

    def structure(value: Any, target: Any) -> Any:
        if not isinstance(value, kind) or (but is not None and isinstance(value, but)):
            raise ValueError(f"must be {wanted}, not {kind_of(value)}")
        return hook(value, target)

    return structure


def _as_it_is(value: Any, _target: Any) -> Any:
    return value


def _float(value: Any, _target: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large") from None


def _never(_value: Any, target: Any) -> Any:
    raise ValueError(f"JSON has no {target.__name__}")


def _made_by(make: Callable[[str], Any], wanted: str) -> _Hook:
    def structure(value: Any, _target: Any) -> Any:
        try:
            return make(value)
        except ValueError:
            raise ValueError(f"must be {wanted}") from None

    return _only(str, wanted, structure)


def _choice(value: Any, target: Any) -> Any:
    for member in target:
        if member.value == value and type(member.value) is type(value):
            return member
    raise ValueError(f"must be one of {', '.join(str(member.value) for member in target)}")


def _one_of(value: Any, target: Any) -> Any:
    for choice in get_args(target):
        if choice == value and type(choice) is type(value):
            return value
    raise ValueError(f"must be one of {', '.join(map(str, get_args(target)))}")


def _is_literal(target: Any) -> bool:
    return get_origin(target) is Literal


def _is_simple_union(target: Any) -> bool:
    return get_origin(target) in (Union, UnionType) and set(get_args(target)) <= _SIMPLE.keys()


def _simple_union(value: Any, target: Any) -> Any:
    kinds = get_args(target)
    if type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return _float(value, float)
    raise ValueError(f"must be {' or '.join(_SIMPLE[kind] for kind in kinds)}, not {kind_of(value)}")


def _is_fixed_tuple(target: Any) -> bool:
    return get_origin(target) is tuple and get_args(target)[-1:] != (...,)


def _fixed_tuple_hook(target: Any, converter: cattrs.Converter) -> _Hook:
    items = get_args(target)

    def structure(value: list[Any], _target: Any) -> tuple[Any, ...]:
        if len(value) != len(items):
            raise ValueError(f"must have {len(items)} items, not {len(value)}")
        made: list[Any] = []
        errors: list[Exception] = []
        for index, (item, kind) in enumerate(zip(value, items, strict=True)):
            try:
                made.append(converter.structure(item, kind))
            except Exception as error:
                error.add_note(cattrs.IterableValidationNote("in a tuple", index, kind))
                errors.append(error)
        if errors:
            raise cattrs.IterableValidationError("items are wrong", errors, target)
        return tuple(made)

    return _only(list, "an array", structure)


def _set_hook(target: Any, converter: cattrs.Converter) -> _Hook:
    kind = get_origin(target) or target
    [item] = get_args(target) or (Any,)
    make = frozenset if kind is frozenset else set
    hook = converter.get_structure_hook(list[item])  # type: ignore[valid-type]
    return _only(list, "an array", lambda value, _target: make(hook(value, list)))


def _is_object(target: Any) -> bool:
    return attrs.has(target) or (isinstance(target, type) and hasattr(target, "__dataclass_fields__"))


def _register() -> None:
    hooks: dict[Any, _Hook] = {
        str: _only(str, "a string", _as_it_is),
        bool: _only(bool, "true or false", _as_it_is),
        int: _only(int, "an integer", _as_it_is, but=bool),
        float: _only((int, float), "a number", _float, but=bool),
        datetime: _made_by(datetime.fromisoformat, "a time in ISO 8601"),
        date: _made_by(date.fromisoformat, "a date in ISO 8601"),
        UUID: _made_by(UUID, "a UUID"),
        **dict.fromkeys(_NOT_JSON, _never),
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    factories: list[tuple[Callable[[Any], bool], Callable[[Any, cattrs.Converter], _Hook]]] = [
        (_is_object, lambda kind, c: _only(dict, "an object", make_dict_structure_fn(kind, c))),
        (is_mapping, lambda kind, c: _only(dict, "an object", mapping_structure_factory(kind, c))),
        (is_sequence, lambda kind, c: _only(list, "an array", homogenous_tuple_structure_factory(kind, c))),
        (is_mutable_sequence, lambda kind, c: _only(list, "an array", list_structure_factory(kind, c))),
        (lambda kind: is_set(kind) or (get_origin(kind) or kind) is frozenset, _set_hook),
        (_is_fixed_tuple, _fixed_tuple_hook),
        (is_typeddict, lambda kind, c: _only(dict, "an object", make_typeddict_structure_fn(kind, c))),
    ]  # of those that apply the last counts
    for applies, factory in factories:
        converter.register_structure_hook_factory(applies, factory)
    converter.register_structure_hook_func(_is_literal, _one_of)
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _choice
    )
    converter.register_structure_hook_func(_is_simple_union, _simple_union)


_register()


def structure_for(kind: Any) -> Structure | None:
    """What makes a value of this type. None: there is nothing to make, anything goes.

    Raises:
        TypeError: nothing is known of how to make one out of JSON.
    """
    if kind in (Any, object):
        return None
    try:
        hook = converter.get_structure_hook(kind)
        _look_into(kind, set())
    except (cattrs.StructureHandlerNotFoundError, NameError, AttributeError) as error:
        raise TypeError(f"no value of type {kind!r} can be made out of JSON: {error}") from error
    return lambda value: hook(value, kind)


def _look_into(kind: Any, seen: set[Any]) -> None:
    """Find out now, and not at the first call, that something inside cannot be made."""
    if kind in seen or kind in (Any, object, ..., NoneType) or isinstance(kind, TypeVar):
        return
    seen.add(kind)
    if kind in _NOT_JSON:
        raise TypeError(f"JSON has no {kind.__name__}")
    converter.get_structure_hook(kind)
    if is_mapping(kind) and get_args(kind) and get_args(kind)[0] in _NO_KEYS:
        raise TypeError(f"the keys of an object in JSON are texts: there is none that fits {kind!r}")
    for inner in _parts_of(kind):
        _look_into(inner, seen)


def _parts_of(kind: Any) -> Iterable[Any]:
    """The types that a type consists of."""
    if isinstance(kind, NewType):
        return (kind.__supertype__,)
    if isinstance(kind, TypeAliasType):
        return (kind.__value__,)
    origin = get_origin(kind)
    if origin is Annotated:
        return get_args(kind)[:1]
    if origin is Literal:
        return ()
    made_of = origin or kind
    if is_typeddict(made_of):
        return get_type_hints(made_of).values()
    if attrs.has(made_of):
        names = {field.name for field in attrs.fields(made_of) if field.init}
    elif is_dataclass(made_of):
        names = {field.name for field in fields_of_dataclass(made_of) if field.init}
    else:
        return get_args(kind)
    return [hint for name, hint in get_type_hints(made_of).items() if name in names]


def bug_in(error: Exception) -> Exception | None:
    """What was raised while a value was made that tells of no mistake in what was given, if anything.

    That is what the code of a class raises, when it takes a value, and is neither ValueError nor TypeError. Or
    RecursionError, for a value that is nested too deeply: a mistake after all, but one that says nothing of where it is.
    """
    left: list[Exception] = [error]
    while left:
        each = left.pop()
        if isinstance(each, cattrs.ClassValidationError):
            located, rest = each.group_exceptions()
            # a member that is not there is a KeyError of cattrs's own
            left += [inner for inner, _ in located if not isinstance(inner, KeyError)] + rest
        elif isinstance(each, cattrs.IterableValidationError):
            indexed, rest = each.group_exceptions()
            left += [inner for inner, _ in indexed] + rest
        elif not isinstance(each, ValueError | TypeError | cattrs.ForbiddenExtraKeysError):
            return each
    return None


def mistakes(error: Exception, path: str) -> Iterator[ParamError]:
    """What was raised while a value was made, as paths and messages. Cut, where what was given makes them long."""
    for found in errors_in(error, path):
        yield {"path": found["path"][:MAX_SAID], "message": found["message"][:MAX_SAID]}
