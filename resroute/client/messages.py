"""JSON-RPC on the client's side of the wire: lines to write, and what was read. Pure.

Payloads are written by orjson and read by msgspec, which keeps integers of any size and leaves what a message carries
unread until somebody wants it.
"""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import RemoteError, ResrouteError, router_error_from_wire

MessageId = int | str


class CallerMeta(msgspec.Struct, gc=False):
    """Who made a call that is delivered."""

    session_id: str
    instance_id: str | None = None
    subject: str | None = None


class Meta(msgspec.Struct, gc=False):
    """What the router says about a message. No other peer can write it."""

    origin: str | None = None
    resource_id: str | None = None
    epoch: int | None = None
    service_name: str | None = None
    instance_id: str | None = None
    caller: CallerMeta | None = None
    timeout_seconds: float | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    progress: bool = False


class ErrorObject(msgspec.Struct, gc=False):
    """The ``error`` of an answer."""

    code: int
    message: str
    data: Raw | UnsetType = UNSET


class Progress(msgspec.Struct, gc=False):
    """The params of ``$/progress``: which request it is of, and a partial result."""

    token: MessageId
    value: Raw


class Message(msgspec.Struct, gc=False):
    """One message of the router's: a request, a notification or an answer. Members we do not know are ignored."""

    id: MessageId | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorObject | UnsetType = UNSET
    meta: Meta | UnsetType = UNSET


DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)

read_message = msgspec.json.Decoder(Message).decode
"""Raises :data:`DECODE_ERRORS` for what is no message."""

read_progress = msgspec.json.Decoder(Progress).decode
"""Raises :data:`DECODE_ERRORS`."""

read_payload = msgspec.json.Decoder().decode
"""Builds what a message carries. Raises :data:`DECODE_ERRORS`, say for a number that is too large for a float."""


def error_from(error: ErrorObject, meta: Meta | UnsetType) -> ResrouteError:
    """What to raise for an answer that is an error.

    Only where the router vouches for it is an error the router's; one that merely looks like it is a
    :class:`resroute.RemoteError`.
    """
    data = None if error.data is UNSET else read_payload(error.data)
    if meta is not UNSET and meta.origin == "router":
        return router_error_from_wire(error.code, error.message, data if isinstance(data, dict) else {})
    return RemoteError(error.code, error.message, data)


def encoded(value: Any) -> bytes:
    """A value as it travels. Raises TypeError for what JSON cannot say."""
    return _encode({"": value})[len('{"":') : -1]


def request_line(
    request_id: int, method: str, params: Mapping[str, Any], meta: Mapping[str, Any] | None = None
) -> bytes:
    """A request. Raises TypeError for what JSON cannot say."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    if meta is not None:
        message["meta"] = meta
    return _encode(message)


def notification_line(method: str, params: Mapping[str, Any]) -> bytes:
    """A notification. Raises TypeError for what JSON cannot say."""
    return _encode({"jsonrpc": "2.0", "method": method, "params": params})


def progress_line(request_id: MessageId, value: Any) -> bytes:
    """A partial result. Raises TypeError for what JSON cannot say."""
    return notification_line("$/progress", {"token": request_id, "value": value})


def result_line(request_id: MessageId, result: Any) -> bytes:
    """An answer. Raises TypeError for what JSON cannot say."""
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_line(request_id: MessageId, error: RemoteError) -> bytes:
    """An answer that is an error. Raises TypeError for what JSON cannot say, or JSON-RPC does not allow."""
    is_number = isinstance(error.code, int) and not isinstance(error.code, bool)
    if not is_number or not isinstance(error.message, str):
        raise TypeError(f"an error has a number and a text, not {error.code!r} and {error.message!r}")
    body = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": body})


def _encode(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message, default=_members)
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error):
            raise
    # Python's own encoder writes integers of any size; what it does not know it asks orjson for. Half a surrogate pair is
    # no text on any wire: left as it is instead of escaped, it fails here like it does in orjson.
    try:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False, default=_plain, ensure_ascii=False)
        return text.encode()
    except ValueError as error:
        raise TypeError(str(error)) from error


def _plain(value: object) -> Any:
    return _members(value) if attrs.has(type(value)) else orjson.loads(orjson.dumps(value))


def _members(value: object) -> dict[str, Any]:
    """What orjson itself knows nothing of: instances of attrs's classes. As it wants it, raises TypeError for all others."""
    kind: Any = type(value)
    return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
