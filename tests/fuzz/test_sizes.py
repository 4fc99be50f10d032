"""What is too much: a close code or an error, and the others go on."""

import trio.testing
from trio.testing import MockClock

from resroute.settings import Settings
from tests.fuzz import said
from tests.fuzz.arena import open_arena
from tests.fuzz.talking import JSON, PING, become_owner, call, hear, request, say, short, wait_closed


async def test_a_message_over_the_limit_closes_with_1009(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_message_bytes=2000)) as arena:
        padding = " " * (2000 - len(PING % 1))
        peer = await arena.open(JSON)
        [answer] = await say(peer, PING % 1 + padding)
        assert short(answer) == (1, "result")
        await peer.send(said.text((PING % 1 + padding + " ").encode()))
        assert await wait_closed(peer) == 1009
        peer = await arena.open(JSON)
        await peer.send(said.fragments((PING % 1 + padding + " ").encode(), 300))
        assert await wait_closed(peer) == 1009
        peer = await arena.open(JSON)
        await peer.send(said.frame(said.TEXT, size=2**40, size_bytes=8))
        assert await wait_closed(peer) == 1009


async def test_a_request_of_an_instance_over_the_limit_closes_with_1009(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_message_bytes=2000)) as arena:
        for text in (PING % 1, f"[{PING % 1}]"):
            peer = await arena.open(JSON)
            await become_owner(peer, "bad:1")
            await peer.send(said.text(text.encode() + b" " * 2000))
            assert await wait_closed(peer) == 1009


async def test_an_answer_over_the_limit_is_replaced_and_one_over_twice_the_limit_closes(
    autojump_clock: MockClock,
) -> None:
    async with open_arena(Settings(max_message_bytes=2000)) as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"), call(2, "bad:1"))
        one, two = [message["id"] for message in await hear(owner)]
        assert await say(owner, f'{{"jsonrpc":"2.0","id":{one},"result":"{"r" * 2000}"}}') == []
        [answer] = await hear(caller)
        assert short(answer) == (1, 413, "answer_too_large")
        assert answer["error"]["data"]["delivery"] == "unknown"
        assert answer["error"]["data"]["limit"] == 2000
        await owner.send(said.text(f'{{"jsonrpc":"2.0","id":{two},"result":"{"r" * 4000}"}}'.encode()))
        assert await wait_closed(owner) == 1009
        [answer] = await hear(caller)
        assert short(answer) == (2, 502, "owner_disconnected")


async def test_an_answer_that_the_callers_own_id_makes_too_large_is_replaced(
    autojump_clock: MockClock,
) -> None:
    async with open_arena(Settings(max_message_bytes=100_000)) as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        long_id = "i" * 90_000
        assert await say(caller, call(long_id, "bad:1")) == []
        number = (await hear(owner))[0]["id"]
        await say(owner, f'{{"jsonrpc":"2.0","id":{number},"result":"{"r" * 90_000}"}}')
        [answer] = await hear(caller)
        assert short(answer) == (long_id, 413, "answer_too_large")


async def test_an_answer_of_the_routers_own_that_would_be_too_large_is_replaced(
    autojump_clock: MockClock,
) -> None:
    async with open_arena(Settings(max_message_bytes=100_000)) as arena:
        peer = await arena.open(JSON)
        await become_owner(peer, "bad:1")
        ids = ",".join(f'"id{number:05}"' for number in range(9000))
        [answer] = await say(peer, request("resource.release", f'{{"resource_ids":[{ids}],"partial":true}}'))
        assert short(answer) == (1, 413, "answer_too_large")
        assert answer["error"]["data"]["limit"] == 100_000


async def test_what_would_take_a_batch_over_the_limit_is_replaced(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_message_bytes=10_000)) as arena:
        peer = await arena.open(JSON)
        members = ",".join(request("session.info", "{}", str(number)) for number in range(20))
        [answers] = await say(peer, f"[{members}]")
        kinds = [short(answer)[1:] for answer in answers]
        assert kinds[0] == ("result",)
        assert kinds[-1] == (413, "answer_too_large")


async def test_calls_over_the_limit_are_refused_and_the_others_go_on(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_calls_in_flight=3)) as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        answers = await say(caller, *[call(number, "bad:1") for number in range(5)], PING % 9)
        assert [short(answer) for answer in answers] == [
            (3, 429, "too_many_calls"),
            (4, 429, "too_many_calls"),
            (9, 429, "too_many_calls"),
        ]
        assert len(await hear(owner)) == 3
        caller.vanish()
        await trio.testing.wait_all_tasks_blocked()
        assert [message["method"] for message in await hear(owner)] == ["$/cancelRequest"] * 3


async def test_one_session_too_many_is_closed_with_4029(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_sessions=3)) as arena:
        await arena.open(JSON)
        peer = await arena.open(JSON)
        assert await wait_closed(peer) == 4029
