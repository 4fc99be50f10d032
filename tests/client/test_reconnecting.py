"""A client outlives its connections: what waits, what fails, and when it is over."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import open_client_over
from resroute.client import Client
from resroute.testing import SOON
from tests.client.networks import open_network, open_reconnecting, open_scripted_network
from tests.client.scripted import Json, ScriptedRouter
from tests.client.test_calls import start_call


def state_of(client: Client) -> str:
    """Which changes between two lines."""
    return client.state


# --- calls --------------------------------------------------------------------------------------------------------


async def test_a_call_made_while_there_is_no_connection_waits_for_the_next(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        await router.cut()
        await wait_all_tasks_blocked()
        assert state_of(client) == "connecting"
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        again = await network.next_router()
        await again.answer(await again.expect("route.call"), "done")
        await wait_all_tasks_blocked()
        assert result.value == "done"
        assert state_of(client) == "connected"
        assert client.statistics().connections == 2


async def test_a_call_that_waits_for_a_connection_keeps_to_its_deadline(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network):
        network.options = None
        await router.cut()
        began_at = trio.current_time()
        with pytest.raises(trio.TooSlowError), trio.fail_after(100):
            await client.call("m", service_name="s")
        assert trio.current_time() - began_at == 100


async def test_without_a_deadline_it_waits_for_half_a_minute_and_says_what_is_wrong(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, network):
        network.options = None
        await router.cut()
        await wait_all_tasks_blocked()
        began_at = trio.current_time()
        with pytest.raises(resroute.ConnectionLost, match="connection refused") as caught:
            await client.ping()
        assert trio.current_time() - began_at == 30
        assert caught.value.delivery == "not_delivered"
        assert state_of(client) == "connecting"


async def test_a_call_in_flight_fails_for_it_may_have_run(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        await router.expect("route.call")
        await router.cut()
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ConnectionLost)
        assert result.error.delivery == "unknown"
        again = await network.next_router()
        await trio.sleep(100)
        assert again.frames == [], "nobody makes it again"


async def test_an_idempotent_call_in_flight_is_made_again_under_one_key(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", [1], service_name="s", idempotent=True))
        first = await router.expect("route.call")
        await router.cut()
        again = await network.next_router()
        second = await again.expect("route.call")
        await again.answer(second, "done")
        await wait_all_tasks_blocked()
        assert result.value == "done"
        assert first["params"] == second["params"]
        assert len(first["params"]["idempotency_key"]) >= 16


async def test_the_key_is_the_callers_if_it_gives_one(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        start_call(
            nursery, lambda: client.call("m", service_name="s", idempotent=True, idempotency_key="mine")
        )
        for each in (router, None, None):
            router = each or await network.next_router()
            request = await router.expect("route.call")
            assert request["params"]["idempotency_key"] == "mine"
            await router.cut()
        nursery.cancel_scope.cancel()


async def test_each_attempt_has_the_time_that_is_left(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        start_call(nursery, lambda: client.call("m", service_name="s", idempotent=True), seconds=60)
        request = await router.expect("route.call")
        assert request["params"]["timeout_seconds"] == 60
        await trio.sleep(20)
        await router.cut()
        request = await (await network.next_router()).expect("route.call")
        assert 37 <= request["params"]["timeout_seconds"] <= 40
        nursery.cancel_scope.cancel()


async def test_a_question_to_the_router_is_asked_again(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        result = start_call(nursery, client.router_statistics)
        await router.expect("router.statistics")
        await router.cut()
        again = await network.next_router()
        numbers = {"sessions": 1, "resources": 2, "calls_in_flight": 3, "uptime_seconds": 4, "services": {}}
        await again.answer(await again.expect("router.statistics"), numbers)
        await wait_all_tasks_blocked()
        assert isinstance(result.value, resroute.RouterStatistics)


async def test_a_question_that_ends_every_connection_is_given_up(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        result = start_call(nursery, client.router_statistics)
        for _ in range(5):
            await router.expect("router.statistics")
            await router.cut()
            router = await network.next_router()
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ConnectionLost)


async def test_a_stream_ends_with_its_connection(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network):
        with pytest.raises(resroute.ConnectionLost):
            async with client.open_stream("m", service_name="s") as chunks:
                request = await router.expect("route.call")
                await router.send(
                    {"jsonrpc": "2.0", "method": "$/progress", "params": {"token": request["id"], "value": 1}}
                )
                assert await anext(chunks) == 1
                await router.cut()
                await anext(chunks)
        again = await network.next_router()
        assert again.frames == []


async def test_what_the_router_does_not_take_now_is_made_again_when_it_says(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"))
        request = await router.expect("route.call")
        began_at = trio.current_time()
        await router.refuse(
            request, 503, "unavailable", reason="suspended", delivery="not_delivered", retry_after_seconds=7
        )
        await router.answer(await router.expect("route.call"), "done")
        assert 7 <= trio.current_time() - began_at <= 7.2
        await wait_all_tasks_blocked()
        assert result.value == "done"


async def test_whatever_the_router_does_not_take_for_now_is_asked_again_when_it_says(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        asked: list[tuple[str, Callable[[], Awaitable[object]], Json]] = [
            ("session.end", partial(client.end_session, "session-2", reason="test"), {}),
            (
                "instance.drain",
                partial(client.drain_instance, "i2"),
                {"handed_over": 0, "released": 0, "in_flight": 0},
            ),
        ]
        for method, ask, answer in asked:
            result = start_call(nursery, ask)
            began_at = trio.current_time()
            for _ in range(2):
                request = await router.expect(method)
                await router.refuse(request, 429, "too_many_calls", limit=1, retry_after_seconds=7)
            await router.answer(await router.expect(method), answer)
            assert 14 <= trio.current_time() - began_at <= 14.3
            await wait_all_tasks_blocked()
            assert result.error is None, method


async def test_an_instance_asks_again_for_what_the_router_does_not_take_for_now(
    autojump_clock: MockClock,
) -> None:
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("documents", lambda call: None) as instance:
            asked: list[tuple[str, Callable[[], Awaitable[object]], Json]] = [
                (
                    "resource.register",
                    partial(instance.register, "a"),
                    {"success": True, "registered": ["a"], "conflicts": {}, "epochs": {"a": 1}},
                ),
                ("resource.renew", partial(instance.renew, "a"), {"renewed": ["a"], "expires_at": {}}),
                (
                    "resource.release",
                    partial(instance.release, "a"),
                    {"success": True, "released": ["a"], "failed": {}},
                ),
            ]
            for method, ask, answer in asked:
                result = start_call(nursery, ask)
                began_at = trio.current_time()
                request = await router.expect(method)
                await router.refuse(request, 429, "too_many_calls", limit=1, retry_after_seconds=3)
                await router.answer(await router.expect(method), answer)
                assert 3 <= trio.current_time() - began_at <= 3.2
                await wait_all_tasks_blocked()
                assert result.error is None, method
            result = start_call(nursery, partial(instance.bulk_release, ["a"]))
            request = await router.expect("resource.bulk_release")
            await router.refuse(request, 429, "too_many_calls", limit=1, retry_after_seconds=3)
            await router.refuse(await router.expect("resource.bulk_release"), 403, "forbidden", required="x")
            await wait_all_tasks_blocked()
            assert isinstance(result.error, resroute.Forbidden)
            nursery.start_soon(router.expect_leaving)


async def test_a_client_that_is_not_to_try_again_does_not(autojump_clock: MockClock) -> None:
    async with open_reconnecting(retry=None) as (client, router, _), trio.open_nursery() as nursery:
        for method, ask in (
            ("route.call", partial(client.call, "m", resource_id="r")),
            ("session.info", client.info),
        ):
            result = start_call(nursery, ask)
            request = await router.expect(method)
            await router.refuse(request, 429, "too_many_calls", limit=1, retry_after_seconds=1)
            await wait_all_tasks_blocked()
            assert isinstance(result.error, resroute.TooManyCalls)
            assert result.error.retry_after_seconds == 1


async def test_a_call_is_made_again_only_in_its_time(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"), seconds=5)
        request = await router.expect("route.call")
        await router.refuse(
            request, 503, "unavailable", reason="suspended", delivery="not_delivered", retry_after_seconds=7
        )
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.Unavailable), "it is not waited for in vain"


async def test_without_a_deadline_a_call_is_made_again_for_half_a_minute(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"))

        async def refuse() -> None:
            while True:
                request = await router.expect("route.call")
                await router.refuse(
                    request, 503, "unavailable", reason="overloaded", delivery="not_delivered"
                )

        nursery.start_soon(refuse)
        await trio.sleep(24)
        assert not isinstance(result.error, resroute.Unavailable)
        await trio.sleep(7)
        assert isinstance(result.error, resroute.Unavailable)
        nursery.cancel_scope.cancel()


async def test_what_a_callee_answers_stands(autojump_clock: MockClock) -> None:
    looks_alike = {"type": "unavailable", "delivery": "not_delivered", "retry_after_seconds": 1}
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r", idempotent=True))
        request = await router.expect("route.call")
        error = {"code": 503, "message": "later", "data": looks_alike}
        await router.send({"jsonrpc": "2.0", "id": request["id"], "error": error, "meta": {}})
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.RemoteError)


# --- connecting again -------------------------------------------------------------------------------------------------


async def test_it_tries_until_there_is_a_router(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        await network.kill()
        await trio.sleep(1000)
        assert state_of(client) == "connecting"
        assert 400 <= network.dialled <= 4000
        await network.start()
        await client.wait_connected()
        await client.ping()


async def test_a_router_that_closes_says_when_to_come_again(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (_, router, network):
        closing = {"reason": "restart", "reconnect_after_seconds": 25}
        await router.send({"jsonrpc": "2.0", "method": "session.closing", "params": closing})
        await router.close(1001, "going away")
        await network.next_router()
        assert 25 <= network.dialled_at[1] <= 25.5


async def test_a_router_that_falls_silent_is_left(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        async with network.open_client() as client:
            await trio.sleep(1000)
            assert client.statistics().connections == 1, "Pings are enough"
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        network.options = {"heartbeat": {"interval_seconds": 10, "timeout_seconds": 25}}
        await router.cut()
        silent = await network.next_router()
        await client.wait_connected()
        began_at = trio.current_time()
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        await silent.expect("route.call")
        await silent.expect("session.ping")
        assert trio.current_time() - began_at == 12
        network.options = {}
        await network.next_router()
        assert 25 <= trio.current_time() - began_at <= 26
        assert isinstance(result.error, resroute.ConnectionLost)
        assert "silent for 25 seconds" in str(result.error)


async def test_a_router_that_answers_when_asked_is_not_left(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network:
        network.options = {"heartbeat": {"interval_seconds": 10, "timeout_seconds": 25}}
        async with open_client_over(network.open_transport) as client, trio.open_nursery() as nursery:
            router = await network.next_router()

            async def answer_pings() -> None:
                while True:
                    await router.answer(await router.expect("session.ping"), {})

            nursery.start_soon(answer_pings)
            await trio.sleep(500)
            assert client.statistics().connections == 1
            nursery.cancel_scope.cancel()


async def test_what_owners_push_ends_with_the_connection_and_begins_anew(autojump_clock: MockClock) -> None:
    async with open_reconnecting() as (client, router, network):
        async with client.open_notifications() as notes:
            await router.cut()
            with pytest.raises(resroute.ConnectionLost):
                await anext(notes)
        async with client.open_notifications() as notes:
            again = await network.next_router()
            await again.send({"jsonrpc": "2.0", "method": "told", "params": [1]})
            assert (await anext(notes)).params == [1]


# --- the first connection -----------------------------------------------------------------------------------------


async def test_a_first_connection_that_cannot_be_had_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        await network.kill()
        with pytest.raises(resroute.ConnectionFailed, match="connection refused"):
            async with network.open_client():
                pass
        assert network.dialled == 1
        assert trio.current_time() == 0


async def test_it_can_be_waited_for_too(autojump_clock: MockClock) -> None:
    async with open_network() as network, trio.open_nursery() as nursery:
        await network.kill()

        async def start_late() -> None:
            await trio.sleep(100)
            await network.start()

        nursery.start_soon(start_late)
        async with network.open_client(keep_trying=True) as client:
            assert 100 <= trio.current_time() <= 102.1
            await client.ping()


async def test_who_waits_for_it_is_told_what_is_final(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network:
        network.options = {"refuse": (401, "This token has expired.\n")}
        with pytest.raises(resroute.ConnectionFailed, match="expired") as caught:
            async with open_client_over(network.open_transport, keep_trying=True):
                pass
        assert caught.value.http_status == 401


async def test_who_waits_for_it_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        await network.kill()
        with trio.move_on_after(10) as scope:
            async with network.open_client(keep_trying=True):
                pass
        assert scope.cancelled_caught


async def test_what_answers_like_an_echo_is_no_router(autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        network.options = {"greets": False}

        async def echo() -> None:
            router = await network.next_router()
            for _ in range(2):  # what we ask, and what we answer to that
                await router.send(await router.receive())

        nursery.start_soon(echo)
        with pytest.raises(resroute.ConnectionFailed, match="no resroute router"):
            async with open_client_over(network.open_transport, reconnect=SOON):
                pass
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("result", [None, 1, [], {}, {"session_id": 5}, "hello"])
async def test_what_greets_otherwise_is_no_router(result: object, autojump_clock: MockClock) -> None:
    async with open_scripted_network() as network, trio.open_nursery() as nursery:
        network.options = {"greets": False}

        async def greet() -> None:
            router = await network.next_router()
            await router.answer(await router.expect("session.info"), result)

        nursery.start_soon(greet)
        with pytest.raises(resroute.ConnectionFailed, match="no resroute router"):
            async with open_client_over(network.open_transport, reconnect=SOON):
                pass


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (4001, resroute.TokenRejected),
        (4003, resroute.AccessDenied),
        (4009, resroute.SessionReplaced),
        (4010, resroute.SessionEnded),
        (1002, resroute.ConnectionLost),
        (4077, resroute.ConnectionLost),
    ],
)
async def test_a_final_close_code_is_the_end(
    code: int, error_class: type[resroute.ConnectionLost], autojump_clock: MockClock
) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s", idempotent=True))
        await router.expect("route.call")
        await router.close(code, "because")
        lost = await client.wait_closed()
        assert type(lost) is error_class
        assert (lost.code, lost.reason) == (code, "because")
        assert state_of(client) == "closed"
        await wait_all_tasks_blocked()
        assert type(result.error) is error_class
        with pytest.raises(error_class):
            await client.call("m", service_name="s")
        with pytest.raises(error_class):
            await client.wait_connected()
        await trio.sleep(100)
        assert len(network.dialled_at) == 1


@pytest.mark.parametrize(
    ("status", "error_class"), [(401, resroute.TokenRejected), (403, resroute.AccessDenied)]
)
async def test_a_token_that_has_expired_meanwhile_is_the_end(
    status: int, error_class: type[resroute.ConnectionLost], autojump_clock: MockClock
) -> None:
    async with open_reconnecting() as (client, router, network), trio.open_nursery() as nursery:
        network.options = {"refuse": (status, "Because.\n")}
        await router.cut()
        await wait_all_tasks_blocked()
        waiting = start_call(nursery, lambda: client.call("m", service_name="s"))
        lost = await client.wait_closed()
        assert type(lost) is error_class
        assert "Because." in lost.reason
        await wait_all_tasks_blocked()
        assert type(waiting.error) is error_class


async def test_leaving_the_block_ends_what_waits(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        async with open_reconnecting() as (client, router, network):
            network.options = None
            await router.cut()
            await wait_all_tasks_blocked()
            result = start_call(nursery, lambda: client.call("m", service_name="s"))
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.ConnectionLost)
        assert result.error.delivery == "not_delivered"
        assert state_of(client) == "closed"


async def test_nothing_is_left_whenever_the_block_is_cancelled(autojump_clock: MockClock) -> None:
    """At each moment of connecting, of losing the connection and of connecting again."""
    living = trio.lowlevel.current_statistics().tasks_living
    for ticks in range(60):
        async with open_scripted_network() as network:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cut_all(network: object = network) -> None:
                        while True:
                            router: ScriptedRouter = await network.next_router()  # type: ignore[attr-defined]
                            for _ in range(12):
                                await trio.lowlevel.checkpoint()
                            await router.cut()

                    async def cancel(ticks: int = ticks, scope: trio.CancelScope = scope) -> None:
                        for _ in range(ticks):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cut_all)
                    nursery.start_soon(cancel)
                    try:
                        async with open_client_over(
                            network.open_transport, reconnect=resroute.ReconnectPolicy(first_seconds=1e-9)
                        ) as client:
                            while True:
                                await client.call("m", service_name="s", idempotent=True)
                    except resroute.ResrouteError:
                        await trio.sleep_forever()
            assert scope.cancelled_caught
        assert trio.lowlevel.current_statistics().tasks_living == living
