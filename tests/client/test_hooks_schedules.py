"""Hooks in schedules of chance: whatever fails, is slow or is cancelled, no count is lost and no call runs beside a hook."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Client, Instance, Releasing, Service
from tests.client.scripted import open_client_of
from tests.scenario import Scenario, open_scenario

NAMES = [f"count:{number}" for number in range(5)]
HOOK_SECONDS = 2.0
SECONDS = 40.0


class Trouble(Exception):
    """What hooks raise now and then."""


@attrs.define
class Truth:
    """What must be so, whoever owns what.

    Attributes:
        stored: what is kept of each resource where every instance finds it, for when nobody hands it over.
        loaded_by: who has each resource in its memory, from its hook after_acquire to its hook before_release.
        at_work: calls that run, by resource.
        runs: how often each resource has counted.
        faults: what should not have been.
    """

    rng: random.Random
    stored: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(NAMES, 0))
    loaded_by: dict[str, str] = attrs.field(factory=dict)
    at_work: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(NAMES, 0))
    runs: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(NAMES, 0))
    ran: set[str | None] = attrs.field(factory=set)
    faults: list[str] = attrs.field(factory=list)
    hooks_run: int = 0
    answers: int = 0
    refusals: int = 0

    def expect(self, is_so: bool, otherwise: str) -> None:
        """Note a fault unless it is so."""
        if not is_so:
            self.faults.append(otherwise)


class Counter:
    """An instance's memory.

    Attributes:
        leaves: its hooks must not fail any more, for what they cannot save then is lost.
    """

    def __init__(self, truth: Truth, name: str) -> None:
        self.name = name
        self.leaves = False
        self._truth = truth
        self._counts: dict[str, int] = {}

    async def add(self) -> int:
        """Count one."""
        truth, call = self._truth, resroute.current_call()
        name = call.resource_id
        assert name is not None
        truth.expect(truth.loaded_by.get(name) == self.name, f"{self.name} counts {name} without having it")
        truth.expect(call.idempotency_key not in truth.ran, f"{call.idempotency_key} runs twice")
        truth.ran.add(call.idempotency_key)
        truth.at_work[name] += 1
        try:
            await trio.sleep(truth.rng.choice((0, 0, 0.01, 0.5)))
        finally:
            truth.at_work[name] -= 1
            truth.expect(
                truth.loaded_by.get(name) == self.name, f"{name} is saved while {self.name} counts it"
            )
            self._counts[name] += 1
            truth.runs[name] += 1
        return self._counts[name]

    async def save(self, releasing: Releasing) -> int | None:
        """Let go of it, and hand it over or store it; or fail, and have it still."""
        truth, name = self._truth, releasing.resource_id
        truth.hooks_run += 1
        truth.expect(truth.loaded_by.get(name) == self.name, f"{self.name} saves {name} without having it")
        truth.expect(not truth.at_work[name], f"{self.name} saves {name} while calls are at work")
        await trio.sleep(truth.rng.choice((0, 0, 0.1) if self.leaves else (0, 0, 0.1, 1.0, 5.0)))
        if truth.rng.random() < 0.1 and not self.leaves:
            raise Trouble
        del truth.loaded_by[name]
        truth.stored[name] = self._counts.pop(name)
        return truth.stored[name] if releasing.to is not None else None

    async def load(self, acquired: Acquired) -> None:
        """Take it up, as it was handed over or stored; or fail, and leave it."""
        truth, name = self._truth, acquired.resource_id
        truth.hooks_run += 1
        if acquired.state is not None:
            truth.expect(acquired.state == truth.stored[name], f"{name} comes with an old state")
        await trio.sleep(truth.rng.choice((0, 0, 0.1, 1.0, 5.0)))
        if truth.rng.random() < 0.1:
            raise Trouble
        truth.expect(name not in truth.loaded_by, f"{self.name} loads {name}, which {truth.loaded_by} have")
        truth.loaded_by[name] = self.name
        self._counts[name] = truth.stored[name]


@asynccontextmanager
async def open_member(scenario: Scenario, counter: Counter) -> AsyncGenerator[Instance]:
    """An instance for as long as the block runs. What it owns still is stored at the end."""
    service = Service(counter, hook_seconds=HOOK_SECONDS)
    service.before_release(counter.save)
    service.after_acquire(counter.load)
    async with open_client_of(scenario.router) as client:
        async with client.open_instance("counters", service, instance_id=counter.name) as instance:
            yield instance
            counter.leaves = True


async def live(scenario: Scenario, truth: Truth, name: str, others: list[str], until: trio.Event) -> None:
    """Be an instance that hands over, takes and gives up; leave now and then, and come back."""
    rng = truth.rng
    while not until.is_set():
        counter = Counter(truth, name)
        async with open_member(scenario, counter) as instance:
            while not until.is_set():
                await trio.sleep(rng.choice((0, 0.05, 0.3, 1)))
                with trio.move_on_after(rng.choice((0.0005, 0.2, 3, 30, 30))):
                    try:
                        await step(rng, instance, counter, others)
                    except* (Trouble, trio.TooSlowError, resroute.RouterError):
                        truth.refusals += 1
                if rng.random() < 0.05:
                    counter.leaves = True
                    with trio.move_on_after(rng.choice((0.5, 30))):
                        await instance.drain(batch_size=2)
                    break


async def step(rng: random.Random, instance: Instance, counter: Counter, others: list[str]) -> None:
    """Do something with what there is."""
    owned = list(instance.resources)
    some = rng.sample(owned, k=rng.randint(0, len(owned)))
    match rng.choice(("transfer", "transfer", "transfer", "release", "register", "bulk", "own")):
        case "transfer" if some:
            partial = rng.random() < 0.3
            await instance.transfer(*some, to=rng.choice(others), reason="why not", partial=partial)
        case "release" if some:
            await instance.release(*some)
        case "register":
            await instance.register(*NAMES, partial=True)
        case "bulk":
            await instance.bulk_register(NAMES, batch_size=2, continue_on_error=True)
        case "own":
            counter.leaves = True  # the end of the block insists
            try:
                async with instance.own(rng.choice(NAMES)):
                    await trio.sleep(0.2)
            finally:
                counter.leaves = False


async def call_again_and_again(client: Client, truth: Truth, who: str, until: trio.Event) -> None:
    """Have resources counted; whoever owns them."""
    number = 0
    while not until.is_set():
        number += 1
        name = truth.rng.choice(NAMES)
        try:
            with trio.move_on_after(truth.rng.choice((0.1, 20, 20, 20))):
                await client.call("add", resource_id=name, idempotency_key=f"{who}-{number}")
                truth.answers += 1
        except (resroute.ResourceNotFound, resroute.Unavailable) as error:
            delivery = getattr(error, "delivery", "not_delivered")
            truth.expect(delivery == "not_delivered", f"a call for {name} ends with {error!r}, {delivery}")
        await trio.sleep(truth.rng.choice((0, 0.01, 0.2)))


async def run_schedule(seed: int, *, is_lagging: bool) -> Truth:
    """Let instances and callers loose on each other, and look at what is left."""
    truth = Truth(random.Random(seed))
    names = ["a", "b", "c"]
    async with open_scenario(is_lagging=is_lagging) as scenario, trio.open_nursery() as nursery:
        until, calls_end = trio.Event(), trio.Event()
        async with open_client_of(scenario.router) as client, trio.open_nursery() as callers:
            for who in range(4):
                callers.start_soon(call_again_and_again, client, truth, f"caller-{who}", calls_end)
            async with trio.open_nursery() as members:
                for name in names:
                    others = [other for other in names if other != name]
                    members.start_soon(live, scenario, truth, name, others, until)
                await trio.sleep(SECONDS)
                until.set()
            calls_end.set()
        nursery.cancel_scope.cancel()
    truth.expect(not truth.loaded_by, f"{truth.loaded_by} were not saved")
    truth.expect(truth.stored == truth.runs, f"{truth.stored} are stored, {truth.runs} were counted")
    return truth


@pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
async def test_no_count_is_lost_and_no_call_runs_beside_a_hook(
    seed: int, is_lagging: bool, autojump_clock: MockClock
) -> None:
    truth = await run_schedule(seed, is_lagging=is_lagging)
    assert truth.faults == []
    assert truth.answers > 50 and truth.hooks_run > 20 and truth.refusals > 0


@pytest.mark.slow
@pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("seed", range(1000, 1100))
async def test_in_many_more_schedules_it_is_the_same(
    seed: int, is_lagging: bool, autojump_clock: MockClock
) -> None:
    truth = await run_schedule(seed, is_lagging=is_lagging)
    assert truth.faults == []
