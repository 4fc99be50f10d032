"""How partial results arrive: in one decoding, as most of them are written, or in two, as any of them."""

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Raw

from resroute.protocol.envelope import DECODE_ERRORS, RequestId

if TYPE_CHECKING:
    from resroute.router.session import Session

PART_BEGINS = b'{"jsonrpc":"2.0","method":"$/progress",'
"""How nearly every partial result begins: a look at that is quicker than to decode what is none."""

MAX_PARTS = 256
"""The most partial results that are passed on together."""

MAX_PARTS_BYTES = 64 * 1024
"""The most that they take, unless a single one is larger."""


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
_decode_whole = msgspec.json.Decoder(_Whole).decode

_LARGE_BYTES = 16 * 1024


def read_part(message: bytes) -> Part | None:
    """A partial result that is not large, begins with :data:`PART_BEGINS`, and has nothing unusual.

    None: it has to be looked at in another way. It may be right all the same.
    """
    if len(message) > _LARGE_BYTES:
        return None
    try:
        return _decode_whole(message).params
    except DECODE_ERRORS:
        return None


Run = tuple[RequestId, list[Raw]]
"""The token of one call and the values of parts of its result, in order."""


class Bundle:
    """Partial results that came together, by who is to have them."""

    __slots__ = ("_by_session", "_by_token", "_find", "_token", "_values")

    def __init__(self, find: "Callable[[RequestId], Session | None]") -> None:
        self._find = find
        # caller, None for parts that nobody wants -> runs, in order
        self._by_session: dict[Session | None, list[Run]] = {}
        # token -> the runs of its caller
        self._by_token: dict[RequestId, list[Run]] = {}
        self._token: RequestId | None = None
        self._values: list[Raw] = []

    def add(self, part: Part) -> None:
        """One more, behind all others of its caller's."""
        token = part.token
        if token != self._token:
            runs = self._by_token.get(token)
            if runs is None:
                runs = self._by_token[token] = self._by_session.setdefault(self._find(token), [])
            if not runs or runs[-1][0] != token:
                runs.append((token, []))
            self._token, self._values = token, runs[-1][1]
        self._values.append(part.value)

    def take(self) -> Collection[list[Run]]:
        """What each caller is to have; nothing is left."""
        taken = self._by_session.values()
        self._by_session, self._by_token, self._token = {}, {}, None
        return taken


def parts_from(messages: Sequence[bytes], start: int) -> Sequence[bytes]:
    """Those to be passed on together that begin as partial results do, from ``start`` to the first that does not."""
    end, left = start, MAX_PARTS_BYTES
    for message in islice(messages, start, start + MAX_PARTS):
        left -= len(message)
        if left < 0 or not message.startswith(PART_BEGINS):
            break
        end += 1
    return messages[start:end]
