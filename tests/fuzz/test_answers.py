"""Answers that nobody asked for, or that are none; and payloads, which may be anything."""

import json

import pytest
from trio.testing import MockClock

from tests.fuzz.arena import open_arena
from tests.fuzz.talking import JSON, NDJSON, become_owner, call, hear, request, say, short

PAYLOADS = (
    '{"a":18446744073709551616,"b":-1e400,"c":%s}' % ("9" * 5000),
    '{"a":1,"a":2,"":null}',
    '["\\u0000","\\u0041","\\ud83d\\ude00","\x7f"]',
    "[1.0,1e2,-0,-0.0,0.1000]",
    "[" * 1000 + "]" * 1000,
)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_a_payload_passes_as_the_senders_own_bytes(payload: str, autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(NDJSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        params = f'{{"resource_id":"bad:1","method":"echo","params":{payload}}}'
        assert await say(caller, request("route.call", params)) == []
        assert f'"params":{payload},"meta":{{'.encode() in owner.texts[-1]
        number = (await hear(owner))[0]["id"]
        await say(owner, f'{{"jsonrpc":"2.0","id":{number},"result":{payload}}}')
        assert caller.texts[-1] == f'{{"jsonrpc":"2.0","id":1,"result":{payload}}}'.encode()
        await say(caller, request("route.call", params))
        number = (await hear(owner))[0]["id"]
        error = f'{{"code":5,"message":"m","data":{payload}}}'
        await say(owner, f'{{"jsonrpc":"2.0","id":{number},"error":{error}}}')
        assert caller.texts[-1] == f'{{"jsonrpc":"2.0","id":1,"error":{error}}}'.encode()


async def test_raw_line_breaks_become_spaces_on_the_way_to_who_takes_lines(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(NDJSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"))
        number = (await hear(owner))[0]["id"]
        await say(owner, f'{{"jsonrpc":"2.0",\n"id":{number},\n"result":[\n1,\r\n"\\n"]}}')
        assert caller.texts[-1] == b'{"jsonrpc":"2.0","id":1,"result":[ 1,  "\\n"]}'


NOBODYS_ANSWERS = (
    *(
        f'{{"jsonrpc":"2.0","id":{request_id},"result":1}}'
        for request_id in ("1", "0", '"1"', "999999", "null", "[]")
    ),
    *('{"jsonrpc":"2.0","result":1}', '{"id":1,"result":1}', '{"jsonrpc":"2.0","id":1,"error":5}'),
    '{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"m"}}',
)


@pytest.mark.parametrize("text", NOBODYS_ANSWERS)
async def test_an_answer_that_nobody_asked_for_is_dropped(text: str, autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        await become_owner(peer, "bad:1")
        before = arena.router.metrics.dropped_answers
        assert await say(peer, text) == []
        assert arena.router.metrics.dropped_answers == before + 1


async def test_an_answer_counts_once(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"))
        number = (await hear(owner))[0]["id"]
        await say(owner, *[f'{{"jsonrpc":"2.0","id":{number},"result":{result}}}' for result in (1, 2)])
        assert await hear(caller) == [{"jsonrpc": "2.0", "id": 1, "result": 1}]


async def test_nobody_can_answer_a_call_of_somebody_elses(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller, thief = await arena.open(JSON), await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"))
        number = (await hear(owner))[0]["id"]
        theft = [f'{{"jsonrpc":"2.0","id":{guess},"result":"stolen"}}' for guess in range(number + 20)]
        assert await say(thief, *theft) == []
        assert await say(caller, *theft) == []
        await say(owner, f'{{"jsonrpc":"2.0","id":{number},"result":"mine"}}')
        assert await hear(caller) == [{"jsonrpc": "2.0", "id": 1, "result": "mine"}]


MALFORMED_ANSWERS = (
    *('{"jsonrpc":"2.0","id":%d}', '{"id":%d,"result":1}', '{"jsonrpc":"1.0","id":%d,"result":1}'),
    *(
        '{"jsonrpc":"2.0","id":%d,"result":1,"error":{"code":1,"message":"m"}}',
        '{"jsonrpc":"2.0","id":%d,"error":5}',
    ),
    *(
        '{"jsonrpc":"2.0","id":%d,"error":null}',
        '{"jsonrpc":"2.0","id":%d,"error":{"code":"1","message":"m"}}',
    ),
    *(
        '{"jsonrpc":"2.0","id":%d,"error":{"code":1}}',
        '{"jsonrpc":"2.0","id":%d,"error":{"code":1.5,"message":""}}',
    ),
)


@pytest.mark.parametrize("text", MALFORMED_ANSWERS)
async def test_a_malformed_answer_makes_the_call_an_invalid_answer(
    text: str, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"))
        number = (await hear(owner))[0]["id"]
        assert await say(owner, text % number) == []
        [answer] = await hear(caller)
        assert short(answer) == (1, 502, "invalid_answer")
        assert answer["error"]["data"]["delivery"] == "unknown"


async def test_a_callee_cannot_pose_as_the_router(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        await say(caller, call(1, "bad:1"))
        number = (await hear(owner))[0]["id"]
        error = '{"code":404,"message":"m","data":{"type":"resource_not_found","delivery":"not_delivered"}}'
        await say(owner, f'{{"jsonrpc":"2.0","id":{number},"error":{error},"meta":{{"origin":"router"}}}}')
        assert await hear(caller) == [{"jsonrpc": "2.0", "id": 1, "error": json.loads(error)}]
