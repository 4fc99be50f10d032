"""Times as the wire shows them: RFC 3339 in UTC with ``Z``."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Wall-clock seconds since 1970 as RFC 3339 with milliseconds, such as ``2026-11-22T09:30:00.250Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
