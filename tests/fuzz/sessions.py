"""A session that does its worst, beside sessions that must not notice."""

from itertools import cycle
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import strategies as st

from resroute.settings import Settings
from tests.fuzz import hostile, said
from tests.fuzz.arena import Arena, open_arena
from tests.fuzz.corpus import MESSAGES, STREAMS
from tests.fuzz.effort import Target
from tests.fuzz.peer import Peer
from tests.fuzz.websocket import any_frame

MAX_MESSAGE_BYTES = 64 * 1024

SETTINGS = Settings(
    max_message_bytes=MAX_MESSAGE_BYTES,
    max_calls_in_flight=8,
    max_resources_per_instance=4,
    max_batch_messages=20,
    outbox_soft_bytes=64 * 1024,
    max_outbox_bytes=1024 * 1024,
)


@attrs.frozen
class Say:
    """Some messages, each in a text of its own or, with ndjson, all in one."""

    texts: tuple[bytes, ...]

    async def act(self, attack: "Attack") -> None:
        if attack.takes_lines:
            await attack.say(b"\n".join(self.texts))
        else:
            for text in self.texts:
                await attack.say(text)


@attrs.frozen
class SayInFragments:
    """A message in frames of that size."""

    text: bytes
    size: int

    async def act(self, attack: "Attack") -> None:
        await attack.say(self.text, self.size)


@attrs.frozen
class Send:
    """Bytes that may be no frames at all."""

    data: bytes

    async def act(self, attack: "Attack") -> None:
        await attack.send(self.data)


@attrs.frozen
class Answer:
    """What may be an answer to a call that was delivered here. ``{}`` in it is that call's id."""

    which: int
    text: bytes
    times: int = 1

    async def act(self, attack: "Attack") -> None:
        calls = [call["id"] for call in attack.peer.delivered if "id" in call] or [1]
        number = b"%d" % calls[self.which % len(calls)]
        for _ in range(self.times):
            await attack.say(self.text.replace(b"{}", number, 1))


@attrs.frozen
class Sleep:
    """Time passes."""

    seconds: float

    async def act(self, attack: "Attack") -> None:
        await trio.sleep(self.seconds)


@attrs.frozen
class BeCalled:
    """Somebody who behaves calls what the peer may own."""

    async def act(self, attack: "Attack") -> None:
        attack.calls.append(await attack.arena.start_call_to("bad:1"))


@attrs.frozen
class Notify:
    """What may be a notification for whoever made a call that was delivered here. ``{}`` in it is that session's id."""

    text: bytes
    times: int = 1

    async def act(self, attack: "Attack") -> None:
        callers = [call["meta"]["caller"]["session_id"] for call in attack.peer.delivered if "meta" in call]
        for _ in range(self.times):
            await attack.say(self.text.replace(b"{}", (callers or ["session-0"])[0].encode(), 1))


Act = Say | SayInFragments | Send | Answer | Notify | Sleep | BeCalled


@attrs.frozen
class Plan:
    """What the peer does.

    Attributes:
        path: where it connects, and so what it is bound to.
        subprotocol: the one it offers, if any.
        sizes: of the pieces in which its bytes arrive; in one if there are none.
        acts: one after the other.
        leaves: how: ``vanish``, ``close``, ``fall silent`` or ``half a frame`` and then vanish.
    """

    path: str
    subprotocol: str | None
    sizes: tuple[int, ...]
    acts: tuple[Act, ...]
    leaves: str


class Attack:
    """A plan while it is carried out."""

    def __init__(self, arena: Arena, peer: Peer, plan: Plan) -> None:
        self.arena = arena
        self.peer = peer
        self.plan = plan
        self.takes_lines = plan.subprotocol == "resroute.v1.ndjson"
        self.texts: list[bytes] = []
        self.calls: list[int] = []

    async def say(self, text: bytes, size: int = 0) -> None:
        """A text message, in frames of a size if there is one."""
        self.texts.append(text)
        await self.send(said.fragments(text, size) if size else said.text(text))

    async def send(self, data: bytes) -> None:
        """Bytes, in pieces."""
        for piece in said.chopped(data, self.plan.sizes):
            await self.peer.send(piece)
            if self.plan.sizes:
                await trio.testing.wait_all_tasks_blocked()

    async def carry_out(self) -> None:
        """Do everything."""
        for number, act in enumerate(self.plan.acts):
            await act.act(self)
            await trio.testing.wait_all_tasks_blocked()
            if number % 4 == 3:
                await self.arena.check_bystanders()

    async def leave(self) -> None:
        """Be gone, one way or the other."""
        match self.plan.leaves:
            case "vanish":
                self.peer.vanish()
            case "close":
                await self.peer.send(said.close())
            case "half a frame":
                await self.peer.send(said.text(b"abc")[:-2])
                await trio.testing.wait_all_tasks_blocked()
                self.peer.vanish()


def carry_out(plan: Plan) -> None:
    """Nobody but the peer itself suffers from what it does, and nothing is left of it."""
    trio.run(_carry_out, plan, clock=trio.testing.MockClock(autojump_threshold=0))


async def _carry_out(plan: Plan) -> None:
    async with open_arena(SETTINGS) as arena:
        baseline = arena.router.statistics()
        peer = await arena.open(*([plan.subprotocol] if plan.subprotocol else []), path=plan.path)
        attack = Attack(arena, peer, plan)
        await attack.carry_out()
        await arena.check_bystanders()
        await attack.leave()
        await arena.wait_gone(peer, baseline)
        for call in attack.calls:
            await arena.caller.answer(call)
        peer.check(attack.texts, MAX_MESSAGE_BYTES)


def _request(method: bytes, params: bytes, number: int = 1) -> bytes:
    return b'{"jsonrpc":"2.0","id":"r%d","method":"%b","params":%b}' % (number, method, params)


BECOME_AN_OWNER = Say(
    (
        _request(b"instance.register", b'{"service_name":"bad","instance_id":"bad-1"}', 1),
        _request(b"resource.register", b'{"resource_ids":["bad:1","bad:2"]}', 2),
    )
)

_answers = hostile.one_of(
    (
        b'{"jsonrpc":"2.0","id":{},"result":1}',
        b'{"jsonrpc":"2.0","id":{},"result":null}',
        b'{"jsonrpc":"2.0","id":"{}","result":1}',
        b'{"jsonrpc":"2.0","id":{},"error":{"code":1,"message":"m","data":[1]}}',
        b'{"jsonrpc":"2.0","id":{},"error":{"code":"1"}}',
        b'{"jsonrpc":"2.0","id":{},"error":null}',
        b'{"jsonrpc":"2.0","id":{},"result":1,"error":{"code":1,"message":"m"}}',
        b'{"jsonrpc":"2.0","id":{},"result":1,"meta":{"origin":"router"}}',
        b'{"jsonrpc":"2.0","id":{}}',
        b'{"id":{},"result":1}',
        b'{"jsonrpc":"2.0","id":{},"result":"\\ud800"}',
        b'{"jsonrpc":"2.0","id":{},"result":[\n1e400,\n18446744073709551616]}',
        b'{"jsonrpc":"2.0","id":{},"result":"%b"}' % (b"r" * MAX_MESSAGE_BYTES),
        b'{"jsonrpc":"2.0","id":{},"method":"session.ping"}',
        b'[{"jsonrpc":"2.0","id":{},"result":1},{"jsonrpc":"2.0","id":5}]',
        b'{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":{}}}',
        b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":{},"value":1}}',
    )
)

_notifications = hostile.one_of(
    [
        _request(b"session.notify", b'{"session_id":"{}","resource_id":"bad:1","method":"x"%b}' % more, 3)
        for more in (
            *(b"", b',"params":{"a":[1e400,\n18446744073709551616]}', b',"params":null'),
            *(b',"params":1', b',"a":1', b',"params":["%b"]' % (b"n" * 60_000)),
        )
    ]
)

acts: st.SearchStrategy[Act] = st.one_of(
    st.builds(Say, st.lists(hostile.messages, min_size=1, max_size=3).map(tuple)),
    st.builds(Say, st.lists(hostile.requests(), min_size=1, max_size=6).map(tuple)),
    st.builds(SayInFragments, hostile.messages, st.integers(1, 50)),
    st.just(BECOME_AN_OWNER),
    st.builds(Answer, st.integers(0, 3), _answers, st.sampled_from((1, 1, 2))),
    st.builds(Notify, _notifications, st.sampled_from((1, 1, 2))),
    st.just(BeCalled()),
    st.builds(Send, st.one_of(any_frame, st.binary(max_size=20))),
    st.builds(Sleep, st.sampled_from((0.001, 1.0, 11.0))),
)

_BOUND = (
    *("/resources/good:1", "/resources/bad%3A1?owner_changes=true", "/services/good?progress=true"),
    "/resources/none?timeout_seconds=0.1",
)

plans = st.builds(
    Plan,
    st.sampled_from(("/",) * 8 + _BOUND),
    st.sampled_from(("resroute.v1.ndjson", "resroute.v1.ndjson", "resroute.v1", None)),
    st.sampled_from(((), (), (), (1,), (2, 7), (100,))),
    st.one_of(
        st.lists(acts, max_size=6),
        st.lists(acts, max_size=8).map(lambda more: [BECOME_AN_OWNER, BeCalled(), *more]),
    ).map(tuple),
    st.sampled_from(("vanish", "close", "fall silent", "half a frame")),
)


def _corpus() -> list[Any]:
    called = (BECOME_AN_OWNER, BeCalled())
    messages = [
        Plan(path, subprotocol, (), (*called, Say((text, text))), "vanish")
        for text, subprotocol in zip(MESSAGES, cycle(("resroute.v1.ndjson", "resroute.v1")), strict=False)
        for path in ("/", "/resources/good:1")
    ]
    frames = [Plan("/", None, (1,), (*called, Send(data)), "half a frame") for data in STREAMS]
    return [*messages, *frames]


CARRY_OUT = Target(check=carry_out, inputs=plans, everyday=60, corpus=_corpus())
