"""An instance outlives its connections: it takes back what it can, and says what others have."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import (
    BulkResource,
    Call,
    Changes,
    Client,
    Disconnected,
    Instance,
    Lost,
    MetadataFields,
    Regained,
)
from resroute.testing import MemoryRouter
from tests.client.networks import open_network, open_reconnecting
from tests.client.scripted import delivered
from tests.client.test_calls import start_call

DRAFT: MetadataFields = {
    "resource_type": "document",
    "tags": ["draft"],
    "attributes": {"n": 7},
    "priority": 3,
}


def echo(call: Call) -> object:
    return [call.method, call.epoch]


@asynccontextmanager
async def open_owner(
    network: MemoryRouter, name: str = "owner", **options: object
) -> AsyncGenerator[tuple[Client, Instance]]:
    async with network.open_client(**options) as client:
        async with client.open_instance("documents", echo, instance_id=name) as instance:
            yield client, instance


async def take(changes: Changes, count: int) -> list[resroute.Acquired | Lost | Disconnected | Regained]:
    with trio.fail_after(100):  # noqa: ASYNC100  # the comprehension waits
        return [await anext(changes) for _ in range(count)]


async def test_it_registers_again_with_all_it_had(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (client, instance):
        await instance.register("doc:1", "doc:2", metadata={"doc:1": DRAFT})
        await instance.bulk_register([BulkResource(resource_id="doc:3", metadata=DRAFT), "doc:4"])
        await instance.register("doc:5")
        await instance.update("doc:5", DRAFT)
        before = dict(instance.resources)
        await network.kill()
        await wait_all_tasks_blocked()
        assert dict(instance.resources) == {}
        await network.start()
        assert await client.call("hello", resource_id="doc:1", wait_for_owner_seconds=10)
        page = await client.query_resources()
        assert {info.resource_id: info.epoch for info in page.resources} == instance.resources
        assert instance.resources.keys() == before.keys()
        assert all(instance.resources[name] > before[name] for name in before)
        for info in page.resources:
            assert info.owner_instance_id == instance.instance_id == "owner"
            if info.resource_id in ("doc:1", "doc:3", "doc:5"):
                assert info.metadata is not None
                assert info.metadata.attributes == DRAFT["attributes"]
                assert info.metadata.tags == ("draft",)
                assert (info.metadata.resource_type, info.metadata.priority) == ("document", 3)


async def test_an_instance_without_a_name_of_its_own_keeps_the_one_it_was_given(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            await network.drop()
            await instance.register("doc:1")
            [info] = (await client.query_resources()).resources
            assert info.owner_instance_id == instance.instance_id
            assert client.statistics().connections == 2


async def test_it_says_what_it_has_again_and_what_others_have(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (_, instance):
        granted = await instance.register("doc:1", "doc:2", "doc:3")
        async with instance.open_changes() as changes:
            async with open_owner(network, "another", reconnect=None):
                network.is_reachable = False
                await network.drop()
                assert isinstance(await anext(changes), Disconnected)
                network.is_reachable = True
            async with open_owner(network, "rival") as (_, rival):
                await rival.register("doc:2")
                told = await take(changes, 3)
        lost = [change for change in told if isinstance(change, Lost)]
        regained = [change for change in told if isinstance(change, Regained)]
        assert [attrs.asdict(change) for change in lost] == [
            {
                "resource_id": "doc:2",
                "epoch": granted.epochs["doc:2"],
                "cause": "session_ended",
                "new_owner": "rival",
                "transfer_id": None,
                "reason": lost[0].reason,
            }
        ]
        assert {(r.resource_id, r.previous_epoch) for r in regained} == {
            (name, granted.epochs[name]) for name in ("doc:1", "doc:3")
        }
        assert {r.resource_id: r.epoch for r in regained} == instance.resources


async def test_what_was_given_up_or_lost_is_not_taken_back(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (client, instance):
        await instance.register("doc:1", "doc:2", "doc:3", "doc:4")
        await instance.release("doc:2")
        await instance.bulk_release(["doc:3"])
        async with open_owner(network, "heir") as (_, heir):
            await instance.transfer("doc:4", to="heir", reason="because")
            await wait_all_tasks_blocked()
            await network.kill()
            await network.start()
            await instance.register("doc:5")
            await heir.register("doc:6")
            owners = {r.resource_id: r.owner_instance_id async for r in client.all_resources()}
        assert owners == {"doc:1": "owner", "doc:5": "owner", "doc:4": "heir", "doc:6": "heir"}


async def test_a_release_that_was_under_way_has_happened(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", echo) as instance:
            registering = start_call(nursery, lambda: instance.register("a", "b"))
            request = await router.expect("resource.register")
            await router.answer(
                request,
                {"success": True, "registered": ["a", "b"], "conflicts": {}, "epochs": {"a": 5, "b": 5}},
            )
            await wait_all_tasks_blocked()
            assert registering.error is None
            releasing = start_call(nursery, lambda: instance.release("a"))
            await router.expect("resource.release")
            await router.cut()
            await wait_all_tasks_blocked()
            assert isinstance(releasing.error, resroute.ConnectionLost)
            again = await network.next_router()
            params = await again.expect_register_instance()
            assert params["instance_id"] == "i1"
            bulk = await again.expect("resource.bulk_register")
            assert bulk["params"]["resources"] == [{"resource_id": "b"}]
            await again.cut()
            network.options = None
            await wait_all_tasks_blocked()


async def test_calls_at_work_are_cancelled_and_their_answers_go_nowhere(autojump_clock: MockClock) -> None:
    """Calls of different sessions have the same ids."""
    ended: list[str] = []

    async def work(call: Call) -> str:
        try:
            await trio.sleep(3)
        except trio.Cancelled:
            ended.append(call.method)
            with trio.CancelScope(shield=True):
                await trio.sleep(50)
            raise
        return call.method

    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", work):
            await router.send(delivered("r:1", "first"))
            await wait_all_tasks_blocked()
            await router.cut()
            again = await network.next_router()
            await again.expect_register_instance()
            await again.send(delivered("r:1", "second"))
            answer = await again.receive()
            assert (answer["id"], answer["result"]) == ("r:1", "second")
            assert ended == ["first"]
            await trio.sleep(100)
            assert len(again.frames) == 2, "nothing more is said"
            nursery.start_soon(again.expect_leaving)


async def test_a_block_that_owns_is_cancelled_and_what_it_owned_is_not_taken_back(
    autojump_clock: MockClock,
) -> None:
    async with open_network() as network, open_owner(network) as (client, instance):
        await instance.register("doc:1")
        with pytest.raises(resroute.ResourceLost) as caught:
            async with instance.own("job:1"):
                await network.drop()
                await trio.sleep_forever()
        assert caught.value.cause == "session_ended"
        await instance.register("doc:2")
        assert instance.resources.keys() == {"doc:1", "doc:2"}
        async with instance.own("job:1") as grant:  # and again
            assert instance.resources["job:1"] == grant.epoch
        assert {r.resource_id async for r in client.all_resources()} == {"doc:1", "doc:2"}


async def test_repeating_after_a_lost_answer_is_harmless(autojump_clock: MockClock) -> None:
    """The connection ends after each message of coming back, whether the router has taken it or not."""
    for after in range(14):
        async with open_network() as network, open_owner(network) as (client, instance):
            await instance.register(*(f"doc:{n}" for n in range(5)), metadata={"doc:0": DRAFT})
            await network.drop()
            with trio.fail_after(60):
                await wait_all_tasks_blocked()
                await client.wait_connected()
                for _ in range(after):
                    await trio.lowlevel.checkpoint()
                await network.drop()
                await instance.register("doc:5")
                owners = {r.resource_id: r.epoch async for r in client.all_resources()}
            assert owners == instance.resources
            assert len(owners) == 6


async def test_its_own_session_that_is_dead_already_is_waited_for(autojump_clock: MockClock) -> None:
    """The router does not know yet that the connection has ended: there the name is still in use."""
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", echo, instance_id="i1") as instance:
            await router.cut()
            again = await network.next_router()
            for _ in range(3):
                request = await again.expect("instance.register")
                await again.refuse(request, 409, "instance_conflict", instance_id="i1")
            await again.expect_register_instance()
            result = start_call(nursery, lambda: instance.register("a"))
            await again.refuse(await again.expect("resource.register"), 429, "too_many_waiters", limit=1)
            await wait_all_tasks_blocked()
            assert isinstance(result.error, resroute.TooManyWaiters)
            nursery.start_soon(again.expect_leaving)


async def test_a_resume_token_goes_along(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(partial(router.expect_register_instance, resume_token="token-1"))
        async with client.open_instance("s", echo) as instance:
            start_call(nursery, lambda: instance.register("a", "b"))
            epochs = {"a": 5, "b": 5}
            answer = {"success": True, "registered": ["a", "b"], "conflicts": {}, "epochs": epochs}
            await router.answer(await router.expect("resource.register"), answer)
            await wait_all_tasks_blocked()
            async with instance.open_changes() as changes:
                await router.cut()
                again = await network.next_router()
                params = await again.expect_register_instance(
                    resume_token="token-2", resumed_count=2, resumed={"a": 7, "x": 7}
                )
                assert params["resume_token"] == "token-1"
                released = await again.expect("resource.release")
                assert released["params"]["resource_ids"] == ["x"], "of that this instance knows nothing"
                bulk = await again.expect("resource.bulk_register")
                assert bulk["params"]["resources"] == [{"resource_id": "b"}]
                failed = [
                    {
                        "resource_id": "b",
                        "reason": "r",
                        "error_code": "resource_conflict",
                        "current_owner": "o",
                    }
                ]
                await again.answer(
                    bulk,
                    {
                        "total_requested": 1,
                        "total_registered": 0,
                        "registered": [],
                        "epochs": {},
                        "complete": False,
                        "failed": failed,
                        "batch_results": [],
                        "rolled_back": False,
                    },
                )
                told = await take(changes, 3)
                assert told[1:] == [
                    Regained(resource_id="a", epoch=7, previous_epoch=5),
                    Lost(resource_id="b", epoch=5, cause="session_ended", new_owner="o", reason="r"),
                ]
                assert instance.resources == {"a": 7}
                await again.cut()
                third = await network.next_router()
                assert (await third.expect_register_instance())["resume_token"] == "token-2"
                network.options = None
                await third.cut()
                await wait_all_tasks_blocked()


async def test_who_is_not_let_in_again_has_come_to_the_end(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", echo) as instance, instance.open_changes() as changes:
            await router.cut()
            again = await network.next_router()
            await again.refuse(await again.expect("instance.register"), 403, "forbidden", required="instance")
            lost = await client.wait_closed()
            assert "needs the role 'instance'" in lost.reason
            with pytest.raises(resroute.ConnectionLost):
                await instance.register("a")
            assert isinstance(await anext(changes), Disconnected)
            with pytest.raises(resroute.ConnectionLost):
                await anext(changes)


async def test_it_can_leave_while_there_is_no_connection(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("documents", echo) as instance:
            await instance.register("doc:1")
            await network.kill()
            await trio.sleep(10)
            left_at = trio.current_time()
        assert trio.current_time() == left_at
        await network.start()
        assert (await client.query_instances()).total_count == 0
        with pytest.raises(resroute.ConnectionLost, match="left"):
            await instance.register("doc:1")


async def test_more_than_fits_into_one_request_is_taken_back_in_several(autojump_clock: MockClock) -> None:
    settings = {"max_resources_per_instance": 500, "max_bulk_items": 100, "max_message_bytes": 16384}
    async with open_network(**settings) as network, open_owner(network) as (client, instance):
        for hundred in range(3):
            names = [f"doc:{hundred}:{n}" for n in range(100)]
            await instance.register(*names)
        for n in range(20):
            await instance.update(f"doc:0:{n}", {"attributes": {"text": "x" * 2000}})
        before = dict(instance.resources)
        await network.kill()
        await network.start()
        await instance.renew("doc:0:1")
        assert instance.resources.keys() == before.keys()
        [info] = (await client.query_resources(resource_ids=["doc:0:19"])).resources
        assert info.metadata is not None
        assert info.metadata.attributes == {"text": "x" * 2000}


async def test_what_came_by_transfer_is_taken_back_with_its_metadata(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network, "giver") as (client, giver):
        async with open_owner(network, "taker") as (_, taker):
            await giver.register("doc:1", metadata={"doc:1": DRAFT})
            await giver.transfer("doc:1", to="taker", reason="because")
            await wait_all_tasks_blocked()
            await network.kill()
            await network.start()
            await taker.renew("doc:1")
            [info] = (await client.query_resources()).resources
            assert info.owner_instance_id == "taker"
            assert info.metadata is not None
            assert info.metadata.attributes == DRAFT["attributes"]


async def test_a_router_that_drains_is_left_for_the_next_one(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (client, instance):
        await instance.register("doc:1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.stop)
            await wait_all_tasks_blocked()
            await network.start()
            assert await client.call("hello", resource_id="doc:1", wait_for_owner_seconds=20)
        assert client.statistics().connections == 2


async def test_what_a_router_that_stops_takes_no_more_the_next_one_takes(autojump_clock: MockClock) -> None:
    """And who stands in line there goes on standing in line."""

    async def work(call: Call) -> str:
        await trio.sleep(3)
        return call.method

    async with open_network() as network, network.open_client() as client, open_owner(network) as (_, other):
        async with (
            client.open_instance("workers", work) as instance,
            trio.open_nursery() as nursery,
            trio.open_nursery() as before,
        ):
            await instance.register("job:1")
            await other.register("job:2")
            line = start_call(nursery, lambda: instance.register("job:2", wait_seconds=60))
            call = start_call(before, lambda: client.call("finish", resource_id="job:1"))
            await wait_all_tasks_blocked()
            before.start_soon(network.stop)  # the call has its time, and so the router goes on for a while
            await wait_all_tasks_blocked()
            await network.start()
            registered = await instance.register("job:3")
            assert registered.epochs == {"job:3": instance.resources["job:3"]}
            assert (await instance.bulk_register(["job:4"])).registered == ("job:4",)
            assert call.value == "finish"
            await other.release("job:2", partial=True)  # if it was the first to have it again
            await trio.sleep(1)
            assert isinstance(line.value, resroute.Registered)
            assert instance.resources.keys() == {"job:1", "job:2", "job:3", "job:4"}


async def test_an_instance_that_comes_to_a_router_that_stops_comes_to_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:

        async def refuse_and_end() -> None:
            request = await router.expect("instance.register")
            params = {"reason": "shutdown", "reconnect_after_seconds": 0.1}
            await router.send({"jsonrpc": "2.0", "method": "session.closing", "params": params})
            await router.refuse(request, 503, "unavailable", reason="draining")
            await trio.sleep(3)
            await router.cut()
            again = await network.next_router()
            await again.expect_register_instance()
            await again.expect_leaving()

        nursery.start_soon(refuse_and_end)
        async with client.open_instance("s", echo):
            assert trio.current_time() >= 3


async def test_an_instance_that_drains_itself_is_told_so(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (_, instance):
        await instance.drain(hand_over_to="nobody")
        with pytest.raises(resroute.Unavailable):
            await instance.register("doc:1")


async def test_two_clients_in_one_program_know_nothing_of_each_other(autojump_clock: MockClock) -> None:
    async with open_network() as one, open_network() as two:
        async with open_owner(one) as (client_of_one, instance), open_owner(two) as (client_of_two, other):
            await instance.register("doc:1")
            await other.register("doc:1")
            epoch = other.resources["doc:1"]
            await one.drop()
            await instance.renew("doc:1")
            assert client_of_one.statistics().connections == 2
            assert client_of_two.statistics().connections == 1
            assert other.resources["doc:1"] == epoch


async def test_a_handler_can_push_to_its_callers_over_the_next_connection(autojump_clock: MockClock) -> None:
    callers: list[resroute.Caller] = []

    def join(call: Call) -> None:
        callers.append(call.caller)

    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("rooms", join) as instance:
            await instance.register("room:1")
            async with network.open_client() as guest, guest.open_notifications() as notes:
                await guest.call("join", resource_id="room:1")
                await callers[0].notify("told", [1])
                assert (await anext(notes)).params == [1]
            await network.drop()
            with pytest.raises(resroute.SessionNotFound):
                await callers[0].notify("told", [2])


async def test_a_registration_in_flight_is_asked_again_with_the_time_that_is_left(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("s", echo) as instance:
            result = start_call(nursery, lambda: instance.register("a", wait_seconds=60))
            request = await router.expect("resource.register")
            assert request["params"]["wait_seconds"] == 60
            await trio.sleep(20)
            await router.cut()
            again = await network.next_router()
            await again.expect_register_instance()
            request = await again.expect("resource.register")
            assert 38 <= request["params"]["wait_seconds"] <= 40
            answer = {"success": True, "registered": ["a"], "conflicts": {}, "epochs": {"a": 5}}
            await again.answer(request, answer)
            await wait_all_tasks_blocked()
            assert isinstance(result.value, resroute.Registered)
            assert instance.resources == {"a": 5}
            nursery.start_soon(again.expect_leaving)


async def test_who_waits_in_line_to_own_stands_in_line_again(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network, "first") as (_, first):
        async with open_owner(network, "second") as (client, second), trio.open_nursery() as nursery:
            began = trio.Event()

            async def work() -> None:
                async with second.own("job:1", wait_seconds=100):
                    began.set()

            async with first.own("job:1"):
                nursery.start_soon(work)
                await wait_all_tasks_blocked()
                await network.drop(client)
                await trio.sleep(20)
                assert not began.is_set()
            await began.wait()
            assert trio.current_time() <= 21


async def test_a_bulk_in_flight_is_asked_again_from_its_beginning(autojump_clock: MockClock) -> None:
    async with open_network() as network, open_owner(network) as (client, instance):
        progress = resroute.BulkProgress()
        names = [f"doc:{n}" for n in range(30)]
        first = await instance.bulk_register(names[:10], continue_on_error=True, progress=progress)
        assert first.complete
        await network.drop()
        result = await instance.bulk_register(names, batch_size=5, continue_on_error=True, progress=progress)
        assert result.complete
        assert instance.resources.keys() == set(names)
        assert {r.resource_id async for r in client.all_resources()} == set(names)
