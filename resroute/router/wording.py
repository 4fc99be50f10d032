"""The messages that the two ends of a call get, put together from the other end's own bytes. Pure.

They are joined, not formatted: that copies a large payload once, and fast. Between ends of different encodings the same
value passes: it is translated here.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidParams
from resroute.protocol.envelope import RequestId, decode_envelope, encode_id
from resroute.protocol.messagepack import (
    Unsayable,
    add_members,
    from_json,
    object_of,
    pack,
    string_at,
    to_json,
)
from resroute.router.calls import Call, meta_of
from resroute.transport.interface import CARRIAGE_RETURN, LINE_BREAK, in_one_line

if TYPE_CHECKING:
    from resroute.router.session import Session

_encode = msgspec.json.encode
_NO_BODY = b'"method":""'
_VERSION = pack("2.0")
# how the bodies below begin
_METHOD = re.compile(rb'"method":("(?:[^"\\]|\\.){0,1000}")')
_PACKED_BODY = object_of({}) + pack("method")
_MAX_REPEATED_ID = 64


@lru_cache(maxsize=256)
def _seconds_json(seconds: float) -> bytes:
    """Seconds as JSON. Callers give few different ones, and looking one up takes less than writing it."""
    return repr(seconds).encode()


def body_json(method: str, params: Raw | UnsetType) -> bytes:
    """What every hop of a call carries on: ``"method"`` and ``"params"``."""
    if params is UNSET:
        return b'"method":' + _encode(method)
    return b"".join((b'"method":', _encode(method), b',"params":', params))


def body_packed(method: str, params: Raw | UnsetType) -> bytes:
    """The same of a caller that speaks MessagePack: an object of these two."""
    if params is UNSET:
        return object_of({"method": pack(method)})
    return object_of({"method": pack(method), "params": bytes(params)})


def method_of(call: Call) -> str | None:
    """What is called; None where the body is left out, or begins with a name that is longer than people read.

    The name is cut out of the body, which may be large.
    """
    if call.caller.speaks_msgpack:
        return string_at(call.body, len(_PACKED_BODY))
    name = _METHOD.match(call.body)
    return None if name is None else msgspec.json.decode(name[1], type=str)


def body_of(message: bytes, call: Call, number: int, callee: "Session") -> bytes:
    """The body of a call that was made into this message under this number, for a callee that speaks as its caller does.

    It is cut out, not decoded: that cannot fail, however deep in the stack this runs and whatever the body holds.
    """
    size = call.left_out_bytes
    if not callee.speaks_msgpack:
        start = len(_head(call, number))
        return message[start : start + size]
    more = 1 + (call.caller_id is not None) + (not callee.is_plain)  # jsonrpc, id, meta
    return bytes((message[0] - more,)) + message[1:size]


def request_message(call: Call, callee: "Session", now: float) -> bytes:
    """The request, or the notification, as the callee gets it.

    Raises:
        InvalidParams: the callee's encoding cannot say it, or not within the limit of a message.
    """
    if callee.speaks_msgpack or call.caller.speaks_msgpack:
        return _request_beside_json(call, callee, now)
    return _request_json(call, callee, call.body, now)


def _head(call: Call, number: int) -> bytes:
    return b'{"jsonrpc":"2.0",' if call.caller_id is None else b'{"jsonrpc":"2.0","id":%d,' % number


def _request_json(call: Call, callee: "Session", body: bytes, now: float) -> bytes:
    head = _head(call, call.number)
    if callee.takes_lines and (LINE_BREAK in body or CARRIAGE_RETURN in body):
        body = in_one_line(body)
    if callee.is_plain:
        return b"".join((head, body, b"}"))
    passed = now - call.heard_at
    seconds = max(0.0, call.timeout_seconds - passed) if passed else call.timeout_seconds
    resource = b""
    if call.resource_id is not None and call.epoch is not None:
        resource = b'"resource_id":"%b","epoch":%d,' % (call.resource_id.encode(), call.epoch)
    return b"".join(
        (
            head,
            body,
            b',"meta":{',
            resource,
            b'"service_name":',
            callee.service_json,
            b',"caller":',
            call.caller.caller_json,
            b',"timeout_seconds":',
            _seconds_json(seconds),
            b',"trace_id":"',
            call.trace_id.encode(),
            b'"',
            call.extra,
            b"}}",
        )
    )


def _request_beside_json(call: Call, callee: "Session", now: float) -> bytes:
    """The same where one of the two ends speaks MessagePack, or both."""
    body = call.body
    if callee.speaks_msgpack is not call.caller.speaks_msgpack:
        body = _translated_body(body, call, callee)
    if not callee.speaks_msgpack:
        return _request_json(call, callee, body, now)
    around = decode_envelope(_request_json(call, callee, _NO_BODY, now))
    members = {"jsonrpc": _VERSION}
    if around.id is not UNSET:
        members["id"] = pack(around.id)
    if around.meta is not UNSET:
        members["meta"] = from_json(around.meta)
    return add_members(body, members)


def _translated_body(body: bytes, call: Call, callee: "Session") -> bytes:
    if callee.speaks_msgpack:
        return translated(Raw(b"{%b}" % body), call.caller, callee)
    return translated(Raw(body), call.caller, callee)[1:-1]


def translated(payload: Raw, sender: "Session", receiver: "Session") -> bytes:
    """What one session asks of another, in the encoding of that.

    Raises:
        InvalidParams: that encoding cannot say it, or not within the limit of a message.
    """
    if sender.speaks_msgpack is receiver.speaks_msgpack:
        return bytes(payload)
    try:
        said = payload_between(sender, receiver, payload)
    except Unsayable as error:
        raise InvalidParams.at("params", f"the receiver speaks another encoding: {error}") from None
    limit = receiver.settings.max_message_bytes
    if len(said) > limit:
        raise InvalidParams.at("params", f"more than {limit} bytes in the encoding of the receiver")
    return said


def payload_between(speaker: "Session", listener: "Session", payload: Raw) -> bytes:
    """What one session says, in the encoding of another.

    Raises:
        Unsayable: that encoding cannot say it.
    """
    if speaker.speaks_msgpack is listener.speaks_msgpack:
        return bytes(payload)
    return from_json(payload) if listener.speaks_msgpack else to_json(payload)


def answer_message(
    call: Call, caller_id: RequestId, kind: bytes, payload: bytes, duration_seconds: float
) -> bytes:
    """The answer as the caller gets it. ``kind`` is ``,"result":`` or ``,"error":``, the payload in its encoding."""
    if call.caller.speaks_msgpack:
        name = "result" if kind == b',"result":' else "error"
        members = {"jsonrpc": _VERSION, "id": pack(caller_id), name: payload}
        if call.wants_meta:
            members["meta"] = from_json(meta_of(call, duration_seconds))
        return object_of(members)
    if call.caller.takes_lines and (LINE_BREAK in payload or CARRIAGE_RETURN in payload):
        payload = in_one_line(payload)
    head = b'{"jsonrpc":"2.0","id":'
    if call.wants_meta:
        meta = meta_of(call, duration_seconds)
        return b"".join((head, encode_id(caller_id), kind, payload, b',"meta":', meta, b"}"))
    return b"".join((head, encode_id(caller_id), kind, payload, b"}"))


def progress_message(call: Call, caller_id: RequestId, value: bytes) -> bytes:
    """A part of the result, on its way to the caller. ``value`` is in the caller's encoding."""
    if call.caller.speaks_msgpack:
        params = object_of({"token": pack(caller_id), "value": value})
        return object_of({"jsonrpc": _VERSION, "method": pack("$/progress"), "params": params})
    if call.caller.takes_lines and (LINE_BREAK in value or CARRIAGE_RETURN in value):
        value = in_one_line(value)
    if type(caller_id) is int:  # as a rule: to put it in takes less than to encode it
        return b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":%d,"value":%b}}' % (
            caller_id,
            value,
        )
    head = b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":'
    return b"".join((head, encode_id(caller_id), b',"value":', value, b"}}"))


def may_be_said_at_once(call: Call, caller_id: RequestId) -> bool:
    """Whether :func:`progress_messages` is for this call: it repeats an id that may be long, and is for JSON."""
    return not call.caller.speaks_msgpack and (
        isinstance(caller_id, int) or len(caller_id) <= _MAX_REPEATED_ID
    )


def progress_messages(
    call: Call, caller_id: RequestId, values: Sequence[Raw], *, are_lines: bool
) -> list[bytes]:
    """Parts of the result, each as :func:`progress_message` has it. Who takes lines gets them as one, of several lines.

    ``are_lines`` says that there is no line feed in them, though there may be a carriage return.
    """
    head = b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":%b,"value":' % encode_id(caller_id)
    if not call.caller.takes_lines:
        return [b"%b%b}}" % (head, value) for value in values]
    lines = values if are_lines else [in_one_line(value) for value in values]
    return [(b"%b%b}}" % (head, (b"}}\n" + head).join(lines))).replace(b"\r", b" ")]
