"""What a call carries, had back from the message that it was made into."""

import msgspec
import pytest
from msgspec import Raw

from resroute.ids import CorrelationId
from resroute.router.calls import NOWHERE
from resroute.router.wording import body_json, body_of, body_packed, request_message
from tests.router.test_tables import make_call, make_instance

DEEP = 50_000  # levels: far more than any decoder takes


@pytest.mark.parametrize("is_packed", [False, True], ids=["JSON", "MessagePack"])
@pytest.mark.parametrize("is_plain", [False, True], ids=["with meta", "plain"])
@pytest.mark.parametrize("is_note", [False, True], ids=["request", "notification"])
@pytest.mark.parametrize("has_params", [False, True], ids=["no params", "deep params"])
def test_a_body_is_had_back_whatever_it_holds(
    is_packed: bool, is_plain: bool, is_note: bool, has_params: bool
) -> None:
    caller, callee = make_instance(0), make_instance(1)
    for session in (caller, callee):
        session.speaks_msgpack = is_packed
    callee.is_plain = is_plain
    call = make_call(caller, 7)
    call.caller_id = None if is_note else "id"
    if is_packed:
        deep = b"\x91" * DEEP + msgspec.msgpack.encode("x")
        body = body_packed("wörk", Raw(deep) if has_params else msgspec.UNSET)
    else:
        deep = b"[" * DEEP + b"]" * DEEP
        body = body_json("wörk", Raw(deep) if has_params else msgspec.UNSET)
    call.body, call.number = body, CorrelationId(123_456)
    message = request_message(call, callee, 0.5)
    call.body, call.left_out_bytes, call.number = b"", len(body), NOWHERE
    assert body_of(message, call, 123_456, callee) == body
