"""From what JSON has to what a function takes: what fits passes, all else is named with its path, nothing is coerced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import attrs
import pytest
from msgspec import UNSET

from resroute.client.messages import progress_line, read_message, read_payload, result_line
from resroute.client.structuring import bug_in, mistakes, structure_for

Name = NewType("Name", str)
type Pair[T] = tuple[T, T]


@attrs.frozen
class Point:
    x: int
    y: float = 0.5


@dataclass
class Line:
    begin: Point
    tags: list[str]


class Options(TypedDict, total=False):
    depth: int


class Color(Enum):
    RED = "red"
    THREE = 3


class Word(StrEnum):
    YES = "yes"


class Place(NamedTuple):
    row: int
    name: str


@dataclass(frozen=True, slots=True)
class Bag:
    sizes: set[int]


class Unknown:
    pass


def invert(value: float) -> float:
    return 1 / value


@attrs.frozen
class Checked:
    """A class whose own code looks at what it is given."""

    count: int = attrs.field(default=1, validator=attrs.validators.gt(0))
    size: Literal["s", "l"] | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.in_(["s"]))
    )
    inverse: float = attrs.field(default=1.0, converter=invert)

    def __attrs_post_init__(self) -> None:
        if self.count == 7:
            raise KeyError("a secret of this program")


@dataclass
class Tree:
    keys: dict[UUID, str]
    children: "list[Tree]"


@dataclass
class Raw:
    data: list[bytes]


@dataclass
class Counts:
    by_number: dict[int, int]


FITS: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (int, 2**70, 2**70),
    (float, 5, 5.0),
    (str, "a\0", "a\0"),
    (bool, True, True),
    (str | None, None, None),
    (int | str, "a", "a"),
    (int | float | None, 1.5, 1.5),
    (list[int], [1, 2], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (dict, {"a": [1]}, {"a": [1]}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (Sequence[int], [1, 2], (1, 2)),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset({"a"})),
    (Literal["a", 1], 1, 1),
    (Color, "red", Color.RED),
    (Color, 3, Color.THREE),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (date, "2026-01-02", date(2026, 1, 2)),
    (UUID, "00000000-0000-0000-0000-000000000001", UUID(int=1)),
    (Point, {"x": 1}, Point(1)),
    (Line, {"begin": {"x": 1, "y": 2}, "tags": []}, Line(Point(1, 2.0), [])),
    (list[Point] | None, [{"x": 1}], [Point(1)]),
    (Options, {"depth": 1}, {"depth": 1}),
    (Options, {}, {}),
    (Tree, {"keys": {str(UUID(int=1)): "a"}, "children": []}, Tree({UUID(int=1): "a"}, [])),
    (Name, "a", "a"),
    (Pair[int], [1, 2], (1, 2)),
    (Annotated[int, "a note"], 1, 1),
    (Place, [1, "a"], Place(1, "a")),
    (dict[Word, int], {"yes": 1}, {Word.YES: 1}),
    (dict[date, list[Color]], {"2026-01-02": ["red"]}, {date(2026, 1, 2): [Color.RED]}),
    (dict[Literal["a", "b"], float], {"a": 1}, {"a": 1.0}),
    (Line, {"begin": {"x": 2**70}, "tags": []}, Line(Point(2**70), [])),
    (dict[str, Bag], {"a": {"sizes": [2**70]}}, {"a": Bag({2**70})}),
]


@pytest.mark.parametrize(("kind", "value", "made"), FITS)
def test_what_fits_passes(kind: Any, value: Any, made: Any) -> None:
    structure = structure_for(kind)
    assert structure is not None
    assert structure(value) == made
    assert type(structure(value)) is type(made)


@pytest.mark.parametrize(("kind", "value", "made"), FITS)
def test_what_a_function_takes_it_can_return(kind: Any, value: Any, made: Any) -> None:
    structure = structure_for(kind)
    assert structure is not None
    for line in (result_line(1, made), progress_line(1, made)):
        message = read_message(line)
        sent = message.params if message.result is UNSET else message.result
        assert sent is not UNSET
        said = read_payload(sent)
        assert structure(said["value"] if message.result is UNSET else said) == made


@pytest.mark.parametrize(
    ("kind", "value", "errors"),
    [
        (int, "5", {"p": "must be an integer, not a string"}),
        (int, True, {"p": "must be an integer, not true"}),
        (int, 1.0, {"p": "must be an integer, not a number"}),
        (float, "5", {"p": "must be a number, not a string"}),
        (float, False, {"p": "must be a number, not false"}),
        (str, 5, {"p": "must be a string, not a number"}),
        (bool, 1, {"p": "must be true or false, not a number"}),
        (str, None, {"p": "must be a string, not null"}),
        (int | float, True, {"p": "must be an integer or a number, not true"}),
        (list[str], "abc", {"p": "must be an array, not a string"}),
        (Sequence[str], "abc", {"p": "must be an array, not a string"}),
        (set[str], "abc", {"p": "must be an array, not a string"}),
        (list[int], [1, "a", 2, None], {"p.1": "must be an integer, not a string", "p.3": "must be an integer, not null"}),
        (dict[str, int], [1], {"p": "must be an object, not an array"}),
        (dict[str, int], {"a": "b"}, {"p.a": "must be an integer, not a string"}),
        (tuple[int, str], [1], {"p": "must have 2 items, not 1"}),
        (tuple[int, tuple[str, int]], ["a", [1, "b"]], {
            "p.0": "must be an integer, not a string",
            "p.1.0": "must be a string, not a number",
            "p.1.1": "must be an integer, not a string",
        }),
        (float, 10**400, {"p": "is too large"}),
        (float | None, 10**400, {"p": "is too large"}),
        (Checked, {"count": 0}, {"p": "'count' must be > 0: 0"}),
        (Checked, {"size": "l"}, {"p": "'size' must be in ['s'] (got 'l')"}),
        (Tree, {"keys": {"a": "b"}, "children": [{}]}, {
            "p.keys.a": "must be a UUID",
            "p.children.0.keys": "is missing",
            "p.children.0.children": "is missing",
        }),
        (Literal["a", 1], True, {"p": "must be one of a, 1"}),
        (Color, "blue", {"p": "must be one of red, 3"}),
        (datetime, "yesterday", {"p": "must be a time in ISO 8601"}),
        (UUID, 5, {"p": "must be a UUID, not a number"}),
        (Point, [], {"p": "must be an object, not an array"}),
        (Point, {}, {"p.x": "is missing"}),
        (Point, {"x": "a", "z": 1}, {"p.x": "must be an integer, not a string", "p.z": "unknown member"}),
        (Line, {"begin": {"x": []}, "tags": "ab"}, {
            "p.begin.x": "must be an integer, not an array",
            "p.tags": "must be an array, not a string",
        }),
        (Options, {"depth": "a"}, {"p.depth": "must be an integer, not a string"}),
        (Options, {"width": 1}, {"p.width": "unknown member"}),
        (list[Point] | None, [{"x": None}], {"p.0.x": "must be an integer, not null"}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(kind: Any, value: Any, errors: dict[str, str]) -> None:
    structure = structure_for(kind)
    assert structure is not None
    with pytest.raises(Exception) as caught:  # whatever cattrs makes of it
        structure(value)
    assert bug_in(caught.value) is None
    assert {error["path"]: error["message"] for error in mistakes(caught.value, "p")} == errors


@pytest.mark.parametrize("kind", [Any, object])
def test_anything_goes_where_anything_is_said(kind: Any) -> None:
    assert structure_for(kind) is None


@pytest.mark.parametrize(
    "kind",
    [
        *(Unknown, list[Unknown], Unknown | None, dict[str, Unknown]),
        *(bytes, dict[str, bytes], tuple[bytes, ...], Raw, list[Raw], Annotated[bytes, "a note"]),
        *(dict[int, str], Mapping[float, int], Counts, dict[str, Counts]),
    ],
)
def test_what_json_has_nothing_for_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError):
        structure_for(kind)


@pytest.mark.parametrize(
    ("kind", "value", "bug"),
    [
        (Checked, {"count": 7}, KeyError),
        (Checked, {"inverse": 0}, ZeroDivisionError),
        (list[Checked], [{"count": 1}, {"count": "a"}, {"count": 7}], KeyError),
        (dict[str, Checked], {"a": {"inverse": 0}}, ZeroDivisionError),
    ],
)
def test_what_the_code_of_a_class_raises_is_no_mistake_of_the_callers(
    kind: Any, value: Any, bug: type[Exception]
) -> None:
    structure = structure_for(kind)
    assert structure is not None
    with pytest.raises(Exception) as caught:  # whatever cattrs makes of it
        structure(value)
    assert type(bug_in(caught.value)) is bug


@attrs.frozen
class Chosen:
    word: str = attrs.field(validator=attrs.validators.in_(["a"]))


def test_what_is_said_of_a_mistake_is_bounded() -> None:
    cases: list[tuple[Any, Any]] = [(dict[str, int], {"k" * 10_000: "a"}), (Chosen, {"word": "b" * 10_000})]
    for kind, value in cases:
        structure = structure_for(kind)
        assert structure is not None
        with pytest.raises(Exception) as caught:  # whatever cattrs makes of it
            structure(value)
        [mistake] = mistakes(caught.value, "p")
        assert max(len(mistake["path"]), len(mistake["message"])) == 300
