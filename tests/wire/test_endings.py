"""How calls end otherwise than by an answer, and that `delivery` is true."""

import pytest
import trio
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from tests.scenario import Party, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
PATIENT = Heartbeat(interval_seconds=1000, timeout_seconds=5000)


async def test_a_call_without_an_answer_runs_out_of_time(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        began = trio.current_time()
        pending = await caller.start_call("doc:7", timeout_seconds=1.5)
        request = await owner.next()
        refused = await pending.refusal()
        assert 1.5 <= trio.current_time() - began < 1.52
        assert (refused.code, refused.type) == (504, "call_timeout")
        assert (refused.data["timeout_seconds"], refused.data["delivery"]) == (1.5, "unknown")
        cancel = await owner.next("$/cancelRequest")
        assert cancel["params"] == {"id": request["id"]}
        dropped = scenario.router.metrics.dropped_answers
        await owner.answer(request, "too late")
        await trio.sleep(1)
        assert scenario.router.metrics.dropped_answers == dropped + 1


async def test_the_default_timeout_counts_where_none_is_given(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(default_timeout_seconds=2)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        began = trio.current_time()
        refused = await (await caller.start_call("doc:7")).refusal()
        assert refused.type == "call_timeout"
        assert 2 <= trio.current_time() - began < 2.02
        assert (await owner.next())["meta"]["timeout_seconds"] == 2


async def test_a_cancelled_call_is_taken_back_or_cancelled_at_its_callee(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        await caller.cancel(pending)
        refused = await pending.refusal()
        assert (refused.code, refused.type, refused.data["delivery"]) == (499, "call_cancelled", "unknown")
        assert (await owner.next("$/cancelRequest"))["params"] == {"id": request["id"]}
        for nonsense in ({"id": 12345}, {"id": None}, {}, {"id": True}):
            await caller.notify("$/cancelRequest", **nonsense)
        assert (await caller.ask("session.ping"))["trace_id"]


async def fill_outbox_of(owner: Party, caller: Party) -> None:
    """Have the owner's writer stuck with a large message, so that what comes next waits in the outbox."""
    owner.stall()
    pendings = [await caller.start_call("doc:7", params={"text": "x" * 300_000}) for _ in range(2)]
    await trio.sleep(1)
    assert not any(pending.is_settled for pending in pendings)


async def test_the_time_in_which_the_router_stood_still_ends_no_session(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        await trio.sleep(5)
        autojump_clock.jump(60)  # as if the process had been stopped for that long
        await trio.sleep(30)
        pending = await caller.start_call("doc:7")
        await owner.answer(await owner.next(), 1)
        assert await pending.result() == 1


async def test_what_the_writer_never_had_was_not_delivered(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        await fill_outbox_of(owner, caller)
        cancelled = await caller.start_call("doc:7")
        late = await caller.start_call("doc:7", timeout_seconds=1)
        await caller.cancel(cancelled)
        assert (await cancelled.refusal()).data["delivery"] == "not_delivered"
        assert (await late.refusal()).data["delivery"] == "not_delivered"
        waiting = await caller.start_call("doc:7")
        owner.drop()
        refused = await waiting.refusal()
        assert (refused.code, refused.type) == (502, "owner_disconnected")
        assert (refused.data["delivery"], refused.data["instance_id"]) == ("not_delivered", "owner")


async def test_when_the_owner_goes_what_it_was_handed_may_have_run(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pendings = [await caller.start_call("doc:7", timeout_seconds=500) for _ in range(3)]
        for _ in pendings:
            await owner.next()
        owner.drop()
        for pending in pendings:
            refused = await pending.refusal()
            assert (refused.code, refused.type) == (502, "owner_disconnected")
            assert (refused.data["delivery"], refused.data["instance_id"]) == ("unknown", "owner")
        refused = await (await caller.start_call("doc:7")).refusal()
        assert refused.type == "resource_not_found"


async def test_calls_that_still_wait_go_to_the_new_owner_in_order(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=ADMIN.anonymous_roles, heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        heir = await scenario.instance("heir")
        caller = await scenario.connect("caller")
        await fill_outbox_of(owner, caller)
        stays = await caller.start_call("doc:8", params=["stays"], timeout_seconds=500)
        pendings = [await caller.start_call("doc:7", params=[n], timeout_seconds=500) for n in range(3)]
        await trio.sleep(1)
        result = await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        await heir.answer(await heir.next())  # the second large one had not gone out either
        for n in range(3):
            request = await heir.next()
            assert request["params"] == [n]
            assert request["meta"]["epoch"] == result["epochs"]["doc:7"]
            await heir.answer(request, n)
        assert [await pending.result() for pending in pendings] == [0, 1, 2]
        assert not stays.is_settled
        owner.drop()
        assert (await stays.refusal()).data["delivery"] == "not_delivered"


async def test_calls_for_a_released_resource_that_still_wait_find_no_owner(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7", "doc:8")
        caller = await scenario.connect("caller")
        await fill_outbox_of(owner, caller)
        pending = await caller.start_call("doc:8", timeout_seconds=500)
        await trio.sleep(1)
        await owner.notify("resource.release", resource_ids=["doc:8"])
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (404, "resource_not_found")
        owner.drop()


async def test_calls_by_service_that_still_wait_go_to_another_instance(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=PATIENT, write_timeout_seconds=1000)
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7", priority=1)
        caller = await scenario.connect("caller")
        await fill_outbox_of(owner, caller)
        pending = await caller.start_call(service_name="service", params=["by name"], timeout_seconds=500)
        await trio.sleep(1)
        other = await scenario.instance("other")
        owner.drop()
        request = await other.next()
        assert request["params"] == ["by name"]
        await other.answer(request, "done")
        assert await pending.result() == "done"


async def test_a_caller_that_leaves_takes_its_calls_with_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        await caller.start_call("doc:7")
        request = await owner.next()
        caller.drop()
        assert (await owner.next("$/cancelRequest"))["params"] == {"id": request["id"]}
        await owner.answer(request)
        await scenario.wait_until(lambda: scenario.statistics().calls_delivered == 0)


async def test_caller_and_owner_may_vanish_in_the_same_moment(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        await caller.start_call("doc:7")
        await owner.next()
        owner.drop()
        caller.drop()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 0)
        assert scenario.statistics().calls_in_flight == 0


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"result": 1, "error": {"code": 1, "message": "both"}},
        {"error": "no object"},
        {"error": {"code": "text", "message": "no number"}},
        {"error": {"code": 1}},
        {"error": None},
    ],
)
async def test_an_answer_that_is_none_is_told_to_the_caller(
    autojump_clock: MockClock, answer: dict[str, object]
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        await owner.say({"id": request["id"], **answer})
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (502, "invalid_answer")
        assert (refused.data["instance_id"], refused.data["delivery"]) == ("owner", "unknown")


async def test_an_answer_of_another_json_rpc_is_none(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        await owner.say_text(f'{{"jsonrpc":"1.0","id":{request["id"]},"result":1}}')
        assert (await pending.refusal()).type == "invalid_answer"


async def test_answers_that_belong_to_no_call_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        thief = await scenario.instance("thief")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        before = scenario.router.metrics.dropped_answers
        await thief.say({"id": request["id"], "result": "stolen"})
        await thief.say({"id": str(request["id"]), "error": {"code": 1, "message": "stolen"}})
        await thief.say(
            {"id": 10**20, "result": 1}, {"result": 1}, {"id": None, "result": 1}, {"id": 1.5, "error": 7}
        )
        await trio.sleep(1)
        assert scenario.router.metrics.dropped_answers == before + 6
        await owner.say({"id": request["id"], "result": 1}, {"id": request["id"], "result": 2})
        assert await pending.result() == 1
        await trio.sleep(1)
        assert scenario.router.metrics.dropped_answers == before + 7
        assert thief.strays == []


async def test_an_answer_over_the_limit_is_replaced(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_message_bytes=10_000)) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        pending = await caller.start_call("doc:7")
        request = await owner.next()
        await owner.answer(request, "x" * 15_000)
        refused = await pending.refusal()
        assert (refused.code, refused.type) == (413, "answer_too_large")
        assert (refused.data["limit"], refused.data["delivery"]) == (10_000, "unknown")


async def test_an_id_in_flight_is_refused_and_the_first_goes_on(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7", id=1)
        second = await caller.start_call("doc:7", id="1")
        await caller.say({"id": 1, "method": "session.ping"})
        await caller.say({"id": 1, "method": "route.call", "params": caller.call_params("doc:7")})
        await scenario.wait_until(lambda: len(caller.strays) == 2)
        for stray in caller.strays:
            assert stray["id"] is None
            assert stray["error"]["data"]["type"] == "invalid_request"
        caller.strays.clear()
        for n in range(2):
            await owner.answer(await owner.next(), n)
        assert (await first.result(), await second.result()) == (0, 1)
