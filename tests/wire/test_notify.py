"""``session.notify``: owners push to sessions that have to do with their resources, and to nobody else."""

import pytest
from trio.testing import MockClock

from resroute.core.records import MAX_CALLERS
from resroute.settings import Settings
from resroute.transport.interface import JSON, MSGPACK, NDJSON, Subprotocol
from tests.scenario import Json, Party, Refused, open_scenario


async def call_once(caller: Party, owner: Party, resource_id: str = "doc:7") -> str:
    """Call, answer, and return the session id of the caller, as its callee was told."""
    pending = await caller.start_call(resource_id)
    request = await owner.next("work")
    await owner.answer(request)
    await pending.result()
    return str(request["meta"]["caller"]["session_id"])


async def bound_call(client: Party, owner: Party, tag: str) -> str:
    """The same of a session that is bound to the resource."""
    pending = await client.start("work", {"tag": tag})
    request = await owner.next("work")
    await owner.answer(request)
    await pending.result()
    return str(request["meta"]["caller"]["session_id"])


async def notify(owner: Party, session_id: str, resource_id: str = "doc:7", **more: object) -> Json:
    """Push something. Returns the router's answer."""
    asked = {"session_id": session_id, "resource_id": resource_id, "method": "changed", **more}
    result: Json = await owner.ask("session.notify", **asked)
    return result


async def refusal(owner: Party, session_id: str, resource_id: str = "doc:7", **more: object) -> Refused:
    """Try to push something that may not be."""
    asked = {"session_id": session_id, "resource_id": resource_id, "method": "changed", **more}
    return await owner.refused("session.notify", **asked)


# --- who may be told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON, MSGPACK])
async def test_an_owner_reaches_a_session_that_called_it(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        session_id = await call_once(caller, owner)
        result = await notify(owner, session_id, params={"page": 3}, trace_id="t-1")
        assert result == {"trace_id": "t-1", "delivered_to_outbox": True}
        heard = await caller.next("changed")
        assert heard == {
            "jsonrpc": "2.0",
            "method": "changed",
            "params": {"page": 3},
            "meta": {"resource_id": "doc:7", "instance_id": "owner"},
        }


async def test_an_owner_reaches_a_session_that_waits_for_its_answer(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next("work")
        crowd = await scenario.connect("crowd")
        session_id = request["meta"]["caller"]["session_id"]
        await notify(owner, session_id)
        assert not pending.is_settled
        assert "params" not in await caller.next("changed")
        for other in [crowd, *[await scenario.connect() for _ in range(MAX_CALLERS)]]:
            await call_once(other, owner)
        await notify(owner, session_id, method="still there")  # no longer among the last callers
        await caller.next("still there")
        await owner.answer(request)
        await pending.result()
        assert (await refusal(owner, session_id)).type == "session_not_found"


async def test_an_owner_reaches_a_bound_session_with_plain_json_rpc(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        client = await scenario.connect("client", target="/resources/doc:7")
        session_id = await bound_call(client, owner, "a")
        for _ in range(MAX_CALLERS + 1):
            await call_once(await scenario.connect(), owner)
        await notify(owner, session_id, params=[1])
        assert await client.next() == {"jsonrpc": "2.0", "method": "changed", "params": [1]}


async def test_a_plain_instance_that_called_is_told_without_meta(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        plain = await scenario.instance("plain", plain=True)
        await notify(owner, await call_once(plain, owner))
        assert await plain.next() == {"jsonrpc": "2.0", "method": "changed"}


async def test_the_last_hundred_callers_are_remembered(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        callers = [await scenario.connect() for _ in range(MAX_CALLERS + 2)]
        ids = [await call_once(caller, owner) for caller in callers]
        assert await call_once(callers[2], owner) == ids[2]  # and so it is the last one
        for number in (0, 1):
            assert (await refusal(owner, ids[number])).type == "session_not_found"
        for number in range(2, len(ids)):
            await notify(owner, ids[number], params={"number": number})
            assert (await callers[number].next("changed"))["params"] == {"number": number}
        await call_once(await scenario.connect(), owner)
        assert (await refusal(owner, ids[3])).type == "session_not_found"
        await notify(owner, ids[2])
        await callers[2].next("changed")


async def test_a_new_owner_knows_the_callers_of_the_one_it_took_the_resource_from(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(anonymous_roles=("admin",))) as scenario:
        old, new = await scenario.owner("old", "doc:7"), await scenario.instance("new")
        callers = [await scenario.connect("first"), await scenario.connect("second")]
        ids = [await call_once(caller, old) for caller in callers]
        await new.ask("resource.register", resource_ids=["doc:7"], force=True)
        await old.next("resource.lost")
        refused = await refusal(old, ids[0])
        assert (refused.code, refused.type, refused.data["owner_instance_id"]) == (403, "not_owner", "new")
        for caller, session_id in zip(callers, ids, strict=True):
            await notify(new, session_id)
            assert (await caller.next("changed"))["meta"]["instance_id"] == "new"
        page = await new.ask("resource.query", resource_ids=["doc:7"])
        assert page["resources"][0]["calls_total"] == 2


async def test_what_was_free_in_between_has_no_callers(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, caller = await scenario.owner("owner", "doc:7"), await scenario.connect("caller")
        session_id = await call_once(caller, owner)
        await owner.ask("resource.release", resource_ids=["doc:7"])
        assert (await refusal(owner, session_id)).type == "resource_not_found"
        await owner.ask("resource.register", resource_ids=["doc:7"])
        assert (await refusal(owner, session_id)).type == "session_not_found"


async def test_strangers_and_sessions_that_are_not_there_look_alike(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, other = await scenario.owner("owner", "doc:7"), await scenario.owner("other", "doc:8")
        caller = await scenario.connect("caller")
        session_id = await call_once(caller, other, "doc:8")
        gone = await scenario.connect("gone")
        gone_id = await call_once(gone, owner)
        await gone.aclose()
        bound = await scenario.connect("bound", target="/resources/doc:8")
        bound_id = await bound_call(bound, other, "a")
        by_service = await scenario.connect("by service", target="/services/service")
        answers = []
        for unknown in (session_id, gone_id, bound_id, "session-0", "", "no name"):
            refused = await refusal(owner, unknown)
            assert refused.data.pop("session_id") == unknown
            del refused.data["trace_id"]
            answers.append((refused.code, refused.data))
        assert answers == [(404, {"type": "session_not_found"})] * len(answers)
        for party in (caller, bound, by_service):
            assert not party.has_news


async def test_only_the_owner_may_tell_anybody(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, caller = await scenario.owner("owner", "doc:7"), await scenario.connect("caller")
        other = await scenario.instance("other")
        session_id = await call_once(caller, owner)
        for resource_id, session in (("doc:7", session_id), ("doc:7", "session-0")):
            refused = await refusal(other, session, resource_id)
            assert (refused.code, refused.type) == (403, "not_owner")
            assert refused.data["owner_instance_id"] == "owner"
        assert (await refusal(other, session_id, "doc:9")).type == "resource_not_found"
        refused = await refusal(caller, session_id)
        assert (refused.code, refused.data["required"]) == (403, "instance.register")


async def test_who_may_be_no_instance_may_notify_nobody(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(anonymous_roles=("caller",))) as scenario:
        caller = await scenario.connect("caller")
        refused = await refusal(caller, "session-0")
        assert (refused.code, refused.data["required"]) == (403, "instance")


# --- what may be said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rpc.x", "$/progress", "session.closing", "resource.lost", "rpc.", "$/"])
async def test_an_owner_cannot_pose_as_the_router(autojump_clock: MockClock, method: str) -> None:
    async with open_scenario() as scenario:
        owner, caller = await scenario.owner("owner", "doc:7"), await scenario.connect("caller")
        session_id = await call_once(caller, owner)
        refused = await refusal(owner, session_id, method=method)
        assert refused.code == -32602
        assert [error["path"] for error in refused.data["errors"]] == ["method"]
        assert not caller.has_news


async def test_everything_that_is_wrong_is_named(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        refused = await owner.refused(
            "session.notify", session_id=5, resource_id="no name", params="text", colour=1
        )
        assert refused.code == -32602
        paths = {error["path"] for error in refused.data["errors"]}
        assert paths == {"session_id", "resource_id", "method", "params", "colour"}
        for params in ([], ["a"]):
            pending = await owner.start("session.notify")
            assert (await pending.refusal()).code == -32602
            pending = owner.expect(1000)
            await owner.say({"id": 1000, "method": "session.notify", "params": params})
            assert (await pending.refusal()).code == -32602


@pytest.mark.parametrize("subprotocol", [JSON, NDJSON])
async def test_params_pass_as_the_owners_own_bytes(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.instance("owner", subprotocol=JSON)
        await owner.ask("resource.register", resource_ids=["doc:7"])
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        session_id = await call_once(caller, owner)
        for number, given in enumerate(
            ('{"a": 1, "a": 123456789012345678901234567890}', "[1.10,\n-0]", '{"\\u0000":"\\u0000"}', "null")
        ):
            pending = owner.expect(f"n-{number}")
            await owner.say_text(
                f'{{"jsonrpc":"2.0","id":"n-{number}","method":"session.notify","params":{{"session_id":'
                f'"{session_id}","resource_id":"doc:7","method":"changed","params":{given}}}}}'
            )
            await pending.result()
            heard = await caller.next("changed")
            assert ("params" in heard) == (given != "null")


async def test_a_notification_may_itself_be_sent_as_one(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, caller = await scenario.owner("owner", "doc:7"), await scenario.connect("caller")
        session_id = await call_once(caller, owner)
        for number in range(3):
            await owner.notify(
                "session.notify",
                session_id=session_id,
                resource_id="doc:7",
                method="changed",
                params={"number": number},
            )
        await owner.notify("session.notify", session_id="session-0", resource_id="doc:7", method="changed")
        assert [(await caller.next("changed"))["params"]["number"] for _ in range(3)] == [0, 1, 2]
        await owner.ask("session.ping")
        assert not owner.has_news


# --- how much -------------------------------------------------------------------------------------------------------


async def test_a_session_that_does_not_read_is_told_no_more(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=10_000)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller", buffer_bytes=100)
        session_id = await call_once(caller, owner)
        caller.stall()
        taken = 0
        while True:
            asked = {"session_id": session_id, "resource_id": "doc:7", "method": "changed"}
            answer = await (
                await owner.start(
                    "session.notify", {**asked, "params": {"number": taken, "text": "x" * 1000}}
                )
            ).answer()
            if "error" in answer:
                break
            taken += 1
            assert taken < 50
        refused = Refused(answer)
        assert (refused.code, refused.type, refused.data["reason"]) == (503, "unavailable", "overloaded")
        assert refused.data["delivery"] == "not_delivered"
        caller.resume()
        heard = [(await caller.next("changed"))["params"]["number"] for _ in range(taken)]
        assert heard == list(range(taken))
        await notify(owner, session_id)
        await caller.next("changed")
