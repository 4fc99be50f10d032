"""Conformance vectors, and a player that acts them out with a router in memory: ``docs/conformance/README.md``."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import ormsgpack
import trio
import trio.testing

from resroute.router.router import Router
from resroute.settings import Settings
from tests.conformance.matching import Mismatch, compare, fill_in
from tests.fuzz import said
from tests.fuzz.arena import listening
from tests.fuzz.peer import Peer

FOLDER = Path(__file__).parents[2] / "docs" / "conformance"

_PATIENCE_SECONDS = 20.0
"""On a clock that jumps: how long something that is to be heard may take."""


@attrs.frozen
class Vector:
    """One story.

    Attributes:
        name: what is so, in a sentence.
        sessions: who takes part, and which subprotocols each of them offers.
        paths: where they connect, if not at ``/``.
        steps: who does or hears what, in order.
        settings: the router's, where they are not the default.
    """

    name: str
    sessions: Mapping[str, list[str]]
    steps: list[list[Any]]
    settings: Mapping[str, Any] = {}
    paths: Mapping[str, str] = {}


def read_vectors() -> list[Vector]:
    """All vectors of all files."""
    return [
        Vector(**{key: value for key, value in vector.items() if key != "about"})
        for path in sorted(FOLDER.glob("*.json"))
        for vector in json.loads(path.read_text())["vectors"]
    ]


class Player:
    """Acts a vector out."""

    def __init__(self, router: Router, nursery: trio.Nursery, vector: Vector) -> None:
        self._router = router
        self._nursery = nursery
        self._vector = vector
        self._names: dict[str, Any] = {}
        self._peers: dict[str, Peer] = {}
        self._read: dict[str, int] = {}  # how much of what each has heard is dealt with

    async def play(self) -> None:
        """Take every step.

        Raises:
            Mismatch: something else was heard.
        """
        for number, (who, what, *details) in enumerate(self._vector.steps, 1):
            try:
                await self._take(who, what, *details)
            except Mismatch as mismatch:
                raise Mismatch(f"step {number}: {who} {what}: {mismatch}") from None
        for who, peer in self._peers.items():
            await self._hears_nothing(who, peer)

    async def _take(self, who: str, what: str, about: Any = None) -> None:
        peer = self._peers.get(who) or await self._connect(who)
        match what:
            case "sends":
                await self._send(peer, fill_in(about, self._names))
            case "sends lines":
                await self._send_text(
                    peer, "\n".join(json.dumps(fill_in(line, self._names)) for line in about)
                )
            case "sends text":
                await self._send_text(peer, about)
            case "sends pieces":
                pieces = (
                    piece if isinstance(piece, str) else json.dumps(fill_in(piece, self._names))
                    for piece in about
                )
                await self._send_text(peer, "".join(pieces))
            case "sends text of bytes":
                await peer.send(said.text(bytes.fromhex(about)))
            case "sends binary":
                await peer.send(said.frame(said.BINARY, bytes.fromhex(about)))
            case "hears":
                compare(about, await self._next(who, peer), self._names)
            case "hears text with":
                await self._next(who, peer)
                if about not in peer.texts[-1].decode():
                    raise Mismatch(f"{about!r} is not in {peer.texts[-1]!r}")
            case "hears nothing":
                await self._hears_nothing(who, peer)
            case "closes":
                await peer.send(said.close(about))
                await self._wait_over(peer)
            case "vanishes":
                peer.vanish()
                await trio.testing.wait_all_tasks_blocked()
            case "is closed":
                await self._wait_over(peer)
                code = peer.close.code if peer.close is not None else None
                if code != about:
                    raise Mismatch(f"the code is {code}")
            case "is refused":
                await self._wait_over(peer)
                if peer.refusal is None or not peer.refusal.startswith(b"HTTP/1.1 %d " % about):
                    raise Mismatch(f"the answer is {peer.refusal!r}")
            case _:
                raise AssertionError(f"nobody can do this: {what}")

    async def _connect(self, who: str) -> Peer:
        offers = self._vector.sessions[who]
        ours, theirs = trio.testing.memory_stream_pair()
        takes_lines = "resroute.v1.ndjson" in offers
        speaks_msgpack = "resroute.v1.msgpack" in offers and len(offers) == 1
        peer = Peer(ours, takes_lines=takes_lines, speaks_msgpack=speaks_msgpack)
        self._nursery.start_soon(self._router.serve_stream, theirs)
        self._nursery.start_soon(peer.run)
        await peer.send(said.handshake(*offers, path=self._vector.paths.get(who, "/")))
        await trio.testing.wait_all_tasks_blocked()
        self._peers[who] = peer
        self._read[who] = 0
        return peer

    async def _send(self, peer: Peer, message: Any) -> None:
        if peer.speaks_msgpack:
            await peer.send(said.frame(said.BINARY, ormsgpack.packb(message)))
        else:
            await self._send_text(peer, json.dumps(message))

    @staticmethod
    async def _send_text(peer: Peer, text: str) -> None:
        await peer.send(said.text(text.encode()))

    async def _next(self, who: str, peer: Peer) -> Any:
        with trio.move_on_after(_PATIENCE_SECONDS):
            while len(peer.heard) <= self._read[who] and not peer.over.is_set():
                await peer.wait_more()
        if len(peer.heard) <= self._read[who]:
            raise Mismatch("nothing is heard")
        self._read[who] += 1
        return peer.heard[self._read[who] - 1]

    async def _hears_nothing(self, who: str, peer: Peer) -> None:
        await trio.testing.wait_all_tasks_blocked()
        if len(peer.heard) > self._read[who]:
            raise Mismatch(f"{who} heard {peer.heard[self._read[who]]!r} besides")

    @staticmethod
    async def _wait_over(peer: Peer) -> None:
        with trio.move_on_after(_PATIENCE_SECONDS):
            await peer.over.wait()


async def play(vector: Vector) -> None:
    """Act a vector out with a router of its own. Needs a clock that jumps.

    Raises:
        Mismatch: something else was heard.
    """
    lines: list[str] = []
    async with trio.open_nursery() as nursery:
        with listening(lines):
            router = Router(Settings(**vector.settings), turn_clock=lambda: 0.0, randomness=random.Random(1))
            await nursery.start(router.serve)
            await Player(router, nursery, vector).play()
        nursery.cancel_scope.cancel()
    assert not lines, "\n".join(lines)
