"""Values that the router told, as people and programs like to see them."""

import time
from datetime import datetime

import msgspec

from resroute.cli.output import to_json


def as_line(thing: object) -> str:
    """One JSON object in a line, without what is not set."""
    members = msgspec.to_builtins(thing)
    return to_json({name: value for name, value in members.items() if value is not None}, pretty=False)


def age(since: datetime | None) -> str:
    """How long ago, as roughly as one wants to know it. The clocks of two machines may differ."""
    return "-" if since is None else span(time.time() - since.timestamp())


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
