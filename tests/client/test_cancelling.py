"""Whenever what a program does is cancelled, and whatever it is told by others: nothing of it is left."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Acquired, BulkResource, Call, Releasing, Service, open_client
from resroute.router.router import Router
from resroute.testing import SOON, MemoryRouter
from tests.client.networks import ScriptedNetwork, open_network, open_scripted_network
from tests.client.scripted import ScriptedRouter, delivered


def documents() -> Service:
    service = Service()

    @service.method
    async def read(call: Call) -> str | None:
        await trio.sleep(0.01)
        return call.resource_id

    @service.method
    async def greet(call: Call) -> None:
        await call.caller.notify("hello")

    @service.method
    async def lines() -> AsyncIterator[int]:
        yield 1
        yield 2

    @service.before_release
    async def save(releasing: Releasing) -> str:
        await trio.sleep(0.01)
        return releasing.resource_id

    @service.after_acquire
    async def load(acquired: Acquired) -> None:
        await trio.sleep(0.01)

    return service


async def live(network: MemoryRouter) -> None:
    """A bit of everything, and in the middle the connections break."""
    async with network.open_client() as client, client.open_instance("documents", documents()) as instance:
        await instance.register("doc:1", "doc:2", metadata={"doc:1": {"tags": ["a"]}})
        with suppress(resroute.ResourceLost):  # if it has ended, and the connection before it could release
            async with instance.own("job:1", metadata={"ttl_seconds": 10}):
                await client.call("read", resource_id="doc:1")
        await instance.bulk_register([BulkResource(resource_id="doc:3"), "doc:4"])
        async with client.open_watch(snapshot=True) as events, instance.open_changes() as changes:
            await network.drop()
            await client.call("read", resource_id="doc:1", wait_for_owner_seconds=10, idempotent=True)
            await anext(events)
            await anext(changes)
        async with client.open_stream("lines", resource_id="doc:2") as chunks:
            async for _ in chunks:
                pass
        await instance.release("doc:1")
        await instance.drain(hand_over_to="nobody")


async def live_with_another(network: MemoryRouter) -> None:
    """What takes two, or an administrator; and what the first life leaves out."""
    async with (
        network.open_client() as client,
        network.open_client() as other,
        client.open_instance("documents", documents(), resume_grace_seconds=GRACE_SECONDS) as instance,
        other.open_instance("documents", documents(), resume_grace_seconds=GRACE_SECONDS) as heir,
    ):
        await instance.register("doc:1", "doc:2", metadata={"doc:1": {"ttl_seconds": 50}})
        await instance.update("doc:1", {"tags": ["a"], "ttl_seconds": 50}, merge=True)
        await instance.renew("doc:1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(heir.register, "doc:1", wait_seconds=20))
            await trio.sleep(0.01)
            await instance.release("doc:1")
        await instance.transfer("doc:2", to=heir.instance_id, reason="test", state={"doc:2": 1})
        async with client.open_notifications() as notes:
            await client.call("greet", resource_id="doc:2")
            await anext(notes)
        await network.drop(other)
        await heir.bulk_release(["doc:2"])
        with suppress(resroute.ResourceLost):
            async with heir.own("job:1", wait_seconds=1):
                assert [info.resource_id async for info in client.all_resources(prefix="job:")] == ["job:1"]
        await client.release_resources("doc:1")
        await client.rebalance_service("documents")
        await client.drain_instance(heir.instance_id)
        await instance.stop()


GRACE_SECONDS = 20.0
LIVES = (live, live_with_another)
Life = Callable[[MemoryRouter], Awaitable[None]]
ADMIN: dict[str, Any] = {"anonymous_roles": ["caller", "instance", "admin"]}


@attrs.frozen
class Moment:
    """So many checkpoints after that time: time does not pass between checkpoints."""

    seconds: float
    checkpoints: int


async def cancel_at(moment: Moment, scope: trio.CancelScope) -> None:
    await trio.sleep(moment.seconds)
    for _ in range(moment.checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def times_of(live: Life) -> list[float]:
    """When something happens in it."""
    times: list[float] = []

    class Watching(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            if not times or trio.current_time() > times[-1]:
                times.append(trio.current_time())

    watching = Watching()
    async with open_network(**ADMIN) as network:
        began_at = trio.current_time()
        trio.lowlevel.add_instrument(watching)
        await live(network)
        trio.lowlevel.remove_instrument(watching)
    return [max(0.0, time - began_at) for time in times]


async def hold(live: Life, moments: Iterable[Moment]) -> int:
    """Cancel at each of these moments. Returns how many of them were within the life."""
    count = 0
    for moment in moments:
        async with open_network(**ADMIN) as network:
            await wait_all_tasks_blocked()  # the router's own tasks have begun
            living = trio.lowlevel.current_statistics().tasks_living
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_at, moment, scope)
                    await live(network)
                    nursery.cancel_scope.cancel()
            count += scope.cancelled_caught
            await trio.sleep(GRACE_SECONDS + 1)  # who is cancelled while it is cut off cannot say so
            await wait_all_tasks_blocked()
            assert set(attrs.astuple(network.router.statistics())) == {0}, moment
            assert trio.lowlevel.current_statistics().tasks_living == living, moment
    return count


@pytest.mark.parametrize("live", LIVES)
async def test_nothing_is_left_whenever_a_program_is_cancelled(live: Life, autojump_clock: MockClock) -> None:
    times = await times_of(live)
    assert 10 < len(times) < 100
    moments = [Moment(time, checkpoints) for time in times for checkpoints in (0, 4)]
    assert await hold(live, moments) > len(times) / 2


@pytest.mark.slow
@pytest.mark.parametrize("live", LIVES)
async def test_nothing_is_left_at_any_moment(live: Life, autojump_clock: MockClock) -> None:
    """Up to where nothing more happens before time has to pass."""
    times = await times_of(live)
    await hold(live, (Moment(time, checkpoints) for time in times for checkpoints in range(40)))


async def test_no_socket_is_left_whenever_a_program_is_cancelled() -> None:
    router = Router()

    def count_sockets() -> int:
        return sum(
            os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
            for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")
        )

    async def live_over_sockets(url: str) -> None:
        async with (
            open_client(url, reconnect=SOON) as client,
            client.open_instance("s", documents()) as instance,
        ):
            await instance.register("doc:1")
            for _ in range(50):
                await client.call("read", resource_id="doc:1")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(router.serve)
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"
            await nursery.start(router.serve_listener, listener)
            before = count_sockets()
            for seconds in (0.0005, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08):
                with trio.move_on_after(seconds):
                    await live_over_sockets(url)
            # the router's ends are closed a moment later, and it tells nobody
            while router.statistics().sessions or count_sockets() > before:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert count_sockets() == before
            nursery.cancel_scope.cancel()


# --- routers of other versions, and who is no router ---------------------------------------------------------------


async def test_a_newer_router_says_more_than_is_known(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        network.options = {"greets": False}

        async def greet() -> ScriptedRouter:
            router = await network.next_router()
            request = await router.expect("session.info")
            await router.answer(
                request,
                {
                    "session_id": "s",
                    "router_id": "r",
                    "protocol": "resroute.v1.ndjson",
                    "features": ["telepathy"],
                    "roles": ["caller", "medium"],
                    "limits": {"max_thoughts": 7, "max_message_bytes": 1024 * 1024},
                    "heartbeat": {"interval_seconds": 1000, "timeout_seconds": 2500, "mood": "calm"},
                    "moon": {"phase": "full"},
                },
            )
            return router

        routers: list[ScriptedRouter] = []

        async def note() -> None:
            routers.append(await greet())

        nursery.start_soon(note)
        async with resroute.open_client_over(network.open_transport, reconnect=SOON) as client:
            [router] = routers
            await router.send(
                {"jsonrpc": "2.0", "method": "session.thinking", "params": {"of": "you"}},
                {"jsonrpc": "2.0", "method": "resource.dreamt", "params": [1]},
                {"jsonrpc": "2.0", "method": "$/telepathy"},
            )
            await wait_all_tasks_blocked()
            assert client.state == "connected"
            assert client.statistics().unreadable_messages == 0


async def test_an_older_router_knows_less(autojump_clock: MockClock) -> None:
    """No limits that are told, no resuming, no drains."""
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        network.options = {"greets": False}

        async def be_old() -> None:
            router = await network.next_router()
            request = await router.expect("session.info")
            info = {"session_id": "s", "router_id": "r", "protocol": "resroute.v1", "limits": {}}
            await router.answer(
                request, info | {"heartbeat": {"interval_seconds": 1000, "timeout_seconds": 2500}}
            )
            await router.expect_register_instance()
            request = await router.expect("resource.query")
            await router.refuse(request, -32601, "method_not_found", method="resource.query")
            request = await router.expect("instance.drain")
            await router.refuse(request, -32601, "method_not_found", method="instance.drain")

        nursery.start_soon(be_old)
        async with resroute.open_client_over(network.open_transport, reconnect=SOON) as client:
            async with client.open_instance("s", documents()):
                with pytest.raises(resroute.MethodNotFound):
                    await client.query_resources()


@pytest.mark.parametrize("code", [-32601, -32600])
async def test_a_server_of_json_rpc_that_is_no_router_is_told_as_such(
    code: int, autojump_clock: MockClock
) -> None:
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        network.options = {"greets": False}

        async def refuse() -> None:
            router = await network.next_router()
            request = await router.expect("session.info")
            await router.send(
                {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": "What?"}}
            )

        nursery.start_soon(refuse)
        with pytest.raises(resroute.ConnectionFailed, match="no resroute router"):
            async with resroute.open_client_over(network.open_transport, reconnect=SOON):
                pass


@pytest.mark.parametrize("wrong", ["http://localhost/", "ws://", "ws://user:secret@localhost/"])
async def test_of_several_urls_each_has_to_be_one(wrong: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        async with open_client(["ws://127.0.0.1:1/", wrong]):
            pass


async def test_at_least_one_url_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        async with open_client([]):
            pass


# --- closing with calls in flight ----------------------------------------------------------------------------------


async def test_closing_ends_calls_in_flight_both_ways(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    async def work(call: Call) -> None:
        try:
            await trio.sleep(5)
        finally:
            ended.append("cancelled" if trio.current_effective_deadline() == float("-inf") else "done")

    async with open_network() as network, network.open_client() as caller, trio.open_nursery() as nursery:
        errors: list[Exception] = []

        async def call(client: resroute.Client) -> None:
            try:
                await client.call("work", service_name="s")
            except resroute.ResrouteError as error:
                errors.append(error)

        with pytest.raises(KeyError):
            async with network.open_client() as client, client.open_instance("s", work):
                nursery.start_soon(call, caller)
                nursery.start_soon(call, client)  # noqa: ASYNC111  # what it does when that ends is the question
                await trio.sleep(1)
                raise KeyError("mine")
        await wait_all_tasks_blocked()
        assert ended == ["cancelled", "cancelled"]
        kinds = [type(error) for error in errors]
        assert resroute.RemoteError in kinds, "whom the instance could still tell"
        assert set(kinds) <= {resroute.RemoteError, resroute.ConnectionLost}
        assert len(kinds) == 2


async def test_a_token_that_is_refused_in_the_middle_is_the_end(autojump_clock: MockClock) -> None:
    """By a stand-in: it greets, and closes with 4001 once the token has expired."""

    async def refuse(network: ScriptedNetwork) -> None:
        router = await network.next_router()
        await router.expect_register_instance()
        await router.send(delivered("r:1", "read", resource_id="doc:1", epoch=1))
        await router.close(4001, "the token has expired")

    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        nursery.start_soon(refuse, network)
        async with resroute.open_client_over(network.open_transport, token="t", reconnect=SOON) as client:
            async with client.open_instance("s", documents()) as instance:
                lost = await client.wait_closed()
                assert isinstance(lost, resroute.TokenRejected)
                with pytest.raises(resroute.TokenRejected):
                    await instance.register("doc:1")
        assert len(network.dialled_at) == 1
