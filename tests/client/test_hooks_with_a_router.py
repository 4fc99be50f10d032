"""Hooks around the coming and going of resources, with a real router in memory whose log answers at once, or late."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Client, Instance, Releasing, Service
from resroute.client.gates import Gates
from resroute.settings import Settings
from tests.client.scripted import open_client_of
from tests.scenario import Scenario, open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])

ADMIN = Settings(anonymous_roles=("caller", "instance", "admin"))


@attrs.define
class Counter:
    """Counts for each resource, and writes down what happens in which order."""

    counts: dict[str, int] = attrs.field(factory=dict)
    log: list[str] = attrs.field(factory=list)
    may_end: trio.Event = attrs.field(factory=trio.Event)

    def add(self) -> int:
        """Count one."""
        name = resource_id()
        self.log.append(f"add {name}")
        self.counts[name] = self.counts.get(name, 0) + 1
        return self.counts[name]

    def ping(self) -> str:
        """Show that somebody is there."""
        return "pong"

    async def slow(self) -> int:
        """Count one, once that may end."""
        name = resource_id()
        self.log.append(f"slow {name}")
        await self.may_end.wait()
        self.log.append(f"slow {name} ends")
        return self.add()


def resource_id() -> str:
    name = resroute.current_call().resource_id
    assert name is not None
    return name


def counting(counter: Counter, *, hook_seconds: float = 30.0) -> Service:
    """A service whose counts go with its resources."""
    service = Service(counter, hook_seconds=hook_seconds)

    @service.before_release
    def save(releasing: Releasing) -> int:
        counter.log.append(f"save {releasing.resource_id} {releasing.cause} {releasing.to}")
        return counter.counts.pop(releasing.resource_id, 0)

    @service.after_acquire
    async def load(acquired: Acquired) -> None:
        await trio.sleep(1)
        counter.log.append(f"load {acquired.resource_id} {acquired.cause} {acquired.state}")
        counter.counts[acquired.resource_id] = acquired.state or 0

    return service


@attrs.define
class Pair:
    """Two instances of a service that counts, and who calls them."""

    scenario: Scenario
    giver: Instance
    heir: Instance
    old: Counter
    new: Counter
    caller: Client
    giving_client: Client


@asynccontextmanager
async def open_pair(
    is_lagging: bool,
    *,
    old_service: Callable[[Counter], object] = counting,
    new_service: Callable[[Counter], object] = counting,
) -> AsyncGenerator[Pair]:
    old, new = Counter(), Counter()
    async with (
        open_scenario(ADMIN, is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router, retry=None) as caller,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as another,
        client.open_instance("counters", old_service(old), instance_id="old") as giver,
        another.open_instance("counters", new_service(new), instance_id="new") as heir,
    ):
        yield Pair(scenario, giver, heir, old, new, caller, client)


# --- state goes along -----------------------------------------------------------------------------------------------


async def test_what_one_hook_saves_the_other_loads_and_no_count_is_lost(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a", "b")
        assert [await pair.caller.call("add", resource_id="a") for _ in range(3)] == [1, 2, 3]
        pair.old.log.clear()
        await pair.giver.transfer("a", to="new", reason="less to do")
        assert pair.old.log == ["save a transfer new"]
        assert await pair.caller.call("add", resource_id="a") == 4
        assert pair.new.log == ["load a transfer 3", "add a"]
        assert await pair.caller.call("add", resource_id="b") == 1


async def test_a_state_that_is_given_with_a_transfer_is_the_one_that_travels(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a", "b")
        await pair.giver.transfer("a", "b", to="new", reason="moving", state={"a": 40})
        assert await pair.caller.call("add", resource_id="a") == 41
        assert await pair.caller.call("add", resource_id="b") == 1


async def test_what_others_move_comes_without_state_and_is_not_saved(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a", "b")
        await pair.caller.call("add", resource_id="a")
        pair.old.log.clear()
        await pair.caller.transfer_resources("a", to="new", reason="balance")
        await pair.caller.drain_instance("old")
        assert await pair.caller.call("add", resource_id="a") == 1
        assert await pair.caller.call("add", resource_id="b") == 1
        assert pair.old.log == []
        assert sorted(line for line in pair.new.log if "load" in line) == [
            "load a transfer None",
            "load b transfer None",
        ]


# --- order ----------------------------------------------------------------------------------------------------------


async def test_calls_at_work_end_before_the_state_is_saved_and_later_ones_run_at_the_new_owner_alone(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair, trio.open_nursery() as nursery:
        await pair.giver.register("a")
        pair.old.log.clear()
        answers: list[tuple[str, object]] = []

        async def call(method: str) -> None:
            answers.append((method, await pair.caller.call(method, resource_id="a")))

        async def transfer() -> None:
            await pair.giver.transfer("a", to="new", reason="moving")

        nursery.start_soon(call, "slow")
        await trio.sleep(1)
        nursery.start_soon(transfer)
        await trio.sleep(1)
        nursery.start_soon(call, "add")
        await trio.sleep(5)
        assert pair.old.log == ["slow a"]
        pair.old.may_end.set()
        await trio.sleep(5)
        assert pair.old.log == ["slow a", "slow a ends", "add a", "save a transfer new"]
        assert pair.new.log == ["load a transfer 1", "add a"]
        assert sorted(answers) == [("add", 2), ("slow", 1)]


async def test_calls_wait_for_the_hook_of_what_has_come_and_begin_in_order(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair, trio.open_nursery() as nursery:
        await pair.giver.register("a")
        await pair.giver.transfer("a", to="new", reason="moving")
        answers: list[int] = []

        async def call(number: int) -> None:
            assert await pair.caller.call("add", resource_id="a") == number
            answers.append(number)

        for number in range(1, 21):
            nursery.start_soon(call, number)
            await trio.sleep(0.01)
        assert not answers
        await trio.sleep(2)
        assert pair.new.log == ["load a transfer 0", *["add a"] * 20]
        assert len(answers) == 20


async def test_a_registration_returns_once_its_hooks_have_run(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a")
        assert pair.old.log == ["load a request None"]
        await pair.giver.bulk_register(["b", "c"])
        assert sorted(pair.old.log[1:]) == ["load b request None", "load c request None"]
        async with pair.giver.own("d"):
            assert pair.old.log[3:] == ["load d request None"]
        assert pair.old.log[4:] == ["save d request None"]
        await pair.giver.register("a")
        await pair.giver.release("a")
        await pair.giver.bulk_release(["b", "c"])
        assert pair.old.log[5] == "save a request None"
        assert sorted(pair.old.log[6:]) == ["save b request None", "save c request None"]
        assert not pair.giver.resources


async def test_a_handler_may_hand_its_own_resource_over_and_does_not_wait_for_itself(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    instances: list[Instance] = []

    class Restless(Counter):
        async def leave(self) -> str:
            """Go elsewhere."""
            await instances[0].transfer(resource_id(), to="new", reason="restless")
            return "left"

    def restless(_: Counter) -> Service:
        return counting(Restless())

    async with open_pair(is_lagging, old_service=restless) as pair:
        instances.append(pair.giver)
        await pair.giver.register("a")
        assert await pair.caller.call("leave", resource_id="a") == "left"
        assert list(pair.heir.resources) == ["a"]


async def test_of_two_transfers_of_one_resource_one_is_too_late(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair, trio.open_nursery() as nursery:
        await pair.giver.register("a")
        outcomes: list[str] = []

        async def transfer() -> None:
            try:
                await pair.giver.transfer("a", to="new", reason="moving")
                outcomes.append("done")
            except resroute.NotOwner:
                outcomes.append("not owner")

        nursery.start_soon(transfer)
        nursery.start_soon(transfer)
        await trio.sleep(5)
        assert sorted(outcomes) == ["done", "not owner"]
        assert pair.old.log[1:] == ["save a transfer new"]


# --- what does not come about ---------------------------------------------------------------------------------------


async def test_what_the_router_refuses_to_move_is_loaded_again_and_calls_that_waited_run_here(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a", "b")
        assert await pair.caller.call("add", resource_id="a") == 1
        pair.old.log.clear()
        with pytest.raises(resroute.InstanceNotFound):
            await pair.giver.transfer("a", to="nobody", reason="moving")
        assert await pair.caller.call("add", resource_id="a") == 2
        assert pair.old.log == ["save a transfer nobody", "load a kept 1", "add a"]
        done = await pair.giver.transfer("a", "x", to="new", reason="moving", partial=True)
        assert done.failed == {"x": "resource_not_found"}
        with pytest.raises(resroute.ResourceNotFound):
            await pair.giver.release("b", "x")
        assert await pair.caller.call("add", resource_id="b") == 1


async def test_a_hook_that_raises_keeps_everything_here(is_lagging: bool, autojump_clock: MockClock) -> None:
    def spoiled(counter: Counter) -> Service:
        service = Service(counter)

        @service.before_release
        async def save(releasing: Releasing) -> int:
            counter.log.append(f"save {releasing.resource_id}")
            if releasing.resource_id == "b":
                await trio.sleep(1)
                raise ValueError("disk full")
            return 7

        @service.after_acquire
        def load(acquired: Acquired) -> None:
            counter.log.append(f"load {acquired.resource_id} {acquired.cause} {acquired.state}")

        return service

    async with open_pair(is_lagging, old_service=spoiled) as pair:
        await pair.giver.register("a", "b")
        pair.old.log.clear()
        for attempt in (
            lambda: pair.giver.transfer("a", "b", to="new", reason="moving"),
            lambda: pair.giver.release("a", "b"),
        ):
            with pytest.raises(ValueError, match="disk full"):
                await attempt()
            assert sorted(pair.giver.resources) == ["a", "b"]
            assert await pair.caller.call("add", resource_id="b") > 0
            assert [line for line in pair.old.log if "kept" in line] == ["load a kept 7"]
            pair.old.log.clear()


async def test_a_hook_or_a_call_that_takes_too_long_keeps_everything_here(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    def sluggish(counter: Counter) -> Service:
        service = Service(counter, hook_seconds=2)

        @service.before_release
        async def save(releasing: Releasing) -> None:
            await trio.sleep(3 if releasing.resource_id == "b" else 1)

        return service

    async with open_pair(is_lagging, old_service=sluggish) as pair, trio.open_nursery() as nursery:
        await pair.giver.register("a", "b")
        began = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await pair.giver.transfer("b", to="new", reason="moving")
        assert trio.current_time() - began == pytest.approx(2, abs=0.5)
        nursery.start_soon(lambda: pair.caller.call("slow", resource_id="a"))
        await trio.sleep(1)
        with pytest.raises(trio.TooSlowError):
            await pair.giver.transfer("a", to="new", reason="moving")
        assert await pair.caller.call("add", resource_id="a") == 1
        pair.old.may_end.set()
        await pair.giver.transfer("a", to="new", reason="moving")
        assert list(pair.giver.resources) == ["b"]


async def test_a_transfer_that_is_cancelled_has_happened_or_not_and_calls_go_on_either_way(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    for seconds in (0.0, 0.001, 1.0):
        async with open_pair(is_lagging) as pair:
            await pair.giver.register("a")
            with trio.move_on_after(seconds):
                await pair.giver.transfer("a", to="new", reason="moving")
            assert await pair.caller.call("add", resource_id="a") == 1
            assert len(pair.giver.resources) + len(pair.heir.resources) == 1


async def test_a_registration_that_is_cancelled_has_happened_or_not_and_what_it_took_is_saved_at_the_end(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    for seconds in (0.0, 0.0005, 0.001, 0.5):
        counter = Counter()
        async with open_scenario(is_lagging=is_lagging) as scenario:
            async with (
                open_client_of(scenario.router) as client,
                client.open_instance("counters", counting(counter)) as instance,
            ):
                with trio.move_on_after(seconds):
                    await instance.register("a")
                with trio.move_on_after(seconds):
                    await instance.bulk_register(["b", "c"])
            loads = sorted(line.split()[1] for line in counter.log if line.startswith("load"))
            saves = sorted(line.split()[1] for line in counter.log if line.startswith("save"))
            assert loads == saves
            assert not counter.counts


async def test_what_is_granted_to_somebody_who_has_just_stopped_waiting_is_saved_and_released(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_pair(is_lagging) as pair:
        await pair.giver.register("a")
        for seconds in (2.0, 2.0005, 2.001, 2.01, 2.1):
            async with trio.open_nursery() as nursery:

                async def wait(seconds: float = seconds) -> None:
                    with trio.move_on_after(seconds):
                        await pair.heir.register("a", wait_seconds=60)

                nursery.start_soon(wait)
                await trio.sleep(2)
                await pair.giver.release("a")
            await trio.sleep(5)
            assert not pair.heir.resources
            assert not pair.new.counts
            await pair.giver.register("a")
        loads = [line for line in pair.new.log if line.startswith("load")]
        saves = [line for line in pair.new.log if line.startswith("save")]
        assert len(loads) == len(saves)


async def test_what_cannot_be_loaded_is_released_and_calls_that_waited_have_not_run(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def helpless(counter: Counter) -> Service:
        service = Service(counter, hook_seconds=5)

        @service.after_acquire
        async def load(acquired: Acquired) -> None:
            await trio.sleep(1 if acquired.resource_id == "b" else 10)
            raise ValueError("no such file")

        return service

    async with open_pair(is_lagging, new_service=helpless) as pair:
        await pair.giver.register("a")
        await pair.giver.transfer("a", to="new", reason="moving")
        with pytest.raises(resroute.Unavailable) as caught:
            await pair.caller.call("add", resource_id="a")
        assert (caught.value.reason, caught.value.delivery) == ("moved", "not_delivered")
        assert not pair.heir.resources
        with pytest.raises(ValueError, match="no such file"):
            await pair.heir.register("b")
        with pytest.raises(trio.TooSlowError):
            await pair.heir.register("c")
        with pytest.RaisesGroup(trio.TooSlowError, trio.TooSlowError):
            await pair.heir.register("c", "d")
        assert not pair.heir.resources and not pair.new.log
        failed = [record for record in caplog.records if "after_acquire_failed" in record.message]
        assert len(failed) == 5


async def test_a_resource_that_is_lost_while_it_is_loaded_takes_its_calls_along(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    loaded: list[str] = []

    def slow(counter: Counter) -> Service:
        service = Service(counter)

        @service.after_acquire
        async def load(acquired: Acquired) -> None:
            await trio.sleep(20)
            loaded.append(acquired.resource_id)

        return service

    async with open_pair(is_lagging, new_service=slow) as pair, trio.open_nursery() as nursery:
        await pair.giver.register("a")
        await pair.giver.transfer("a", to="new", reason="moving")
        answers: list[int] = []

        async def call() -> None:
            answers.append(await pair.caller.call("add", resource_id="a"))

        nursery.start_soon(call)
        await trio.sleep(1)
        await pair.caller.transfer_resources("a", to="old", reason="back again")
        await trio.sleep(5)
        assert answers == [1]
        assert pair.new.log == [] and not pair.heir.resources
        await trio.sleep(60)
        assert not loaded


async def test_an_error_that_comes_together_with_the_loss_of_its_resource_is_logged_and_ends_nothing_else(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cannot close the file")

    def clumsy(counter: Counter) -> Service:
        service = Service(counter)

        @service.after_acquire
        async def load(acquired: Acquired) -> None:
            if acquired.resource_id == "a":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail_when_cancelled)
                    nursery.start_soon(trio.sleep_forever)

        return service

    async with open_pair(is_lagging, new_service=clumsy) as pair:
        await pair.giver.register("a", "b")
        await pair.giver.transfer("a", "b", to="new", reason="moving")
        await trio.sleep(1)
        await pair.caller.transfer_resources("a", to="old", reason="back again")
        assert await pair.caller.call("add", resource_id="a") == 1
        assert await pair.caller.call("ping", resource_id="b") == "pong"
        assert any("cannot close the file" in (record.exc_text or "") for record in caplog.records)


async def test_a_service_that_only_saves_goes_on_where_nothing_comes_of_it(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    def saving(counter: Counter) -> Service:
        service = Service(counter)
        service.before_release(lambda releasing: counter.counts[releasing.resource_id])
        return service

    async with open_pair(is_lagging, old_service=saving) as pair:
        await pair.giver.register("a")
        assert await pair.caller.call("add", resource_id="a") == 1
        with pytest.raises(resroute.InstanceNotFound):
            await pair.giver.transfer("a", to="nobody", reason="moving")
        assert await pair.caller.call("add", resource_id="a") == 2
        await pair.giver.transfer("a", to="new", reason="moving")
        assert await pair.caller.call("add", resource_id="a") == 3


# --- leaving --------------------------------------------------------------------------------------------------------


async def test_an_instance_that_leaves_saves_what_it_owns_once_its_calls_have_ended(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    counter = Counter()
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as caller,
        trio.open_nursery() as nursery,
    ):
        async with client.open_instance("counters", counting(counter)) as instance:
            await instance.register("a", "b")
            nursery.start_soon(lambda: caller.call("slow", resource_id="a"))
            await trio.sleep(1)
            nursery.start_soon(_set_later, counter.may_end, 10.0)
        assert counter.log[-1] == "save a drain None"
        assert "save b drain None" in counter.log
        with pytest.raises(resroute.ResourceNotFound):
            await caller.call("add", resource_id="b")


async def test_an_instance_that_leaves_goes_without_what_its_hooks_fail_to_save(
    is_lagging: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    saved: list[str] = []
    service = Service(Counter(), hook_seconds=3)

    @service.before_release
    async def save(releasing: Releasing) -> None:
        if releasing.resource_id == "b":
            raise ValueError("disk full")
        if releasing.resource_id == "c":
            await trio.sleep(60)
        saved.append(releasing.resource_id)

    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as caller,
    ):
        began = trio.current_time()
        async with client.open_instance("counters", service) as instance:
            await instance.register("a", "b", "c")
        assert trio.current_time() - began < 5
        assert saved == ["a"]
        failed = [record.message for record in caplog.records if record.levelno == logging.ERROR]
        assert len(failed) == 2
        with pytest.raises(resroute.ResourceNotFound):
            await caller.call("add", resource_id="a")


async def test_a_block_that_raises_saves_in_a_few_seconds_or_not_at_all(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    for seconds, saves in ((1, True), (20, False)):
        saved: list[str] = []
        service = Service(Counter())

        @service.before_release
        async def save(releasing: Releasing, seconds: int = seconds, saved: list[str] = saved) -> None:
            await trio.sleep(seconds)
            saved.append(releasing.resource_id)

        async with (
            open_scenario(is_lagging=is_lagging) as scenario,
            open_client_of(scenario.router) as client,
        ):
            began = trio.current_time()
            with pytest.raises(ValueError, match="enough"):
                async with client.open_instance("counters", service) as instance:
                    await instance.register("a")
                    raise ValueError("enough")
            assert trio.current_time() - began < 6
            assert (saved == ["a"]) is saves


async def _set_later(event: trio.Event, seconds: float) -> None:
    await trio.sleep(seconds)
    event.set()


# --- what is not about a router -------------------------------------------------------------------------------------


def test_a_service_has_one_hook_of_each_kind(is_lagging: bool) -> None:
    service = counting(Counter())
    for decorate in (service.before_release, service.after_acquire):
        with pytest.raises(ValueError, match="already"):
            decorate(print)


def test_what_a_gate_held_begins_in_order_or_is_refused_and_nothing_is_held_after(is_lagging: bool) -> None:
    begun: list[int] = []
    refused: list[int] = []
    gates = Gates[int](begun.append, refused.append)
    for settle in (gates.open, gates.refuse):
        gate = gates.close("a")
        assert gates.close("a") is gate and gates.get("a") is gate and gates
        gate.held += [1, 2, 3]
        settle("a")
        settle("a")
        assert gate.settled.is_set() and not gates and gates.get("a") is None
    assert (begun, refused) == ([1, 2, 3], [1, 2, 3])
    assert gates.get(None) is None
