"""An answer that goes on for long, in lines."""

import json
from collections.abc import Iterator
from typing import Any

import trio

from resroute.cli.remote.http import Answer
from resroute.cli.remote.refusals import NoAdminApi
from resroute.errors import ConnectionLost

SILENCE_SECONDS = 60.0
"""How long an answer may stop on its way."""

MAX_LINE_BYTES = 64 * 1024 * 1024


class Lines:
    """The lines of an answer. Who is slow to take them holds up who sends them, and nobody else."""

    def __init__(self, answer: Answer, url: str) -> None:
        self._answer = answer
        self._url = url
        self._rest = bytearray()

    async def receive(self) -> bytes:
        """Some more whole lines; empty at the end.

        Raises:
            ConnectionLost: it was cut off, or nothing has come for long.
            NoAdminApi: a line is longer than any of a router's.
        """
        while True:
            piece = None
            with trio.move_on_after(SILENCE_SECONDS):
                piece = await self._answer.receive()
            if piece is None:
                raise ConnectionLost(reason=f"nothing more within {SILENCE_SECONDS:g} seconds")
            if not piece and self._rest:
                raise ConnectionLost(reason="its answer was cut off")
            end = piece.rfind(b"\n") + 1
            if end or not piece:
                whole = bytes(self._rest) + piece[:end]
                self._rest = bytearray(piece[end:])
                return whole
            self._rest += piece
            if len(self._rest) > MAX_LINE_BYTES:
                raise NoAdminApi(self._url, f"a line of its answer is longer than {MAX_LINE_BYTES} bytes")

    def objects(self, text: bytes) -> Iterator[dict[str, Any]]:
        """The objects in lines of JSON.

        Raises:
            NoAdminApi: it is none.
        """
        for line in text.splitlines():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise NoAdminApi(self._url, f"a line of its answer is no JSON: {error}") from error
            if not isinstance(value, dict):
                raise NoAdminApi(self._url, "a line of its answer is no JSON object")
            yield value
