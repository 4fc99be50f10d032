"""JSON values to typed values, strictly: nothing is coerced. What is wrong has a path and a text."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NewType, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn
from msgspec import Raw

from resroute.errors import InvalidParams, ParamError
from resroute.ids import ID_RULE, InstanceId, ResourceId, ServiceName, are_ids, is_id, is_trace_id
from resroute.protocol.compact import LARGE, MAX_INT, NUL, Wrong
from resroute.protocol.envelope import is_scalar

TraceId = NewType("TraceId", str)
ProgressToken = NewType(
    "ProgressToken", object
)  # a string or an integer, which is sent back with what is told
JsonObject = NewType("JsonObject", Raw)  # free-form members, checked, and kept as compact JSON of their own
HandOverTo = list[InstanceId] | Literal["service", "nobody", "keep"]
JsonValue = NewType("JsonValue", Raw)  # a value that is kept, checked, as compact JSON
Payload = NewType("Payload", Raw)  # an object or an array that passes through: the sender's own bytes

MAX_ERRORS = 20
"""No more mistakes than that are looked for and named: an answer must not be many times as large as the request."""

MAX_TOKEN_LENGTH = 256
"""Characters of a progress token: it is sent back again and again."""

MAX_SHOWN = 80
"""Characters of what should be a name."""


def _strict(kind: type, wanted: str, *, but: type | None = None) -> Any:
    def structure(value: Any, _type: Any) -> Any:
        if not isinstance(value, kind) or (but is not None and isinstance(value, but)):
            raise Wrong(f"must be {wanted}, not {kind_of(value)}")
        _check_plain(value)
        return value

    return structure


def kind_of(value: Any) -> str:
    """What JSON calls a value of this kind, for messages."""
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
                raise Wrong(NUL)
        case bool() | None:
            pass
        case int():
            if not -MAX_INT <= value < 2 * MAX_INT:
                raise Wrong(LARGE)
        case float():
            if value in (float("inf"), float("-inf")):
                raise Wrong(LARGE)


def _float(value: Any, _type: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"must be a number, not {kind_of(value)}")
    _check_plain(value)
    return float(value)


def _id(value: Any, _type: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"must be a string, not {kind_of(value)}")
    if not is_id(value):
        raise Wrong(f"{value[:MAX_SHOWN]!r} is not a valid name: {ID_RULE}")
    return value


def _are_all_ids(values: list[Any]) -> bool:
    """Of thousands it takes time to ask each."""
    try:
        return are_ids(values)
    except TypeError:
        return False


def _trace_id(value: Any, _type: Any) -> str:
    if not isinstance(value, str) or not is_trace_id(value):
        raise Wrong("must be 1 to 128 characters of A-Z a-z 0-9 _ -")
    return value


def _payload(value: Any, _type: Any) -> Raw:
    if not isinstance(value, Raw) or is_scalar(value):
        raise Wrong("must be an object or an array")
    return value


def _progress_token(value: Any, _type: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Wrong(f"must be a string or an integer, not {kind_of(value)}")
    _check_plain(value)
    if isinstance(value, str) and len(value) > MAX_TOKEN_LENGTH:
        raise Wrong(f"must be at most {MAX_TOKEN_LENGTH} characters")
    return value


converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
converter.register_structure_hook(str, _strict(str, "a string"))
converter.register_structure_hook(bool, _strict(bool, "true or false"))
converter.register_structure_hook(int, _strict(int, "an integer", but=bool))
converter.register_structure_hook(float, _float)
_IDS = (ResourceId, InstanceId, ServiceName)
for _type in _IDS:
    converter.register_structure_hook(_type, _id)
converter.register_structure_hook(TraceId, _trace_id)
converter.register_structure_hook(ProgressToken, _progress_token)
converter.register_structure_hook(Payload, _payload)
converter.register_structure_hook(JsonObject, lambda value, _type: value)  # checked when it was built
converter.register_structure_hook(JsonValue, lambda value, _type: value)


def _only(kind: type, wanted: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Before cattrs iterates over whatever it is given: is it of the right kind at all?"""

    def structure(value: Any, target: Any) -> Any:
        if not isinstance(value, kind):
            raise Wrong(f"must be {wanted}, not {kind_of(value)}")
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
    may_be_ids = item_type in _IDS

    def structure(value: list[Any], _type: Any) -> list[Any]:
        if may_be_ids and _are_all_ids(value):
            return value
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


class LATER:
    """Marks a list whose items are looked at later, a few at a time: ``Annotated[list[...], LATER]``."""


def is_later(kind: Any) -> bool:
    """Whether a type is marked so."""
    return get_origin(kind) is Annotated and LATER in kind.__metadata__


@converter.register_structure_hook_factory(is_later)
@converter.register_structure_hook_factory(_made_from(dict))
@converter.register_structure_hook_factory(
    lambda cls: isinstance(cls, type) and issubclass(cls, msgspec.Struct)
)
def _built_hook(_cls: Any) -> Any:
    return lambda value, _type: value  # checked when it was built


@converter.register_structure_hook_factory(_made_from(Literal))
def _literal_hook(cls: Any) -> Any:
    choices = get_args(cls)

    def structure(value: Any, _type: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise Wrong(f"must be one of {', '.join(choices)}")
        return value

    return structure


def _hand_over_to(value: Any, _type: Any) -> Any:
    wanted = list[InstanceId] if isinstance(value, list) else Literal["service", "nobody", "keep"]
    return converter.structure(value, wanted)  # type: ignore[arg-type]


converter.register_structure_hook(HandOverTo, _hand_over_to)


def errors_in(error: BaseException, path: str) -> Iterator[ParamError]:
    """What was raised while a value was built, as paths and messages. ``path`` is where the value stands."""
    if isinstance(error, cattrs.ClassValidationError):
        located, rest = error.group_exceptions()
        for inner, note in located:
            yield from errors_in(inner, _join(path, note.name))
        for inner in rest:
            yield from errors_in(inner, path)
    elif isinstance(error, cattrs.IterableValidationError):
        indexed, rest = error.group_exceptions()
        for inner, item_note in indexed:
            yield from errors_in(inner, _join(path, item_note.index))
        for inner in rest:
            yield from errors_in(inner, path)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield {"path": _join(path, name[:MAX_SHOWN]), "message": "unknown member"}
    elif isinstance(error, InvalidParams):
        for found in error.errors:
            yield {"path": _join(path, found["path"]), "message": found["message"]}
    elif isinstance(error, KeyError):
        yield {"path": path, "message": "is missing"}
    else:
        yield {"path": path, "message": _text_of(error)}


def _text_of(error: BaseException) -> str:
    """What it says to people. Validators of attrs's put themselves, and all that they know, behind that."""
    match error.args:
        case (str(text), attrs.Attribute(), *_):
            return text
        case _:
            return str(error)


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)
