"""What administrators are told of the calls that an instance has to answer."""

import pytest
import trio
from trio.testing import MockClock

from resroute.ids import InstanceId
from resroute.router.calls import MAX_KEPT_BYTES
from resroute.router.close_ups import KEPT_SECONDS, MAX_CLOSE_UPS
from resroute.router.instance_calls import InstanceCalls
from resroute.settings import Settings
from resroute.telemetry.traffic import WINDOW_SECONDS, WINDOWS, Traffic
from resroute.transport.interface import MSGPACK, NDJSON, Subprotocol
from resroute.transport.memory import BUFFER_BYTES
from tests.scenario import Party, Scenario, open_scenario


async def look(
    scenario: Scenario, instance_id: str = "owner", limit: int = 100, offset: int = 0
) -> InstanceCalls:
    told = await scenario.router.calls.of(InstanceId(instance_id), limit=limit, offset=offset)
    assert told is not None
    return told


def service_traffic(scenario: Scenario) -> Traffic:
    [traffic] = scenario.router.metrics.services.values()
    return traffic


def counter_of(scenario: Scenario, owner: Party) -> Traffic:
    """Where the calls of an instance are counted now."""
    [session] = [
        it for it in scenario.router._sessions.values() if it.owner and it.owner.instance_id == owner.name
    ]
    return session.traffic


async def answer_after(owner: Party, caller: Party, seconds: float) -> None:
    call = await caller.start_call("doc:7", "m")
    request = await owner.next("m")
    await trio.sleep(seconds)
    await owner.answer(request)
    await call.result()


@pytest.mark.parametrize("subprotocol", [NDJSON, MSGPACK])
async def test_calls_in_flight_are_told_with_where_they_are(
    autojump_clock: MockClock, subprotocol: Subprotocol
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7", max_concurrency=2)
        caller = await scenario.connect("caller", subprotocol=subprotocol)
        assert (await look(scenario)).calls == []
        calls = [await caller.start_call("doc:7", f"m{number}", timeout_seconds=20) for number in range(4)]
        requests = [await owner.next(f"m{number}") for number in range(2)]
        await trio.sleep(5)
        told = await look(scenario)
        assert [(it.method, it.state) for it in told.calls] == [
            ("m0", "sent"),
            ("m1", "sent"),
            ("m2", "in_line"),
            ("m3", "in_line"),
        ]
        assert [it.call_id for it in told.calls[:2]] == [request["id"] for request in requests]
        assert {(it.resource_id, it.age_seconds, it.left_seconds) for it in told.calls} == {
            ("doc:7", 5.0, 15.0)
        }
        assert {it.trace_id for it in told.calls} >= {requests[0]["meta"]["trace_id"]}
        assert told.total_count == 4 and not told.has_more
        some = await look(scenario, limit=2, offset=1)
        assert [it.method for it in some.calls] == ["m1", "m2"] and some.has_more
        assert (await look(scenario, offset=10)).calls == []
        for request in requests:
            await owner.answer(request)
        for name in ("m2", "m3"):
            await owner.answer(await owner.next(name))
        for call in calls:
            await call.result()
        assert (await look(scenario)).total_count == 0


async def test_a_call_that_its_instance_has_not_read_yet_is_about_to_be_sent(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        owner.stall()
        text = "x" * (MAX_KEPT_BYTES // 2)
        count = 2 + 4 * BUFFER_BYTES // MAX_KEPT_BYTES
        calls = [await caller.start_call("doc:7", f"m{number}", {"text": text}) for number in range(count)]
        await trio.testing.wait_all_tasks_blocked()
        told = await look(scenario)
        assert [it.state for it in told.calls[-2:]] == ["queued", "queued"]
        assert told.calls[-1].method == f"m{count - 1}"
        owner.resume()
        for number, call in enumerate(calls):
            await owner.answer(await owner.next(f"m{number}"))
            await call.result()


async def test_a_large_call_that_is_sent_is_told_without_its_method(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", "large", {"text": "x" * 200_000})
        request = await owner.next("large")
        [told] = (await look(scenario)).calls
        assert not told.method
        await owner.answer(request)
        await call.result()


async def test_a_name_that_no_person_reads_is_cut(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        names = ['é"\\' * 90, "y" * 3000]
        calls = [await caller.start_call("doc:7", name) for name in names]
        requests = [await owner.next(name) for name in names]
        first, second = (await look(scenario)).calls
        assert first.method == names[0][:256]
        assert not second.method
        for request in requests:
            await owner.answer(request)
        for call in calls:
            await call.result()


async def test_of_an_instance_that_is_looked_at_its_own_times_are_told(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        caller = await scenario.connect("caller")
        await answer_after(owner, caller, 4)
        before = await look(scenario)
        assert (before.times.answered, before.times.p50_ms, before.measured_seconds) == (0, None, 0.0)
        assert before.service_times.answered == 1
        await answer_after(owner, caller, 1)
        failing = await caller.start_call("doc:7", "slow", timeout_seconds=1)
        await failing.refusal()
        told = await look(scenario)
        assert (told.times.answered, told.service_times.answered) == (1, 2)
        assert told.times.p99_ms == pytest.approx(1000, rel=0.1)
        assert told.service_times.p99_ms == pytest.approx(4000, rel=0.1)
        assert told.errors_total == {"call_timeout": 1}
        assert told.measured_seconds == pytest.approx(2.0)
        # nothing was lost for its service
        traffic = service_traffic(scenario)
        assert (traffic.ok, traffic.errors, traffic.lookups) == (2, {"call_timeout": 1}, 3)
        # and after a minute those calls are not lately any more
        await trio.sleep(WINDOWS * WINDOW_SECONDS)
        assert (await look(scenario)).times.answered == 0


async def test_an_instance_that_nobody_looks_at_costs_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        service = service_traffic(scenario)
        assert counter_of(scenario, owner) is service
        await look(scenario)
        assert counter_of(scenario, owner) is not service
        await trio.sleep(KEPT_SECONDS - WINDOW_SECONDS)
        await look(scenario)
        await trio.sleep(KEPT_SECONDS - WINDOW_SECONDS)
        assert counter_of(scenario, owner) is not service
        await trio.sleep(2 * WINDOW_SECONDS)
        assert counter_of(scenario, owner) is service
        assert len(scenario.router._parts.close_ups) == 0


async def test_no_more_instances_are_looked_at_than_there_is_room_for(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_sessions=100)) as scenario:
        owners = [
            await scenario.owner(f"owner-{number}", f"doc:{number}") for number in range(MAX_CLOSE_UPS + 2)
        ]
        for owner in owners:
            await look(scenario, owner.name)
            await look(scenario, "owner-0")
        assert len(scenario.router._parts.close_ups) == MAX_CLOSE_UPS
        service = service_traffic(scenario)
        apart = [owner.name for owner in owners if counter_of(scenario, owner) is not service]
        assert apart == ["owner-0", *(f"owner-{number}" for number in range(3, MAX_CLOSE_UPS + 2))]


async def test_an_instance_that_leaves_takes_its_close_up_with_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "doc:7")
        await look(scenario)
        await owner.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await scenario.router.calls.of(InstanceId("owner"), limit=1) is None
        assert await scenario.router.calls.of(InstanceId("nobody"), limit=1) is None
        assert service_traffic(scenario).instances == 0
        assert len(scenario.router._parts.close_ups) == 0
