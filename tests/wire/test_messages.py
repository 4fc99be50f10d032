"""JSON-RPC as its specification says, whatever arrives."""

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Settings
from resroute.transport.interface import JSON, NDJSON
from tests.scenario import Party, Scenario, open_scenario


async def strays_after(scenario: Scenario, party: Party, text: str) -> list[dict[str, Any]]:
    """Say something that is answered under no id that anybody waits for."""
    await party.say_text(text)
    await scenario.wait_until(lambda: bool(party.strays))
    strays = list(party.strays)
    party.strays.clear()
    return strays


@pytest.mark.parametrize("text", ["{", "nonsense", '{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', "[1,", '"'])
async def test_what_is_no_json_is_a_parse_error(autojump_clock: MockClock, text: str) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect(subprotocol=JSON)
        [answer] = await strays_after(scenario, party, text)
        assert answer["id"] is None
        assert (answer["error"]["code"], answer["error"]["data"]["type"]) == (-32700, "parse_error")
        assert answer["meta"]["origin"] == "router"
        assert (await party.ask("session.ping"))["trace_id"]


@pytest.mark.parametrize(
    ("text", "echoed"),
    [
        ("7", None),
        ("null", None),
        ('"text"', None),
        ("{}", None),
        ('{"jsonrpc":"2.0"}', None),
        ('{"jsonrpc":"1.0","id":5,"method":"session.ping"}', 5),
        ('{"id":5,"method":"session.ping"}', 5),
        ('{"jsonrpc":"2.0","id":true,"method":"session.ping"}', None),
        ('{"jsonrpc":"2.0","id":1.5,"method":"session.ping"}', None),
        ('{"jsonrpc":"2.0","id":null,"method":"session.ping"}', None),
        ('{"jsonrpc":"2.0","id":[1],"method":"session.ping"}', None),
        ('{"jsonrpc":"2.0","id":5,"method":7}', 5),
        ('{"jsonrpc":"2.0","id":"five","method":null}', "five"),
        ('{"jsonrpc":"2.0","id":5}', 5),
        ('{"jsonrpc":"2.0","id":5,"method":"session.ping","params":7}', 5),
        ('{"jsonrpc":"2.0","id":5,"method":"route.call","params":"text"}', 5),
        ("[]", None),
    ],
)
async def test_what_is_no_request_is_an_invalid_request(
    autojump_clock: MockClock, text: str, echoed: int | str | None
) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect(subprotocol=JSON)
        pending = None if echoed is None else party.expect(echoed)
        answer: Any
        if pending is None:
            [answer] = await strays_after(scenario, party, text)
        else:
            await party.say_text(text)
            answer = await pending.answer()
        assert answer["id"] == echoed
        assert (answer["error"]["code"], answer["error"]["data"]["type"]) == (-32600, "invalid_request")
        assert len(answer["error"]["data"]["trace_id"]) == 32


async def test_an_unknown_method_is_named(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        refused = await party.refused("resource.levitate")
        assert (refused.code, refused.type) == (-32601, "method_not_found")
        assert refused.data["method"] == "resource.levitate"
        await party.notify("resource.levitate")
        await party.notify("session.ping", nonsense=1)
        assert (await party.ask("session.ping"))["trace_id"]
        assert party.strays == []


async def test_params_by_position_are_refused_by_the_routers_own_methods(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        pending = party.expect(1)
        await party.say_text('{"jsonrpc":"2.0","id":1,"method":"resource.query","params":[1]}')
        assert (await pending.refusal()).code == -32602


@pytest.mark.parametrize("number", ["36893488147419103232", "1e400", "-1e999"])
async def test_numbers_that_are_too_large_are_refused_in_the_routers_own_parameters(
    autojump_clock: MockClock, number: str
) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        for place in (f'"priority":{number}', f'"metadata":{{"n":[{number}]}}', '"metadata":{"n":"\\u0000"}'):
            pending = party.expect(1)
            params = f'{{"service_name":"service",{place}}}'
            await party.say_text(f'{{"jsonrpc":"2.0","id":1,"method":"instance.register","params":{params}}}')
            assert (await pending.refusal()).code == -32602


async def test_of_duplicate_keys_the_last_counts(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect()
        pending = party.expect(2)
        await party.say_text(
            '{"jsonrpc":"2.0","id":1,"id":2,"method":"session.ping","params":{"trace_id":"a","trace_id":"b"}}'
        )
        assert (await pending.result())["trace_id"] == "b"


async def test_lines_are_messages_and_a_bad_one_among_fifty_costs_only_itself(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        party = await scenario.connect(subprotocol=NDJSON)
        pendings = [party.expect(n) for n in range(50)]
        lines = [f'{{"jsonrpc":"2.0","id":{n},"method":"session.ping"}}' for n in range(50)]
        lines[20:20] = ["", "   ", "{bad", "\t\r"]
        [bad] = await strays_after(scenario, party, "\n".join(lines) + "\n")
        assert bad["error"]["data"]["type"] == "parse_error"
        for pending in pendings:
            assert (await pending.result())["trace_id"]


async def test_a_batch_is_answered_by_one_array_once_all_is_done(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        party = await scenario.connect("caller", subprotocol=JSON)
        heard: list[Any] = []
        take = party.record.heard

        def listen(text: bytes) -> Any:
            heard.append(json.loads(text))
            return take(text)

        party.record.heard = listen  # type: ignore[method-assign]
        call = party.call_params("doc:7")
        pending = [party.expect(n) for n in (1, 2, 3)]
        members = [
            {"jsonrpc": "2.0", "id": 1, "method": "route.call", "params": call},
            {"jsonrpc": "2.0", "id": 2, "method": "session.ping"},
            {"jsonrpc": "2.0", "method": "session.ping"},
            {"jsonrpc": "2.0", "id": 3, "method": "nonsense"},
            7,
        ]
        await party.say_text(json.dumps(members))
        request = await owner.next()
        await trio.sleep(1)
        assert heard == []
        assert scenario.statistics().batches == 1
        await owner.answer(request, "done")
        assert await pending[0].result() == "done"
        [answers] = heard
        assert sorted(answer["id"] for answer in answers if answer["id"]) == [1, 2, 3]
        assert len(answers) == 4
        party.strays.clear()
        await party.say_text('[{"jsonrpc":"2.0","method":"session.ping"}]')
        assert (await party.ask("session.ping"))["trace_id"]


async def test_members_of_a_batch_can_be_cancelled_and_share_the_limits(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_calls_in_flight=3)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        party = await scenario.connect("caller", subprotocol=JSON)
        pendings = [party.expect(n) for n in range(4)]
        members = [
            {"jsonrpc": "2.0", "id": n, "method": "route.call", "params": party.call_params("doc:7")}
            for n in range(4)
        ]
        await party.say_text(json.dumps(members))
        requests = [await owner.next() for _ in range(3)]
        await party.cancel(pendings[0])
        await owner.next("$/cancelRequest")
        for request in requests[1:]:
            await owner.answer(request, "done")
        assert (await pendings[0].refusal()).type == "call_cancelled"
        assert (await pendings[1].result(), await pendings[2].result()) == ("done", "done")
        refused = await pendings[3].refusal()
        assert (refused.code, refused.type, refused.data["limit"]) == (429, "too_many_calls", 3)


async def test_a_batch_has_a_limit_and_so_has_its_answer(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_batch_messages=20, max_message_bytes=10_000)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        party = await scenario.connect("caller", subprotocol=JSON)
        ping = '{"jsonrpc":"2.0","id":%d,"method":"session.ping"}'
        notice = '{"jsonrpc":"2.0","method":"session.ping"}'
        [answer] = await strays_after(scenario, party, "[" + ",".join([notice] * 21) + "]")
        assert answer["error"]["data"]["type"] == "invalid_request"
        pendings = [party.expect(n) for n in range(20)]
        await party.say_text("[" + ",".join(ping % n for n in range(20)) + "]")
        for pending in pendings:
            await pending.result()
        calls = [party.expect(n) for n in range(3)]
        members = [
            {"jsonrpc": "2.0", "id": n, "method": "route.call", "params": party.call_params("doc:7")}
            for n in range(3)
        ]
        await party.say_text(json.dumps(members))
        for n in range(3):
            await owner.answer(await owner.next(), str(n) * 4_500)
        assert [await call.result() for call in calls[:2]] == ["0" * 4_500, "1" * 4_500]
        refused = await calls[2].refusal()
        assert (refused.code, refused.type) == (413, "answer_too_large")


async def test_session_info_tells_the_limits_in_force(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_calls_in_flight=7)) as scenario:
        party = await scenario.connect(subprotocol=NDJSON)
        info = await party.ask("session.info")
        assert info["protocol"] == NDJSON
        assert info["subject"] == "anonymous"
        assert info["roles"] == ["caller", "instance"]
        assert info["limits"]["max_calls_in_flight"] == 7
        assert info["heartbeat"] == {"interval_seconds": 10, "timeout_seconds": 25}
        assert info["features"] == []
        assert "instance" not in info


async def test_the_document_of_all_methods_is_discovered(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        party = await scenario.instance("instance")
        document = await party.ask("rpc.discover")
        assert document["openrpc"] == "1.3.2"
        needy = {"route.call", "route.explain"}  # one of two parameters that neither must be there
        for method in document["methods"]:
            if method["name"] not in needy and not any(param.get("required") for param in method["params"]):
                await party.ask(method["name"])


async def test_the_examples_of_the_document_work_as_they_say(autojump_clock: MockClock) -> None:
    from resroute.protocol.examples import EXAMPLES

    async with open_scenario(Settings(anonymous_roles=("caller", "instance", "admin"))) as scenario:
        party = await scenario.connect()

        async def send(method: str) -> None:
            [example] = EXAMPLES[method]
            answer = await party.ask(method, **example.params)
            assert set(answer) >= set(example.result), method

        register, resume = EXAMPLES["instance.register"]
        registered = await party.ask("instance.register", **register.params)
        assert set(registered) >= set(register.result)
        for method in (
            "rpc.discover",
            "session.info",
            "session.ping",
            "instance.query",
            "resource.register",
            "resource.release",
            "resource.query",
        ):
            await send(method)
        [example] = EXAMPLES["route.call"]
        pending = await party.start("route.call", {**example.params, "trace_id": "t-1"})
        request = await party.next("echo")
        await party.answer(request, request["params"])
        assert await pending.result() == example.result
        [example] = EXAMPLES["session.notify"]
        caller = request["meta"]["caller"]["session_id"]
        notified = await party.ask("session.notify", **{**example.params, "session_id": caller})
        assert set(notified) == set(example.result)
        assert (await party.next("changed"))["params"] == example.params["params"]
        for method in ("route.explain", "router.statistics", "router.top"):
            await send(method)
        [example] = EXAMPLES["session.end"]
        victim = (await (await scenario.connect()).ask("session.info"))["session_id"]
        assert set(await party.ask("session.end", **{**example.params, "session_id": victim})) == set(
            example.result
        )
        token = {"resume_token": registered["resume_token"]}
        resumed = await (await scenario.connect()).ask("instance.register", **{**resume.params, **token})
        assert set(resumed) >= set(resume.result)
        assert set(resumed["resumed"]) == set(resume.result["resumed"])
