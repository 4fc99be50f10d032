"""Calls that wait inside the router: for room at an instance, or for a resource to have an owner."""

from typing import Any

import trio
from trio.testing import MockClock

from resroute.settings import Settings
from tests.scenario import Party, Pending, Scenario, open_scenario


async def delivered(owner: Party) -> list[str]:
    """The methods of what has arrived at an owner by now."""
    await trio.testing.wait_all_tasks_blocked()
    return [message["method"] for message in owner.take_news()]


async def note(caller: Party, method: str, **more: Any) -> None:
    """Send a ``route.call`` as a notification."""
    params = caller.call_params("doc:7", method, **more)
    await caller.say({"method": "route.call", "params": params})


async def open_narrow_owner(scenario: Scenario, room: int = 1) -> Party:
    return await scenario.owner("owner", "doc:7", max_concurrency=room)


# --- for room ---------------------------------------------------------------------------------------------------------


async def test_no_more_calls_are_with_an_owner_than_it_asked_for(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario, room=2)
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", f"m{number}") for number in range(5)]
        first, second = await owner.next("m0"), await owner.next("m1")
        assert await delivered(owner) == []
        await owner.answer(second, "second")
        assert await calls[1].result() == "second"
        third = await owner.next("m2")
        assert await delivered(owner) == []
        for request in (first, third):
            await owner.answer(request)
        for name in ("m3", "m4"):
            await owner.answer(await owner.next(name))
        for call in calls:
            await call.answer()
        assert scenario.statistics().memory_bytes == 0


async def test_a_caller_that_floods_an_owner_does_not_starve_the_others(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_calls_in_flight=10_000)) as scenario:
        owner = await open_narrow_owner(scenario)
        noisy = await scenario.connect("noisy")
        modest = [await scenario.connect(f"modest-{number}") for number in range(3)]
        flood = [await noisy.start_call("doc:7", "noise", timeout_seconds=500) for _ in range(300)]
        wanted: list[Pending] = []
        for party in modest:
            wanted += [await party.start_call("doc:7", party.name, timeout_seconds=500) for _ in range(3)]
        order = []
        for _ in range(13):
            request = await owner.next()
            order.append(request["method"])
            await owner.answer(request)
        # the first was there before anybody else; from then on the four take turns
        assert order[0] == "noise"
        turns = [order[start : start + 4] for start in (1, 5, 9)]
        assert all(sorted(turn) == ["modest-0", "modest-1", "modest-2", "noise"] for turn in turns), order
        for call in wanted:
            await call.result()
        refused = [
            await call.refusal() for call in flood if call.is_settled and "error" in (call.message or {})
        ]
        assert {(r.code, r.data["reason"], r.data["delivery"]) for r in refused} == {
            (503, "overloaded", "not_delivered")
        }
        await noisy.aclose()


async def test_a_hundred_to_one_load_leaves_each_its_share_also_when_the_line_is_full(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(max_queued_calls=10, max_calls_in_flight=10_000)
    async with open_scenario(settings) as scenario:
        owner = await open_narrow_owner(scenario)
        noisy, modest = await scenario.connect("noisy"), await scenario.connect("modest")
        served = {"noisy": 0, "modest": 0}
        for _ in range(20):
            for _ in range(100):
                await noisy.start_call("doc:7", "noisy", timeout_seconds=500)
            modest_call = await modest.start_call("doc:7", "modest", timeout_seconds=500)
            for _ in range(2):
                request = await owner.next()
                served[request["method"]] += 1
                await owner.answer(request)
            if modest_call.is_settled:
                await modest_call.result()
        assert served["modest"] >= 19, served
        await noisy.aclose()
        await modest.aclose()


async def test_a_full_line_takes_the_place_of_whoever_has_most_in_it(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_queued_calls=3)) as scenario:
        owner = await open_narrow_owner(scenario)
        noisy, modest = await scenario.connect("noisy"), await scenario.connect("modest")
        noise = [await noisy.start_call("doc:7", f"noise-{number}") for number in range(5)]
        assert (await noise[4].refusal()).data["reason"] == "overloaded"
        wanted = await modest.start_call("doc:7", "wanted")
        crowded_out = await noise[3].refusal()
        assert (crowded_out.code, crowded_out.data["delivery"]) == (503, "not_delivered")
        assert "delivered" in crowded_out.error["message"]
        # three in line: two of the noisy one's, one of the modest one's; a second of the modest one's is no less
        assert (await modest.start_call("doc:7")).is_settled is False
        order = []
        for _ in range(4):
            request = await owner.next()
            order.append(request["method"])
            await owner.answer(request)
        assert order == ["noise-0", "noise-1", "wanted", "noise-2"]
        await wanted.result()
        await modest.aclose()


async def test_a_call_that_a_full_line_refuses_does_not_count_as_one_of_the_resource(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(max_queued_calls=1)) as scenario:
        owner = await open_narrow_owner(scenario)
        caller, late = await scenario.connect("caller"), await scenario.connect("late")
        calls = [await caller.start_call("doc:7") for _ in range(2)]
        assert (await (await late.start_call("doc:7")).refusal()).data["reason"] == "overloaded"
        [info] = (await late.ask("resource.query", resource_ids=["doc:7"]))["resources"]
        assert info["calls_total"] == 2
        stranger_id = (await late.ask("session.info"))["session_id"]
        push = {"session_id": stranger_id, "resource_id": "doc:7", "method": "hello"}
        stranger = await owner.start("session.notify", push)
        assert (await stranger.refusal()).type == "session_not_found", "it never called this resource"
        for call in calls:
            await owner.answer(await owner.next())
            await call.result()


async def test_a_line_is_bounded_in_bytes_by_the_soft_mark(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=10_000)) as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", params=["x" * 4000]) for _ in range(6)]
        for call in calls[4:]:
            assert (await call.refusal()).data["reason"] == "overloaded"
        for _ in range(4):  # what waits is above the mark, and is delivered all the same
            await owner.answer(await owner.next())
        for call in calls[:4]:
            await call.result()


async def test_what_waits_in_line_for_an_owner_keeps_it_from_nothing_that_it_does_itself(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(Settings(outbox_soft_bytes=10_000, max_outbox_bytes=10_000)) as scenario:
        owner, other = await open_narrow_owner(scenario), await scenario.owner("other", "doc:8")
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", params=["x" * 4000]) for _ in range(4)]
        first = await owner.next()
        # the answer to one needs another's: an owner that reads everything gets it, parts and pushes too
        further = await owner.start_call("doc:8", meta={"progress": True})
        request = await other.next()
        await other.say({"method": "$/progress", "params": {"token": request["id"], "value": "x" * 1000}})
        await other.ask(
            "session.notify",
            session_id=request["meta"]["caller"]["session_id"],
            resource_id="doc:8",
            method="note",
        )
        await other.answer(request, "x" * 4000)
        assert await further.result() == "x" * 4000
        assert await delivered(owner) == ["$/progress", "note"]
        await owner.answer(first)
        for _ in calls[1:]:
            await owner.answer(await owner.next())
        for call in calls:
            await call.result()
        assert scenario.statistics().memory_bytes == 0


async def test_waiting_in_line_counts_in_the_time_and_the_owner_is_told_what_is_left(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7", "first", timeout_seconds=100)
        second = await caller.start_call("doc:7", "second", timeout_seconds=5)
        third = await caller.start_call("doc:7", "third", timeout_seconds=20)
        refusal = await second.refusal()
        assert (refusal.code, refusal.data["delivery"]) == (504, "not_delivered")
        await trio.sleep(3)
        await owner.answer(await owner.next("first"))
        request = await owner.next("third")
        assert 11.9 < request["meta"]["timeout_seconds"] <= 12.1
        await owner.answer(request)
        await first.result()
        await third.result()


async def test_a_call_in_line_can_be_cancelled_and_is_never_delivered(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7", "first")
        second = await caller.start_call("doc:7", "second")
        await caller.cancel(second)
        refusal = await second.refusal()
        assert (refusal.code, refusal.data["delivery"]) == (499, "not_delivered")
        await owner.answer(await owner.next("first"))
        await first.result()
        assert await delivered(owner) == []


async def test_the_calls_of_a_caller_that_leaves_leave_the_line(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        staying, leaving = await scenario.connect("staying"), await scenario.connect("leaving")
        await leaving.start_call("doc:7", "of-the-leaving")
        for _ in range(3):
            await leaving.start_call("doc:7", "of-the-leaving")
            await note(leaving, "note-of-the-leaving")
        call = await staying.start_call("doc:7", "of-the-staying")
        await owner.next("of-the-leaving")
        await leaving.aclose()
        await owner.next("$/cancelRequest")
        await owner.answer(await owner.next("of-the-staying"))
        await call.result()
        assert await delivered(owner) == []


async def test_nothing_of_a_caller_that_leaves_takes_the_place_of_what_it_leaves(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        leaving = await scenario.connect("leaving")
        await leaving.start_call("doc:7", "of-the-leaving")
        await leaving.start_call("doc:7", "of-the-leaving")
        await note(leaving, "note-of-the-leaving")
        await owner.next("of-the-leaving")
        await leaving.aclose()
        assert await delivered(owner) == ["$/cancelRequest"]


async def test_a_notification_takes_no_room_and_does_not_overtake_its_callers_calls(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller, other = await scenario.connect("caller"), await scenario.connect("other")
        calls = [await caller.start_call("doc:7", f"call-{number}") for number in range(2)]
        await note(caller, "after-both")
        await note(other, "of-another")
        first = await owner.next("call-0")
        assert await delivered(owner) == ["of-another"]
        await owner.answer(first)
        second = await owner.next("call-1")
        assert await delivered(owner) == []
        await owner.answer(second)
        await owner.next("after-both")
        for call in calls:
            await call.result()


async def test_what_waits_in_line_goes_to_the_new_owner_in_order(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_scenario(settings) as scenario:
        owner = await open_narrow_owner(scenario)
        heir = await scenario.instance("heir")
        caller = await scenario.connect("caller")
        kept = await caller.start_call("doc:7", "kept")
        request = await owner.next("kept")
        calls = [await caller.start_call("doc:7", f"m{number}") for number in range(3)]
        await note(caller, "note")
        await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        await owner.answer(request, "from the earlier owner")
        assert await kept.result() == "from the earlier owner"
        for number in range(3):
            await heir.answer(await heir.next(f"m{number}"), "from the heir")
        await heir.next("note")
        assert [await call.result() for call in calls] == ["from the heir"] * 3
        assert (await owner.next("resource.lost"))["params"]["resource_ids"] == ["doc:7"]


async def test_notifications_that_an_owner_was_not_handed_go_to_the_new_one(
    autojump_clock: MockClock,
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_scenario(settings) as scenario:
        owner = await scenario.owner("owner", "doc:7")
        heir = await scenario.instance("heir")
        caller = await scenario.connect("caller")
        owner.stall()
        filling = [await caller.start_call("doc:7", params=["x" * 60_000]) for _ in range(4)]
        await note(caller, "note", params=[1])
        await trio.testing.wait_all_tasks_blocked()
        await heir.ask("resource.register", resource_ids=["doc:7"], force=True)
        while (news := await heir.next())["method"] != "note":
            await heir.answer(news)
        assert news["params"] == [1] and "id" not in news and news["meta"]["resource_id"] == "doc:7"
        owner.drop()
        for call in filling:
            await call.answer()


async def test_the_end_of_an_owner_ends_what_waits_for_it_unless_somebody_else_takes_over(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7") for _ in range(3)]
        await owner.next()
        owner.drop()
        refusals = [await call.refusal() for call in calls]
        assert [(r.code, r.data["delivery"]) for r in refusals] == [
            (502, "unknown"),
            (502, "not_delivered"),
            (502, "not_delivered"),
        ]


async def test_an_instance_that_calls_itself_in_line_and_leaves_takes_everything_along(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        for _ in range(3):
            await owner.start_call("doc:7")
        await owner.next()
        owner.drop()
        await scenario.wait_until(lambda: not scenario.statistics().sessions)
        assert scenario.statistics().deadlines == scenario.statistics().memory_bytes == 0


# --- for an owner -----------------------------------------------------------------------------------------------------


async def test_a_call_may_wait_for_a_resource_to_have_an_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", f"m{n}", wait_for_owner_seconds=10) for n in range(3)]
        await note(caller, "note", wait_for_owner_seconds=10)
        await trio.sleep(4)
        assert not any(call.is_settled for call in calls)
        owner = await scenario.owner("owner", "doc:7")
        for number, call in enumerate(calls):
            request = await owner.next(f"m{number}")
            assert 25.9 <= request["meta"]["timeout_seconds"] <= 26.1
            await owner.answer(request, number)
            assert await call.result() == number
        await owner.next("note")


async def test_the_end_of_the_wait_is_not_found_and_the_end_of_the_time_is_a_time_out(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        began = trio.current_time()
        waiting = await caller.start_call("doc:7", wait_for_owner_seconds=2, timeout_seconds=5)
        refusal = await waiting.refusal()
        assert refusal.type == "resource_not_found" and 2 <= trio.current_time() - began < 2.1
        timing_out = await caller.start_call("doc:7", wait_for_owner_seconds=10, timeout_seconds=3)
        refusal = await timing_out.refusal()
        assert (refusal.code, refusal.data["delivery"]) == (504, "not_delivered")
        await note(caller, "note", wait_for_owner_seconds=2)
        await trio.sleep(3)
        assert scenario.statistics().deadlines == 0


async def test_a_call_that_waits_for_an_owner_of_another_service_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", wait_for_owner_seconds=10, service_name="another")
        await scenario.owner("owner", "doc:7")
        assert (await call.refusal()).type == "service_mismatch"


async def test_an_owner_that_goes_before_it_was_handed_the_call_leaves_it_waiting_for_the_next(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7")
        second = await caller.start_call("doc:7", "second", wait_for_owner_seconds=10)
        await owner.next()
        owner.drop()
        assert (await first.refusal()).data["delivery"] == "unknown"
        heir = await scenario.owner("heir", "doc:7")
        await heir.answer(await heir.next("second"), "done")
        assert await second.result() == "done"


async def test_waiting_for_an_owner_can_be_cancelled_and_ends_with_its_caller(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        caller, leaving = await scenario.connect("caller"), await scenario.connect("leaving")
        call = await caller.start_call("doc:7", wait_for_owner_seconds=10)
        await leaving.start_call("doc:7", wait_for_owner_seconds=10)
        await caller.cancel(call)
        refusal = await call.refusal()
        assert (refusal.code, refusal.data["delivery"]) == (499, "not_delivered")
        await leaving.aclose()
        owner = await scenario.owner("owner", "doc:7")
        assert await delivered(owner) == []
        assert scenario.statistics().memory_bytes == 0


async def test_what_may_wait_for_one_resource_is_bounded(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_waiters_per_resource=2)) as scenario:
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", wait_for_owner_seconds=10) for _ in range(3)]
        refusal = await calls[2].refusal()
        assert (refusal.code, refusal.type, refusal.data["limit"]) == (429, "too_many_waiters", 2)
        other = await caller.start_call("doc:8", wait_for_owner_seconds=0.5)
        assert (await other.refusal()).code == 404
        owner = await scenario.owner("owner", "doc:7")
        for call in calls[:2]:
            await owner.answer(await owner.next())
            await call.result()


async def test_a_wait_must_make_sense(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        for params in (
            {"resource_id": "doc:7", "wait_for_owner_seconds": -1},
            {"resource_id": "doc:7", "wait_for_owner_seconds": 601},
            {"resource_id": "doc:7", "wait_for_owner_seconds": True},
            {"resource_id": "doc:7", "wait_for_owner_seconds": "1"},
            {"service_name": "service", "wait_for_owner_seconds": 1},
        ):
            refusal = await (await caller.start("route.call", {"method": "work", **params})).refusal()
            assert refusal.code == -32602, params
            assert [error["path"] for error in refusal.data["errors"]] == ["wait_for_owner_seconds"]


async def test_a_router_that_drains_ends_what_waits_for_an_owner(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        caller = await scenario.connect("caller")
        call = await caller.start_call("doc:7", wait_for_owner_seconds=10)
        scenario.start_soon(scenario.router.drain)
        refusal = await call.refusal()
        assert (refusal.data["reason"], refusal.data["delivery"]) == ("draining", "not_delivered")


async def test_while_a_router_drains_what_was_in_line_does_not_wait_for_another_owner(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner = await open_narrow_owner(scenario)
        caller = await scenario.connect("caller")
        first = await caller.start_call("doc:7", "first")
        second = await caller.start_call("doc:7", "second", wait_for_owner_seconds=20)
        await owner.next("first")
        scenario.start_soon(scenario.router.drain)
        await caller.next("session.closing")
        owner.drop()
        assert (await first.refusal()).type == "owner_disconnected"
        with trio.fail_after(1):
            refusal = await second.refusal()
        assert (refusal.data["reason"], refusal.data["delivery"]) == ("draining", "not_delivered")
