"""Numbers as people read them."""

import time

from resroute.times import read_time

_NARROW = "\u202f"  # a space that no line breaks at

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def grouped(count: float) -> str:
    """A count, its digits in threes."""
    return f"{count:,.0f}".replace(",", _NARROW)


def rate(per_second: float | None) -> str:
    """How often something happens, in three digits or more."""
    if per_second is None:
        return "–"
    return grouped(per_second) if per_second >= 100 else f"{per_second:.3g}"


def short(value: float | None) -> str:
    """A number of which two digits are enough if it is small, and else three."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value < 10 else grouped(float(f"{value:.3g}"))


def milliseconds(value: float | None) -> str:
    """A short time, in two digits or more, with its unit."""
    if value is None:
        return "–"
    if value >= 1000:
        return duration(value / 1000)
    return f"{short(value)}{_NARROW}ms"


def duration(seconds: float) -> str:
    """How long something takes or has taken, in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f}{_NARROW}s"
    whole = int(seconds)
    for unit, name, below, name_below in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // below
            more = f" {rest}{_NARROW}{name_below}" if rest else ""
            return f"{whole // unit}{_NARROW}{name}{more}"
    return f"{whole}{_NARROW}s"


def ago(at: str) -> str:
    """How long ago a time was, which is one in RFC 3339."""
    seconds = time.time() - read_time(at)
    return f"{duration(seconds) if seconds >= 10 else f'{max(0, round(seconds))}{_NARROW}s'} ago"


def many(count: int, one: str, several: str | None = None) -> str:
    """So many of something, of which the plural may be an irregular one."""
    return f"{grouped(count)} {one if count == 1 else several or f'{one}s'}"
