"""What a ``route.call`` asks for: its parameters and the trace it belongs to. Pure."""

import re
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidParams, InvalidRequest
from resroute.ids import is_trace_id
from resroute.protocol.envelope import DECODE_ERRORS, Envelope, RequestId, is_null, is_scalar
from resroute.protocol.params import RouteCall, RouteCallParams, decode_route_call
from resroute.protocol.structure import structure_params

_encode = msgspec.json.encode
_TRACEPARENT = re.compile(rb'"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"')
_CALL_SEEN_WITHIN = 256  # where a caller that writes its members in the usual order has named the method
_RESERVED = ("rpc.", "$/")
_RESERVED_NOTIFICATIONS = ("rpc.", "$/", "session.", "resource.")


class CallerMeta(msgspec.Struct, frozen=True):
    """What a request's ``meta`` says, as far as it makes sense: what does not is ignored."""

    traceparent: bytes | None = None
    """As JSON."""
    trace_id: str | None = None
    wants_progress: bool = False
    is_given: bool = False
    """Whether the request has one, and so is answered with one."""


NO_META = CallerMeta()
"""The request has none."""
_EMPTY_META = CallerMeta(is_given=True)
"""The request has one that says nothing."""

PROGRESS_META = CallerMeta(wants_progress=True)
"""The request has none, and the URL of its connection says that partial results are wanted."""


class _Meta(msgspec.Struct):
    traceparent: Raw | UnsetType = UNSET
    progress: Raw | UnsetType = UNSET


class _Traced(msgspec.Struct):
    trace_id: str | UnsetType = UNSET


class _WholeCall(msgspec.Struct, gc=False):
    jsonrpc: Literal["2.0"]
    method: Literal["route.call"]
    params: RouteCall
    id: RequestId | UnsetType = UNSET
    meta: Raw | UnsetType = UNSET


_decode_whole = msgspec.json.Decoder(_WholeCall).decode
_decode_meta = msgspec.json.Decoder(_Meta).decode
_decode_traced = msgspec.json.Decoder(_Traced).decode


def check_method(method: str, *, is_notification: bool) -> None:
    """What is routed cannot pose as the router.

    Raises:
        InvalidParams: the name is one that only the router may use.
    """
    if method.startswith(_RESERVED_NOTIFICATIONS if is_notification else _RESERVED):
        raise InvalidParams.at("method", "this name is reserved for the router's own messages")


def read_meta(meta: Raw, default: CallerMeta = NO_META) -> CallerMeta:
    """The W3C ``traceparent`` in a request's ``meta``, the trace id in it, and whether partial results are wanted.

    Args:
        default: what holds for a request without one.
    """
    wants_progress = default.wants_progress
    try:
        given = _decode_meta(meta)
    except DECODE_ERRORS:
        return CallerMeta(wants_progress=wants_progress, is_given=True)
    if given.progress is given.traceparent is UNSET and not wants_progress:
        return _EMPTY_META
    if given.progress is not UNSET and bytes(given.progress) == b"true":
        wants_progress = True
    if given.traceparent is UNSET or (match := _TRACEPARENT.fullmatch(given.traceparent)) is None:
        return CallerMeta(wants_progress=wants_progress, is_given=True)
    return CallerMeta(match[0], match[1].decode(), wants_progress, is_given=True)


def find_trace_id(envelope: Envelope, request: RouteCall | None = None) -> str | None:
    """The trace id of a request that may have anything wrong with it: its own, its traceparent's, or None.

    Args:
        envelope: the whole message.
        request: the parameters, if they were decoded already.
    """
    given: str | UnsetType = UNSET
    if request is not None:
        given = request.trace_id
    elif envelope.params is not UNSET:
        try:
            given = _decode_traced(envelope.params).trace_id
        except DECODE_ERRORS:
            pass
    if given is not UNSET and is_trace_id(given):
        return given
    return None if envelope.meta is UNSET else read_meta(envelope.meta).trace_id


def decode_call(envelope: Envelope, request: RouteCall | None) -> RouteCall:
    """The parameters of a ``route.call``. Its ``params`` stay the caller's own bytes.

    Args:
        envelope: the whole message.
        request: the parameters, if they were decoded already.

    Raises:
        InvalidParams: naming everything that is wrong.
        InvalidRequest: the params are neither an object nor an array.
    """
    if request is not None:
        return _checked(request)
    if envelope.params is UNSET:
        raise InvalidParams.at("", "method, and resource_id or service_name, are needed")
    try:
        request = decode_route_call(envelope.params)
    except DECODE_ERRORS as error:
        if is_scalar(envelope.params):
            raise InvalidRequest("params are an object or an array") from None
        # names what is wrong
        structure_params(None if is_null(envelope.params) else envelope.params, RouteCallParams)
        raise InvalidParams.at("", str(error)) from None
    return _checked(request)


def decode_large_call(message: bytes) -> tuple[Envelope, RouteCall] | None:
    """A whole ``route.call`` in one pass, or None if the message is something else or has something wrong with it.

    Looking for the end of a payload of many small values takes a millisecond for each mebibyte, and :func:`decode_call`
    does it once more.
    """
    if b'"route.call"' not in message[:_CALL_SEEN_WITHIN]:
        return None
    try:
        call = _decode_whole(message)
    except DECODE_ERRORS:
        return None
    return Envelope(call.jsonrpc, call.id, call.method, meta=call.meta), call.params


def _checked(request: RouteCall) -> RouteCall:
    if "\0" in request.method:
        raise InvalidParams.at("method", "a NUL character is not allowed here")
    if request.idempotency_key is not UNSET and "\0" in request.idempotency_key:
        raise InvalidParams.at("idempotency_key", "a NUL character is not allowed here")
    if request.params is not UNSET and memoryview(request.params)[0] not in b"{[":
        if is_scalar(request.params):
            raise InvalidParams.at("params", "must be an object or an array")
        request.params = UNSET
    return request


def extra_meta(request: RouteCall, meta: CallerMeta) -> bytes:
    """The rest of the delivered ``meta``, which few calls have."""
    extra = b""
    if meta.traceparent is not None:
        extra = b',"traceparent":%b' % meta.traceparent
    if request.idempotency_key is not UNSET:
        extra += b',"idempotency_key":%b' % _encode(request.idempotency_key)
    if meta.wants_progress:
        extra += b',"progress":true'
    return extra
