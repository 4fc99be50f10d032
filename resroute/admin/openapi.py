"""The API of administrators as an OpenAPI document (https://spec.openapis.org/oas/v3.1.0), from the table of routes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec
import trio
import trio.lowlevel

from resroute.admin.audit_api import MAX_LIMIT
from resroute.admin.problems import CONTENT_TYPE, STATUS_OF_CODE
from resroute.admin.routes import API, MAX_IDS, ROUTES, Route
from resroute.admin.shapes import MAX_RECORD_ID, MAX_REVISION
from resroute.errors import (
    AnswerTooLarge,
    InternalError,
    InvalidParams,
    ParseError,
    RateLimited,
    RouterError,
    TooManyCalls,
    Unauthenticated,
    Unavailable,
)
from resroute.protocol.methods import METHODS
from resroute.protocol.openrpc import ID_SCHEMA, TRACE_ID_SCHEMA, schema_of
from resroute.router.queries import MAX_LIMIT as MAX_PAGE
from resroute.settings import Settings

_EVERYWHERE: tuple[type[RouterError], ...] = (
    InvalidParams,
    Unauthenticated,
    RateLimited,
    TooManyCalls,
    AnswerTooLarge,
    InternalError,
    Unavailable,
)

# What HTTP itself has to say, without a type: foreign requests, bodies, long addresses, and a router that has not begun.
_OF_HTTP = (403, 404, 408, 413, 415, 431, 503)

_NO_NUL = "^[^\\u0000]*$"

_TIME = (
    r"^[0-9]{1,9}[smhdw]$|"
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$"
)

_PROBLEM = {
    "type": "object",
    "description": "An error, as RFC 9457 has it. What its type has to say stands beside.",
    "properties": {
        "type": {"type": "string", "description": "The type of the error, or about:blank."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "trace_id": {"type": "string", "description": "The router's log tells of it under this id."},
        "code": {"type": "integer", "description": "The code of the error on the wire."},
        "errors": {
            "type": "array",
            "description": "Of invalid_params: what is wrong with which parameter.",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                "required": ["path", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "trace_id"],
}


async def openapi_document(version: str, settings: Settings, *, is_open: bool) -> Mapping[str, Any]:
    """The document. It takes long to make: others get their turn in between.

    Args:
        version: of the router.
        settings: for the limits that parameters have.
        is_open: nobody has to say who it is.
    """
    components: dict[str, Any] = {}
    for route in ROUTES:
        if route.result is not None and route.result.__name__ not in components:
            template = "#/components/schemas/{name}"
            components |= msgspec.json.schema_components([route.result], ref_template=template)[1]
            await trio.lowlevel.checkpoint()
    paths: dict[str, dict[str, Any]] = {}
    bounds = _bounds(settings)
    for route in ROUTES:
        paths.setdefault(API + route.path, {})[route.verb.lower()] = _operation(route, bounds)
        await trio.lowlevel.checkpoint()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "resroute administration",
            "version": version,
            "description": "What administrators of a router can see and do, over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [] if is_open else [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {
                "Id": ID_SCHEMA,
                "TraceId": TRACE_ID_SCHEMA,
                "Problem": _PROBLEM,
                **components,
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, bounds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    fields = {field.name: field for field in attrs.fields(route.params)}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.doc.partition(". ")[0].rstrip("."),
        "description": route.doc,
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"$ref": "#/components/schemas/Id"}
                if name != "session_id"
                else {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9._-]+$"},
            }
            for name in route.in_path
        ],
        "responses": _responses(route),
    }
    if route.verb in ("GET", "DELETE"):
        operation["parameters"] += [_parameter(field, bounds) for field in route.fields()]
        if route.name == "follow_events":
            operation["parameters"].append(_LAST_EVENT_ID)
    else:
        operation["requestBody"] = _body(route, fields, bounds)
    return operation


_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The revision after which a stream goes on; counts more than `from_revision`.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,16}$"},
}


def _parameter(field: "attrs.Attribute[Any]", bounds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": field.name,
        "in": "query",
        "required": field.default is attrs.NOTHING,
        "schema": _schema(field, bounds, may_be_null=False),  # a query cannot say null
    }


def _body(
    route: Route,
    fields: "Mapping[str, attrs.Attribute[Any]]",
    bounds: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    members = route.fields()
    required = [field.name for field in members if field.default is attrs.NOTHING]
    schema: dict[str, Any] = {
        "type": "object",
        # the parameters of a call are decoded on the hot path, where null is none of them
        "properties": {
            field.name: _schema(field, bounds, may_be_null=route.name != "call") for field in members
        },
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    if route.name == "call":
        schema["anyOf"] = [{"required": ["resource_id"]}, {"required": ["service_name"]}]
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _schema(
    field: "attrs.Attribute[Any]", bounds: Mapping[str, Mapping[str, Any]], *, may_be_null: bool
) -> dict[str, Any]:
    schema = _strict(schema_of(field.type), field.metadata.get("bounds", bounds.get(field.name, {})))
    if not may_be_null and "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if field.default is not attrs.NOTHING and field.default is not None:
        schema = {**schema, "default": field.default}
    return schema


def _strict(schema: Mapping[str, Any], bound: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with the bounds that a type does not say; no string has a NUL."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_strict(choice, bound) for choice in schema["anyOf"]]}
    kind = schema.get("type")
    if kind == "string" and "enum" not in schema and "pattern" not in schema:
        return {**schema, "pattern": _NO_NUL, **bound}
    if kind == "array":
        return {**schema, "items": _strict(schema["items"], {}), **bound}
    if kind in ("integer", "number"):
        return {**schema, **bound}
    if kind == "object" and "properties" in schema:
        members = {name: _strict(member, {}) for name, member in schema["properties"].items()}
        return {**schema, "properties": members}
    return dict(schema)


def _bounds(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """What parameters must be beside of their type, by name: they mean the same wherever they say nothing else themselves."""
    ids = {"minItems": 1, "maxItems": min(MAX_IDS, settings.max_bulk_items), "uniqueItems": True}
    return {
        "limit": {"minimum": 1, "maximum": min(MAX_LIMIT, MAX_PAGE)},
        "offset": {"minimum": 0, "maximum": 10_000},
        "cursor": {"minimum": 0, "maximum": MAX_RECORD_ID},
        "from_revision": {"minimum": 0, "maximum": MAX_REVISION},
        "expected_version": {"minimum": -(2**63), "maximum": 2**64 - 1},
        "batch_size": {"minimum": 1, "maximum": 1000},
        "resource_ids": ids,
        "timeout_seconds": {"exclusiveMinimum": 0, "maximum": settings.max_timeout_seconds},
        "wait_for_owner_seconds": {"minimum": 0, "maximum": settings.max_timeout_seconds},
        "deadline_seconds": {"minimum": 0, "maximum": settings.max_timeout_seconds},
        "max_moves": {"minimum": 1},
        "since": {"pattern": _TIME},
        "until": {"pattern": _TIME},
        "method": {"pattern": r"^(?!rpc\.|\$/)[^\u0000]*$"},
    }


def _responses(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in route.content_types}
    if route.result is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.result.__name__}"}}}
    responses: dict[str, Any] = {"200": {"description": "It is done.", "content": content}}
    types = _types_by_status(route)
    for status in sorted(types):
        responses[str(status)] = {
            "description": ", ".join(types[status]),
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return responses


def _types_by_status(route: Route) -> Mapping[int, Sequence[str]]:
    types: dict[int, list[str]] = {}
    for error in _errors_of(route):
        of_status = types.setdefault(STATUS_OF_CODE.get(error.code, error.code), [])
        if error.type not in of_status:
            of_status.append(error.type)
    for status in _OF_HTTP:
        types.setdefault(status, []).append("about:blank")
    return types


def _errors_of(route: Route) -> Iterator[type[RouterError]]:
    yield from _EVERYWHERE
    yield from route.errors
    if route.method_name is not None:
        yield from METHODS[route.method_name].errors
    if route.verb in ("POST", "PATCH"):
        yield ParseError
