"""Times as the wire shows them, RFC 3339 in UTC with ``Z``, and as people write them."""

import re
import time
from datetime import UTC, datetime

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def rfc3339(seconds: float) -> str:
    """Wall-clock seconds since 1970 as RFC 3339 with milliseconds, such as ``2026-11-22T09:30:00.250Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> float:
    """Seconds since 1970 for a time in RFC 3339, for a day, or for so long ago: ``90s``, ``15m``, ``1h``, ``2d``, ``1w``.

    Raises:
        ValueError: it is none of these.
    """
    if (match := _DURATION.fullmatch(text)) is not None:
        return time.time() - int(match[1]) * _UNIT_SECONDS[match[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time such as 2026-11-26T09:30:00Z nor a span such as 1h or 2d"
        ) from None
    if at.tzinfo is None:
        if len(text) > len("2026-11-26"):
            raise ValueError(f"{text!r} lacks its time zone, as in 2026-11-26T09:30:00Z")
        at = at.replace(tzinfo=UTC)
    return at.timestamp()
