"""Whole stories, with a real router in memory."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

import resroute
from resroute import Call, Client, Instance, MetadataFields, current_call, open_client_over
from resroute.settings import Settings
from tests.client.scripted import open_client_of, open_router


class Accounts:
    """What an instance may do with an account."""

    def __init__(self) -> None:
        self.was_cancelled = trio.Event()

    def echo(self, value: Any = None) -> Any:
        return value

    def whose(self) -> list[object]:
        call = current_call()
        return [call.resource_id, call.epoch]

    def tell_long(self, length: int) -> str:
        return "x" * length

    async def hang(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.was_cancelled.set()

    def fail(self) -> None:
        raise resroute.RemoteError(404, "not here", {"type": "resource_not_found", "resource_id": "fake"})


@attrs.frozen
class Story:
    """A caller, and an instance that owns ``account:1`` and ``account:2``."""

    caller: Client
    owner: Client
    instance: Instance
    accounts: Accounts


@asynccontextmanager
async def open_story(settings: Settings | None = None) -> AsyncGenerator[Story]:
    accounts = Accounts()
    async with (
        open_router(settings) as router,
        open_client_of(router) as caller,
        open_client_of(router) as owner,
    ):
        async with owner.open_instance("accounts", accounts, instance_id="i1") as instance:
            await instance.register("account:1", "account:2")
            yield Story(caller, owner, instance, accounts)
    assert set(attrs.astuple(router.statistics())) == {0}


async def test_a_call_reaches_the_owner_and_nobody_else(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        epoch = story.instance.resources["account:1"]
        assert await story.caller.call("whose", resource_id="account:1") == ["account:1", epoch]
        assert await story.caller.call("echo", {"value": 2**70}, resource_id="account:2") == 2**70
        assert await story.caller.call("echo", ["by service"], service_name="accounts") == "by service"
        assert await story.owner.call("echo", resource_id="account:1") is None, "also its own"


async def test_an_id_that_nobody_owns_is_a_clear_error(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        with pytest.raises(resroute.ResourceNotFound, match="account:3") as caught:
            await story.caller.call("echo", resource_id="account:3")
        assert caught.value.trace_id
        with pytest.raises(resroute.ServiceNotFound):
            await story.caller.call("echo", service_name="nobody")
        with pytest.raises(resroute.ServiceMismatch):
            await story.caller.call("echo", resource_id="account:1", service_name="other")
        with pytest.raises(resroute.InvalidParams):
            await story.caller.call("echo", resource_id="no spaces")


async def test_a_callee_cannot_pose_as_the_router(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        with pytest.raises(resroute.RemoteError) as caught:
            await story.caller.call("fail", resource_id="account:1")
        assert (caught.value.code, caught.value.data["type"]) == (404, "resource_not_found")


class Relay:
    """B: it answers A by calling C, and lets what comes of that through."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.met: list[Exception] = []

    async def relay(self, method: str) -> object:
        try:
            return await self._client.call(method, service_name="c")
        except Exception as error:
            self.met.append(error)
            raise


async def test_what_went_wrong_further_on_says_nothing_about_ones_own_call(autojump_clock: MockClock) -> None:
    """In a chain from A over B to C: B has run, so for A nothing is safe to repeat."""
    async with (
        open_router() as router,
        open_client_of(router) as a,
        open_client_of(router) as b,
        open_client_of(router) as c,
        c.open_instance("c", Accounts(), max_concurrency=1),
        trio.open_nursery() as nursery,
    ):
        relay = Relay(b)
        async with b.open_instance("b", relay) as instance:
            await instance.register("relay")

            async def call(method: str) -> resroute.RemoteError:
                with pytest.raises(resroute.ResrouteError) as caught:
                    await a.call("relay", [method], resource_id="relay")
                assert type(caught.value) is resroute.RemoteError
                assert not hasattr(caught.value, "delivery")
                return caught.value

            theirs = await call("fail")
            assert (theirs.code, theirs.data["type"]) == (404, "resource_not_found"), "C's own, as it is"
            nursery.start_soon(partial(a.call, "hang", service_name="c"))
            await wait_all_tasks_blocked()
            assert (await call("echo")).code == -32000
            assert isinstance(relay.met[-1], resroute.Unavailable)
            assert relay.met[-1].delivery == "not_delivered", "which B may repeat"
            nursery.cancel_scope.cancel()


async def test_a_resource_has_one_owner(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as first, open_client_of(router) as second:
        async with first.open_instance("s", Accounts(), instance_id="i1") as one:
            async with second.open_instance("s", Accounts(), instance_id="i2") as two:
                await one.register("a", "b")
                with pytest.raises(resroute.ResourceConflict) as caught:
                    await two.register("b", "c")
                assert caught.value.conflicts == {"b": "i1"}
                assert two.resources == {}
                registered = await two.register("b", "c", partial=True)
                assert (registered.registered, dict(registered.conflicts)) == (("c",), {"b": "i1"})
                assert two.resources == registered.epochs
                with pytest.raises(resroute.NotOwner) as not_owner:
                    await two.release("b")
                assert not_owner.value.owner_instance_id == "i1"
                again = await one.register("a")
                assert again.epochs == {"a": one.resources["a"]}, "the epoch stays"
                released = await one.release("b", "never", partial=True)
                assert released.released == ("b",)
                assert released.failed == {"never": "resource_not_found"}
                await two.register("b")
                assert set(two.resources) == {"b", "c"}


async def test_a_resource_says_what_it_is(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as client, open_client_of(router) as reader:
        async with client.open_instance("s", Accounts(), instance_id="i1") as one:
            await one.register("a", "b", metadata={"a": {"tags": ["new"], "attributes": {"pages": 3}}})
            first, second = (await reader.query_resources()).resources
            assert first.metadata is not None and second.metadata is None
            assert (first.metadata.tags, first.metadata.attributes) == (("new",), {"pages": 3})
            assert (first.metadata.version, first.metadata.created_by) == (1, "i1")
            assert first.metadata.last_modified == first.registered_at
            updated = await one.update("a", {"priority": 2}, merge=True, expected_version=1)
            assert updated.metadata is not None
            assert (updated.metadata.version, updated.metadata.priority) == (2, 2)
            assert updated.metadata.tags == ("new",)
            with pytest.raises(resroute.VersionConflict) as conflict:
                await one.update("a", {"tags": []}, expected_version=1)
            assert (conflict.value.resource_id, conflict.value.current_version) == ("a", 2)
            with pytest.raises(resroute.InvalidParams) as wrong:
                await one.register("b", metadata={"c": {}})
            assert wrong.value.errors[0]["path"] == "metadata.c"


async def test_what_is_not_renewed_is_lost(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as client:
        async with client.open_instance("s", Accounts()) as one:
            await one.register("a", "b", metadata={"a": {"ttl_seconds": 5.0}})
            await trio.sleep(4)
            renewed = await one.renew("a", "b")
            assert renewed.renewed == ("a", "b")
            [info] = (await client.query_resources(resource_ids=["a"])).resources
            assert renewed.expires_at == {"a": info.expires_at}
            await trio.sleep(4)
            assert set(one.resources) == {"a", "b"}
            await trio.sleep(2)
            assert set(one.resources) == {"b"}
            with pytest.raises(resroute.ResourceNotFound):
                await one.renew("a", ttl_seconds=1)


async def test_what_is_owned_is_free_when_the_block_ends(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as first, open_client_of(router) as second:
        async with first.open_instance("s", Accounts()) as one:
            await one.register("a")
        async with second.open_instance("s", Accounts()) as two:
            await two.register("a")
            assert await first.call("echo", ["still a caller"], resource_id="a") == "still a caller"


async def test_what_is_owned_is_free_when_the_client_goes(autojump_clock: MockClock) -> None:
    async with open_router() as router, open_client_of(router) as second:
        async with open_client_of(router) as first, first.open_instance("s", Accounts()) as one:
            await one.register("a")
        async with second.open_instance("s", Accounts()) as two:
            await two.register("a")


async def test_cancelling_a_call_cancels_it_at_the_callee(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        with trio.move_on_after(2) as scope:
            await story.caller.call("hang", resource_id="account:1")
        assert scope.cancelled_caught
        with trio.fail_after(1):
            await story.accounts.was_cancelled.wait()


async def test_a_call_without_a_deadline_ends_by_the_routers_default(autojump_clock: MockClock) -> None:
    async with open_story(Settings(default_timeout_seconds=5)) as story:
        with pytest.raises(resroute.CallTimeout) as caught:
            await story.caller.call("hang", resource_id="account:1")
        assert (caught.value.timeout_seconds, caught.value.delivery) == (5, "unknown")
        await story.accounts.was_cancelled.wait()


@pytest.mark.parametrize("seconds", [0.001, 0.0137, 1, 2.345])
async def test_a_deadline_is_always_trios_own(seconds: float, autojump_clock: MockClock) -> None:
    async with open_story() as story:
        for _ in range(20):
            with pytest.raises(trio.TooSlowError), trio.fail_after(seconds):
                await story.caller.call("hang", resource_id="account:1")


async def test_a_callee_that_goes_leaves_the_fate_of_its_calls_unknown(autojump_clock: MockClock) -> None:
    errors: list[resroute.OwnerDisconnected] = []

    async def call(caller: Client) -> None:
        with pytest.raises(resroute.OwnerDisconnected) as caught:
            await caller.call("hang", resource_id="a")
        errors.append(caught.value)

    ours, theirs = memory_stream_pair()
    async with open_router() as router, open_client_of(router) as caller, trio.open_nursery() as nursery:
        nursery.start_soon(router.serve_stream, theirs)
        async with open_client_over(ours) as owner:
            async with owner.open_instance("s", Accounts(), instance_id="i1") as instance:
                await instance.register("a")
                nursery.start_soon(call, caller)
                await wait_all_tasks_blocked()
                await trio.aclose_forcefully(ours)
                await owner.wait_closed()
    [error] = errors
    assert (error.instance_id, error.delivery) == ("i1", "unknown")


async def test_a_router_that_goes_ends_every_call_at_once(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_router() as router, open_client_of(router) as client:

            async def call() -> None:
                with pytest.raises(resroute.ConnectionLost) as caught:
                    await client.call("hang", resource_id="a")
                assert (caught.value.code, caught.value.delivery) == (1001, "unknown")

            async with client.open_instance("s", Accounts()) as instance:
                await instance.register("a")
                nursery.start_soon(call)
                await wait_all_tasks_blocked()
                await router.drain(0)
                assert (await client.wait_closed()).code == 1001
                assert instance.resources == {}


async def test_calls_of_one_caller_begin_in_order(autojump_clock: MockClock) -> None:
    seen: list[int] = []

    async def handle(call: Call) -> None:
        seen.append(call.params[0])

    async with open_router() as router, open_client_of(router) as caller, open_client_of(router) as owner:
        async with owner.open_instance("s", handle) as instance:
            await instance.register("a")
            sent: list[int] = []

            async def call(n: int) -> None:
                sent.append(n)
                await caller.call("m", [n], resource_id="a")

            async with trio.open_nursery() as nursery:
                for n in range(200):
                    nursery.start_soon(call, n)
            assert seen == sent


async def test_queries_come_in_pages(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        await story.instance.register(*(f"more:{n}" for n in range(5)))
        page = await story.caller.query_resources(limit=4)
        assert page.total_count == 7
        assert page.has_more
        assert [info.resource_id for info in page.resources] == ["account:1", "account:2", "more:0", "more:1"]
        info = page.resources[0]
        assert (info.owner_instance_id, info.service_name, info.is_healthy) == ("i1", "accounts", True)
        assert info.epoch == story.instance.resources["account:1"]
        assert info.registered_at.tzinfo is not None
        rest = await story.caller.query_resources(limit=4, cursor=page.next_cursor)
        assert [info.resource_id for info in rest.resources] == ["more:2", "more:3", "more:4"]
        assert not rest.has_more
        some = await story.caller.query_resources(resource_ids=["more:3", "free"], service_name="accounts")
        assert [info.resource_id for info in some.resources] == ["more:3"]
        with pytest.raises(resroute.InvalidParams):
            await story.caller.query_resources(limit=0)

        instances = await story.caller.query_instances(service_name="accounts")
        assert (instances.total_count, instances.has_more) == (1, False)
        assert instances.instances[0].instance_id == "i1"
        assert instances.instances[0].resources == 7
        assert (await story.caller.query_instances(instance_id="nobody")).instances == ()


async def test_all_pages_of_a_query_are_gone_through_one_resource_after_the_other(
    autojump_clock: MockClock,
) -> None:
    async with open_story() as story:
        pages = {f"page:{n}": MetadataFields(resource_type="page", tags=["a", f"t{n % 2}"]) for n in range(6)}
        await story.instance.register(*pages, metadata=pages)
        everything = story.caller.all_resources(page_size=3)
        ids = [info.resource_id async for info in everything]
        assert ids == ["account:1", "account:2", *pages]
        assert everything.page is not None
        assert everything.page.total_count == 8

        even = story.caller.all_resources(
            resource_type="page",
            tags=["t0", "a"],
            prefix="page:",
            service_name="accounts",
            instance_id="i1",
            include_metadata=False,
            page_size=1,
        )
        seen: list[str] = []
        async for info in even:
            seen.append(info.resource_id)
            assert info.metadata is None
            if info.resource_id == "page:0":
                await story.instance.release("page:2")
        assert seen == ["page:0", "page:4"]

        some = story.caller.all_resources(resource_ids=["page:1", "nobody"])
        assert [info.resource_id async for info in some] == ["page:1"]
        assert [info async for info in story.caller.all_resources(tags=["nope"])] == []
        with pytest.raises(resroute.InvalidParams):
            await anext(story.caller.all_resources(page_size=1001))


async def test_a_session_learns_who_it_is(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        info = await story.caller.info()
        assert info.session_id.startswith("session-")
        assert info.protocol == "resroute.v1.ndjson"
        assert info.limits["max_timeout_seconds"] == 600
        assert info.heartbeat.interval_seconds == 10
        assert info.instance is None
        own = await story.owner.info()
        assert own.instance == resroute.SessionInstance(service_name="accounts", instance_id="i1")
        await story.caller.ping()


async def test_the_routers_pings_are_answered_for_hours(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        await trio.sleep(3600)
        assert await story.caller.call("echo", ["alive"], resource_id="account:1") == "alive"


async def test_messages_over_the_limit_cost_their_call_and_not_the_session(autojump_clock: MockClock) -> None:
    async with open_story(Settings(max_message_bytes=10_000)) as story:
        with pytest.raises(resroute.AnswerTooLarge):
            await story.caller.call("tell_long", [11_000], resource_id="account:1")
        with pytest.raises(resroute.RemoteError, match="Internal error"):
            await story.caller.call("tell_long", [21_000], resource_id="account:1")
        with pytest.raises(ValueError, match="the router takes 10000"):
            await story.caller.call("echo", ["x" * 10_000], resource_id="account:1")
        assert await story.caller.call("echo", ["alive"], resource_id="account:1") == "alive"


async def test_large_messages_pass(autojump_clock: MockClock) -> None:
    large = ["ß" * 400_000]
    async with open_story() as story:
        assert await story.caller.call("echo", [large], resource_id="account:1") == large


async def test_a_thousand_calls_at_once_are_all_answered(autojump_clock: MockClock) -> None:
    answers: dict[int, int] = {}

    async with open_story() as story:

        async def call(n: int) -> None:
            answers[n] = await story.caller.call("echo", {"value": n}, resource_id=f"account:{1 + n % 2}")

        async with trio.open_nursery() as nursery:
            for n in range(1000):
                nursery.start_soon(call, n)
        statistics = story.caller.statistics()
        assert (statistics.calls_in_flight, statistics.late_answers, statistics.outbox_messages) == (0, 0, 0)
    assert answers == {n: n for n in range(1000)}
    assert trio.current_effective_deadline() == math.inf


async def test_an_administrator_changes_and_releases_what_others_own(autojump_clock: MockClock) -> None:
    settings = Settings(anonymous_roles=("caller", "instance", "admin"))
    async with open_story(settings) as story, story.instance.open_changes() as changes:
        info = await story.caller.update_resource("account:1", {"tags": ["frozen"]}, expected_version=0)
        assert (info.owner_instance_id, info.metadata and info.metadata.tags) == ("i1", ("frozen",))
        with pytest.raises(resroute.VersionConflict):
            await story.caller.update_resource("account:1", {"tags": []}, expected_version=0)
        released = await story.caller.release_resources("account:1", "account:3", partial=True)
        assert (released.released, released.failed) == (("account:1",), {"account:3": "resource_not_found"})
        lost = await anext(changes)
        assert isinstance(lost, resroute.Lost)
        assert (lost.resource_id, lost.cause) == ("account:1", "released_by_admin")
        with pytest.raises(resroute.ResourceNotFound):
            await story.caller.release_resources("account:1")


async def test_nobody_else_may(autojump_clock: MockClock) -> None:
    async with open_story() as story:
        with pytest.raises(resroute.Forbidden):
            await story.caller.update_resource("account:1", {"tags": ["frozen"]})
        with pytest.raises(resroute.Forbidden):
            await story.caller.release_resources("account:1")
        assert sorted(story.instance.resources) == ["account:1", "account:2"]
