"""W3C Trace Context: which trace a request belongs to, and under which span of it. Pure."""

import re
from hashlib import blake2b

import msgspec

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SAMPLED = 1


class TraceParent(msgspec.Struct, frozen=True, gc=False):
    """A span of somebody's, whose children are traced if it is."""

    trace_id: int
    span_id: int
    is_sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.is_sampled):02x}"


def read_traceparent(text: str) -> TraceParent | None:
    """What a ``traceparent`` of version 00 says; None if it is malformed."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    return TraceParent(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))


def trace_number(trace_id: str) -> int:
    """The W3C trace id for one of ours: the same if it is one, else always the same other, and never 0."""
    if _TRACE_ID.fullmatch(trace_id):
        return int(trace_id, 16)
    return int.from_bytes(blake2b(trace_id.encode(), digest_size=16).digest()) or 1
