"""What a session asked for may take effect after it has ended: nothing of it may stay behind."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import trio.testing
from trio.testing import MockClock

from resroute.cluster.local import LocalLog
from resroute.cluster.log import Answer, Log
from resroute.core.commands import AnyCommand
from resroute.router.router import Router
from resroute.settings import Settings
from tests.scenario import Json, Scenario, open_scenario

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


class HeldLog:
    """A log that applies nothing while it is held."""

    def __init__(self, inner: Log) -> None:
        self.state = inner.state
        self.origin = inner.origin
        self._inner = inner
        self._is_held = False
        self._waiting: list[tuple[AnyCommand, Answer | None]] = []

    def hold(self) -> None:
        """From now on commands wait."""
        self._is_held = True

    def release(self) -> None:
        """Apply what waits, and what comes."""
        self._is_held = False
        while self._waiting:
            self._inner.submit(*self._waiting.pop(0))

    def submit(self, command: AnyCommand, answer: Answer | None = None) -> None:
        """See the interface."""
        if self._is_held or self._waiting:
            self._waiting.append((command, answer))
        else:
            self._inner.submit(command, answer)

    async def barrier(self) -> None:
        """Nobody here asks for one."""

    def live(self) -> bool:
        """Always."""
        return True


def make_held_log(router: Router, base: int) -> HeldLog:
    return HeldLog(LocalLog(base=base, follower=router, on_fault=router.fail, on_error=router.report))


async def test_a_session_that_ended_before_it_became_an_instance_gets_no_calls(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(make_log=make_held_log) as scenario:
        log = scenario.router.log
        assert isinstance(log, HeldLog)
        stays = await scenario.instance("stays", "service")
        caller = await scenario.connect("caller")
        asked = await caller.start_call(service_name="service")
        await stays.answer(await stays.next("work"))
        await asked.result()
        log.hold()
        goes = await scenario.connect("goes")
        await goes.start("instance.register", {"service_name": "service", "priority": 1})
        await trio.testing.wait_all_tasks_blocked()
        goes.drop()
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        asked = await caller.start_call(service_name="service")
        await stays.answer(await stays.next("work"))
        await asked.result()


@asynccontextmanager
async def open_held_scenario(settings: Settings | None = None) -> AsyncGenerator[tuple[Scenario, HeldLog]]:
    async with open_scenario(settings, make_log=make_held_log) as scenario:
        log = scenario.router.log
        assert isinstance(log, HeldLog)
        yield scenario, log


async def test_nothing_is_owned_before_the_log_says_so(autojump_clock: MockClock) -> None:
    async with open_held_scenario() as (scenario, log):
        owner = await scenario.instance("owner")
        caller = await scenario.connect("caller")
        log.hold()
        asked = await owner.start("resource.register", {"resource_ids": ["r"]})
        assert (await (await caller.start_call("r")).refusal()).type == "resource_not_found"
        assert not asked.is_settled
        log.release()
        assert (await asked.result())["success"]
        pending = await caller.start_call("r")
        await owner.answer(await owner.next("work"))
        await pending.result()


async def test_what_was_asked_for_by_a_session_that_ended_is_free(autojump_clock: MockClock) -> None:
    async with open_held_scenario() as (scenario, log):
        gone = await scenario.instance("gone")
        heir = await scenario.instance("heir")
        log.hold()
        await gone.start("resource.register", {"resource_ids": ["r"]})
        await trio.testing.wait_all_tasks_blocked()
        gone.drop()
        await trio.testing.wait_all_tasks_blocked()
        inherited = await heir.start("resource.register", {"resource_ids": ["r"]})
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        assert (await inherited.result())["registered"] == ["r"]


async def test_an_instance_that_has_gone_before_somebody_registered_for_it_is_not_there(
    autojump_clock: MockClock,
) -> None:
    async with open_held_scenario(ADMIN) as (scenario, log):
        gone, admin = await scenario.instance("gone"), await scenario.connect("admin")
        log.hold()
        gone.drop()
        await trio.testing.wait_all_tasks_blocked()
        asked = await admin.start("resource.register", {"resource_ids": ["r"], "instance_id": "gone"})
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        refused = await asked.refusal()
        assert (refused.type, refused.data["instance_id"]) == ("instance_not_found", "gone")


async def test_an_owner_that_is_gone_gets_no_calls_though_its_end_is_still_on_its_way(
    autojump_clock: MockClock,
) -> None:
    async with open_held_scenario() as (scenario, log):
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        log.hold()
        owner.drop()
        await trio.testing.wait_all_tasks_blocked()
        assert (await (await caller.start_call("r")).refusal()).type == "resource_not_found"
        by_service = await (await caller.start_call(service_name="service")).refusal()
        assert (by_service.type, by_service.data["reason"]) == ("unavailable", "no_healthy_instance")
        assert by_service.data["delivery"] == "not_delivered"
        log.release()
        by_service = await (await caller.start_call(service_name="service")).refusal()
        assert by_service.type == "service_not_found"


async def test_calls_reach_an_owner_until_its_release_takes_effect(autojump_clock: MockClock) -> None:
    async with open_held_scenario() as (scenario, log):
        owner = await scenario.owner("owner", "r")
        caller = await scenario.connect("caller")
        log.hold()
        released = await owner.start("resource.release", {"resource_ids": ["r"]})
        pending = await caller.start_call("r")
        await owner.answer(await owner.next("work"), "still mine")
        assert await pending.result() == "still mine"
        log.release()
        assert (await released.result())["released"] == ["r"]
        assert (await (await caller.start_call("r")).refusal()).type == "resource_not_found"


async def test_the_order_in_which_they_asked_decides_between_two(autojump_clock: MockClock) -> None:
    async with open_held_scenario() as (scenario, log):
        first, second = [await scenario.instance(name) for name in ("first", "second")]
        log.hold()
        asked = []
        for party in (first, second):
            asked.append(await party.start("resource.register", {"resource_ids": ["r"]}))
            await trio.testing.wait_all_tasks_blocked()
        log.release()
        assert (await asked[0].result())["success"]
        assert (await asked[1].refusal()).data["owner_instance_id"] == "first"


async def test_a_request_that_the_log_has_not_answered_keeps_its_id_in_flight(
    autojump_clock: MockClock,
) -> None:
    async with open_held_scenario() as (scenario, log):
        party = await scenario.instance("party")
        log.hold()
        asked = await party.start("resource.register", {"resource_ids": ["r"]}, id="same")
        await party.say({"id": "same", "method": "session.ping"})
        await party.ask("session.ping")
        assert [stray["id"] for stray in party.strays] == [None]
        log.release()
        assert (await asked.result())["success"]
        assert await (await party.start("session.ping", id="same")).result()


async def test_a_take_over_from_a_session_that_ended_meanwhile_tells_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_scenario(ADMIN, make_log=make_held_log) as scenario:
        log = scenario.router.log
        assert isinstance(log, HeldLog)
        owner = await scenario.owner("owner", "r")
        rival = await scenario.instance("rival")
        log.hold()
        forced = await rival.start("resource.register", {"resource_ids": ["r"], "force": True})
        await trio.testing.wait_all_tasks_blocked()
        owner.drop()
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        assert (await forced.result())["registered"] == ["r"]
        assert not rival.has_news


async def test_a_bulk_that_is_cancelled_while_a_batch_is_about_to_take_effect_may_have_run(
    autojump_clock: MockClock,
) -> None:
    async with open_held_scenario() as (scenario, log):
        owner = await scenario.owner("owner", "own")
        log.hold()
        asked: Json = {"resource_ids": ["own"], "continue_on_error": True}
        release = await owner.start("resource.bulk_release", asked)
        await trio.testing.wait_all_tasks_blocked()
        await owner.cancel(release)
        refused = await release.refusal()
        assert (refused.type, refused.data["delivery"]) == ("call_cancelled", "unknown")
        log.release()
        observer = await scenario.connect("observer")
        assert (await observer.ask("resource.query", resource_ids=["own"]))["resources"] == []


async def test_a_drain_lets_the_batch_of_a_bulk_that_is_about_to_take_effect_be_told(
    autojump_clock: MockClock,
) -> None:
    async with open_held_scenario() as (scenario, log):
        owner = await scenario.owner("owner", "busy")
        caller = await scenario.connect("caller")
        await caller.start_call("busy")
        await owner.next("work")  # keeps the drain up
        log.hold()
        asked: Json = {"resources": [{"resource_id": "a"}, {"resource_id": "b"}], "batch_size": 1}
        bulk = await owner.start("resource.bulk_register", asked | {"continue_on_error": True})
        await trio.testing.wait_all_tasks_blocked()
        scenario.start_soon(scenario.router.drain, 20.0)
        await trio.testing.wait_all_tasks_blocked()
        log.release()
        result = await bulk.result()
        assert result["registered"] == list(result["epochs"]) == ["a"]
        [failure] = result["failed"]
        assert (failure["resource_id"], failure["error_code"]) == ("b", "unavailable")
