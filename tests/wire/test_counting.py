"""What metrics count, of what goes over the wire: by service, and by how it went."""

from collections.abc import Mapping

import trio
from trio.testing import MockClock

from resroute.ids import ServiceName
from resroute.settings import Settings
from resroute.telemetry.ownership import Ownership
from tests.scenario import Json, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))
SEVERAL = Settings(anonymous_roles=("caller", "instance", "admin"), transfer_across_services=True)
DOCUMENTS = ServiceName("documents")


def counted(scenario: Scenario, service: str = "documents") -> Ownership:
    return scenario.router.metrics.ownership_of(ServiceName(service))


def transfers(scenario: Scenario) -> Mapping[tuple[str, str, str], int]:
    return scenario.router.metrics.transfers


def asked(*resource_ids: str, **more: object) -> list[Json]:
    return [{"resource_id": resource_id, **more} for resource_id in resource_ids]


async def test_registrations_are_counted_by_resource_and_what_became_of_it(autojump_clock: MockClock) -> None:
    async with open_scenario(Settings(max_resources_per_instance=3)) as scenario:
        await scenario.owner("other", "theirs", service="images")
        owner = await scenario.instance("owner", "documents")
        await owner.ask("resource.register", resource_ids=["a", "b"])
        await owner.ask("resource.register", resource_ids=["a"])
        await owner.refused("resource.register", resource_ids=["c", "theirs"])
        await owner.ask("resource.register", resource_ids=["c", "theirs"], partial=True)
        await owner.refused("resource.register", resource_ids=["d"])
        await owner.refused("resource.register", resource_ids=["not valid"])
        assert counted(scenario).registrations == {
            "ok": 4,
            "resource_conflict": 3,
            "resource_limit_exceeded": 1,
        }
        assert counted(scenario).conflicts == 2
        assert counted(scenario, "images").registrations == {"ok": 1}
        assert counted(scenario, "images").conflicts == 0


async def test_a_registration_that_waits_is_counted_when_it_is_answered(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        first = await scenario.owner("first", "a", "b", service="documents")
        second = await scenario.instance("second", "documents")
        granted = await second.start("resource.register", {"resource_ids": ["a"], "wait_seconds": 60})
        in_vain = await second.start("resource.register", {"resource_ids": ["b"], "wait_seconds": 1})
        await in_vain.refusal()
        assert counted(scenario).registrations == {"ok": 2, "resource_conflict": 1}
        await first.ask("resource.release", resource_ids=["a"])
        await granted.result()
        assert counted(scenario).registrations == {"ok": 3, "resource_conflict": 1}
        assert counted(scenario).conflicts == 2


async def test_registrations_in_bulk_are_counted_by_resource_too(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("other", "theirs", service="images")
        owner = await scenario.instance("owner", "documents")
        await owner.ask("resource.bulk_register", resources=asked("a", "b", "c"), batch_size=2)
        assert counted(scenario).registrations == {"ok": 3}
        await owner.ask(
            "resource.bulk_register", resources=asked("d", "e", "theirs", "f"), batch_size=1
        )  # f is not even looked at
        assert counted(scenario).registrations == {"ok": 3, "rolled_back": 3, "resource_conflict": 1}
        await owner.ask("resource.bulk_register", resources=asked("d", "theirs", "d"), continue_on_error=True)
        assert counted(scenario).registrations == {
            "ok": 4,
            "rolled_back": 3,
            "resource_conflict": 2,
            "invalid_params": 1,
        }
        assert counted(scenario).conflicts == 2
        await owner.refused("resource.bulk_register", resources=asked("not valid", "x"))
        assert counted(scenario).registrations["invalid_params"] == 3


async def test_a_bulk_that_is_cancelled_counts_what_it_has_not_done(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        silent = await scenario.owner("silent", "theirs", service="images")
        owner = await scenario.instance("owner", "documents")
        silent.lose_everything()
        await trio.sleep(15)
        bulk = await owner.start(
            "resource.bulk_register",
            {"resources": asked("a", "theirs", "b"), "batch_size": 1, "continue_on_error": True},
        )
        await trio.sleep(0.5)
        await owner.cancel(bulk)
        await bulk.refusal()
        assert counted(scenario).registrations == {"ok": 1, "call_cancelled": 2}


async def test_a_batch_that_the_log_has_when_its_bulk_is_cancelled_counts_as_what_becomes_of_it(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN, is_lagging=True, seed=5) as scenario:  # with which it lags at this point
        await scenario.owner("other", "theirs", service="images")
        owner = await scenario.instance("owner", "documents")
        bulk = await owner.start(
            "resource.bulk_register",
            {"resources": asked("a", "theirs", "b", "c"), "batch_size": 3, "continue_on_error": True},
        )
        await owner.ask("session.ping")  # the log has the first batch, and has not decided
        await owner.cancel(bulk)
        assert (await bulk.refusal()).data["delivery"] == "unknown"
        assert counted(scenario).registrations == {"call_cancelled": 1}
        await trio.sleep(1)
        page = await owner.ask("resource.query", instance_id="owner")
        assert [info["resource_id"] for info in page["resources"]] == ["a", "b"]
        assert counted(scenario).registrations == {"ok": 2, "call_cancelled": 1, "resource_conflict": 1}


async def test_releases_are_counted_by_their_cause(autojump_clock: MockClock) -> None:
    async with open_scenario(ADMIN) as scenario:
        owner = await scenario.owner("owner", "a", "b", "c", "d", "e", service="documents")
        await owner.ask("resource.register", resource_ids=["t"], metadata={"t": {"ttl_seconds": 1}})
        await owner.ask("resource.release", resource_ids=["a"])
        admin = await scenario.connect("admin")
        await admin.ask("resource.release", resource_ids=["b"])
        thief = await scenario.instance("thief", "images")
        await thief.ask("resource.register", resource_ids=["c"], force=True)
        await trio.sleep(2)
        await owner.aclose()
        await scenario.wait_until(lambda: counted(scenario).releases.get("session_ended") == 2)
        assert counted(scenario).releases == {
            "request": 1,
            "admin": 1,
            "forced": 1,
            "expired": 1,
            "session_ended": 2,
        }
        assert counted(scenario, "images").releases == {}
        assert transfers(scenario) == {}


async def test_transfers_are_counted_by_the_services_and_how_they_went(autojump_clock: MockClock) -> None:
    async with open_scenario(SEVERAL) as scenario:
        owner = await scenario.owner("owner", "a", "b", "c", service="documents")
        await scenario.instance("heir", "images")
        about = {"from_instance_id": "owner", "to_instance_id": "heir", "reason": "test"}
        await owner.ask("resource.transfer", resource_ids=["a"], **about)
        await owner.ask("resource.transfer", resource_ids=["b", "x"], partial=True, **about)
        await owner.refused("resource.transfer", resource_ids=["c", "y", "z"], **about)
        await owner.refused("resource.transfer", resource_ids=["c"], **{**about, "to_instance_id": "nobody"})
        assert transfers(scenario) == {
            ("documents", "images", "ok"): 2,
            ("documents", "images", "resource_not_found"): 4,
            ("documents", "(none)", "instance_not_found"): 1,
        }
        assert counted(scenario).releases == {}


async def test_what_a_drain_hands_over_is_counted_as_transferred(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        leaving = await scenario.owner("leaving", "a", "b", service="documents")
        await scenario.instance("staying", "documents")
        await leaving.ask("instance.drain")
        assert transfers(scenario) == {("documents", "documents", "ok"): 2}
        await leaving.aclose()


async def test_lookups_are_counted_by_whether_somebody_was_found(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        owner = await scenario.owner("owner", "a", service="documents")
        caller = await scenario.connect("caller")
        asked_for: list[Json] = [{"resource_id": "a"}, {"resource_id": "a"}, {"service_name": "documents"}]
        for target in asked_for:
            call = await caller.start_call(**target)
            await owner.answer(await owner.next("work"))
            await call.result()
        missed: list[Json] = [{}, {"service_name": "documents"}, {"service_name": "no-such-service"}]
        for more in missed:
            await (await caller.start_call("b", **more)).refusal()
        metrics = scenario.router.metrics
        assert metrics.services[DOCUMENTS].lookups == 2
        assert metrics.lookups_in_vain == {"(none)": 2, "documents": 1}


async def test_how_long_requests_and_batches_took_is_counted(autojump_clock: MockClock) -> None:
    async with open_scenario() as scenario:
        await scenario.owner("first", "a", service="documents")
        second = await scenario.instance("second", "documents")
        await second.refused("resource.register", resource_ids=["a"], wait_seconds=5)
        await second.ask("resource.bulk_register", resources=asked("b", "c", "d"), batch_size=2)
        metrics = scenario.router.metrics
        waited = metrics.durations["resource.register"]
        assert sum(waited.counts) == 2
        assert 5 <= waited.sum < 6
        assert sum(metrics.durations["resource.bulk_register"].counts) == 1
        assert sum(metrics.batches["register"].counts) == 2


async def test_round_trips_of_heartbeats_and_the_lag_of_the_loop_are_measured(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario() as scenario:
        await scenario.instance("owner", "documents")
        await trio.sleep(35)
        metrics = scenario.router.metrics
        assert sum(metrics.round_trips.counts) == 3
        assert sum(metrics.loop_lag.counts) >= 60


async def test_what_instances_own_is_told_of_those_that_are_there(autojump_clock: MockClock) -> None:
    settings = Settings(metrics_max_instances=2, metrics_max_services=1)
    async with open_scenario(settings) as scenario:
        gauges = scenario.router.gauges
        first = await scenario.owner("first", "a", "b", service="documents")
        await scenario.owner("second", "c", service="images")
        assert list(gauges.resource_counts()) == [("documents", "first", 2), ("(other)", "second", 1)]
        await scenario.owner("third", "d", service="documents")
        await scenario.instance("fourth", "documents")
        assert list(gauges.resource_counts())[-1] == ("(other)", "(other)", 1)
        await first.aclose()
        await scenario.wait_until(lambda: gauges.sizes().instances == 3)
        assert next(gauges.resource_counts()) == ("(other)", "second", 1)
        assert sum(gauges.outbox_sizes()) == 0
