"""What is no message: the error that JSON-RPC has for it, and what goes on."""

import json
from collections.abc import Sequence

import pytest
from trio.testing import MockClock

from tests.fuzz.arena import open_arena
from tests.fuzz.talking import INVALID_REQUEST, JSON, NDJSON, PARSE_ERROR, PING, request, say, short
from tests.fuzz.wrong import MESSAGES

NOT_JSON = (
    *(
        '{"jsonrpc"',
        "{",
        "[",
        "[1,2",
        '[{"jsonrpc":"2.0","id":1,"method":"session.ping"},',
        "123abc",
        "tru",
        '"a',
    ),
    *("NaN", "'a'", '{"a":01}', '{"a":"\\q"}', '{"a":"\t"}', "{}{}", "\ufeff{}"),
    PING % '"\\ud800"',
    '{"jsonrpc":"2.0","id":1,"method":"session.ping","params":{"a":"\\udc00"}}',
    request("session.ping", "[" * 100_000 + "]" * 100_000),
)

NO_REQUEST = (
    *("1", "null", '"a"', "true", "{}", '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","method":1}'),
    *(
        '{"method":"session.ping"}',
        '{"jsonrpc":"1.0","method":"session.ping"}',
        '{"jsonrpc":2.0,"method":"x"}',
    ),
    *(PING % request_id for request_id in ("null", "true", "1.5", "1.0", "[]", "{}", "1e2", "9" * 5000)),
)


@pytest.mark.parametrize("subprotocol", [NDJSON, JSON, None])
async def test_what_is_no_json_is_a_parse_error_without_id(
    subprotocol: str | None, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(*filter(None, [subprotocol]))
        for text in NOT_JSON:
            [answer] = await say(peer, text)
            assert short(answer) == (None, PARSE_ERROR, "parse_error"), text[:80]


@pytest.mark.parametrize("subprotocol", [NDJSON, JSON, None])
async def test_json_that_is_no_request_is_an_invalid_request(
    subprotocol: str | None, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(*filter(None, [subprotocol]))
        for text in NO_REQUEST:
            [answer] = await say(peer, text)
            assert short(answer) == (None, INVALID_REQUEST, "invalid_request"), text[:80]


async def test_an_invalid_request_is_answered_under_its_id_if_that_is_one(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        for request_id in ("1", '"1"', "-1", "0", '""', "18446744073709551616", '"\\u0000"', '"\xe9"'):
            for text in (
                f'{{"jsonrpc":"2.0","id":{request_id}}}',
                f'{{"id":{request_id},"method":"session.ping"}}',
                f'{{"jsonrpc":"2.0","id":{request_id},"method":1}}',
                request("session.ping", "1", request_id),
            ):
                [answer] = await say(peer, text)
                wanted = json.loads(request_id)
                assert short(answer) == (wanted, INVALID_REQUEST, "invalid_request")
                assert type(answer["id"]) is type(wanted)


async def test_empty_text_is_a_parse_error_but_for_ndjson(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        for text in ("", " ", "\n"):
            [answer] = await say(peer, text)
            assert short(answer) == (None, PARSE_ERROR, "parse_error")
        peer = await arena.open(NDJSON)
        assert await say(peer, "", " ", "\n", "\n \r\n\t\n") == []


async def test_of_fifty_lines_a_bad_one_is_answered_and_the_others_are_handled(
    autojump_clock: MockClock,
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(NDJSON)
        lines = [PING % number for number in range(50)]
        lines[20] = '{"jsonrpc":'
        lines[30] = "\r"
        answers = await say(peer, "\n".join(lines))
        wanted = [(number, "result") for number in range(50) if number not in (20, 30)]
        assert [short(answer) for answer in answers if answer["id"] is not None] == wanted
        [bad] = [answer for answer in answers if answer["id"] is None]
        assert short(bad) == (None, PARSE_ERROR, "parse_error")


async def test_lines_in_a_session_without_ndjson_are_one_bad_message(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        [answer] = await say(peer, PING % 1 + "\n" + PING % 2)
        assert short(answer) == (None, PARSE_ERROR, "parse_error")


@pytest.mark.parametrize(("text", "answers"), MESSAGES)
async def test_each_mistake_is_answered_with_what_the_protocol_has_for_it(
    text: str, answers: Sequence[tuple[int | None, int, str]], autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        assert [short(answer) for answer in await say(peer, text)] == list(answers)
