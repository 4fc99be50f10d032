"""How many streams of server-sent events are open, and how an event is written."""

from collections.abc import Callable

from quart import Response
from quart.wrappers.response import ResponseBody

from resroute.admin.problems import Problem

KEEP_ALIVE_SECONDS = 15.0
"""A stream says something at least this often, so that nobody on the way takes it for dead."""

MAX_STREAMS = 32
"""Of all administrators together, whatever they are about."""

RETRY_MS = 2000
"""How long a browser is to wait before it connects again."""


class Streams:
    """The streams that were opened and not closed."""

    def __init__(self) -> None:
        self._places: dict[object, None] = {}

    def take_place(self) -> Callable[[], None]:
        """A place for one more. Returns what gives it back, which may be called more than once.

        Raises:
            Problem: there are too many.
        """
        if len(self._places) >= MAX_STREAMS:
            raise Problem(
                503, f"there are {MAX_STREAMS} streams of events already", headers={"Retry-After": "5"}
            )
        place = object()
        self._places[place] = None

        def give_back() -> None:
            self._places.pop(place, None)

        return give_back


def event_response(stream: ResponseBody) -> Response:
    """The answer whose body is a stream."""
    response = Response(stream, 200, {"X-Accel-Buffering": "no"}, content_type="text/event-stream")
    response.timeout = None
    return response


def event_text(name: str, data: bytes, event_id: int | None = None) -> bytes:
    """One event. ``data`` may have several lines."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    lines = b"".join(b"data: %b\n" % line for line in data.splitlines())
    return b"event: %b\n%b%b\n" % (name.encode(), head, lines)
