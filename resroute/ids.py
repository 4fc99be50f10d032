"""The names of things: what a resource id may look like, and the types that keep one kind of id from another."""

import re
from collections.abc import Sequence
from typing import NewType

ResourceId = NewType("ResourceId", str)
"""A named thing that at most one instance owns, such as ``user:42``."""

InstanceId = NewType("InstanceId", str)
"""The program behind a session that handles resources."""

ServiceName = NewType("ServiceName", str)
"""What instances that do the same job are called together."""

SessionId = NewType("SessionId", str)
"""One connection's life, from handshake to end. Never reused."""

Epoch = NewType("Epoch", int)
"""The fencing token of a grant: the revision of the command that made it."""

Revision = NewType("Revision", int)
"""A position in the log. Increasing, with gaps, below :data:`MAX_REVISION`."""

BulkId = NewType("BulkId", str)
"""One registration or release in bulk, while it lasts."""

CorrelationId = NewType("CorrelationId", int)
"""The id under which the router delivers a call to its callee."""

MAX_REVISION = 2**53
"""Revisions stay below this: the integers that JavaScript can hold exactly."""

MAX_ID_LENGTH = 256
ID_RULE = (
    f"1 to {MAX_ID_LENGTH} characters of letters, digits and . _ ~ : / @ + = - (ASCII), "
    "neither starting nor ending with /"
)

MAX_TRACE_ID_LENGTH = 128

_ID_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:/@+=-"
_ID = re.compile(r"(?!/)[A-Za-z0-9._~:/@+=-]{1,256}(?<!/)")
_TRACE_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TRACE_ID_LENGTH}}}")


def is_id(text: str) -> bool:
    """Whether ``text`` may name a resource, a service or an instance. See :data:`ID_RULE`."""
    return _ID.fullmatch(text) is not None


def are_ids(names: Sequence[str]) -> bool:
    """Whether each of some names is an id: in a seventh of the time that it takes to ask one by one.

    Raises:
        TypeError: something among them is no string.
    """
    if not names:
        return True
    joined = f",{','.join(names)},"  # no id has a comma
    return (
        joined.isascii()
        and joined.encode().translate(None, _ID_CHARACTERS) == b"," * (len(names) + 1)
        and ",," not in joined
        and ",/" not in joined
        and "/," not in joined
        and max(map(len, names)) <= MAX_ID_LENGTH
    )


def is_trace_id(text: str) -> bool:
    """Whether ``text`` is 1 to 128 characters of ``A-Z a-z 0-9 _ -``."""
    return _TRACE_ID.fullmatch(text) is not None
