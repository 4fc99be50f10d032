"""What a session reads or sends without waiting is little: others have their turn between."""

from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest
import trio

from resroute.client.connection import JSON, NDJSON
from resroute.client.messages import Message
from resroute.client.session import Session
from resroute.errors import ConnectionLost

MESSAGES = 10_000
LINES = [f'{{"id":{number},"method":"m"}}' for number in range(MESSAGES)]


class Ready:
    """A connection that never has to wait: there is something to receive, and room to send. Then it ends, or is silent."""

    heard_at = float("inf")

    def __init__(self, subprotocol: str, texts: Iterable[str] = ()) -> None:
        self.subprotocol = subprotocol
        self.sent: list[str] = []
        self.has_sent_all = trio.Event()
        self.turns = 0
        self.turns_at: list[int] = []
        self._texts = deque(texts)

    async def send(self, text: str) -> None:
        self.sent.append(text)
        self.turns_at.append(self.turns)
        if len(self.sent) == MESSAGES:
            self.has_sent_all.set()

    async def receive(self) -> str:
        if not self._texts:
            await trio.sleep_forever()
        return self._texts.popleft()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def count_turns(self) -> None:
        """Be the others."""
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1


class Inbound:
    """Takes what arrives."""

    calls_serving = 0

    def __init__(self, connection: Ready) -> None:
        self.ids: list[object] = []
        self.has_some = trio.Event()
        self.has_all = trio.Event()
        self.turns_at: list[int] = []
        self._connection = connection

    def receive(self, message: Message) -> None:
        self.ids.append(message.id)
        self.has_some.set()
        self.turns_at.append(self._connection.turns)
        if len(self.ids) == MESSAGES:
            self.has_all.set()

    def refuse(self) -> None:
        raise AssertionError("nobody leaves")

    def connection_ended(self) -> None:
        pass


@asynccontextmanager
async def open_session(connection: Ready) -> AsyncGenerator[tuple[Session, Inbound]]:
    """A session that runs, and others beside it."""
    session, inbound = Session(connection), Inbound(connection)
    session.inbound = inbound
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.count_turns)
            nursery.start_soon(session.run)
            yield session, inbound
            session.end(ConnectionLost(reason="the test is over"))
            await session.wait_ended()
            nursery.cancel_scope.cancel()


def longest_run(turns_at: list[int]) -> int:
    """The most of them in one turn of the others. Who has the first turn of two is chance, so that two slices may be one."""
    return max(Counter(turns_at).values())


@pytest.mark.parametrize(
    ("subprotocol", "texts"),
    [
        (JSON, LINES),
        (NDJSON, LINES),
        (NDJSON, ["\n".join(LINES[at : at + 1000]) for at in range(0, MESSAGES, 1000)]),
        (NDJSON, ["\n\n".join(LINES)]),
    ],
    ids=["texts", "short packs", "packs", "one large pack"],
)
async def test_much_that_has_arrived_at_once_is_read_in_slices(subprotocol: str, texts: list[str]) -> None:
    connection = Ready(subprotocol, texts)
    async with open_session(connection) as (_, inbound):
        await inbound.has_all.wait()
        assert longest_run(inbound.turns_at) <= 2 * 128
        assert inbound.ids == list(range(MESSAGES))


async def test_many_messages_that_wait_are_sent_in_slices() -> None:
    connection = Ready(JSON)
    async with open_session(connection) as (session, _):
        for line in LINES:
            session.answer(line.encode())
        await connection.has_sent_all.wait()
        assert longest_run(connection.turns_at) <= 2 * 32
        assert connection.sent == LINES


async def test_what_is_read_in_slices_ends_between_them() -> None:
    connection = Ready(JSON, LINES)
    async with open_session(connection) as (session, inbound):
        await inbound.has_some.wait()
        session.end(ConnectionLost(reason="enough"))
    assert 0 < len(inbound.ids) < MESSAGES
