"""Whoever is at the other end of a stream to the router and may say anything; and whether what it hears is in order."""

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import trio
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.packed import read_packed

Json = dict[str, Any]

_quiet = logging.getLogger("tests.fuzz")
_quiet.setLevel(logging.CRITICAL)


class Peer:
    """Whoever is at the other end of a stream to the router, and may say anything at all.

    It answers no Ping. What it hears must be in order, whatever it says: :meth:`check` decides.

    Attributes:
        close: the router's Close.
        over: the stream has ended.
        refusal: the answer to the handshake, if that was refused.
        texts: the messages it heard.
        heard: the same, read; with ndjson line by line.
    """

    def __init__(self, stream: trio.abc.Stream, *, takes_lines: bool, speaks_msgpack: bool = False) -> None:
        self.close: Close | None = None
        self.over = trio.Event()
        self.refusal: bytes | None = None
        self.heard: list[Any] = []
        self._takes_lines = takes_lines
        self.speaks_msgpack = speaks_msgpack
        self._stream = stream
        self._head = b""
        self.has_opened = False
        self.pongs = 0
        self.pongs_between_fragments = 0
        self._protocol = ClientProtocol(
            parse_uri("ws://localhost/"), state=State.OPEN, max_size=None, logger=_quiet
        )
        self._parts: list[bytes] = []
        self._more = trio.lowlevel.ParkingLot()
        self.texts: list[bytes] = []

    async def send(self, data: bytes) -> None:
        """Put bytes on the stream. Does nothing once that has ended."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def vanish(self) -> None:
        """Leave without a word."""
        assert isinstance(self._stream, trio.StapledStream)
        self._stream.send_stream.close()
        self._stream.receive_stream.close()

    async def run(self) -> None:
        """Read until the stream has ended."""
        try:
            while data := await self._stream.receive_some(65536):
                self._read(bytes(data))
                self._more.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.over.set()
        self._more.unpark_all()

    async def wait_more(self) -> None:
        """Wait until something more has been heard, or the stream has ended."""
        await self._more.park()

    def _read(self, data: bytes) -> None:
        if not self.has_opened:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self.has_opened = head.startswith(b"HTTP/1.1 101 ")
            if not self.has_opened:
                self.refusal = self._head
                return
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            self._take(frame)
        assert self._protocol.parser_exc is None, self._protocol.parser_exc

    def _take(self, frame: Frame) -> None:
        assert self.close is None, "nothing follows a Close"
        match frame.opcode:
            case Opcode.CLOSE:
                self.close = Close.parse(frame.data)
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                assert frame.opcode != (Opcode.TEXT if self.speaks_msgpack else Opcode.BINARY)
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    text = b"".join(self._parts)
                    self._parts.clear()
                    self.texts.append(text)
                    self.heard += self._messages_in(text)
            case Opcode.PONG:
                self.pongs += 1
                self.pongs_between_fragments += bool(self._parts)
            case other:
                assert other == Opcode.PING

    def _messages_in(self, text: bytes) -> list[Any]:
        if self.speaks_msgpack:
            return [json.loads(json.dumps(read_packed(text), default=float))]
        return list(map(read_json, text.split(b"\n") if self._takes_lines else [text]))

    @property
    def delivered(self) -> list[Json]:
        """The calls that the router has delivered here."""
        return [message for message in self.heard if isinstance(message, dict) and "method" in message]

    @property
    def answers(self) -> list[Json]:
        """All answers, those in batches too."""
        each = itertools.chain.from_iterable(
            message if isinstance(message, list) else [message] for message in self.heard
        )
        return [message for message in each if "method" not in message]

    def check(self, texts: list[bytes], max_message_bytes: int) -> None:
        """Whether what was heard is in order, after these texts were said."""
        for text in self.texts:
            assert len(text) <= max_message_bytes + 4096, f"{len(text)} bytes in one message"
        for message in self.delivered:
            check_delivered(message)
        for answer in self.answers:
            check_answer(answer)
        asked = Counter(_ids_in(texts))
        answered = Counter(_key(answer["id"]) for answer in self.answers if answer["id"] is not None)
        assert answered <= asked, f"answered more often than asked: {answered - asked}"


def read_json(text: bytes) -> Any:
    """Strictly: as everybody will read it."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    return json.loads(text.decode(), parse_constant=refuse, parse_int=_integer)


def _integer(digits: str) -> int:
    return int(digits[:4000])  # more, Python does not take


def check_delivered(message: Json) -> None:
    """Whether it is a request or a notification as the router sends them."""
    assert message["jsonrpc"] == "2.0"
    assert isinstance(message["method"], str)
    assert type(message.get("id", 0)) is int
    assert isinstance(message.get("params", []), dict | list)


def check_answer(answer: Json) -> None:
    """Whether it is an answer as the router sends them, and tells of no bug."""
    assert answer["jsonrpc"] == "2.0"
    assert ("result" in answer) != ("error" in answer), answer
    if answer.get("meta", {}).get("origin") == "router":
        error = answer["error"]
        assert isinstance(error["code"], int) and isinstance(error["message"], str)
        assert error["data"]["trace_id"]
        assert error["data"]["type"] != "internal_error", answer


def _key(request_id: Any) -> tuple[type, Any]:
    return type(request_id), request_id


def _ids_in(texts: list[bytes]) -> Iterator[tuple[type, Any]]:
    """The ids under which something was asked, as far as texts can be read."""
    for text in texts:
        for line in (text, *text.split(b"\n")) if b"\n" in text else (text,):
            try:
                message = json.loads(line, object_pairs_hook=_all_ids, parse_int=_integer)
            except (ValueError, RecursionError):
                continue
            for member in message if isinstance(message, list) else [message]:
                if isinstance(member, dict):
                    yield from member["ids"]


def _all_ids(members: list[tuple[str, Any]]) -> Json:
    return {"ids": {_key(value) for name, value in members if name == "id" and type(value) in (int, str)}}
