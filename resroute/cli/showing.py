"""Values that the router told, as people and programs like to see them."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec

from resroute.cli.output import to_json


def as_line(thing: attrs.AttrsInstance) -> str:
    """One JSON object in a line, without what is not set."""
    return to_json(members(thing), pretty=False)


def members(thing: attrs.AttrsInstance) -> dict[str, Any]:
    """What is set of something that the router told, and of all that it is made of. Objects of users' stay as they are."""
    told = attrs.asdict(thing, recurse=False)
    return {name: _value(value) for name, value in told.items() if value is not None}


def _value(value: Any) -> object:
    if attrs.has(type(value)):
        return members(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return msgspec.to_builtins(value)


def setting(value: Any) -> str:
    """The value of a setting as the environment would have it. A secret says of itself that it is one."""
    match value:
        case None:
            return "(none)"
        case []:
            return "(empty)"
        case [*items]:
            return ", ".join(map(str, items))
        case _:
            return str(value)


def age(since: datetime | None) -> str:
    """How long ago, as roughly as one wants to know it. The clocks of two machines may differ."""
    return "-" if since is None else span(time.time() - since.timestamp())


def until(at: datetime) -> str:
    """How long it takes until then, likewise."""
    return span(at.timestamp() - time.time())


def span(seconds: float) -> str:
    """How long, as roughly as one wants to know it."""
    whole = max(0, int(seconds))
    for unit, size, limit in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172_800)):
        if whole < limit:
            return f"{whole // size}{unit}"
    return f"{whole // 86_400}d"


def milliseconds(value: float | None) -> str:
    """A time that was measured in milliseconds."""
    return "-" if value is None else f"{value:.1f} ms"


def outcomes(calls: Mapping[str, int]) -> str:
    """How calls have ended, and how many each way."""
    return ", ".join(f"{count} {outcome}" for outcome, count in calls.items()) or "none"
