"""The description of the API, made once: as OpenAPI for programs, and as a page for people."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
import trio
import trio.lowlevel
from quart import Blueprint, Response, request

from resroute.admin.access import Access
from resroute.admin.openapi import openapi_document
from resroute.admin.problems import Problem
from resroute.admin.rendering import Templates
from resroute.settings import Settings

_encode = msgspec.json.Encoder().encode


class Description:
    """What the API takes and tells.

    Args:
        settings: for the limits that parameters have.
        access: for whether a token is needed.
        templates: of the page.
    """

    def __init__(self, settings: Settings, access: Access, templates: Templates) -> None:
        self._settings = settings
        self._access = access
        self._templates = templates
        self._document = b""
        self._operations: list[str] = []
        self._is_made = trio.Event()

    async def prepare(self) -> None:
        """Make it, leaving the loop to others in between."""
        try:
            await self._make()
        finally:
            self._is_made.set()  # or cannot be

    async def _make(self) -> None:
        document = await openapi_document(version("resroute"), self._settings, is_open=self._access.is_open)
        schemas = document["components"]["schemas"]
        for path, operations in document["paths"].items():
            for verb, operation in operations.items():
                told = {"path": path, "verb": verb.upper(), "parameters": _parameters(operation, schemas)}
                self._operations.append(self._templates.render("operation.html", operation=operation, **told))
                await trio.lowlevel.checkpoint()
        self._document = _encode(document)

    async def _wait_made(self) -> None:
        await self._is_made.wait()
        if not self._document:
            raise Problem(503, "there is no description; the log has the traceback")

    def blueprint(self) -> Blueprint:
        """Where it is served."""
        description = Blueprint("description", __name__)

        @description.get("/openapi.json")
        async def openapi() -> Response:
            await self._wait_made()
            return Response(self._document, content_type="application/json")

        @description.get("/docs")
        async def docs() -> Response:
            await self._wait_made()
            visitor = self._access.find(request)
            return self._templates.page("docs.html", visitor, here="/docs", operations=self._operations)

        return description


def _parameters(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All parameters as rows of a table: name, where, kind, whether it is required, default, bounds."""
    rows = [_row(it["name"], it["in"], it["required"], it["schema"]) for it in operation["parameters"]]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        required = schema.get("required", ())
        rows += [
            _row(name, "body", name in required, member) for name, member in schema["properties"].items()
        ]
    return rows


def _row(name: str, where: str, is_required: bool, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    default = schema.get("default")
    return {
        "name": name,
        "where": where,
        "is_required": is_required,
        "kind": _kind(schema),
        "default": None if default is None else _encode(default).decode(),
    }


_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return {"Id": "name", "TraceId": "trace id"}.get(schema["$ref"].rpartition("/")[2], "object")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in schema["anyOf"]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    if kind == "array":
        kind = f"list of {_kind(schema['items'])}"
    bounds = [text.format(f"{schema[name]:g}") for name, text in _BOUNDS.items() if name in schema]
    return f"{kind} ({', '.join(bounds)})" if bounds else kind
