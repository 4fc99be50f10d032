"""The conformance vectors hold for this router; and a vector that does not hold is noticed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from resroute.errors import MethodNotFound, ParseError, RouterError
from resroute.protocol.methods import METHODS
from resroute.protocol.openrpc import EVERYWHERE
from tests.conformance.matching import KINDS, Mismatch, compare
from tests.conformance.vectors import FOLDER, Vector, play, read_vectors

VECTORS = read_vectors()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: re.sub(r"\W+", "_", vector.name))
async def test_the_vector_holds(vector: Vector, autojump_clock: MockClock) -> None:
    with trio.fail_after(1000):
        await play(vector)


def test_every_vector_has_a_name_of_its_own_and_uses_all_its_sessions() -> None:
    names = [vector.name for vector in VECTORS]
    assert len(set(names)) == len(names)
    for vector in VECTORS:
        assert {step[0] for step in vector.steps} == set(vector.sessions), vector.name
        assert set(vector.paths) <= set(vector.sessions), vector.name


def said_in_vectors(what: str) -> list[Any]:
    """All messages that are sent, or heard, in any of them; those of batches and lines one by one."""
    return [
        message
        for vector in VECTORS
        for step in vector.steps
        if step[1] in (what, f"{what} lines")
        for message in (step[2] if isinstance(step[2], list) else [step[2]])
        if isinstance(message, dict)
    ]


def test_every_method_is_called_in_some_vector_and_answered_with_a_result() -> None:
    answered: set[str] = set()
    for vector in VECTORS:
        asked: dict[tuple[str, str], str] = {}
        for who, what, *about in vector.steps:
            for message in (item for item in about if isinstance(item, dict)):
                key = (who, json.dumps(message.get("id")))
                if what == "sends" and "method" in message:
                    asked[key] = message["method"]
                elif what == "hears" and "result" in message and key in asked:
                    answered.add(asked[key])
    assert set(METHODS) <= answered


NOTIFICATIONS_WITHOUT_VECTORS = {
    "session.closing": "only a signal to the router has it sent",
}

ERRORS_WITHOUT_VECTORS = {
    "internal_error": "only a bug has it made",
}


def test_every_notification_of_the_routers_is_heard_in_some_vector() -> None:
    heard = {message.get("method") for message in said_in_vectors("hears")}
    page = (FOLDER.parent / "protocol.md").read_text()
    table = page.partition("\n| from the router |")[2].partition("\n\n")[0]
    from_the_router = set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))
    assert "$/progress" in from_the_router
    assert from_the_router - heard == set(NOTIFICATIONS_WITHOUT_VECTORS)


def test_every_error_that_the_router_makes_is_heard_in_some_vector() -> None:
    heard = {
        message["error"]["data"]["type"]
        for message in said_in_vectors("hears")
        if isinstance(message.get("error"), dict)
        and message.get("meta") == {"origin": "router"}
        and isinstance(message["error"].get("data"), dict)
    }
    of_methods = {error.type for method in METHODS.values() for error in method.errors}
    elsewhere: tuple[type[RouterError], ...] = (*EVERYWHERE, ParseError, MethodNotFound)
    made = of_methods | {error.type for error in elsewhere}
    assert made - heard == set(ERRORS_WITHOUT_VECTORS)


CLOSE_CODES_WITHOUT_VECTORS = {
    1001: "only a signal to the router has it sent",
    1002: "only what is no WebSocket brings it about",
    1011: "only a bug does",
    4008: "it takes more than the network holds to see",
    4011: "it takes patience to see",
}


def test_every_close_code_of_the_routers_is_seen_in_some_vector() -> None:
    seen = {step[2] for vector in VECTORS for step in vector.steps if step[1] == "is closed"}
    page = (FOLDER.parent / "protocol.md").read_text()
    table = page.partition("\n## Close codes\n")[2].partition("\n#")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d{4}) \|", table, re.MULTILINE)}
    assert {1000, 4029} <= codes
    assert codes - seen == set(CLOSE_CODES_WITHOUT_VECTORS)


PING: Any = {"jsonrpc": "2.0", "id": 1, "method": "session.ping"}

WRONG: tuple[list[list[Any]], ...] = (
    [["a", "sends", PING]],
    [["a", "hears", {"id": 1}]],
    [["a", "sends", PING], ["a", "hears", {"id": 2}]],
    [["a", "sends", PING], ["a", "hears", {"id": "1"}]],
    [["a", "sends", PING], ["a", "hears", {"id": 1, "error": {}}]],
    [["a", "sends", PING], ["a", "hears", {"result": {"$match": "absent"}}]],
    [["a", "sends", PING], ["a", "hears text with", "pong"]],
    [["a", "sends", PING], ["a", "hears nothing"]],
    [["a", "is closed", 1000]],
    [["a", "sends binary", "00"], ["a", "is closed", 1000]],
    [["a", "is refused", 400]],
)


@pytest.mark.parametrize("steps", WRONG)
async def test_a_vector_that_does_not_hold_is_noticed(
    steps: list[list[Any]], autojump_clock: MockClock
) -> None:
    with pytest.RaisesGroup(Mismatch, flatten_subgroups=True):
        await play(Vector("wrong", {"a": []}, steps))


MATCHING: tuple[tuple[Any, Any], ...] = (
    (1, 1),
    (1, 1.0),
    ({}, {"a": 1}),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None, "c": 1}], "d": 1}),
    ({"a": {"$match": "absent"}}, {"b": 1}),
    ({"$match": "unordered", "items": [2, {"a": 1}]}, [{"a": 1, "b": 2}, 2]),
    ({"$match": "integer", "as": "one", "at_most": 5}, 5),
    ([{"$match": "integer", "as": "one"}, {"$match": "integer", "above": "one"}, {"$ref": "one"}], [1, 2, 1]),
)

DIFFERING: tuple[tuple[Any, Any], ...] = (
    *(
        (1, True),
        (1, "1"),
        (True, 1),
        (None, False),
        ("a", "b"),
        ([], {}),
        ({}, []),
        ([1], [1, 2]),
        ([1, 2], [1]),
    ),
    *(
        ({"a": 1}, {}),
        ({"a": None}, {}),
        ({"a": {"$match": "any"}}, {}),
        ({"a": {"$match": "absent"}}, {"a": None}),
    ),
    *(({"$match": "unordered", "items": items}, [1, 2]) for items in ([1], [1, 1], [1, 3], [1, 2, 2])),
    ([{"$match": "integer", "as": "one"}, {"$ref": "one"}], [1, 2]),
    ([{"$match": "integer", "as": "one"}, {"$match": "integer", "above": "one"}], [1, 1]),
    ({"$match": "number", "at_most": 5}, 5.1),
)

EXAMPLES: dict[str, tuple[list[Any], list[Any]]] = {
    "any": ([None, 1, "", [], {}], []),
    "string": (["a"], ["", 1, None]),
    "integer": ([0, -5], [True, 1.5, "1", None]),
    "number": ([0, 1.5], [True, "1", None]),
    "boolean": ([True, False], [0, None, "true"]),
    "object": ([{}], [[], None]),
    "array": ([[]], [{}, None]),
    "id": ([1, "1"], [True, None, 1.5]),
    "epoch": ([1, 2**53 - 1], [0, -1, 2**53, 1.5, True, "1"]),
    "trace_id": (["a", "A-_9", "a" * 128], ["", "a b", "a" * 129, 1, "ü"]),
    "time": (
        ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.25Z"],
        ["2026-01-31", "2026-01-31T09:30:00+01:00", 1],
    ),
}


@pytest.mark.parametrize(("pattern", "value"), MATCHING)
def test_a_value_matches(pattern: Any, value: Any) -> None:
    compare(pattern, value, {})


@pytest.mark.parametrize(("pattern", "value"), DIFFERING)
def test_a_value_does_not_match(pattern: Any, value: Any) -> None:
    with pytest.raises(Mismatch):
        compare(pattern, value, {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_takes_what_it_says(kind: str) -> None:
    right, wrong = EXAMPLES[kind]
    for value in right:
        compare({"$match": kind}, value, {})
    for value in wrong:
        with pytest.raises(Mismatch):
            compare({"$match": kind}, value, {})


def test_the_page_about_vectors_names_every_file_kind_and_action() -> None:
    page = (FOLDER / "README.md").read_text()
    player = Path(__file__).with_name("vectors.py").read_text()
    for name in (
        *(path.name for path in FOLDER.glob("*.json")),
        *KINDS,
        *re.findall(r'case "([a-z ]+)":', player),
    ):
        assert f"`{name}`" in page or f'"{name}"' in page or f"({name})" in page, name
