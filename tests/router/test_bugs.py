"""Bugs will be: what one of them costs, and whom."""

import random
from collections.abc import Collection, Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from resroute.transport.memory import MemoryTransport
from tests.scenario import open_scenario


class Faulty(random.Random):
    """Chance that fails when it is told to, and with it whatever asks for a trace id."""

    fails_next = False

    def getrandbits(self, k: int) -> int:
        if self.fails_next:
            self.fails_next = False
            raise ZeroDivisionError("a bug")
        return super().getrandbits(k)


@pytest.fixture
def chance() -> Faulty:
    return Faulty(1)


async def test_a_bug_in_routing_costs_that_call_alone(autojump_clock: MockClock, chance: Faulty) -> None:
    async with open_scenario(randomness=chance) as scenario:
        scenario.forgives.add("a message could not be handled")
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        before = await caller.start_call("r")
        chance.fails_next = True
        failed = await caller.start("route.call", {"resource_id": "r", "method": "work"})
        assert (await failed.refusal()).type == "internal_error"
        for _ in range(2):
            await owner.answer(await owner.next("work"))
            await before.result()
            before = await caller.start_call("r")
        await owner.answer(await owner.next("work"))


async def test_a_bug_in_routing_costs_a_large_call_alone(autojump_clock: MockClock, chance: Faulty) -> None:
    async with open_scenario(randomness=chance) as scenario:
        scenario.forgives.add("a message could not be handled")
        await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        await caller.ask("session.ping")
        chance.fails_next = True
        large = {"resource_id": "r", "method": "work", "params": ["x" * 100_000]}
        failed = await caller.start("route.call", large)
        assert (await failed.refusal()).type == "internal_error"


async def test_a_bug_costs_one_member_of_a_batch(autojump_clock: MockClock, chance: Faulty) -> None:
    async with open_scenario(randomness=chance) as scenario:
        scenario.forgives.add("a message could not be handled")
        caller = await scenario.connect("caller")
        await caller.ask("session.ping")
        chance.fails_next = True
        pendings = [caller.expect(number) for number in (1, 2)]
        await caller.say_text(
            '[{"jsonrpc":"2.0","id":1,"method":"session.ping"},{"jsonrpc":"2.0","id":2,"method":"session.ping"}]'
        )
        assert (await pendings[0].refusal()).type == "internal_error"
        assert await pendings[1].result()


class BreakingTransport(MemoryTransport):
    """A transport with a bug, in one direction or the other."""

    breaks_at: str = ""

    async def receive(self) -> Sequence[bytes]:
        messages = await super().receive()
        if self.breaks_at == "receive":
            raise ZeroDivisionError("a bug")
        return messages

    async def send(self, messages: Collection[bytes]) -> None:
        await super().send(messages)
        if self.breaks_at == "send":
            raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("where", ["receive", "send"])
async def test_a_bug_in_a_sessions_own_tasks_costs_that_session_alone(
    autojump_clock: MockClock, where: str
) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("session failed")
        broken = await scenario.connect("broken")
        broken.transport.__class__ = BreakingTransport
        await broken.ask("instance.register", service_name="service")
        await broken.ask("resource.register", resource_ids=["r"])
        other = await scenario.instance("other")
        assert isinstance(broken.transport, BreakingTransport)
        broken.transport.breaks_at = where
        await broken.start("session.ping")
        ended = await broken.wait_ended()
        assert ended.code == 1011
        assert (await other.ask("resource.register", resource_ids=["r"]))["success"]


class BreakingStream(trio.abc.Stream):
    """A stream with a bug."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise ZeroDivisionError("a bug")

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise ZeroDivisionError("a bug")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_bug_in_a_handshake_costs_that_connection_alone(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        scenario.forgives.add("a handshake failed")
        party = await scenario.connect()
        await scenario.router.serve_stream(BreakingStream())
        await party.ask("session.ping")


async def test_no_stream_stays_open_after_a_failed_handshake(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        ours, theirs = memory_stream_pair()
        await ours.send_all(b"no handshake at all\r\n\r\n")
        await scenario.router.serve_stream(theirs)
        assert b"".join([chunk async for chunk in ours]).startswith(b"HTTP/1.1 400 ")
