"""How partial results arrive: in one decoding, as most of them are written, or in two, as any of them."""

from typing import Literal

import msgspec
from msgspec import Raw

from resroute.protocol.envelope import RequestId

PART_BEGINS = b'{"jsonrpc":"2.0","method":"$/progress",'
"""How nearly every partial result begins: a look at that is quicker than to decode what is none."""


class Part(msgspec.Struct, gc=False):
    """The parameters of a ``$/progress`` of a callee."""

    token: RequestId
    value: Raw


class _Whole(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A notification with nothing beside what it needs."""

    jsonrpc: Literal["2.0"]
    method: Literal["$/progress"]
    params: Part


decode_params = msgspec.json.Decoder(Part).decode
decode_part = msgspec.json.Decoder(_Whole).decode
"""A message that begins with :data:`PART_BEGINS`. What it refuses may be right all the same."""
