"""Each parameter of each operation: of a wrong type, out of bounds, hostile. It is named, and nothing is done."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import pytest

from resroute.admin.routes import API, ROUTES, Route
from tests.admin.asking import Answer, Place, open_place
from tests.admin.test_openapi import document_of

type Schema = Mapping[str, Any]

RIGHT: Mapping[str, Any] = {
    "resource_id": "a",
    "instance_id": "ada",
    "service_name": "rooms",
    "session_id": "session-0",
    "resource_ids": ["a"],
    "from_instance_id": "ada",
    "to_instance_id": "bob",
    "reason": "because",
    "method": "echo",
    "what": "busiest",
    "metadata": {"tags": ["x"]},
    "by": "count",
}
"""What is right, of those that have to be there."""

HOSTILE = ("\0", "<script>alert(1)</script>", "'; DROP TABLE resources; --", "a" * 5000)


@attrs.frozen
class Parameter:
    """One parameter of an operation, outside of its path."""

    route: Route
    name: str
    schema: Schema
    document: Schema

    def __str__(self) -> str:
        return f"{self.route.name}.{self.name}"


def wrong_for(schema: Schema, document: Schema) -> Iterator[Any]:
    """Values that are none of a schema, as JSON has them."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from wrong_for(document["components"]["schemas"][name], document)
        return
    if "anyOf" in schema:
        choices = [list(wrong_for(it, document)) for it in schema["anyOf"] if it.get("type") != "null"]
        yield from (it for it in choices[0] if all(it in others for others in choices[1:]))
        return
    kind = schema.get("type")
    if kind is None and "enum" not in schema:
        return  # anything
    if "enum" in schema:
        yield from ("", *HOSTILE, 1, [], {})
    elif kind in ("integer", "number"):
        yield from ("", "0x10", "\u0661", "NaN", "1e999", True, [], {}, "a" * 5000)
        if kind == "integer":
            yield from (1.5, 2**80, -(2**80))
        yield from (schema[name] - 1 for name in ("minimum",) if name in schema)
        yield from (schema[name] + 1 for name in ("maximum",) if name in schema)
        yield from (schema[name] for name in ("exclusiveMinimum",) if name in schema)
    elif kind == "boolean":
        yield from ("", "TRUE", 1, 0, [], {}, "a" * 5000)
    elif kind == "string":
        yield from (1, True, [], {}, "\0", "a\0b")
    elif kind == "array":
        yield from (1, True, "a", {}, [[]], [{}], [1], ["\0"])
        if "minItems" in schema:
            yield []
        if schema.get("uniqueItems"):
            yield ["a", "a"]
    elif kind == "object":
        yield from (1, True, "a", [], {"nothing": 1} if schema.get("additionalProperties") is False else 1)


async def send(place: Place, parameter: Parameter, value: Any) -> Answer:
    """A request that is right but for one parameter."""
    route = parameter.route
    path = API + route.path
    for name in route.in_path:
        path = path.replace(f"{{{name}}}", quote(RIGHT[name]))
    required = [field.name for field in route.fields() if field.default is attrs.NOTHING]
    given = {name: RIGHT[name] for name in required} | {parameter.name: value}
    if route.name == "call":
        given.setdefault("resource_id", "a")
    if route.verb in ("GET", "DELETE"):
        query = urlencode(
            {name: it if isinstance(it, list) else text_of(it) for name, it in given.items()}, doseq=True
        )
        return await place.client.ask(route.verb, f"{path}?{query}")
    return await place.client.ask(route.verb, path, given)


async def owners(place: Place) -> Any:
    """Who owns what, and since when; and who is there."""
    resources = (await place.client.get("/api/v1/resources?include_metadata=true"))["resources"]
    return resources, [it["instance_id"] for it in (await place.client.get("/api/v1/instances"))["instances"]]


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def can_be_said(parameter: Parameter, value: Any) -> bool:
    """Whether a query can say a value at all, other than as a right one: there all is text, and a list several of it."""
    if parameter.route.verb not in ("GET", "DELETE"):
        return True
    schema = json.dumps(parameter.schema)
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value) and '"array"' in schema
    if '"array"' in schema:
        return False  # one of it is a list of one
    if isinstance(value, str):
        return not ('"boolean"' in schema and value in ("true", "false"))
    if '"string"' in schema or "$ref" in schema:
        return False  # as text it is right
    return not ('"boolean"' in schema and isinstance(value, bool))


def parameters_of(document: Schema) -> Iterator[Parameter]:
    for route in ROUTES:
        operation = document["paths"][API + route.path][route.verb.lower()]
        for it in operation["parameters"]:
            if it["in"] == "query":
                yield Parameter(route, it["name"], it["schema"], document)
        if "requestBody" in operation:
            members = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
            for name, schema in members.items():
                yield Parameter(route, name, schema, document)


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
async def test_a_wrong_value_of_any_parameter_is_named_and_nothing_is_done(route: Route) -> None:
    async with open_place() as place:
        await place.instance("ada", "a", "b")
        await place.instance("bob")
        before = await owners(place)
        tried = 0
        for parameter in parameters_of(await document_of(place)):
            if parameter.route is not route:
                continue
            values = wrong_for(parameter.schema, parameter.document)
            for value in (it for it in values if can_be_said(parameter, it)):
                told = f"{parameter}={value!r}"
                answer = await send(place, parameter, value)
                assert answer.status == 400, (told, answer.text)
                assert answer.problem()["type"] == "invalid_params", told
                named = [error["path"].partition(".")[0] for error in answer.problem()["errors"]]
                assert parameter.name in named, (told, named)
                tried += 1
        assert tried >= len(route.fields())
        assert await owners(place) == before
        assert place.router.statistics().calls_in_flight == 0


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
async def test_a_parameter_that_is_missing_or_unknown_is_named(route: Route) -> None:
    async with open_place() as place:
        await place.instance("ada", "a", "b")
        for name in itertools.chain(("nothing", "", "__proto__"), route.in_path):
            parameter = Parameter(route, name, {"type": "string"}, {})
            answer = await send(place, parameter, "x")
            assert answer.problem_type() == (400, "invalid_params"), (name, answer.text)
            assert name in [error["path"] for error in answer.problem()["errors"]]
        assert (await place.client.get("/api/v1/resources"))["total_count"] == 2
