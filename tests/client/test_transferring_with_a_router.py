"""Instances that hand resources to each other, with a real router in memory whose log answers at once, or late."""

import pytest
import trio
from trio.testing import MockClock

import resroute
from resroute import Acquired, Lost
from resroute.settings import Settings
from tests.client.scripted import open_client_of
from tests.client.test_instance import echo
from tests.scenario import open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])


class Counter:
    """A service that counts for each resource, and goes on where another left off."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self) -> int:
        """Count one."""
        resource_id = resroute.current_call().resource_id
        assert resource_id is not None
        self.counts[resource_id] = self.counts.get(resource_id, 0) + 1
        return self.counts[resource_id]


async def test_a_resource_goes_to_another_instance_with_what_it_takes_to_go_on(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    old, new = Counter(), Counter()
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as another,
        open_client_of(scenario.router) as caller,
        client.open_instance("counters", old, instance_id="old") as giver,
        another.open_instance("counters", new, instance_id="new") as heir,
        heir.open_changes() as gained,
        giver.open_changes() as lost,
    ):
        await giver.register("count:1", "count:2", metadata={"count:1": {"tags": ["hot"]}})
        assert [await caller.call("add", resource_id="count:1") for _ in range(3)] == [1, 2, 3]
        before = giver.resources["count:1"]
        transferred = await giver.transfer(
            "count:1", to="new", reason="less to do", state={"count:1": old.counts["count:1"]}
        )
        assert transferred.transferred == ("count:1",)
        assert transferred.failed == {}
        assert transferred.epochs["count:1"] > before
        assert list(giver.resources) == ["count:2"]
        change = await anext(gained)
        assert isinstance(change, Acquired)
        assert (change.resource_id, change.state, change.from_instance_id) == ("count:1", 3, "old")
        assert change.epoch == transferred.epochs["count:1"] == heir.resources["count:1"]
        assert change.metadata is not None and change.metadata.tags == ("hot",)
        new.counts["count:1"] = change.state
        gone = await anext(lost)
        assert isinstance(gone, Lost)
        assert (gone.cause, gone.new_owner, gone.reason) == ("transfer", "new", "less to do")
        assert change.transfer_id == gone.transfer_id == transferred.transfer_id
        assert await caller.call("add", resource_id="count:1") == 4
        assert await caller.call("add", resource_id="count:2") == 1


async def test_a_block_that_owns_a_resource_ends_when_it_is_handed_over(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        client.open_instance("service", echo, instance_id="giver") as giver,
    ):
        heir = await scenario.instance("heir", "service")
        with pytest.raises(resroute.ResourceLost) as caught:
            async with giver.own("user:42"):
                await giver.transfer("user:42", to="heir", reason="moving")
                await trio.sleep_forever()
        assert (caught.value.cause, caught.value.new_owner) == ("transfer", "heir")
        await heir.next("resource.acquired")


async def test_what_cannot_be_handed_over_says_why(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        client.open_instance("service", echo, instance_id="giver") as giver,
    ):
        await scenario.owner("other", "doc:9", service="others")
        await giver.register("doc:1")
        for to, error in (
            ("nobody", resroute.InstanceNotFound),
            ("other", resroute.ServiceMismatch),
            ("giver", resroute.InvalidParams),
        ):
            with pytest.raises(error):
                await giver.transfer("doc:1", to=to, reason="moving")
        with pytest.raises(resroute.NotOwner):
            await giver.transfer("doc:9", to="other", reason="moving")
        with pytest.raises(resroute.ResourceNotFound):
            await giver.transfer("doc:2", to="other", reason="moving")
        done = await giver.transfer("doc:1", "doc:2", to="other", reason="moving", partial=True)
        assert done.failed == {"doc:1": "service_mismatch", "doc:2": "resource_not_found"}
        assert list(giver.resources) == ["doc:1"]
        with pytest.raises(resroute.Forbidden):
            await client.transfer_resources("doc:9", to="giver", reason="mine now")


async def test_administrators_hand_over_what_others_own(is_lagging: bool, autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with (
        open_scenario(settings, is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as admin,
    ):
        owner = await scenario.owner("owner", "doc:1", "doc:2")
        heir = await scenario.instance("heir")
        await admin.transfer_resources("doc:1", to="heir", source="owner", reason="balance")
        with pytest.raises(resroute.NotOwner):
            await admin.transfer_resources("doc:1", to="owner", source="owner", reason="balance")
        done = await admin.transfer_resources("doc:2", to="heir", reason="balance")
        assert done.transferred == ("doc:2",)
        for _ in range(2):
            await owner.next("resource.lost")
            await heir.next("resource.acquired")


async def test_an_administrator_takes_what_another_owns_by_force(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with (
        open_scenario(settings, is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        client.open_instance("service", echo, instance_id="boss") as boss,
    ):
        owner = await scenario.owner("owner", "doc:1")
        with pytest.raises(resroute.ResourceConflict):
            await boss.register("doc:1")
        taken = await boss.register("doc:1", "doc:2", force=True)
        assert taken.registered == ("doc:1", "doc:2")
        assert dict(boss.resources) == dict(taken.epochs)
        lost = (await owner.next("resource.lost"))["params"]
        assert (lost["cause"], lost["new_owner"]) == ("forced", "boss")


async def test_who_is_no_administrator_takes_nothing_by_force(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        client.open_instance("service", echo) as instance,
    ):
        await scenario.owner("owner", "doc:1")
        with pytest.raises(resroute.Forbidden):
            await instance.register("doc:1", force=True)
        assert not instance.resources


async def test_administrators_have_a_service_rebalanced(is_lagging: bool, autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with (
        open_scenario(settings, is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as admin,
        open_client_of(scenario.router) as client,
        open_client_of(scenario.router) as another,
        client.open_instance("echo", echo, instance_id="busy") as busy,
        another.open_instance("echo", echo, instance_id="idle") as idle,
        idle.open_changes() as gained,
    ):
        await busy.register(*(f"doc:{number}" for number in range(6)), metadata={"doc:5": {"priority": -1}})
        planned = await admin.rebalance_service("echo", dry_run=True)
        assert [move.resource_id for move in planned.moves] == ["doc:5", "doc:0", "doc:1"]
        assert {(move.from_instance_id, move.to_instance_id) for move in planned.moves} == {("busy", "idle")}
        assert planned.transfer_ids == () and not planned.has_more
        first = await admin.rebalance_service("echo", max_moves=1)
        assert first.moves == planned.moves[:1] and first.has_more
        change = await anext(gained)
        assert isinstance(change, Acquired)
        assert (change.resource_id, change.transfer_id) == ("doc:5", first.transfer_ids[0])
        rest = await admin.rebalance_service("echo", by="count")
        assert rest.moves == planned.moves[1:] and not rest.has_more
        assert await admin.call("echo", [7], resource_id="doc:1") == [7]
        assert list(busy.resources) == ["doc:2", "doc:3", "doc:4"]
        assert (await admin.rebalance_service("echo", by="calls")).moves == ()
        with pytest.raises(resroute.ServiceNotFound):
            await admin.rebalance_service("nobody")


async def test_rebalancing_is_for_administrators(is_lagging: bool, autojump_clock: MockClock) -> None:
    async with (
        open_scenario(is_lagging=is_lagging) as scenario,
        open_client_of(scenario.router) as client,
        client.open_instance("echo", echo),
    ):
        with pytest.raises(resroute.Forbidden):
            await client.rebalance_service("echo")
