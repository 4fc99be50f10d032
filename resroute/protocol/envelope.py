"""JSON-RPC 2.0 envelopes: taken apart without building what they carry, and put together.

Payloads (``params``, ``result``, ``error``) stay the sender's own bytes (:class:`msgspec.Raw`): splitting a message costs
half a microsecond whatever it carries, and large numbers or duplicate keys inside survive. The specification is
https://www.jsonrpc.org/specification.
"""

from collections.abc import Callable
from typing import Any, Literal, Self

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from resroute.errors import InvalidRequest, ParseError, RouterError
from resroute.protocol.arrays import first_items
from resroute.protocol.hints import wire_data

RequestId = int | str
"""``1`` and ``"1"`` differ; ``true``, fractions and null are no ids."""


class Envelope(msgspec.Struct, gc=False):
    """One well-formed JSON-RPC message: a request, a notification or an answer. Members we do not know are ignored."""

    jsonrpc: Literal["2.0"]
    id: RequestId | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    meta: Raw | UnsetType = UNSET


class Malformed(msgspec.Struct, gc=False):
    """A message that is no :class:`Envelope`: what to answer, under which id, and whether it was meant as an answer."""

    error: RouterError
    id: RequestId | None
    is_answer: bool


class _Loose(msgspec.Struct):
    id: Raw | UnsetType = UNSET
    method: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class LooseDecoders(msgspec.Struct, frozen=True):
    """What it takes to say what is wrong with a message, in one encoding."""

    check_syntax: Callable[[bytes | Raw], object]
    loose: Callable[[bytes | Raw], _Loose]
    id: Callable[[bytes | Raw], RequestId]

    @classmethod
    def of(cls, decoder: Callable[[Any], Any]) -> Self:
        """Those of a kind of decoder."""
        return cls(decoder(Raw).decode, decoder(_Loose).decode, decoder(RequestId).decode)


class _Typed(msgspec.Struct):
    type: str


class CalleeError(msgspec.Struct):
    """A callee's error, as far as the router looks into it."""

    code: int
    message: str
    data: Raw | UnsetType = UNSET

    @property
    def is_stale_epoch(self) -> bool:
        """Whether the callee says that it ran nothing, because the call came by a grant that is none any more."""
        if self.code != 409 or self.data is UNSET:
            return False
        try:
            return _decode_typed(self.data).type == "stale_epoch"
        except DECODE_ERRORS:
            return False


decode_envelope = msgspec.json.Decoder(Envelope).decode
"""Raises :data:`DECODE_ERRORS` for anything else than one well-formed message; see :func:`diagnose`."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_json = LooseDecoders.of(msgspec.json.Decoder)
_decode_callee_error = msgspec.json.Decoder(CalleeError).decode
_decode_typed = msgspec.json.Decoder(_Typed).decode


def diagnose(message: bytes | Raw, decoders: LooseDecoders = _json) -> Malformed:
    """Say what is wrong with a message that :data:`decode_envelope`, or its like of another encoding, refused."""
    try:
        # all of it: the next line looks no further than to where it knows that this is no object
        decoders.check_syntax(message)
        loose = decoders.loose(message)
    except msgspec.ValidationError:
        return Malformed(InvalidRequest("a message is an object"), None, False)
    except RecursionError:
        return Malformed(ParseError("nested too deeply"), None, False)
    except DECODE_ERRORS as error:
        return Malformed(ParseError(str(error)), None, False)
    request_id: RequestId | None = None
    reason = 'it needs "jsonrpc": "2.0", a method that is a string, and an id that is a string or an integer'
    if loose.id is not UNSET:
        try:
            request_id = decoders.id(loose.id)
        except DECODE_ERRORS:
            reason = "an id is a string or an integer"
    is_answer = loose.method is UNSET and (loose.result is not UNSET or loose.error is not UNSET)
    return Malformed(InvalidRequest(reason), request_id, is_answer)


def read_member(member: Raw) -> Envelope | Malformed:
    """One member of a batch."""
    try:
        return decode_envelope(member)
    except DECODE_ERRORS:
        return diagnose(member)


def may_be_answered(message: Envelope | Malformed) -> bool:
    """Whether it is neither a notification nor meant as an answer itself."""
    if isinstance(message, Malformed):
        return not message.is_answer
    if message.method is UNSET:
        return message.result is UNSET and message.error is UNSET
    return message.id is not UNSET


def split_batch(message: bytes, max_members: int) -> list[Raw] | None:
    """The members of a batch array, or None if the message is no array (or no JSON). Of too many, one too many."""
    if not message.lstrip(b" \t\r\n").startswith(b"["):
        return None
    try:
        return first_items(message, max_members + 1)
    except DECODE_ERRORS:
        return None


def is_null(value: Raw) -> bool:
    """Whether a value is ``null``."""
    return memoryview(value)[0] == ord("n")


def is_scalar(value: Raw) -> bool:
    """Whether a value is neither an object nor an array nor ``null``."""
    return memoryview(value)[0] not in b"{[n"


def read_callee_error(error: Raw) -> CalleeError | None:
    """An answer's ``error`` if it is what JSON-RPC says: an object with an integer code and a message."""
    try:
        return _decode_callee_error(error)
    except DECODE_ERRORS:
        return None


def encode_id(request_id: RequestId | None) -> bytes:
    """An id as JSON."""
    if type(request_id) is int:
        return b"%d" % request_id
    return msgspec.json.encode(request_id)


def result_message(request_id: RequestId, result: Any, meta: bytes | None = None) -> bytes:
    """An answer of the router's own. ``meta`` is JSON."""
    head = b'{"jsonrpc":"2.0","id":%b,"result":%b' % (encode_id(request_id), orjson.dumps(result))
    return head + b"}" if meta is None else b'%b,"meta":%b}' % (head, meta)


def error_message(
    request_id: RequestId | None, error: RouterError, meta: dict[str, Any] | None = None
) -> bytes:
    """An error of the router's own, which is what ``meta.origin`` says."""
    body = {"code": error.code, "message": str(error), "data": wire_data(error)}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b,"meta":%b}' % (
        encode_id(request_id),
        orjson.dumps(body),
        orjson.dumps({"origin": "router", **(meta or {})}),
    )


def notification_message(method: str, params: Any) -> bytes:
    """A notification of the router's own."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})
