"""JSON-RPC on the client's side of the wire: lines to write, and what was read. Pure.

Payloads are written by orjson and read by msgspec, which keeps integers of any size and leaves what a message carries
unread until somebody wants it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

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
    params = {"token": request_id, "value": value}
    return _encode({"jsonrpc": "2.0", "method": "$/progress", "params": params}, _said_of_results)


def result_line(request_id: MessageId, result: Any) -> bytes:
    """An answer. Raises TypeError for what JSON cannot say."""
    return _encode({"jsonrpc": "2.0", "id": request_id, "result": result}, _said_of_results)


def error_line(request_id: MessageId, error: RemoteError) -> bytes:
    """An answer that is an error. Raises TypeError for what JSON cannot say, or JSON-RPC does not allow."""
    is_number = isinstance(error.code, int) and not isinstance(error.code, bool)
    if not is_number or not isinstance(error.message, str):
        raise TypeError(f"an error has a number and a text, not {error.code!r} and {error.message!r}")
    body = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return _encode({"jsonrpc": "2.0", "id": request_id, "error": body})


def _members(value: object) -> Any:
    """What orjson itself knows nothing of: instances of attrs's classes. As it wants it, raises TypeError for all others."""
    kind: Any = type(value)
    return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}


def _said_of_results(value: object) -> Any:
    """Sets and named tuples, too: whoever asks may send an array for either."""
    return list(value) if isinstance(value, set | frozenset | tuple) else _members(value)


def _encode(message: dict[str, Any], default: Callable[[object], Any] = _members) -> bytes:
    try:
        return orjson.dumps(message, default=default)
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error) and "key must be str" not in str(error):
            raise
    # Python's own encoder writes integers of any size; what it does not know it asks orjson for. Half a surrogate pair is
    # no text on any wire: left as it is instead of escaped, it fails here like it does in orjson.
    try:
        text = json.dumps(_plain(message, default), separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise TypeError(str(error)) from error


def _plain(value: Any, default: Callable[[object], Any]) -> Any:
    """The same in nothing but what every encoder knows."""
    match value:
        case Enum():
            return _plain(value.value, default)
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None  # as orjson does it
        case dict():
            return {_key(key): _plain(each, default) for key, each in value.items()}
        case list():
            return [_plain(each, default) for each in value]
        case tuple() if type(value) is tuple:
            return [_plain(each, default) for each in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {
                field.name: _plain(getattr(value, field.name), default)
                for field in fields(value)
                if not field.name.startswith("_")  # as orjson does it
            }
        case _ if attrs.has(type(value)) or isinstance(value, set | frozenset | tuple):
            return _plain(default(value), default)
        case _:
            return orjson.loads(orjson.dumps(value))


def _key(key: object) -> str:
    """Names of members are texts: those, and what is always written as one. Raises TypeError for all else."""
    plain = _plain(key, _members) if isinstance(key, str | Enum | UUID | date) else key
    if not isinstance(plain, str):
        raise TypeError(f"the name of a member is text, not {key!r}")
    return str(plain)
