"""Objects that are kept as JSON: checked without building a single one of their values, of which each would cost time."""

from math import isinf

import msgspec
from msgspec import Raw

NUL = "a NUL character is not allowed here"
LARGE = "the number is too large"
MAX_DEPTH = 128
"""How deep objects and arrays may be nested. Far from what any decoder of JSON can take, so that one never fails later."""

MAX_INT = 2**63
"""Integers are below twice that, and not below its negative."""

_LONG = 19  # digits of the first integer that may not fit

_AS_PARENTHESES = bytes.maketrans(b"[{]}", b"(())")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_AS_ZEROS = bytes.maketrans(b"123456789E", b"000000000e")
_BETWEEN_NUMBERS = bytes.maketrans(b"[{]},:", b"      ")


class Wrong(Exception):
    """A value is not what its place wants. The text says what it wants."""


def compact_object(value: Raw, max_bytes: int | None) -> Raw:
    """As :func:`compact_value`, of an object.

    Raises:
        Wrong: it is no such object.
    """
    if memoryview(value)[0] != ord("{"):
        raise Wrong(f"must be an object, not {name_of(value)}")
    return compact_value(value, max_bytes)


def compact_value(value: Raw, max_bytes: int | None) -> Raw:
    """A value without white space between its tokens, in bytes of its own.

    Everything in it has a value that any reader of JSON takes: no NUL in a string, and no number beyond what fits into 64
    bits.

    Args:
        value: JSON that the decoder of messages has skipped, so that it is well-formed but for its encoding.
        max_bytes: what it may take.

    Raises:
        Wrong: it has no such value.
    """
    compact = msgspec.json.format(value, indent=-1)
    if max_bytes is not None and len(compact) > max_bytes:
        raise Wrong(f"at most {max_bytes} bytes of compact JSON")
    if not compact.isascii():
        _check_encoding(compact)
    if has_nul(compact):
        raise Wrong(NUL)
    digits = compact.translate(_AS_ZEROS, b"+")
    may_be_large = digits.find(b"0" * _LONG) >= 0 or digits.find(b"0e000") >= 0
    if may_be_large or compact.count(b"[") + compact.count(b"{") > MAX_DEPTH:
        without_strings = b"".join(
            _without_escaped_backslashes(compact).replace(b'\\"', b"").split(b'"')[::2]
        )
        _check_depth(without_strings)
        if may_be_large:
            _check_numbers(without_strings)
    return Raw(compact)


def has_nul(text: bytes) -> bool:
    """Whether there is a NUL in a string of some JSON."""
    # not by ``in``, which takes seven times as long to find bytes in bytes
    return text.find(b"\\u0000") >= 0 and _without_escaped_backslashes(text).find(b"\\u0000") >= 0


def _without_escaped_backslashes(text: bytes) -> bytes:
    """The same with such backslashes only that begin an escape of something else."""
    return text.replace(b"\\\\", b"")


def _check_encoding(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Wrong(str(error)) from None


def _check_depth(tokens: bytes) -> None:
    brackets = tokens.translate(_AS_PARENTHESES, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"()", b"")
    if brackets:
        raise Wrong(f"nested more than {MAX_DEPTH} deep")


def _check_numbers(tokens: bytes) -> None:
    for word in (b"true", b"false", b"null"):
        tokens = tokens.replace(word, b"")
    numbers = tokens.translate(_BETWEEN_NUMBERS).decode().split()
    if not numbers:
        return
    values = list(map(float, numbers))
    if isinf(min(values)) or isinf(max(values)):
        raise Wrong(LARGE)
    for number in numbers:
        if len(number) >= _LONG and number.lstrip("-").isdigit():
            if not -MAX_INT <= int(number) < 2 * MAX_INT:
                raise Wrong(LARGE)


def name_of(value: Raw) -> str:
    """What kind of value JSON is, in words."""
    match memoryview(value)[0]:
        case 0x7B:  # {
            return "an object"
        case 0x5B:  # [
            return "an array"
        case 0x22:  # "
            return "a string"
        case 0x74:  # t
            return "true"
        case 0x66:  # f
            return "false"
        case 0x6E:  # n
            return "null"
        case _:
            return "a number"
