"""The matching language of the conformance vectors: ``docs/conformance/README.md`` says what it means."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

MAX_REVISION = 2**53


class Mismatch(Exception):
    """What was heard is not what the vector expects. The text says where."""


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_text(pattern: str) -> Callable[[Any], bool]:
    matches = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and matches(value) is not None


KINDS: Mapping[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "string": lambda value: isinstance(value, str) and value != "",
    "integer": _is_integer,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "id": lambda value: type(value) in (int, str),
    "epoch": lambda value: _is_integer(value) and 0 < value < MAX_REVISION,
    "trace_id": _is_text("[A-Za-z0-9_-]{1,128}"),
    "time": _is_text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
}
"""What ``$match`` may name; ``absent`` and ``unordered`` besides."""

_ABSENT = {"$match": "absent"}


def compare(pattern: Any, value: Any, names: dict[str, Any], path: str = "") -> None:
    """Hold a value against a pattern, and remember in ``names`` what the pattern gives a name.

    Raises:
        Mismatch: they differ.
    """
    match pattern:
        case {"$match": "unordered"}:
            _compare_unordered(pattern["items"], value, names, path)
        case {"$match": kind}:
            _compare_kind(pattern, kind, value, names, path)
        case {"$ref": name}:
            wanted = names[name]
            _expect(_equal(wanted, value), path, f"{value!r} is not {wanted!r}, which is {name}")
        case dict():
            _expect(isinstance(value, dict), path, f"{value!r} is no object")
            for name, inner in pattern.items():
                if inner == _ABSENT:
                    _expect(name not in value, f"{path}.{name}", "must not be there")
                else:
                    _expect(name in value, f"{path}.{name}", "is missing")
                    compare(inner, value[name], names, f"{path}.{name}")
        case list():
            is_as_long = isinstance(value, list) and len(value) == len(pattern)
            _expect(is_as_long, path, f"{value!r} has not {len(pattern)} items")
            for index, inner in enumerate(pattern):
                compare(inner, value[index], names, f"{path}[{index}]")
        case _:
            _expect(_equal(pattern, value), path, f"{value!r} is not {pattern!r}")


def _compare_unordered(patterns: list[Any], value: Any, names: dict[str, Any], path: str) -> None:
    is_as_long = isinstance(value, list) and len(value) == len(patterns)
    _expect(is_as_long, path, f"{value!r} has not {len(patterns)} items")
    left = list(value)
    for index, inner in enumerate(patterns):
        for item in left:
            tried = dict(names)
            with suppress(Mismatch):
                compare(inner, item, tried)
                names |= tried
                left.remove(item)
                break
        else:
            raise Mismatch(f"{path}: none of {left!r} is item {index}")


def _compare_kind(
    pattern: Mapping[str, Any], kind: str, value: Any, names: dict[str, Any], path: str
) -> None:
    unknown = set(pattern) - {"$match", "as", "above", "at_most"}
    assert not unknown, f"the vector says {unknown}, which means nothing"
    _expect(KINDS[kind](value), path, f"{value!r} is no {kind}")
    if "above" in pattern:
        least = names[pattern["above"]]
        _expect(value > least, path, f"{value!r} is not above {pattern['above']}, {least!r}")
    if "at_most" in pattern:
        _expect(value <= pattern["at_most"], path, f"{value!r} is above {pattern['at_most']!r}")
    if "as" in pattern:
        names[pattern["as"]] = value


def _equal(one: Any, other: Any) -> bool:
    """Equality as JSON has it: ``1`` is ``1.0``, and not ``true``."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _expect(is_so: bool, path: str, otherwise: str) -> None:
    if not is_so:
        raise Mismatch(f"{path or 'the message'}: {otherwise}")


def fill_in(message: Any, names: Mapping[str, Any]) -> Any:
    """A message to send, with every ``$ref`` replaced by what it stands for."""
    match message:
        case {"$ref": name}:
            return names[name]
        case dict():
            return {name: fill_in(value, names) for name, value in message.items()}
        case list():
            return [fill_in(value, names) for value in message]
        case _:
            return message
