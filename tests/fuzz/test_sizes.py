"""What is too much: a close code or an error, and the others go on."""

import json
from collections.abc import Callable

import pytest
import trio.testing
from trio.testing import MockClock

from resroute.router.accepting import CONNECTIONS_BEYOND_SESSIONS
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
        assert (413, "answer_too_large") in kinds
        assert len(peer.texts[-1]) <= 10_000


LONGEST_TRACE = '{"trace_id":"%s"}' % ("t" * 128)
BATCHES = (
    ("results", lambda number: request("session.info", LONGEST_TRACE, str(number))),
    ("refusals", lambda number: request("no.such" * 10, LONGEST_TRACE, str(number))),
    ("long ids", lambda number: request("session.info", LONGEST_TRACE, f'"{number:0100}"')),
    ("escaped ids", lambda number: request("session.info", LONGEST_TRACE, f'"\\u0000\\"{number}"')),
    ("one id", lambda number: request("session.info", LONGEST_TRACE, f'"{"i" * 100}"')),
    ("calls", lambda number: call(number, "bad:1", trace_id="t" * 128)),
    ("no messages", lambda _: "1"),
    ("answers that are none", lambda number: f'{{"jsonrpc":"2.0","id":{number}}}'),
)


@pytest.mark.parametrize(("kind", "member"), BATCHES, ids=[kind for kind, _ in BATCHES])
async def test_no_array_of_answers_is_over_the_limit(
    kind: str, member: Callable[[int], str], autojump_clock: MockClock
) -> None:
    async with open_arena(Settings(max_message_bytes=20_000)) as arena:
        owner, peer = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        taken = 0
        for count in range(1, 60):
            await say(peer, f"[{','.join(member(number) for number in range(count))}]")
            for delivered in await hear(owner):
                result = f'"{"r" * 1000}"'
                await say(owner, f'{{"jsonrpc":"2.0","id":{delivered["id"]},"result":{result}}}')
            await trio.testing.wait_all_tasks_blocked()
            answers = peer.heard.pop() if peer.heard else json.loads(peer.texts[-1])
            assert len(peer.texts[-1]) <= 20_000
            if isinstance(answers, dict):
                assert short(answers) == (None, -32600, "invalid_request")
                break
            assert len(answers) == count
            taken = count
        assert 20 < taken < 59, "there are batches that fit and batches that do not"


async def test_of_a_batch_whose_answers_cannot_fit_nothing_is_handled(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_message_bytes=10_000)) as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        for members in (
            [call(number, "bad:1") for number in range(60)],
            [request("session.ping", request_id=f'"{"i" * 9_900}"')],
            [request("session.ping", request_id=f'"{letter * 3_000}"') for letter in "abc"],
            [*(call(number, "bad:1") for number in range(10)), *["1"] * 50],
        ):
            [answer] = await say(caller, f"[{','.join(members)}]")
            assert short(answer) == (None, -32600, "invalid_request")
        assert await hear(owner) == []
        assert arena.router.statistics().batches == 0


async def test_what_is_not_answered_needs_no_room_in_a_batch(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_message_bytes=60_000)) as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        notification = '{"jsonrpc":"2.0","method":"session.ping"}'
        nobodys = '{"jsonrpc":"2.0","id":7,"result":1}'
        members = [notification, nobodys] * 400 + [PING % 1, notification]
        [answers] = await say(caller, f"[{','.join(members)}]")
        assert [short(answer) for answer in answers] == [(1, "result")]
        assert await say(caller, f"[{','.join([notification] * 1000)}]") == []


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


async def test_connections_that_are_no_sessions_have_a_limit_too(autojump_clock: MockClock) -> None:
    async with open_arena(Settings(max_sessions=4)) as arena:
        waiting = [await arena.connect() for _ in range(4 + CONNECTIONS_BEYOND_SESSIONS)]
        await trio.testing.wait_all_tasks_blocked()
        assert not any(peer.over.is_set() for peer in waiting)
        one_too_many = await arena.connect()
        assert await wait_closed(one_too_many) is None
        waiting[0].vanish()
        await waiting[0].over.wait()
        peer = await arena.open(JSON)
        assert [short(answer) for answer in await say(peer, PING % 1)] == [(1, "result")]
        peer.vanish()
