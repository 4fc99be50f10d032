"""Server-sent events, taken apart. Does no I/O."""

from collections.abc import Iterator

import attrs

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Above whatever a router tells in one event, also one whose ``max_message_bytes`` was raised."""


@attrs.frozen
class SentEvent:
    """One event. ``id`` is that of the last event that had one."""

    name: str
    data: str
    id: str


class EventReader:
    """Takes a stream apart, as https://html.spec.whatwg.org/multipage/server-sent-events.html says.

    Attributes:
        retry_seconds: how long to wait before the stream is asked for again; None: nothing was said.
    """

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        self._id = ""
        self._rest = bytearray()
        self._name = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, piece: bytes) -> Iterator[SentEvent]:
        """The events that are complete with this piece.

        Raises:
            ValueError: one is longer than :data:`MAX_EVENT_BYTES`.
        """
        if b"\n" in piece or b"\r" in piece or self._rest.endswith(b"\r"):
            lines = self._lines(bytes(self._rest) + piece)
        else:
            lines = []
            self._rest += piece
        if len(self._rest) + self._data_bytes > MAX_EVENT_BYTES:
            raise ValueError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._complete()) is not None:
                yield event

    def _lines(self, text: bytes) -> list[bytes]:
        """Those that are complete; the rest is kept."""
        held = text.endswith(b"\r")  # the other half of a line end may follow
        lines = (text[:-1] if held else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = bytearray(lines.pop() + (b"\r" if held else b""))
        return lines

    def _take(self, line: bytes) -> None:
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
                self._data_bytes += len(line)
                if self._data_bytes > MAX_EVENT_BYTES:
                    raise ValueError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit() and len(value) < 10:
                self.retry_seconds = int(value) / 1000

    def _complete(self) -> SentEvent | None:
        event = SentEvent(self._name or "message", "\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._data_bytes = "", [], 0
        return event
