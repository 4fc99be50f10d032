"""Bound connections: every request goes where the URL says, as a ``route.call`` would."""

import json

import pytest
import trio
from trio.testing import MockClock

from resroute.protocol.binding import BadTarget, read_target
from resroute.settings import Settings
from resroute.transport.interface import JSON, MSGPACK, NDJSON, Subprotocol
from tests.scenario import Json, Party, Scenario, open_scenario

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def expect_call(owner: Party, method: str, result: object = None) -> Json:
    """Answer the next call, which must be for that method."""
    request = await owner.next(method)
    await owner.answer(request, result)
    return request


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON, MSGPACK])
async def test_a_request_goes_to_the_owner_of_the_resource(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc/7")
        client = await scenario.connect("client", target="/resources/doc/7", subprotocol=subprotocol)
        pending = await client.start("read", {"tag": "a"}, id="mine")
        request = await expect_call(owner, "read", {"text": "hello"})
        assert request["params"] == {"tag": "a"}
        assert request["meta"]["resource_id"] == "doc/7"
        assert request["meta"]["timeout_seconds"] == 30
        assert request["meta"]["caller"]["subject"] == "anonymous"
        answer = await pending.answer()
        assert answer == {"jsonrpc": "2.0", "id": "mine", "result": {"text": "hello"}}


async def test_a_request_goes_to_an_instance_of_the_service(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        instance = await scenario.instance("instance", "printing")
        client = await scenario.connect("client", target="/services/printing")
        pending = await client.start("print", {"tag": "a"})
        request = await expect_call(instance, "print", 1)
        assert "resource_id" not in request["meta"]
        assert await pending.result() == 1


async def test_a_callees_error_is_passed_on(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        pending = await client.start("read")
        await owner.fail(await owner.next("read"), 7, "no such page", data=[1])
        assert (await pending.answer())["error"] == {"code": 7, "message": "no such page", "data": [1]}


async def test_what_nobody_owns_is_not_found_until_somebody_does(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        client = await scenario.connect("client", target="/resources/doc:7")
        refused = await client.refused("read")
        assert (refused.code, refused.data["resource_id"], refused.is_routers) == (404, "doc:7", True)
        owner = await scenario.owner("owner", "doc:7")
        pending = await client.start("read", {"tag": "b"})
        await expect_call(owner, "read", 1)
        assert await pending.result() == 1


async def test_names_of_the_routers_own_methods_go_to_the_owner_too(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        for method in ("route.call", "session.info", "instance.register", "resource.query"):
            pending = await client.start(method, {"tag": method})
            await expect_call(owner, method, method)
            assert await pending.result() == method


async def test_some_methods_stay_the_routers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        assert set(await client.ask("session.ping")) == {"trace_id"}
        assert (await client.ask("rpc.discover"))["openrpc"] == "1.3.2"
        for method in ("session.authenticate", "rpc.no", "$/no"):
            assert (await client.refused(method)).code == -32601
        await client.notify("$/no")
        await client.notify("session.ping")
        await client.ask("session.ping")
        assert not owner.has_news


async def test_a_large_request_goes_to_the_owner_whatever_it_is_called(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        client = await scenario.connect("client", target="/resources/doc:7")
        params = {"method": "read", "resource_id": "doc:8", "params": {"text": "x" * 50_000}}
        pending = await client.start("route.call", {**params, "params": params["params"]})
        request = await expect_call(owner, "route.call")
        assert request["params"] == params
        assert request["meta"]["resource_id"] == "doc:7"
        await pending.result()


async def test_params_pass_as_they_are(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7", subprotocol=JSON)
        for given in ('{"a":1,"a":123456789012345678901234567890}', "[\n1,2\n]", "{}"):
            pending = client.expect(1)
            await client.say_text(f'{{"jsonrpc":"2.0","id":1,"method":"read","params":{given}}}')
            request = await owner.next("read")
            assert request["params"] == json.loads(given)
            await owner.answer(request)
            await pending.result()
        for nothing in ("", ',"params":null'):
            pending = client.expect(1)
            await client.say_text(f'{{"jsonrpc":"2.0","id":1,"method":"read"{nothing}}}')
            assert "params" not in await expect_call(owner, "read")
            await pending.result()


async def test_scalar_params_make_it_no_request(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        for number, given in enumerate((1, "a", True)):
            pending = client.expect(number)
            await client.say({"id": number, "method": "read", "params": given})
            assert (await pending.refusal()).code == -32600
        traced = client.expect("traced")
        await client.say(
            {"id": "traced", "method": "read", "params": 1, "meta": {"traceparent": TRACEPARENT}}
        )
        refused = await traced.answer()
        assert refused["error"]["data"]["trace_id"] == refused["meta"]["trace_id"] == TRACEPARENT[3:35]
        await client.say({"method": "read", "params": 1})
        await client.ask("session.ping")
        assert not owner.has_news


async def test_meta_says_what_it_says_with_route_call(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        pending = await client.start("read", meta={"traceparent": TRACEPARENT})
        request = await expect_call(owner, "read")
        assert request["meta"]["traceparent"] == TRACEPARENT
        meta = (await pending.answer())["meta"]
        assert (meta["trace_id"], meta["instance_id"]) == (TRACEPARENT[3:35], "owner")


async def test_a_batch_is_answered_by_one_array(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        pendings = [client.expect(number) for number in (1, 2, 3)]
        await client.say_batch(
            {"id": 1, "method": "read", "params": {"tag": "a"}},
            {"method": "note", "params": {"tag": "b"}},
            {"id": 2, "method": "session.ping"},
            {"id": 3, "method": "write", "params": {"tag": "c"}},
        )
        await expect_call(owner, "read", "read")
        assert "id" not in await owner.next("note")
        assert not pendings[1].is_settled
        await expect_call(owner, "write", "written")
        assert await pendings[0].result() == "read"
        assert await pendings[2].result() == "written"
        assert client.record.words[-1].is_batched


async def test_notifications_are_delivered_but_none_that_could_be_the_routers(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        for method in ("session.closing", "resource.lost", "rpc.x", "$/progress", "sessions"):
            await client.notify(method, tag=method)
        await client.ask("session.ping")
        news = [word["method"] for word in owner.take_news()]
        assert news == ["sessions"]


async def test_a_request_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        pending = await client.start("read", {"tag": "a"})
        request = await owner.next("read")
        await client.cancel(pending)
        assert (await pending.refusal()).type == "call_cancelled"
        assert (await owner.next("$/cancelRequest"))["params"] == {"id": request["id"]}


async def test_the_url_can_say_how_long_an_answer_may_take(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7?timeout_seconds=2.5")
        pending = await client.start("read", {"tag": "a"})
        assert (await owner.next("read"))["meta"]["timeout_seconds"] == 2.5
        refused = await pending.refusal()
        assert (refused.type, refused.data["timeout_seconds"]) == ("call_timeout", 2.5)
        await owner.next("$/cancelRequest")


@pytest.mark.parametrize("meta", [None, {}, {"progress": False}])
async def test_the_url_can_ask_for_partial_results(autojump_clock: MockClock, meta: Json | None) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7?progress=true")
        pending = await client.start(
            "read", {"tag": "a"}, id="mine", **({} if meta is None else {"meta": meta})
        )
        request = await owner.next("read")
        assert request["meta"]["progress"] is True
        for page in (1, 2):
            await owner.notify("$/progress", token=request["id"], value={"page": page})
        await owner.answer(request, "all")
        for page in (1, 2):
            heard = await client.next("$/progress")
            assert heard["params"] == {"token": "mine", "value": {"page": page}}
        answer = await pending.answer()
        assert answer["result"] == "all"
        assert ("meta" in answer) == (meta is not None)


async def test_who_asks_for_no_partial_results_gets_none(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7?progress=false")
        for meta, is_wanted in (({}, False), ({"progress": True}, True)):
            pending = await client.start("read", {"tag": str(is_wanted)}, meta=meta)
            request = await owner.next("read")
            assert request["meta"].get("progress", False) is is_wanted
            await owner.notify("$/progress", token=request["id"], value=1)
            await owner.answer(request)
            await pending.result()
            assert [heard["method"] for heard in client.take_news()] == ["$/progress"] * is_wanted


async def test_who_may_not_call_may_not_do_it_this_way_either(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("instance",))) as scenario:
        await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        refused = await client.refused("read")
        assert (refused.code, refused.data["required"]) == (403, "caller")


async def test_an_id_in_flight_cannot_be_used_again(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        pending = await client.start("read", {"tag": "a"}, id=1)
        await client.say({"id": 1, "method": "read", "params": {"tag": "b"}})
        await expect_call(owner, "read", "first")
        assert await pending.result() == "first"
        assert [stray["error"]["code"] for stray in client.strays] == [-32600]


# --- $/ownerChanged -------------------------------------------------------------------------------------------------


async def changes(client: Party, count: int) -> list[int | None]:
    """The epochs of the next changes that a client is told of."""
    told = [await client.next("$/ownerChanged") for _ in range(count)]
    assert all(message["params"]["resource_id"] == "doc:7" for message in told)
    return [message["params"].get("epoch") for message in told]


async def register(owner: Party, **params: object) -> int:
    """Register ``doc:7``. Returns its epoch."""
    epoch: int = (await owner.ask("resource.register", resource_ids=["doc:7"], **params))["epochs"]["doc:7"]
    return epoch


async def test_who_asks_for_it_is_told_of_every_owner(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        client = await scenario.connect("client", target="/resources/doc:7?owner_changes=true")
        other = await scenario.connect("other", target="/resources/doc:8?owner_changes=true")
        quiet = await scenario.connect("quiet", target="/resources/doc:7?owner_changes=false")
        first, second = await scenario.instance("first"), await scenario.instance("second")
        epoch = await register(first)
        assert await changes(client, 1) == [epoch]
        assert await register(first) == epoch  # again: nothing changes
        await first.ask("resource.release", resource_ids=["doc:7"])
        epoch = await register(second)
        assert await changes(client, 2) == [None, epoch]
        epoch = await register(first, force=True)
        assert await changes(client, 1) == [epoch]
        assert not client.has_news and not other.has_news and not quiet.has_news


async def test_the_end_of_the_owner_is_told_before_the_next_one(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        client = await scenario.connect("client", target="/resources/doc:7?owner_changes=true")
        owner, next_owner = await scenario.owner("owner", "doc:7"), await scenario.instance("next")
        await client.next("$/ownerChanged")
        owner.drop()
        assert await changes(client, 1) == [None]
        third = await scenario.owner("third", "doc:7")
        await client.next("$/ownerChanged")
        third.drop()
        await scenario.wait_until(lambda: scenario.statistics().instances == 1)
        epoch = await register(next_owner)
        assert await changes(client, 2) == [None, epoch]


async def test_nothing_is_kept_of_a_listener_that_has_gone(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        clients = [
            await scenario.connect(target="/resources/doc:7?owner_changes=true&progress=true")
            for _ in range(3)
        ]
        await scenario.wait_until(lambda: scenario.statistics().owner_listeners == 3)
        clients[0].drop()
        await clients[1].aclose()
        await scenario.wait_until(lambda: scenario.statistics().owner_listeners == 1)
        await scenario.owner("owner", "doc:7")
        await clients[2].next("$/ownerChanged")


async def test_a_listener_that_does_not_read_ends_alone(autojump_clock: MockClock) -> None:
    settings = Settings(outbox_soft_bytes=1000, max_outbox_bytes=2000)
    async with open_scenario(settings) as scenario:
        target = "/resources/doc:7?owner_changes=true"
        stalled = await scenario.connect("stalled", target=target, buffer_bytes=100)
        reading = await scenario.connect("reading", target=target)
        stalled.stall()
        owner = await scenario.instance("owner")
        for _ in range(20):
            await register(owner)
            await owner.ask("resource.release", resource_ids=["doc:7"])
            await changes(reading, 2)
        await scenario.wait_until(lambda: scenario.statistics().owner_listeners == 1)


# --- the path and the query -----------------------------------------------------------------------------------------


async def refused_at(scenario: Scenario, target: str) -> BadTarget:
    """How a connection is refused there."""
    with pytest.raises(BadTarget) as raised:
        await scenario.connect(target=target)
    return raised.value


@pytest.mark.parametrize(
    ("path", "resource_id"),
    [
        ("doc:7", "doc:7"),
        ("a/b/c", "a/b/c"),
        ("a%2Fb%3ac", "a/b:c"),
        ("a+b=@~", "a+b=@~"),
        ("%64oc", "doc"),
        ("x" * 256, "x" * 256),
    ],
)
def test_a_path_names_the_resource_percent_decoded_once(path: str, resource_id: str) -> None:
    binding = read_target(f"/resources/{path}", 600)
    assert binding is not None
    assert binding.resource_id == resource_id
    assert not binding.progress and not binding.owner_changes


def test_a_query_says_what_a_library_cannot() -> None:
    binding = read_target("/services/a?timeout_seconds=600&progress=true", 600)
    assert binding is not None
    assert (binding.service_name, binding.timeout_seconds, binding.progress) == ("a", 600, True)
    binding = read_target("/resources/a?owner_changes=true&progress=false&", 600)
    assert binding is not None
    assert (binding.owner_changes, binding.progress) == (True, False)


def test_at_the_root_nothing_is_bound() -> None:
    for target in ("/", "/?progress=maybe", "http://localhost:8765/", "ws://localhost/?x"):
        assert read_target(target, 600) is None
    bound = read_target("http://localhost:8765/resources/a?progress=true", 600)
    assert bound is not None and bound.progress


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("/resources", 404, "/resources/RESOURCE_ID"),
        ("/Resources/a", 404, "/Resources/a"),
        ("/resource/a", 404, "/services/SERVICE_NAME"),
        ("//resources/a", 404, "//resources/a"),
        ("/" + "x" * 10_000, 404, "xxx"),
        ("", 404, ""),
        ("http://[", 400, "address"),
        ("/resources/", 400, "resource id"),
        ("/resources//", 400, "resource id"),
        ("/resources//a", 400, "resource id"),
        ("/resources/a/", 400, "resource id"),
        ("/resources/a%2f", 400, "resource id"),
        ("/resources/a%252fb", 400, "'a%2fb'"),
        ("/resources/a%zz", 400, "'a%zz'"),
        ("/resources/a%00", 400, r"'a\x00'"),
        ("/resources/a%ff", 400, "resource id"),
        ("/resources/ä", 400, "resource id"),
        ("/resources/\udcff", 400, "resource id"),
        ("/resources/a b", 400, "resource id"),
        ("/resources/a#b", 400, "resource id"),
        ("/resources/" + "x" * 257, 400, "256"),
        ("/services/", 400, "service name"),
        ("/services/a%20b", 400, "'a b' is not a valid service name"),
        ("/services/a?owner_changes=true", 400, "owner_changes"),
        ("/resources/a?no=1", 400, "'no' is unknown"),
        ("/resources/a?Progress=true", 400, "'Progress'"),
        ("/resources/a?progress", 400, "progress must be true or false"),
        ("/resources/a?progress=1", 400, "not '1'"),
        ("/resources/a?progress=true&progress=true", 400, "progress is there twice"),
        ("/resources/a?owner_changes=yes", 400, "owner_changes must be true or false, not 'yes'"),
        ("/resources/a?timeout_seconds=0", 400, "timeout_seconds must be a number above 0 and at most 600"),
        ("/resources/a?timeout_seconds=600.1", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=-1", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=nan", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=1e2", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=1_0", 400, "timeout_seconds"),
        ("/resources/a?timeout_seconds=٣", 400, "timeout_seconds"),
        ("/resources/a?progress=x&no=1&timeout_seconds=x", 400, "'no'"),
        ("/resources/a?" + "&".join(f"x{number}" for number in range(3000)), 400, "'x9'"),
    ],
)
def test_a_wrong_url_is_refused_with_a_sentence(target: str, status: int, words: str) -> None:
    with pytest.raises(BadTarget) as raised:
        read_target(target, 600)
    assert raised.value.status == status
    assert words in raised.value.sentence
    assert len(raised.value.sentence) < 2500


def test_a_refusal_names_all_that_is_wrong() -> None:
    with pytest.raises(BadTarget) as raised:
        read_target("/resources/a?progress=x&no=1&timeout_seconds=x", 600)
    for words in ("progress must", "'no' is unknown", "timeout_seconds must"):
        assert words in raised.value.sentence


async def test_a_wrong_url_opens_no_session(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_timeout_seconds=5, default_timeout_seconds=5)) as scenario:
        assert (await refused_at(scenario, "/resources/a?timeout_seconds=6")).status == 400
        await trio.testing.wait_all_tasks_blocked()
        assert scenario.statistics().sessions == 0
