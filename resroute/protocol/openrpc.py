"""The method table as an OpenRPC document (https://spec.open-rpc.org, version 1.3.2), for tools and for the curious."""

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

import attrs
import msgspec

from resroute.errors import (
    AnswerTooLarge,
    InternalError,
    InvalidParams,
    InvalidRequest,
    RouterError,
    TooManyCalls,
)
from resroute.ids import ID_RULE, MAX_ID_LENGTH, InstanceId, ResourceId, ServiceName, SessionId
from resroute.protocol.converting import JsonObject, JsonValue, Payload, ProgressToken, TraceId, is_later
from resroute.protocol.examples import EXAMPLES
from resroute.protocol.methods import METHODS, Method

ID_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": rf"^(?!/)[A-Za-z0-9._~:/@+=-]{{1,{MAX_ID_LENGTH}}}(?<!/)$",
    "description": ID_RULE,
}
TRACE_ID_SCHEMA: Mapping[str, Any] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"}
_NAMED: Mapping[Any, dict[str, Any]] = {
    ResourceId: {"$ref": "#/components/schemas/Id"},
    InstanceId: {"$ref": "#/components/schemas/Id"},
    ServiceName: {"$ref": "#/components/schemas/Id"},
    TraceId: {"$ref": "#/components/schemas/TraceId"},
    SessionId: {"type": "string"},
    JsonObject: {"type": "object"},
    JsonValue: {},
    ProgressToken: {"type": ["string", "integer"]},
    Payload: {"type": ["object", "array"]},
    Any: {},
    msgspec.Raw: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
}
EVERYWHERE: tuple[type[RouterError], ...] = (
    InvalidRequest,
    InvalidParams,
    InternalError,
    AnswerTooLarge,
    TooManyCalls,
)
"""What any request may be answered."""


@cache
def openrpc_document(version: str) -> Mapping[str, Any]:
    """The document that ``rpc.discover`` answers. Do not change it.

    Args:
        version: of the router that answers.
    """
    results = [method.result for method in METHODS.values() if method.result is not None]
    _, components = msgspec.json.schema_components(results, ref_template="#/components/schemas/{name}")
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "resroute",
            "version": version,
            "description": "The methods that a client calls on the router, over WebSocket. Methods of instances are "
            "called through route.call.",
            "license": {"name": "Apache-2.0"},
        },
        "methods": [_method(method) for method in METHODS.values()],
        "components": {"schemas": {"Id": ID_SCHEMA, "TraceId": TRACE_ID_SCHEMA, **components}},
    }


def _method(method: Method) -> dict[str, Any]:
    result: dict[str, Any] = {"description": "Whatever the callee answered."}
    if method.result is not None:
        result = {"$ref": f"#/components/schemas/{method.result.__name__}"}
    return {
        "name": method.name,
        "description": method.doc,
        "paramStructure": "by-name",
        "params": [_param(field) for field in attrs.fields(method.params)],
        "result": {"name": "result", "schema": result},
        "errors": [_error(error) for error in (*EVERYWHERE, *method.errors)],
        "examples": [
            {
                "name": example.name,
                "description": example.description,
                "params": [{"name": name, "value": value} for name, value in example.params.items()],
                "result": {"name": "result", "value": example.result},
            }
            for example in EXAMPLES[method.name]
        ],
    }


def _param(field: "attrs.Attribute[Any]") -> dict[str, Any]:
    is_required = field.default is attrs.NOTHING
    schema = schema_of(field.type)
    if not is_required and field.default is not None:
        schema = {**schema, "default": field.default}
    return {"name": field.name, "required": is_required, "schema": schema}


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a parameter's type."""
    if is_later(kind):
        return schema_of(get_args(kind)[0])
    if isinstance(kind, type) and attrs.has(kind):
        return _object_of(kind)
    if kind in _NAMED:
        return _NAMED[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if origin in (types.UnionType, typing.Union):
        schemas = [schema_of(argument) for argument in arguments if argument is not msgspec.UnsetType]
        return {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        members = {name: schema_of(hint) for name, hint in typing.get_type_hints(kind).items()}
        return {"type": "object", "properties": members, "additionalProperties": False}
    raise TypeError(f"no schema for {kind!r}")


def _object_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of an object that is given within parameters."""
    fields = attrs.fields(kind)
    return {
        "type": "object",
        "properties": {field.name: schema_of(field.type) for field in fields},
        "required": [field.name for field in fields if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }


def _error(error: type[RouterError]) -> dict[str, Any]:
    members = [field.name for field in attrs.fields(error)]
    data = {"type": error.type, "members": members}
    return {"code": error.code, "message": (error.__doc__ or error.type).partition("\n")[0], "data": data}
