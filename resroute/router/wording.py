"""The messages that the two ends of a call get: put together from the other end's own bytes. Pure."""

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.protocol.envelope import RequestId, decode_envelope, encode_id
from resroute.router.calls import Call, meta_of

if TYPE_CHECKING:
    from resroute.router.session import Session


def body_json(method: str, params: Raw | UnsetType) -> bytes:
    """What every hop of a call carries on: ``"method"`` and ``"params"``."""
    body = b'"method":%b' % msgspec.json.encode(method)
    return body if params is UNSET else b'%b,"params":%b' % (body, bytes(params))


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
        return b"%b%b}" % (head, body)
    left_seconds = call.timeout_seconds - (now - call.heard_at)
    meta = b'"service_name":%b,"caller":%b,"timeout_seconds":%b,"trace_id":"%b"%b' % (
        callee.service_json,
        call.caller.caller_json,
        repr(left_seconds if left_seconds > 0 else 0.0).encode(),
        call.trace_id.encode(),
        call.extra,
    )
    if call.resource_id is None or call.epoch is None:
        return b'%b%b,"meta":{%b}}' % (head, body, meta)
    return b'%b%b,"meta":{"resource_id":"%b","epoch":%d,%b}}' % (
        head,
        body,
        call.resource_id.encode(),
        call.epoch,
        meta,
    )


def answer_message(
    call: Call, caller_id: RequestId, kind: bytes, payload: bytes, duration_seconds: float
) -> bytes:
    """The answer as the caller gets it. ``kind`` is ``result`` or ``error``."""
    if call.caller.takes_lines and b"\n" in payload:
        payload = payload.replace(b"\n", b" ")
    head = b'{"jsonrpc":"2.0","id":%b,"%b":%b' % (encode_id(caller_id), kind, payload)
    if call.wants_meta:
        return b'%b,"meta":%b}' % (head, meta_of(call, duration_seconds))
    return head + b"}"


def progress_message(call: Call, caller_id: RequestId, value: bytes) -> bytes:
    """A part of the result, on its way to the caller."""
    if call.caller.takes_lines and b"\n" in value:
        value = value.replace(b"\n", b" ")
    return b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":%b,"value":%b}}' % (
        encode_id(caller_id),
        value,
    )
