"""Ids, methods and parameters that are wrong are named, and nothing happens."""

import json

import pytest
from trio.testing import MockClock

from resroute.settings import Settings
from tests.fuzz import said
from tests.fuzz.arena import open_arena
from tests.fuzz.talking import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    JSON,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    PING,
    become_owner,
    call,
    hear,
    request,
    say,
    short,
    wait_closed,
)


async def test_an_id_in_flight_is_an_invalid_request_and_the_first_goes_on(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        owner, caller = await arena.open(JSON), await arena.open(JSON)
        await become_owner(owner, "bad:1")
        again = (
            call(1, "bad:1"),
            PING % 1,
            request("no.such"),
            request("session.ping", "5"),
            '{"jsonrpc":"2.0","id":1}',
            '{"jsonrpc":"2.0","id":1,"method":5}',
            '{"id":1,"method":"session.ping"}',
        )
        answers = await say(caller, call(1, "bad:1"), *again, PING % '"1"')
        refusals = [(None, INVALID_REQUEST, "invalid_request")] * len(again)
        assert [short(answer) for answer in answers] == [*refusals, ("1", "result")]
        [delivered] = await hear(owner)
        await say(owner, json.dumps({"jsonrpc": "2.0", "id": delivered["id"], "result": "once"}))
        assert await hear(caller) == [{"jsonrpc": "2.0", "id": 1, "result": "once"}]


@pytest.mark.parametrize(
    "method",
    ["no.such", "", "session.pin", "Session.ping", "rpc.no", "$/cancelRequest", "x" * 5000, "\\u0000"],
)
async def test_an_unknown_method_is_answered_with_its_name_cut_short(
    method: str, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        [answer] = await say(peer, request(method))
        assert short(answer) == (1, METHOD_NOT_FOUND, "method_not_found")
        assert answer["error"]["data"]["method"] == json.loads(f'"{method}"')[:200]


async def test_a_notification_is_never_answered_whatever_is_wrong_with_it(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        heard = await say(
            peer,
            '{"jsonrpc":"2.0","method":"no.such"}',
            '{"jsonrpc":"2.0","method":"session.ping","params":1}',
            '{"jsonrpc":"2.0","method":"session.ping","params":{"a":1}}',
            '{"jsonrpc":"2.0","method":"route.call"}',
            '{"jsonrpc":"2.0","method":"route.call","params":{"resource_id":"none","method":"x"}}',
            '{"jsonrpc":"2.0","method":"route.call","params":{"resource_id":"good:1","method":"$/x"}}',
            '{"jsonrpc":"2.0","method":"$/cancelRequest"}',
            '{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":[]}}',
            '{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}}',
        )
        assert heard == []


WRONG_PARAMS = (
    ("session.ping", "[]", ""),
    ("session.ping", '{"a":1}', "a"),
    ("session.ping", '{"trace_id":"a b"}', "trace_id"),
    ("session.ping", '{"trace_id":""}', "trace_id"),
    ("session.ping", '{"trace_id":5}', "trace_id"),
    ("session.notify", '{"session_id":"a","resource_id":"good:1"}', "method"),
    ("session.notify", "[]", ""),
    ("session.notify", '{"session_id":5,"resource_id":"good:1","method":"x"}', "session_id"),
    ("session.notify", '{"session_id":"a","resource_id":"","method":"x"}', "resource_id"),
    ("session.notify", '{"session_id":"a","resource_id":"good:1","method":"$/x"}', "method"),
    ("session.notify", '{"session_id":"a","resource_id":"good:1","method":"a\\u0000"}', "method"),
    ("session.notify", '{"session_id":"a","resource_id":"good:1","method":"x","params":5}', "params"),
    ("session.notify", '{"session_id":"a","resource_id":"good:1","method":"x","params":1e400}', "params"),
    ("instance.register", "{}", "service_name"),
    ("instance.register", '{"service_name":5}', "service_name"),
    ("instance.register", '{"service_name":"/a"}', "service_name"),
    ("instance.register", '{"service_name":"a\\u0000"}', "service_name"),
    ("instance.register", '{"service_name":"a","priority":true}', "priority"),
    ("instance.register", '{"service_name":"a","priority":1.0}', "priority"),
    ("instance.register", '{"service_name":"a","priority":"1"}', "priority"),
    ("instance.register", '{"service_name":"a","priority":18446744073709551616}', "priority"),
    ("instance.register", '{"service_name":"a","max_concurrency":0}', "max_concurrency"),
    ("instance.register", '{"service_name":"a","plain":1}', "plain"),
    ("instance.register", '{"service_name":"a","metadata":[]}', "metadata"),
    ("instance.register", '{"service_name":"a","metadata":{"b":"\\u0000"}}', "metadata"),
    ("resource.register", '{"resource_ids":"bad:1"}', "resource_ids"),
    ("resource.register", '{"resource_ids":[]}', "resource_ids"),
    ("resource.register", '{"resource_ids":{}}', "resource_ids"),
    ("resource.register", '{"resource_ids":["a",5]}', "resource_ids.1"),
    ("resource.register", '{"resource_ids":["a","a"]}', "resource_ids.1"),
    ("resource.register", '{"resource_ids":["a"],"force":null}', "force"),
    ("resource.register", '{"resource_ids":["a"],"metadata":[]}', "metadata"),
    ("resource.register", '{"resource_ids":["a"],"metadata":{"b":{}}}', "metadata.b"),
    ("resource.register", '{"resource_ids":["a"],"metadata":{"a":null}}', "metadata.a"),
    ("resource.register", '{"resource_ids":["a"],"metadata":{"a":{"":0}}}', "metadata.a."),
    (
        "resource.register",
        '{"resource_ids":["a"],"metadata":{"a":{"tags":["\\u0000"]}}}',
        "metadata.a.tags.0",
    ),
    (
        "resource.register",
        '{"resource_ids":["a"],"metadata":{"a":{"priority":1e400}}}',
        "metadata.a.priority",
    ),
    (
        "resource.register",
        '{"resource_ids":["a"],"metadata":{"a":{"attributes":{"b":[1e400]}}}}',
        "metadata.a.attributes",
    ),
    (
        "resource.register",
        '{"resource_ids":["a"],"metadata":{"a":{"attributes":{"b":' + "[" * 1000 + "]" * 1000 + "}}}}",
        "metadata.a.attributes",
    ),
    ("resource.update", '{"resource_id":"good:1"}', "metadata"),
    ("resource.update", '{"resource_id":"good:1","metadata":null}', "metadata"),
    ("resource.update", '{"resource_id":"good:1","metadata":{"attributes":null}}', "metadata.attributes"),
    ("resource.update", '{"resource_id":"good:1","metadata":{},"expected_version":1.0}', "expected_version"),
    ("resource.renew", '{"resource_ids":[]}', "resource_ids"),
    ("resource.renew", '{"resource_ids":["good:1"],"ttl_seconds":0}', "ttl_seconds"),
    ("resource.renew", '{"resource_ids":["good:1"],"ttl_seconds":1e400}', "ttl_seconds"),
    ("resource.query", '{"include_metadata":0}', "include_metadata"),
    ("resource.query", '{"limit":0}', "limit"),
    ("resource.query", '{"limit":1e400}', "limit"),
    ("resource.query", '{"limit":100000000000000000000}', "limit"),
    ("resource.query", '{"offset":10001}', "offset"),
    ("resource.query", '{"cursor":"AAAA"}', "cursor"),
    ("route.call", "{}", "method"),
    ("route.call", '{"method":"echo"}', ""),
    ("route.call", '{"method":5,"resource_id":"good:1"}', "method"),
    ("route.call", '{"method":"a\\u0000","resource_id":"good:1"}', "method"),
    ("route.call", '{"method":"echo","resource_id":"good:1","extra":1}', "extra"),
    ("route.call", '{"method":"echo","resource_id":"good:1","params":5}', "params"),
    ("route.call", '{"method":"echo","resource_id":"good:1","timeout_seconds":0}', "timeout_seconds"),
    ("route.call", '{"method":"echo","resource_id":"good:1","timeout_seconds":601}', "timeout_seconds"),
    ("route.call", '{"method":"echo","resource_id":"good:1","timeout_seconds":true}', "timeout_seconds"),
    ("route.call", '{"method":"echo","resource_id":"good:1","timeout_seconds":"1"}', "timeout_seconds"),
    ("route.call", '{"method":"echo","resource_id":"good:1","timeout_seconds":1e400}', "timeout_seconds"),
    ("route.call", '{"method":"echo","resource_id":"good:1","idempotency_key":"\\u0000"}', "idempotency_key"),
    ("route.call", '{"method":"echo","resource_id":"good:1","trace_id":"a b"}', "trace_id"),
    ("route.call", '{"method":"rpc.x","resource_id":"good:1"}', "method"),
    ("route.call", '{"method":"$/x","resource_id":"good:1"}', "method"),
    ("route.call", '{"method":"echo","resource_id":"good:1","service_name":"a b"}', "service_name"),
    ("route.call", '{"method":"echo","resource_id":"none","service_name":"a b"}', "service_name"),
    ("route.call", '{"method":"echo","service_name":"a/"}', "service_name"),
)


@pytest.mark.parametrize(("method", "params", "path"), WRONG_PARAMS)
async def test_wrong_parameters_are_named(
    method: str, params: str, path: str, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        if method == "resource.register":
            await become_owner(peer, "bad:9")
        [answer] = await say(peer, request(method, params))
        assert short(answer) == (1, INVALID_PARAMS, "invalid_params")
        assert [error["path"] for error in answer["error"]["data"]["errors"]] == [path]


BAD_NAMES = (
    "",
    "/a",
    "a/",
    "/",
    "a b",
    "a\\n",
    "\\u0000",
    "\xe9",
    "a\\\\b",
    "x" * 257,
    "a?b",
    "%41",
    "a,b",
    "\\ud83d\\ude00",
)


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_nothing_may_have_is_refused_before_anything_happens(
    name: str, autojump_clock: MockClock
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        await become_owner(peer, "bad:1")
        answers = await say(
            peer,
            request("resource.register", f'{{"resource_ids":["bad:2","{name}"]}}'),
            request("resource.release", f'{{"resource_ids":["bad:1","{name}"]}}'),
            request("resource.query", f'{{"resource_ids":["{name}"]}}'),
            request("route.call", f'{{"method":"echo","resource_id":"{name}"}}'),
        )
        assert [short(answer) for answer in answers] == [(1, INVALID_PARAMS, "invalid_params")] * 4
        [answer] = await say(peer, request("resource.query", '{"service_name":"bad"}'))
        assert [resource["resource_id"] for resource in answer["result"]["resources"]] == ["bad:1"]


async def test_the_longest_name_is_a_name(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        await become_owner(peer, "x" * 256, "a~._:/@+=-Z9")


async def test_a_refusal_stays_small_however_much_is_wrong(autojump_clock: MockClock) -> None:
    name = "\x7f" * 1_000_000
    members = ",".join(f'"m{number}":1' for number in range(50_000))
    wrong = (
        request("resource.query", f'{{"resource_ids":{[1] * 10_000}}}'),
        request("resource.query", f'{{"resource_ids":{[1] * 300_000}}}'),
        request("session.ping", f"{{{members}}}"),
        request("session.ping", f'{{"{name}":1}}'),
        request("route.call", f'{{"method":"e","resource_id":"good:1","service_name":"{name}"}}'),
        request("route.call", f'{{"method":"e","resource_id":"{name}"}}'),
        request(name),
    )
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        for text in wrong:
            [answer] = await say(peer, text)
            assert answer["error"]["code"] in (INVALID_PARAMS, METHOD_NOT_FOUND)
            assert len(json.dumps(answer)) < 10_000


async def test_a_list_that_is_too_long_is_refused_before_its_items_are_looked_at(
    autojump_clock: MockClock,
) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        [answer] = await say(peer, request("resource.query", f'{{"resource_ids":{[1] * 10_001}}}'))
        [error] = answer["error"]["data"]["errors"]
        assert error == {"path": "resource_ids", "message": "at most 10000 in one request"}


async def test_of_members_that_are_there_twice_the_last_counts(autojump_clock: MockClock) -> None:
    async with open_arena() as arena:
        peer = await arena.open(JSON)
        [answer] = await say(
            peer, '{"jsonrpc":"2.0","id":1,"id":2,"method":"no.such","method":"session.ping"}'
        )
        assert short(answer) == (2, "result")
        [answer] = await say(peer, request("session.ping", '{"trace_id":"first","trace_id":"last"}'))
        assert answer["result"] == {"trace_id": "last"}


async def test_deep_nesting_in_metadata_is_refused_or_kept_but_breaks_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_arena(Settings(anonymous_roles=("admin",))) as arena:
        for depth in (100, 500, 900, 950, 990, 1000, 5000, 50_000):
            peer = await arena.open(JSON)
            metadata = f'{{"a":{"[" * depth + "]" * depth}}}'
            params = f'{{"service_name":"deep","metadata":{metadata}}}'
            [answer] = await say(peer, request("instance.register", params))
            assert "result" in answer or answer["error"]["code"] in (INVALID_PARAMS, PARSE_ERROR)
            [answer] = await say(peer, request("instance.query", '{"service_name":"deep"}', "2"))
            assert "result" in answer, answer
            await peer.send(said.close())
            await wait_closed(peer)
