"""The session that docs/protocol.md lets its readers type: what is sent by whom, and what comes back."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from tests.docs.running import EXAMPLES, open_process

_LEFT_OUT = "{…}"
"""An object that the page does not show."""

# What differs from one run to the next, wherever it stands.
_VARYING = {
    "connected_at": str,
    "duration_ms": float,
    "epoch": int,
    "last_called_at": str,
    "registered_at": str,
    "resume_token": str,
    "revision": int,
    "session_id": str,
    "since": str,
    "trace_id": str,
}
_ESCAPES = re.compile(r"\x1b(?:\[[A-Z]|[78])|\r")


@attrs.frozen
class Step:
    """One line of the session. ``text`` is None for the end of a participant."""

    who: str
    is_sent: bool
    text: str | None


def steps() -> Iterator[Step]:
    """The session as it stands in the documentation."""
    for line in (EXAMPLES / "by-hand.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\w+) +([<>]) (.*)", line)
        assert match is not None, line
        who, direction, text = match.groups()
        yield Step(who, direction == ">", None if text == "Ctrl-D" else text)


class Seen:
    """What the page shows for values that vary, and what they really were: each means the same all along."""

    def __init__(self) -> None:
        self._actual: dict[tuple[str, Any], Any] = {}

    def learn(self, name: str, shown: Any, actual: Any) -> None:
        """``actual`` is what the page calls ``shown``."""
        assert self._actual.setdefault((name, shown), actual) == actual, f"{name} {shown}"

    def actual(self, name: str, shown: Any) -> Any:
        """What that was, or itself if it does not vary."""
        return self._actual.get((name, shown), shown)

    def compare(self, shown: Any, actual: Any, name: str = "") -> None:
        """Check that a message is what the page says it is."""
        if shown == _LEFT_OUT:
            assert isinstance(actual, dict), f"{name}: {actual}"
        elif name in _VARYING:
            assert type(actual) is type(shown) is _VARYING[name], f"{name}: {actual!r}"
            if name not in ("duration_ms", "trace_id"):
                self.learn(name, shown, actual)
        elif isinstance(shown, dict):
            assert isinstance(actual, dict), f"{name}: {actual}"
            assert list(shown) == list(actual), name
            for key in shown:
                self.compare(shown[key], actual[key], "epoch" if name == "epochs" else key)
        elif isinstance(shown, list):
            assert isinstance(actual, list) and len(shown) == len(actual), f"{name}: {actual}"
            for one, other in zip(shown, actual, strict=True):
                self.compare(one, other)
        else:
            assert type(shown) is type(actual) and shown == actual, f"{name}: {actual!r}"


class Participant:
    """Somebody at a terminal who runs ``python -m websockets``."""

    def __init__(self, process: trio.Process, seen: Seen) -> None:
        self._process = process
        self._seen = seen
        self._received = b""
        # correlation ids, as the page shows them and as they are; each participant has its own
        self._ids: dict[int, int] = {}

    async def send(self, text: str) -> None:
        """Type a line. A correlation id is the one that was received, as the page says."""
        assert self._process.stdin is not None
        message = json.loads(text)
        if "method" not in message:
            text = text.replace(f'"id":{message["id"]},', f'"id":{self._ids[message["id"]]},', 1)
        await self._process.stdin.send_all(text.encode() + b"\n")

    async def leave(self) -> None:
        """Press Ctrl-D."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()

    async def check_next(self, text: str) -> None:
        """Wait for the next message, and compare it with what the page shows."""
        actual = json.loads(await self._next_message())
        shown = json.loads(text.replace(_LEFT_OUT, f'"{_LEFT_OUT}"'))
        if "method" in shown and "id" in shown:
            self._ids[shown["id"]] = actual["id"]
            actual["id"] = shown["id"]
        elif shown.get("method") == "$/cancelRequest":
            actual["params"]["id"] = {real: said for said, real in self._ids.items()}[actual["params"]["id"]]
        self._seen.compare(shown, actual)

    async def _next_message(self) -> str:
        assert self._process.stdout is not None
        while True:
            line, end, rest = self._received.partition(b"\n")
            if end:
                self._received = rest
                found = re.fullmatch(r"(?:> )*< (.*)", _ESCAPES.sub("", line.decode()))
                if found is not None:
                    return found[1]
                continue
            chunk = await self._process.stdout.receive_some()
            assert chunk, f"it ended: {self._received.decode()}"
            self._received += chunk


@asynccontextmanager
async def open_participant(url: str, seen: Seen) -> AsyncIterator[Participant]:
    """Connect somebody to a router."""
    command = [sys.executable, "-m", "websockets", url]
    async with open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Participant(process, seen)
