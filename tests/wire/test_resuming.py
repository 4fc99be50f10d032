"""``resume_token``: a new session of an instance takes the place of an earlier one, and no id is ever free in between."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from resroute.router.identity import Identity
from resroute.settings import Heartbeat, Settings
from tests.party import Json
from tests.scenario import Party, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


async def become(party: Party, token: str | None = None, name: str | None = "owner", **more: Any) -> Json:
    """The session becomes an instance, with the token of an earlier session if one is given."""
    asked: Json = {"service_name": "service", "instance_id": name, "resume_token": token, **more}
    given = {name: value for name, value in asked.items() if value is not None}
    result: Json = await party.ask("instance.register", **given)
    return result


async def open_owner(scenario: Scenario, *names: str, **more: Any) -> tuple[Party, str, dict[str, int]]:
    """An instance that owns resources, its token, and the epochs of the resources."""
    owner = await scenario.connect("owner")
    token = (await become(owner, **more))["resume_token"]
    epochs = (await owner.ask("resource.register", resource_ids=list(names)))["epochs"] if names else {}
    return owner, token, epochs


async def owner_of(scenario: Scenario, resource_id: str) -> str | None:
    observer = await scenario.connect()
    page = await observer.ask("resource.query", resource_ids=[resource_id])
    return page["resources"][0]["owner_instance_id"] if page["resources"] else None


async def test_the_earlier_session_is_closed_and_all_it_owned_goes_over_in_one_step(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token, before = await open_owner(scenario, "doc:8", "doc:7")
        again = await scenario.connect("again")
        result = await become(again, token)
        assert (result["instance_id"], result["resumed_count"]) == ("owner", 2)
        assert list(result["resumed"]) == ["doc:8", "doc:7"]
        [epoch] = set(result["resumed"].values())
        assert epoch > max(before.values())
        assert result["resume_token"] != token
        assert (await owner.wait_ended()).code == 4009
        called = await (await scenario.connect("caller")).start_call("doc:7")
        heard = await again.next("work")
        assert heard["meta"]["epoch"] == epoch
        await again.answer(heard, "from the new session")
        assert await called.result() == "from the new session"


async def test_the_first_registration_has_a_token_and_resumes_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.connect()
        result = await become(owner)
        assert (result["resumed_count"], result["resumed"]) == (0, {})
        assert len(result["resume_token"]) >= 32
        other = await become(await scenario.connect(), name="other")
        assert other["resume_token"] != result["resume_token"]


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 1000], ids=["empty", "wrong", "long"])
async def test_an_unknown_token_resumes_nothing_and_is_no_error(
    token: str, autojump_clock: MockClock
) -> None:
    async with open_scenario() as scenario:
        newcomer = await scenario.connect()
        result = await become(newcomer, token)
        assert (result["instance_id"], result["resumed_count"], result["resumed"]) == ("owner", 0, {})


async def test_a_token_whose_session_has_ended_resumes_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        owner.drop()
        await scenario.wait_until(lambda: scenario.statistics().sessions == 0)
        again = await scenario.connect("again")
        assert (await become(again, token))["resumed"] == {}
        assert await owner_of(scenario, "doc:7") is None


async def test_a_token_of_another_instance_or_service_resumes_nothing(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        other = await become(await scenario.connect("other"), token, "other")
        assert (other["instance_id"], other["resumed"]) == ("other", {})
        elsewhere = await become(await scenario.connect("elsewhere"), token, "third", service_name="mail")
        assert elsewhere["resumed"] == {}
        same_name = await scenario.connect("same name")
        refused = await same_name.refused(
            "instance.register", service_name="mail", instance_id="owner", resume_token=token
        )
        assert (refused.code, refused.type) == (409, "instance_conflict")
        assert await owner.ask("session.ping")
        assert await owner_of(scenario, "doc:7") == "owner"


async def test_a_wrong_token_for_an_instance_that_is_connected_is_a_conflict(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        thief = await scenario.connect("thief")
        for wrong in ("", token[:-1], token + "A", token.swapcase()):
            refused = await thief.refused(
                "instance.register", service_name="service", instance_id="owner", resume_token=wrong
            )
            assert (refused.code, refused.type) == (409, "instance_conflict")
            assert refused.data["instance_id"] == "owner"
            assert "suspended_until" not in refused.data
        assert await owner.ask("session.ping")
        assert await owner_of(scenario, "doc:7") == "owner"


async def test_a_token_is_worth_nothing_to_another_subject(autojump_clock: MockClock) -> None:
    ada, bob = (Identity(name, frozenset({"instance"})) for name in ("ada", "bob"))
    async with open_scenario() as scenario:
        owner = await scenario.connect("owner", identity=ada)
        about = {"service_name": "service", "instance_id": "owner"}
        token = (await owner.ask("instance.register", **about))["resume_token"]
        await owner.ask("resource.register", resource_ids=["doc:7"])
        thief = await scenario.connect("thief", identity=bob)
        refused = await thief.refused("instance.register", **about, resume_token=token)
        assert (refused.code, refused.type) == (409, "instance_conflict")
        result = await thief.ask("instance.register", service_name="service", resume_token=token)
        assert (result["resumed"], result["instance_id"] != "owner") == ({}, True)
        assert await owner.ask("session.ping")
        again = await scenario.connect("again", identity=ada)
        result = await again.ask("instance.register", service_name="service", resume_token=token)
        assert (list(result["resumed"]), result["instance_id"]) == (["doc:7"], "owner")


async def test_without_an_instance_id_the_token_says_which(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, again = await scenario.connect("owner"), await scenario.connect("again")
        first = await become(owner, name=None)
        await owner.ask("resource.register", resource_ids=["doc:7"])
        result = await become(again, first["resume_token"], None)
        assert (result["instance_id"], list(result["resumed"])) == (first["instance_id"], ["doc:7"])
        stranger = await become(await scenario.connect("stranger"), "nonsense", None)
        assert stranger["instance_id"] != first["instance_id"]


async def test_a_lost_answer_costs_nothing_the_same_token_works_again(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        second, third = await scenario.connect("second"), await scenario.connect("third")
        lost = (await become(second, token))["resumed"]
        result = await become(third, token)
        assert result["resumed"]["doc:7"] > lost["doc:7"]
        assert [(await party.wait_ended()).code for party in (owner, second)] == [4009, 4009]
        assert await third.ask("session.ping")


async def test_a_token_is_used_up_once_the_session_made_with_it_has_asked_for_something(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        second, third = await scenario.connect("second"), await scenario.connect("third")
        own_token = (await become(second, token))["resume_token"]
        await second.ask("session.ping")
        refused = await third.refused(
            "instance.register", service_name="service", instance_id="owner", resume_token=token
        )
        assert refused.type == "instance_conflict"
        assert list((await become(third, own_token))["resumed"]) == ["doc:7"]
        assert (await second.wait_ended()).code == 4009


async def test_a_request_sent_behind_the_registration_uses_the_token_up_as_well(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        second, third = await scenario.connect("second"), await scenario.connect("third")
        about = {"service_name": "service", "instance_id": "owner", "resume_token": token}
        registered, pinged = second.expect(1), second.expect(2)
        await second.say(
            {"id": 1, "method": "instance.register", "params": about}, {"id": 2, "method": "session.ping"}
        )
        assert list((await registered.result())["resumed"]) == ["doc:7"]
        await pinged.result()
        assert (await third.refused("instance.register", **about)).type == "instance_conflict"


async def test_an_answer_to_a_call_does_not_use_the_token_up(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        second, third = await scenario.connect("second"), await scenario.connect("third")
        await become(second, token)
        called = await (await scenario.connect("caller")).start_call("doc:7")
        await second.answer(await second.next(), 1)
        assert await called.result() == 1
        assert list((await become(third, token))["resumed"]) == ["doc:7"]


async def test_the_last_resume_wins_and_the_token_that_it_has_displaced_is_worth_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        second, third, fourth = [await scenario.connect(name) for name in ("second", "third", "fourth")]
        displaced = (await become(second, token))["resume_token"]
        await become(third, token)
        refused = await fourth.refused(
            "instance.register", service_name="service", instance_id="owner", resume_token=displaced
        )
        assert refused.type == "instance_conflict"
        assert await third.ask("session.ping")


async def test_two_who_resume_at_once_leave_one_session_of_the_instance(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7", "doc:8")
        rivals = [await scenario.connect(f"rival {n}") for n in range(5)]
        about = {"service_name": "service", "instance_id": "owner", "resume_token": token}
        asked = [await rival.start("instance.register", about) for rival in rivals]
        answers = [
            await pending.answer() if not pending.is_settled else pending.message for pending in asked[-1:]
        ]
        assert answers[0] is not None
        assert answers[0]["result"]["resumed_count"] == 2
        for rival in rivals[:-1]:
            assert (await rival.wait_ended()).code == 4009
        page = await rivals[-1].ask("instance.query", service_name="service")
        assert [it["session_id"] for it in page["instances"]] == [answers[0]["result"]["session_id"]]
        owned = await rivals[-1].ask("resource.query")
        assert {it["owner_instance_id"] for it in owned["resources"]} == {"owner"}


async def test_priority_and_the_like_are_those_of_the_new_request_and_metadata_stays_if_none_is_given(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        _, token, _ = await open_owner(scenario, "doc:7", priority=5, metadata={"zone": "b"})

        async def told() -> Json:
            observer = await scenario.connect()
            [info] = (await observer.ask("instance.query", instance_id="owner"))["instances"]
            return dict(info)

        assert ((await told())["priority"], (await told())["metadata"]) == (5, {"zone": "b"})
        second = await scenario.connect("second")
        token = (await become(second, token, priority=1))["resume_token"]
        assert ((await told())["priority"], (await told())["metadata"]) == (1, {"zone": "b"})
        third = await scenario.connect("third")
        await become(third, token, metadata={"zone": "c"})
        assert ((await told())["priority"], (await told())["metadata"]) == (0, {"zone": "c"})


async def test_metadata_of_resources_and_their_times_to_live_go_on(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario)
        metadata = {"doc:7": {"tags": ["hot"], "ttl_seconds": 10}}
        await owner.ask("resource.register", resource_ids=["doc:7", "doc:8"], metadata=metadata)
        observer = await scenario.connect()
        [before] = (await observer.ask("resource.query", resource_ids=["doc:7"]))["resources"]
        await trio.sleep(6)
        again = await scenario.connect("again")
        await become(again, token)
        [after] = (await observer.ask("resource.query", resource_ids=["doc:7"]))["resources"]
        assert after["metadata"] == before["metadata"]
        assert after["expires_at"] == before["expires_at"]
        assert after["epoch"] > before["epoch"]
        await trio.sleep(5)
        lost = await again.next("resource.lost")
        assert (lost["params"]["resource_ids"], lost["params"]["cause"]) == (["doc:7"], "expired")
        await again.ask("session.ping")
        assert await owner_of(scenario, "doc:8") == "owner"


async def test_watchers_see_transfers_caused_by_a_resume(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, before = await open_owner(scenario, "doc:7", "doc:8")
        watcher = await scenario.connect("watcher")
        await watcher.ask("resource.watch", prefix="doc:")
        result = await become(await scenario.connect("again"), token)
        told = (await watcher.next("resource.events"))["params"]
        assert told["count"] == 1
        events = [
            (it["event"], it["cause"], it["previous_owner"], it["resource"]["owner_instance_id"])
            for it in told["events"]
        ]
        assert events == [("transferred", "resume", "owner", "owner")] * 2
        epochs = {it["resource"]["resource_id"]: it["resource"]["epoch"] for it in told["events"]}
        assert epochs == result["resumed"]
        assert told["revision"] == epochs["doc:7"] > before["doc:7"]
        observer = await scenario.connect()
        explained = await observer.ask("route.explain", resource_id="doc:7")
        assert [it["cause"] for it in explained["transitions"]] == ["request", "resume"]


async def test_bound_connections_that_asked_are_told_the_new_epoch(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        bound = await scenario.connect("bound", target="/resources/doc:7?owner_changes=true")
        result = await become(await scenario.connect("again"), token)
        changed = await bound.next("$/ownerChanged")
        assert changed["params"] == {"resource_id": "doc:7", "epoch": result["resumed"]["doc:7"]}


async def test_calls_that_were_not_handed_over_move_in_order_and_those_that_were_may_have_run(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7", max_concurrency=2)
        caller = await scenario.connect("caller")
        calls = [await caller.start_call("doc:7", f"step-{n}") for n in range(6)]
        for _ in range(2):
            await owner.next()
        again = await scenario.connect("again")
        await become(again, token)
        for call in calls[:2]:
            refused = await call.refusal()
            assert (refused.code, refused.type) == (502, "owner_disconnected")
            assert refused.data["delivery"] == "unknown"
        later = await caller.start_call("doc:7", "later")
        for expected in ("step-2", "step-3", "step-4", "step-5", "later"):
            heard = await again.next(expected)
            await again.answer(heard, expected)
        assert [await call.result() for call in (*calls[2:], later)] == [
            "step-2",
            "step-3",
            "step-4",
            "step-5",
            "later",
        ]


async def test_calls_still_in_the_outbox_of_a_session_that_does_not_read_move_too(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        owner.stall()
        filler = "x" * 60_000
        calls = [await caller.start_call("doc:7", f"step-{n}", params=[filler]) for n in range(8)]
        again = await scenario.connect("again")
        await become(again, token)
        await scenario.wait_until(lambda: calls[0].is_settled)
        moved = 0
        for number, call in enumerate(calls):
            if call.is_settled:
                refused = await call.refusal()
                assert refused.type == "owner_disconnected"
                assert not moved, "what was handed over came first"
                continue
            heard = await again.next(f"step-{number}")
            await again.answer(heard, number)
            assert await call.result() == number
            moved += 1
        assert moved


async def test_calls_by_service_reach_the_new_session_alone(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        caller = await scenario.connect("caller")
        first = await caller.start_call(service_name="service")
        await owner.answer(await owner.next(), 1)
        assert await first.result() == 1
        again = await scenario.connect("again")
        await become(again, token)
        calls = [await caller.start_call(service_name="service") for _ in range(3)]
        for call in calls:
            await again.answer(await again.next(), 2)
            assert await call.result() == 2


async def test_watches_waits_and_bulks_of_the_earlier_session_end(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        rival = await scenario.owner("rival", "doc:1")
        owner, token, _ = await open_owner(scenario, "doc:7")
        await owner.ask("resource.watch", prefix="doc:")
        await owner.start("resource.register", {"resource_ids": ["doc:1"], "wait_seconds": 60})
        await trio.testing.wait_all_tasks_blocked()
        again = await scenario.connect("again")
        await become(again, token)
        await owner.wait_ended()
        await rival.ask("resource.release", resource_ids=["doc:1"])
        await scenario.wait_until(lambda: not scenario.statistics().waiters)
        assert await owner_of(scenario, "doc:1") is None
        assert not scenario.statistics().watches
        assert not again.take_news()


async def test_those_who_wait_for_an_id_that_is_resumed_go_on_waiting(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        heir = await scenario.instance("heir")
        waiting = await heir.start("resource.register", {"resource_ids": ["doc:7"], "wait_seconds": 60})
        await trio.testing.wait_all_tasks_blocked()
        again = await scenario.connect("again")
        await become(again, token)
        await again.ask("session.ping")
        assert not waiting.is_settled
        await again.ask("resource.release", resource_ids=["doc:7"])
        assert (await waiting.result())["success"]


async def test_a_session_that_is_silent_is_resumed_without_waiting_for_it(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        owner.lose_everything()
        await trio.sleep(5)
        again = await scenario.connect("again")
        began = trio.current_time()
        assert list((await become(again, token))["resumed"]) == ["doc:7"]
        assert trio.current_time() - began < 1


async def test_a_rival_that_probes_a_silent_owner_finds_who_has_resumed_it(autojump_clock: MockClock) -> None:
    settings = Settings(heartbeat=Heartbeat(interval_seconds=5, timeout_seconds=60))
    async with open_scenario(settings) as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        owner.lose_everything()
        await trio.sleep(10)
        rival, again = await scenario.instance("rival"), await scenario.connect("again")
        wants = await rival.start("resource.register", {"resource_ids": ["doc:7"]})
        await trio.sleep(1)
        assert list((await become(again, token))["resumed"]) == ["doc:7"]
        refused = await wants.refusal()
        assert (refused.type, refused.data["owner_instance_id"]) == ("resource_conflict", "owner")
        await trio.sleep(10)
        assert await again.ask("session.ping")


async def test_a_heartbeat_that_is_lost_after_the_resume_takes_nothing_away(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        owner.lose_everything()
        await trio.sleep(24.9)
        again = await scenario.connect("again")
        await become(again, token)
        for _ in range(6):
            await trio.sleep(5)
            await again.ask("session.ping")
        assert await owner_of(scenario, "doc:7") == "owner"


async def test_a_session_that_has_drained_resumes_as_one_that_does_not(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        await owner.ask("instance.drain", hand_over_to="nobody")
        again = await scenario.connect("again")
        assert (await become(again, token))["resumed"] == {}
        assert (await again.ask("resource.register", resource_ids=["doc:7"]))["success"]


async def test_a_drain_that_is_under_way_ends_with_a_resume_and_what_is_left_goes_over(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN) as scenario:
        names = [f"doc:{n}" for n in range(50)]
        _, token, _ = await open_owner(scenario, *names)
        await scenario.instance("heir")
        boss = await scenario.connect("boss")
        drained = await boss.start("instance.drain", {"instance_id": "owner", "batch_size": 1})
        await trio.lowlevel.checkpoint()
        again = await scenario.connect("again")
        resumed = (await become(again, token))["resumed_count"]
        result = await drained.result()
        assert resumed + result["handed_over"] == 50
        assert result["released"] == 0


async def test_what_was_transferred_or_taken_before_is_not_resumed(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner, token, _ = await open_owner(scenario, "doc:1", "doc:2", "doc:3")
        heir = await scenario.instance("heir")
        await owner.ask(
            "resource.transfer",
            resource_ids=["doc:1"],
            from_instance_id="owner",
            to_instance_id="heir",
            reason="r",
        )
        await heir.ask("resource.register", resource_ids=["doc:2"], force=True)
        assert list((await become(await scenario.connect("again"), token))["resumed"]) == ["doc:3"]


async def test_only_the_first_thousand_are_named_and_all_are_taken_over(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=5000)) as scenario:
        names = [f"doc:{n:04}" for n in range(1500)]
        _, token, _ = await open_owner(scenario, *names)
        again = await scenario.connect("again")
        result = await become(again, token)
        assert result["resumed_count"] == 1500
        assert list(result["resumed"]) == names[:1000]
        page = await again.ask("resource.query", instance_id="owner", prefix="doc:1499")
        assert page["resources"][0]["epoch"] == result["resumed"][names[0]]
        await again.ask("resource.release", resource_ids=names)
        assert (await again.ask("resource.query"))["total_count"] == 0


async def test_who_resumes_owns_more_than_the_limit_only_if_it_did_before(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=3)) as scenario:
        _, token, _ = await open_owner(scenario, "doc:1", "doc:2", "doc:3")
        again = await scenario.connect("again")
        assert (await become(again, token))["resumed_count"] == 3
        refused = await again.refused("resource.register", resource_ids=["doc:4"])
        assert (refused.type, refused.data["current"]) == ("resource_limit_exceeded", 3)


async def test_an_instance_cannot_resume_with_the_session_that_it_is(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        refused = await owner.refused(
            "instance.register", service_name="service", instance_id="owner", resume_token=token
        )
        assert refused.type == "already_registered"
        assert await owner_of(scenario, "doc:7") == "owner"


async def test_who_leaves_before_the_answer_has_taken_over_and_left(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        second = await scenario.connect("second")
        about = {"service_name": "service", "instance_id": "owner", "resume_token": token}
        await second.start("instance.register", about)
        second.drop()
        assert (await owner.wait_ended()).code == 4009
        await scenario.wait_until(lambda: scenario.statistics().sessions == 0)
        third = await scenario.connect("third")
        assert (await become(third, token))["resumed"] == {}
        assert await owner_of(scenario, "doc:7") is None


async def test_a_token_is_told_to_nobody_and_in_no_log(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        again = await scenario.connect("again")
        result = await become(again, token)
        boss = await scenario.connect("boss")
        told = [
            await boss.ask("instance.query"),
            await boss.ask("resource.query"),
            await boss.ask("route.explain", resource_id="doc:7"),
            await boss.ask("router.statistics"),
            scenario.log_lines,
        ]
        state = scenario.router.log.state.dump()
        for secret in (token, result["resume_token"]):
            assert secret not in repr(told)
            assert secret.encode() not in state


@pytest.mark.parametrize("token", [5, True, ["x"], {"a": 1}])
async def test_a_token_is_a_string(token: object, autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        refused = await (await scenario.connect()).refused(
            "instance.register", service_name="service", resume_token=token
        )
        assert (refused.code, refused.data["errors"][0]["path"]) == (-32602, "resume_token")


async def test_a_bulk_of_the_earlier_session_leaves_nothing_set_aside(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner, token, _ = await open_owner(scenario, "doc:7")
        rival = await scenario.instance("rival")
        resources = [{"resource_id": f"new:{n}"} for n in range(500)]
        await owner.start("resource.bulk_register", {"resources": resources, "batch_size": 1})
        await scenario.wait_bulk()
        again = await scenario.connect("again")
        assert list((await become(again, token))["resumed"]) == ["doc:7"]
        assert (await owner.wait_ended()).code == 4009
        await scenario.wait_until(lambda: not scenario.statistics().unreclaimed)
        assert not scenario.statistics().bulks
        assert (await rival.ask("resource.register", resource_ids=["new:0"]))["success"]
        await again.ask("session.ping")


async def test_a_transfer_under_way_goes_to_or_comes_from_the_new_session(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        _, token, _ = await open_owner(scenario, "doc:7")
        giver = await scenario.owner("giver", "doc:1")
        again = await scenario.connect("again")
        about = {"service_name": "service", "instance_id": "owner", "resume_token": token}
        moved = {"resource_ids": ["doc:1"], "from_instance_id": "giver", "to_instance_id": "owner"}
        resuming = await again.start("instance.register", about)
        moving = await giver.start("resource.transfer", {**moved, "reason": "r"})
        result, transferred = await resuming.result(), await moving.result()
        assert transferred["transferred"] == ["doc:1"]
        if "doc:1" not in result["resumed"]:
            acquired = await again.next("resource.acquired")
            assert acquired["params"]["resources"][0]["resource_id"] == "doc:1"
        owned = await again.ask("resource.query", instance_id="owner")
        assert [info["resource_id"] for info in owned["resources"]] == ["doc:1", "doc:7"]
