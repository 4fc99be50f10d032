"""The messages that the two ends of a call get, put together from the other end's own bytes. Pure.

They are joined, not formatted: that copies a large payload once, and fast.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.protocol.envelope import RequestId, decode_envelope, encode_id
from resroute.router.calls import Call, meta_of

if TYPE_CHECKING:
    from resroute.router.session import Session

_encode = msgspec.json.encode


@lru_cache(maxsize=256)
def _seconds_json(seconds: float) -> bytes:
    """Seconds as JSON. Callers give few different ones, and looking one up takes less than writing it."""
    return repr(seconds).encode()


def body_json(method: str, params: Raw | UnsetType) -> bytes:
    """What every hop of a call carries on: ``"method"`` and ``"params"``."""
    if params is UNSET:
        return b'"method":' + _encode(method)
    return b"".join((b'"method":', _encode(method), b',"params":', params))


def body_of(message: bytes) -> bytes:
    """The body that :func:`request_message` was given."""
    envelope = decode_envelope(message)
    assert envelope.method is not UNSET
    return body_json(envelope.method, envelope.params)


def request_message(call: Call, callee: "Session", now: float) -> bytes:
    """The request, or the notification, as the callee gets it."""
    head = b'{"jsonrpc":"2.0",' if call.caller_id is None else b'{"jsonrpc":"2.0","id":%d,' % call.number
    body = call.body
    if callee.takes_lines and b"\n" in body:
        body = body.replace(b"\n", b" ")  # JSON allows raw line breaks between tokens only
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


def answer_message(
    call: Call, caller_id: RequestId, kind: bytes, payload: bytes, duration_seconds: float
) -> bytes:
    """The answer as the caller gets it. ``kind`` is ``,"result":`` or ``,"error":``."""
    if call.caller.takes_lines and b"\n" in payload:
        payload = payload.replace(b"\n", b" ")
    head = b'{"jsonrpc":"2.0","id":'
    if call.wants_meta:
        meta = meta_of(call, duration_seconds)
        return b"".join((head, encode_id(caller_id), kind, payload, b',"meta":', meta, b"}"))
    return b"".join((head, encode_id(caller_id), kind, payload, b"}"))


def progress_message(call: Call, caller_id: RequestId, value: bytes) -> bytes:
    """A part of the result, on its way to the caller."""
    if call.caller.takes_lines and b"\n" in value:
        value = value.replace(b"\n", b" ")
    head = b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":'
    return b"".join((head, encode_id(caller_id), b',"value":', value, b"}}"))
