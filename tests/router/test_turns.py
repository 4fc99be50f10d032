"""One session that says much at once does not make the others wait."""

import itertools

import pytest
from trio.testing import MockClock

from resroute.router.session import MANY_MESSAGES
from resroute.transport.interface import JSON, MSGPACK
from tests.scenario import Json, Party, open_scenario


def answered(party: Party) -> int:
    """How many answers it has heard."""
    return sum(word.is_answer and not word.is_said for word in party.record.words)


async def test_others_get_their_turn_between_messages_that_arrived_together(
    autojump_clock: MockClock,
) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 1000) as scenario:
        busy = await scenario.connect("busy")
        other = await scenario.connect("other")
        pendings = [busy.expect(number) for number in range(500)]
        await busy.say(*({"id": number, "method": "session.ping"} for number in range(500)))
        await other.ask("session.ping")
        assert answered(busy) < 400
        for pending in pendings:
            await pending.result()


@pytest.mark.parametrize(
    ("count", "meanwhile"), [(MANY_MESSAGES, range(MANY_MESSAGES, MANY_MESSAGES + 1)), (1000, range(20, 100))]
)
async def test_who_says_very_much_at_once_says_it_in_short_turns(
    autojump_clock: MockClock, count: int, meanwhile: range
) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 100_000) as scenario:
        busy = await scenario.connect("busy")
        other = await scenario.connect("other")
        for party in (busy, other):  # not their first words
            await party.ask("session.ping")
        pendings = [busy.expect(f"{number}") for number in range(count)]
        await busy.say(*({"id": f"{number}", "method": "session.ping"} for number in range(count)))
        await other.ask("session.ping")
        assert answered(busy) - 1 in meanwhile
        for pending in pendings:
            await pending.result()


async def test_others_get_their_turn_between_the_members_of_a_batch(autojump_clock: MockClock) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 1000) as scenario:
        busy = await scenario.connect("busy", subprotocol=JSON)
        other = await scenario.connect("other")
        pendings = [busy.expect(number) for number in range(500)]
        ping = '{"jsonrpc":"2.0","id":%d,"method":"session.ping"}'
        await busy.say_text("[" + ",".join(ping % number for number in range(500)) + "]")
        await other.ask("session.ping")
        assert answered(busy) == 0
        for pending in pendings:
            await pending.result()


LONG = [f"r{number}-{'x' * 20}" for number in range(1000)]


@pytest.mark.parametrize("params", [{}, {"metadata": {name: {"priority": 1} for name in LONG}}])
async def test_others_get_their_turn_while_a_long_list_is_read(
    autojump_clock: MockClock, params: Json
) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 1000) as scenario:
        busy = await scenario.instance("busy")
        other = await scenario.connect("other")
        long = await busy.start("resource.register", {"resource_ids": LONG, **params})
        pending = await busy.start("resource.release", {"resource_ids": LONG})
        await other.ask("session.ping")
        assert not long.is_settled
        assert await long.result()
        assert (await pending.result())["released"] == LONG


async def test_a_session_that_ends_in_the_middle_of_its_batch_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 1000) as scenario:
        owner = await scenario.owner("owner", "r")
        leaves = await scenario.connect("leaves", subprotocol=JSON)
        call = '{"jsonrpc":"2.0","id":%d,"method":"route.call","params":{"resource_id":"r","method":"work"}}'
        await leaves.say_text("[" + ",".join(call % number for number in range(500)) + "]")
        await owner.next("work")
        leaves.drop()
        while scenario.statistics().calls_in_flight:
            await owner.next()
        assert scenario.statistics().batches == 0


async def test_others_get_their_turn_while_very_many_values_are_read(autojump_clock: MockClock) -> None:
    ticks = itertools.count()
    async with open_scenario(turn_clock=lambda: next(ticks) / 1000) as scenario:
        owner = await scenario.instance("owner", subprotocol=MSGPACK)
        await owner.ask("resource.register", resource_ids=["r"])
        busy = await scenario.connect("busy", subprotocol=MSGPACK)
        other = await scenario.connect("other")
        for party in (busy, other):  # not their first words
            await party.ask("session.ping")
        values = [[], {}, "é", 1.5] * 5000
        call = await busy.start_call("r", params=values)
        behind = await busy.start("session.ping")
        await other.ask("session.ping")
        assert not behind.is_settled
        delivered = await owner.next("work")
        assert delivered["params"] == values
        await owner.answer(delivered, values)
        assert await call.result() == values
