"""An HTTP response instead of a handshake, and what a user is told of it. No I/O.

Whatever stands at that address has written it: a router, a proxy in front of it, or a server for something else. So it is
read with patience, and told in one line of plain text.
"""

import html
import re
from collections.abc import Mapping

from resroute.errors import ConnectionFailed

MAX_BODY_BYTES = 8 * 1024
"""How much of a body is read at most."""

_MAX_TOLD = 200  # characters
_NO_BODY = (204, 304)
_CHUNK = re.compile(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


class Refusal:
    """A response of which the head is there. Its body goes to :meth:`receive`, until :attr:`is_complete`.

    Args:
        phrase: what stands behind the status, if anything does.
        headers: the last value of each, by its name in small letters.
    """

    def __init__(self, status: int, phrase: str, headers: Mapping[str, str]) -> None:
        self._status = status
        self._phrase = phrase
        self._headers = headers
        self._raw = bytearray()

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there, or as much as is told of any."""
        return self._take_apart()[1]

    def receive(self, data: bytes) -> None:
        """Take more of the body."""
        self._raw += data[: MAX_BODY_BYTES - len(self._raw)]

    def failure(self, url: str) -> ConnectionFailed:
        """What to raise, also where the body did not come to its end."""
        said = self._headers.get("retry-after", "")
        # RFC 9110, section 10.2.3. A date is not looked at: clocks differ
        seconds = float(said) if said.isascii() and said.isdigit() and len(said) <= 9 else None
        return ConnectionFailed(url, self._reason(), self._status, seconds)

    def _reason(self) -> str:
        location = in_one_line(self._headers.get("location", ""))
        if 300 <= self._status < 400 and location:
            return f"refused with HTTP {self._status}: it redirects to {location}; connect to that instead"
        text = self._text()
        what = "no WebSocket there, but" if self._status < 300 else "refused with"
        return f"{what} HTTP {self._status}" + (f": {text}" if text else "")

    def _text(self) -> str:
        """The sentence that the response has for a reader; if it has none, what stands behind its status."""
        body = self._take_apart()[0].decode(errors="replace").strip()
        if self._headers.get("content-encoding", "identity").lower() != "identity":
            body = ""
        if "html" in self._headers.get("content-type", "").lower() or body.startswith("<"):
            title = _TITLE.search(body)
            body = html.unescape(title[1] if title else _TAG.sub(" ", body))
            body = in_one_line(body).removeprefix(f"{self._status} ")
        return in_one_line(body) or in_one_line(self._phrase)

    def _take_apart(self) -> tuple[bytes, bool]:
        """As much of the body as is there, and whether that is all."""
        raw = bytes(self._raw)
        is_enough = len(raw) == MAX_BODY_BYTES
        length = self._headers.get("content-length", "")
        if self._status in _NO_BODY:
            return b"", True
        if "chunked" in self._headers.get("transfer-encoding", "").lower():
            body, is_all = _joined(raw)
            return body, is_all or is_enough
        if length.isascii() and length.isdigit() and len(length) <= 18:
            return raw[: int(length)], len(raw) >= int(length) or is_enough
        return raw, is_enough  # it ends with the connection


def _joined(raw: bytes) -> tuple[bytes, bool]:
    """Chunks put together, as far as they are there, and whether they are all: RFC 9112, section 7.1."""
    body, at = b"", 0
    while line := _CHUNK.match(raw, at):
        size, at = int(line[1], 16), line.end()
        if size == 0:
            return body, True
        body += raw[at : at + size]
        at += size
    return body, False


def in_one_line(text: str) -> str:
    """The beginning of a stranger's text, without what would do something to a terminal."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(visible.split())[:_MAX_TOLD]
