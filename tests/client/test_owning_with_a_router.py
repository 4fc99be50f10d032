"""Whole stories of blocks that own a resource, with a real router in memory whose log answers at once, or late."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Client, Instance
from resroute.settings import Settings
from tests.client.scripted import open_client_of
from tests.client.test_instance import echo
from tests.scenario import Party, Scenario, open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])

ADMINISTRATORS = Settings(anonymous_roles=("caller", "instance", "admin"))


@attrs.frozen
class Story:
    """An instance, and a rival that may take what it owns."""

    scenario: Scenario
    client: Client
    instance: Instance
    rival: Party

    async def owner(self) -> str | None:
        """Who owns ``user:42``."""
        found = await self.rival.ask("resource.query", resource_ids=["user:42"])
        return found["resources"][0]["owner_instance_id"] if found["resources"] else None

    async def take(self) -> None:
        """Have the rival take ``user:42``, whoever owns it."""
        await self.rival.ask("resource.register", resource_ids=["user:42"], force=True)

    async def give_up_later(self) -> None:
        """Have the rival release ``user:42`` in a while."""
        await trio.sleep(1)
        await self.rival.ask("resource.release", resource_ids=["user:42"])


@asynccontextmanager
async def open_story(*, is_lagging: bool) -> AsyncGenerator[Story]:
    async with open_scenario(ADMINISTRATORS, is_lagging=is_lagging) as scenario:
        rival = await scenario.instance("rival")
        async with open_client_of(scenario.router) as client:
            async with client.open_instance("service", echo, instance_id="owner") as instance:
                yield Story(scenario, client, instance, rival)


async def test_a_block_owns_a_resource_for_as_long_as_it_runs(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_story(is_lagging=is_lagging) as story:
        async with story.instance.own("user:42", metadata={"tags": ["busy"]}) as grant:
            assert await story.owner() == "owner"
            [info] = (await story.client.query_resources(resource_ids=["user:42"])).resources
            assert info.epoch == grant.epoch
            assert info.metadata is not None and info.metadata.tags == ("busy",)
        assert await story.owner() is None
        await story.take()
        with pytest.raises(resroute.ResourceConflict):
            async with story.instance.own("user:42"):
                raise AssertionError("it began")
        assert await story.owner() == "rival"


async def test_whoever_takes_the_resource_ends_the_block_first(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_story(is_lagging=is_lagging) as story:
        with pytest.raises(resroute.ResourceLost) as caught:
            async with story.instance.own("user:42") as grant:
                await story.take()
                await trio.sleep_forever()
        assert (caught.value.cause, caught.value.new_owner) == ("forced", "rival")
        assert caught.value.epoch == grant.epoch
        assert await story.owner() == "rival"


async def test_a_block_renews_what_expires(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with open_story(is_lagging=is_lagging) as story:
        async with story.instance.own("user:42", metadata={"ttl_seconds": 3}) as grant:
            await trio.sleep(100)
            assert (await story.owner(), grant.lost) == ("owner", None)
        assert await story.owner() is None


async def test_a_block_that_sets_itself_a_shorter_time_is_ended_by_it(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_story(is_lagging=is_lagging) as story:
        with pytest.raises(resroute.ResourceLost) as caught:
            async with story.instance.own("user:42"):
                await story.instance.update("user:42", {"ttl_seconds": 5})
                await trio.sleep_forever()
        assert caught.value.cause == "expired"
        assert await story.owner() is None


async def test_who_waits_in_line_owns_it_next(is_lagging: bool, autojump_clock: MockClock) -> None:
    order: list[str] = []
    async with open_story(is_lagging=is_lagging) as story, open_client_of(story.scenario.router) as client:
        async with client.open_instance("service", echo) as other, trio.open_nursery() as nursery:

            async def work(instance: Instance, name: str) -> None:
                async with instance.own("user:42", wait_seconds=60) as grant:
                    order.append(name)
                    await trio.sleep(5)
                    assert grant.lost is None
                    order.append(f"not {name}")

            nursery.start_soon(work, story.instance, "one")
            await trio.sleep(1)
            nursery.start_soon(work, other, "other")
    assert order == ["one", "not one", "other", "not other"]


async def test_the_end_of_the_time_to_wait_is_a_conflict_and_leaves_the_line(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_story(is_lagging=is_lagging) as story:
        await story.take()
        began = trio.current_time()
        with pytest.raises(resroute.ResourceConflict):
            async with story.instance.own("user:42", wait_seconds=5):
                raise AssertionError("it began")
        assert trio.current_time() - began == pytest.approx(5, abs=0.5)
        with trio.move_on_after(5) as scope:
            async with story.instance.own("user:42", wait_seconds=60):
                raise AssertionError("it began")
        assert scope.cancelled_caught
        await story.rival.ask("resource.release", resource_ids=["user:42"])
        await trio.sleep(1)
        assert await story.owner() is None


class _CancelAfter(trio.abc.Instrument):
    """Cancels a scope once all tasks together have taken so many steps."""

    def __init__(self, steps: int, scope: trio.CancelScope) -> None:
        self.steps_left = steps
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            self._scope.cancel()


@pytest.mark.parametrize(
    ("has_to_wait", "is_taken"),
    [(True, True), (False, True), (True, False), pytest.param(False, False, marks=pytest.mark.slow)],
)
async def test_whenever_a_block_is_cancelled_nothing_is_left_of_it(
    has_to_wait: bool, is_taken: bool, is_lagging: bool, autojump_clock: MockClock
) -> None:
    """Cancelled after each step of any task in turn; nobody owns the resource then, and it can be owned again."""
    ends: dict[str, int] = {"not begun": 0, "cancelled": 0, "lost: forced": 0, "ended": 0}
    steps, was_cancelled = 0, True
    while was_cancelled:
        steps += 1
        async with open_story(is_lagging=is_lagging) as story:
            end = "not begun"
            if has_to_wait:
                await story.take()
                story.scenario.start_soon(story.give_up_later)
            with trio.CancelScope() as scope:
                canceller = _CancelAfter(steps, scope)
                trio.lowlevel.add_instrument(canceller)
                try:
                    async with story.instance.own("user:42", metadata={"ttl_seconds": 60}, wait_seconds=60):
                        end = "cancelled"
                        if is_taken:
                            story.scenario.start_soon(story.take)
                        await trio.sleep(25)
                    end = "ended"
                except resroute.ResourceLost as error:
                    end = f"lost: {error.cause}"
                finally:
                    trio.lowlevel.remove_instrument(canceller)
            assert scope.cancelled_caught is (end in ("not begun", "cancelled"))
            was_cancelled = canceller.steps_left <= 0
            ends[end] += 1
            await trio.sleep(10)  # for a rival that takes it although the block has gone
            if await story.owner() == "rival":
                assert is_taken
                await story.rival.ask("resource.release", resource_ids=["user:42"])
            assert await story.owner() is None, f"cancelled after {steps} steps"
            assert story.instance.resources == {}
            async with story.instance.own("user:42"):
                assert await story.owner() == "owner"
    assert ends["not begun"] > 5 and ends["cancelled"] > 5
    assert ends["lost: forced"] == 1 if is_taken else ends["ended"] > 1, "also while it was released"
