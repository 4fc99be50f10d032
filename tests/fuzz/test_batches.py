"""Batches of every size, with anything in them."""

import json

import pytest
from trio.testing import MockClock

from tests.fuzz.arena import open_arena
from tests.fuzz.talking import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    JSON,
    METHOD_NOT_FOUND,
    NDJSON,
    PARSE_ERROR,
    PING,
    become_owner,
    call,
    hear,
    request,
    say,
    short,
)


@pytest.mark.parametrize("subprotocol", [NDJSON, JSON])
async def test_an_empty_batch_is_one_invalid_request(subprotocol: str, autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(subprotocol)
        for text in ("[]", " [ ] "):
            [answer] = await say(peer, text)
            assert short(answer) == (None, INVALID_REQUEST, "invalid_request")


async def test_a_batch_of_a_thousand_is_answered_by_one_array_and_one_more_is_too_many(
    autojump_clock: MockClock,
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        members = [PING % number for number in range(1000)]
        [answers] = await say(peer, f"[{','.join(members)}]")
        assert sorted(map(short, answers)) == [(number, "result") for number in range(1000)]
        [answer] = await say(peer, f"[{','.join([*members, PING % 1000])}]")
        assert short(answer) == (None, INVALID_REQUEST, "invalid_request")


async def test_each_member_of_a_batch_is_answered_in_its_array(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        members = (
            *("1", "[]", "{}", PING % 1, '{"jsonrpc":"2.0","method":"session.ping"}', PING % "null"),
            *('{"jsonrpc":"2.0","id":2}', '{"jsonrpc":"2.0","id":3,"result":1}', f"[{PING % 4}]"),
            *(request("no.such", "{}", "5"), request("session.ping", "[]", "6"), call(7, "none")),
        )
        [answers] = await say(peer, f"[{','.join(members)}]")
        invalid = (None, INVALID_REQUEST, "invalid_request")
        assert [short(answer) for answer in answers] == [
            *(invalid, invalid, invalid, (1, "result"), invalid),
            *((2, INVALID_REQUEST, "invalid_request"), invalid),
            *((5, METHOD_NOT_FOUND, "method_not_found"), (6, INVALID_PARAMS, "invalid_params")),
            (7, 404, "resource_not_found"),
        ]


async def test_a_batch_without_calls_is_not_answered(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        assert (
            await say(peer, '[{"jsonrpc":"2.0","method":"session.ping"},{"jsonrpc":"2.0","id":1,"result":1}]')
            == []
        )


async def test_an_id_that_is_there_twice_in_a_batch_is_answered_once(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        assert await say(caller, f"[{call(1, 'bad:1')},{call(1, 'bad:1')}]") == []
        [delivered] = await hear(owner)
        await say(owner, json.dumps({"jsonrpc": "2.0", "id": delivered["id"], "result": 1}))
        [answers] = await hear(caller)
        assert [short(answer) for answer in answers if "error" in answer] == [
            (None, INVALID_REQUEST, "invalid_request")
        ]
        assert [answer["result"] for answer in answers if "result" in answer] == [1]


async def test_a_batch_that_is_not_closed_is_one_parse_error(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        [answer] = await say(peer, f"[{PING % 1},{PING % 2}")
        assert short(answer) == (None, PARSE_ERROR, "parse_error")
