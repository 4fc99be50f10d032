"""Calls: what a client sends, and what becomes of the answers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute.client import Client
from tests.client.scripted import Json, ScriptedRouter, answer_to, open_scripted, refusal_of


class Result:
    """What a call in a task of its own came to."""

    value: Any = None
    error: Exception | None = None
    was_cancelled = False


def start_call(nursery: trio.Nursery, call: Callable[[], Any], seconds: float = math.inf) -> Result:
    """Make a call in a task of its own, under a deadline."""
    result = Result()

    async def make() -> None:
        with trio.move_on_after(seconds) as scope:
            try:
                result.value = await call()
            except Exception as error:
                result.error = error
        result.was_cancelled = scope.cancelled_caught

    nursery.start_soon(make)
    return result


async def test_a_call_names_what_it_was_given_and_nothing_else(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("get", {"n": 1}, resource_id="user:1"))
        request = await router.expect("route.call")
        assert request == {
            "jsonrpc": "2.0",
            "id": request["id"],
            "method": "route.call",
            "params": {"method": "get", "params": {"n": 1}, "resource_id": "user:1"},
        }
        await router.answer(request, ["done"])
        await wait_all_tasks_blocked()
        assert result.value == ["done"]


async def test_everything_a_call_can_say_is_sent(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        start_call(
            nursery,
            lambda: client.call(
                "get",
                (1, 2),
                resource_id="r",
                service_name="s",
                wait_for_owner_seconds=0.5,
                idempotency_key="k",
            ),
        )
        request = await router.expect("route.call")
        assert request["params"] == {
            "method": "get",
            "params": [1, 2],
            "resource_id": "r",
            "service_name": "s",
            "wait_for_owner_seconds": 0.5,
            "idempotency_key": "k",
        }
        await router.answer(request, None)


async def test_the_time_that_is_left_travels_with_the_call(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        start_call(nursery, lambda: client.call("m", service_name="s"), seconds=2.5)
        request = await router.expect("route.call")
        assert request["params"]["timeout_seconds"] == pytest.approx(2.5)
        await router.answer(request, None)


async def test_a_deadline_beyond_the_routers_maximum_is_cut_to_it(autojump_clock: MockClock) -> None:
    async with (
        open_scripted(limits={"max_timeout_seconds": 20}) as (client, router),
        trio.open_nursery() as nursery,
    ):
        start_call(nursery, lambda: client.call("m", service_name="s"), seconds=100)
        request = await router.expect("route.call")
        assert request["params"]["timeout_seconds"] == 20
        await router.answer(request, None)


async def test_a_call_whose_time_is_up_already_is_cancelled_and_never_sent(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router):
        for deadline in (trio.current_time(), trio.current_time() - 1, -math.inf):
            with trio.CancelScope(deadline=deadline) as scope:
                await client.call("m", service_name="s")
            assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert router.frames == []
        assert client.statistics().calls_in_flight == 0


async def test_a_call_that_runs_out_of_time_is_cancelled_at_the_router_and_forgotten(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=3)
        request = await router.expect("route.call")
        cancel = await router.expect("$/cancelRequest")
        assert result.was_cancelled
        assert trio.current_time() == pytest.approx(3)
        assert cancel["params"] == {"id": request["id"]}
        assert "id" not in cancel
        assert client.statistics().calls_in_flight == 0


async def test_a_late_answer_finds_nobody_and_is_counted(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        start_call(nursery, lambda: client.call("m", service_name="s"), seconds=3)
        request = await router.expect("route.call")
        await router.expect("$/cancelRequest")
        await router.refuse(request, 499, "call_cancelled", delivery="unknown")
        await router.answer({"id": "never asked"}, 1)
        await wait_all_tasks_blocked()
        assert client.statistics().late_answers == 2


async def test_the_second_answer_to_a_call_counts_as_late(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        request = await router.expect("route.call")
        await router.send(answer_to(request, 1), answer_to(request, 2))
        await wait_all_tasks_blocked()
        assert result.value == 1
        assert client.statistics().late_answers == 1


async def test_a_timeout_by_the_routers_clock_shows_as_the_callers_own_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=3)
        request = await router.expect("route.call")
        await trio.sleep(2.99)
        await router.refuse(request, 504, "call_timeout", timeout_seconds=3, delivery="unknown")
        await trio.sleep(1)
        assert result.was_cancelled
        assert result.error is None


async def test_a_timeout_is_raised_to_a_caller_that_has_put_off_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        scope = trio.CancelScope(relative_deadline=3)
        result = Result()

        async def call() -> None:
            with scope:
                with pytest.raises(resroute.CallTimeout) as caught:
                    await client.call("m", service_name="s")
                result.error = caught.value

        nursery.start_soon(call)
        request = await router.expect("route.call")
        scope.deadline += 60
        await trio.sleep(3)
        await router.refuse(request, 504, "call_timeout", timeout_seconds=3, delivery="unknown")
        await wait_all_tasks_blocked()
        assert result.error is not None
        assert trio.current_time() == pytest.approx(3)


async def test_a_timeout_that_is_not_the_callers_is_raised(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        unbounded = start_call(nursery, lambda: client.call("m", service_name="s"))
        request = await router.expect("route.call")
        await router.refuse(request, 504, "call_timeout", timeout_seconds=30, delivery="unknown")
        beyond = start_call(nursery, lambda: client.call("m", service_name="s"), seconds=1000)
        request = await router.expect("route.call")
        await router.refuse(request, 504, "call_timeout", timeout_seconds=600, delivery="unknown")
        await wait_all_tasks_blocked()
        for result in (unbounded, beyond):
            assert isinstance(result.error, resroute.CallTimeout)
            assert result.error.delivery == "unknown"


async def test_integers_of_any_size_survive_both_ways(autojump_clock: MockClock) -> None:
    large = [2**63, 2**64, -(2**70), 10**40]
    params = {"large": large, "none": [math.nan, -math.inf]}
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", params, service_name="s"))
        request = await router.expect("route.call")
        assert f'"large":{str(large).replace(" ", "")},"none":[null,null]' in router.frames[0]
        await router.send_text(f'{{"jsonrpc":"2.0","id":{request["id"]},"result":{large}}}')
        await wait_all_tasks_blocked()
        assert result.value == large


@pytest.mark.parametrize(
    "params",
    [
        {"a": object()},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": "\ud800"},
        {"a": "\ud800", "n": 2**64},
        {1: 2},
        {"a": 2**64, "b": b"x"},
    ],
)
async def test_what_json_cannot_say_is_refused_before_anything_is_sent(
    params: Any, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (client, router):
        with pytest.raises(TypeError):
            await client.call("m", params, service_name="s")
        await wait_all_tasks_blocked()
        assert router.frames == []
        assert client.statistics().calls_in_flight == 0


async def test_a_call_that_is_larger_than_the_router_takes_is_refused_here(autojump_clock: MockClock) -> None:
    async with open_scripted(limits={"max_message_bytes": 2000}) as (client, router):
        with pytest.raises(ValueError, match="the router takes 2000"):
            await client.call("m", {"text": "x" * 2000}, service_name="s")
        await wait_all_tasks_blocked()
        assert router.frames == []


async def test_an_answer_may_be_as_large_as_an_operator_allows(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", service_name="s"))
        await router.answer(await router.expect("route.call"), "x" * 8_000_000)
        await wait_all_tasks_blocked()
        assert len(result.value) == 8_000_000


ROUTER_ERRORS: list[tuple[int, str, Json, type[resroute.RouterError]]] = [
    (401, "unauthenticated", {}, resroute.Unauthenticated),
    (403, "forbidden", {"required": "caller"}, resroute.Forbidden),
    (404, "resource_not_found", {"resource_id": "r"}, resroute.ResourceNotFound),
    (404, "service_not_found", {"service_name": "s"}, resroute.ServiceNotFound),
    (502, "owner_disconnected", {"instance_id": "i", "delivery": "unknown"}, resroute.OwnerDisconnected),
    (503, "unavailable", {"reason": "overloaded", "delivery": "not_delivered"}, resroute.Unavailable),
    (413, "answer_too_large", {"limit": 7, "delivery": "unknown"}, resroute.AnswerTooLarge),
    (429, "too_many_calls", {"limit": 1024}, resroute.TooManyCalls),
    (-32602, "invalid_params", {"errors": [{"path": "a", "message": "b"}]}, resroute.InvalidParams),
    (418, "of_a_newer_router", {}, resroute.UnknownRouterError),
]


@pytest.mark.parametrize(("code", "kind", "data", "error_class"), ROUTER_ERRORS)
async def test_each_error_of_the_routers_has_its_class(
    code: int, kind: str, data: Json, error_class: type[resroute.RouterError], autojump_clock: MockClock
) -> None:
    async with open_scripted(retry=None) as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"))
        await router.refuse(await router.expect("route.call"), code, kind, **data)
        await wait_all_tasks_blocked()
        assert type(result.error) is error_class
        assert result.error.code == code
        assert result.error.trace_id == "t"
        assert {name: getattr(result.error, name) for name in data} == data


@pytest.mark.parametrize("meta", [None, {}, {"trace_id": "t"}, {"origin": "somebody"}])
async def test_a_callees_error_that_looks_like_the_routers_is_its_own(
    meta: Json | None, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"))
        answer = refusal_of(await router.expect("route.call"), 404, "resource_not_found", resource_id="r")
        del answer["meta"]
        await router.send(answer if meta is None else answer | {"meta": meta})
        await wait_all_tasks_blocked()
        assert type(result.error) is resroute.RemoteError
        assert result.error.code == 404
        assert result.error.data["type"] == "resource_not_found"


async def test_an_answer_that_cannot_be_built_fails_its_call_alone(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        result = start_call(nursery, lambda: client.call("m", resource_id="r"))
        request = await router.expect("route.call")
        await router.send_text(f'{{"jsonrpc":"2.0","id":{request["id"]},"result":1e999}}')
        other = start_call(nursery, lambda: client.call("m", resource_id="r"))
        request = await router.expect("route.call")
        await router.send_text(
            f'{{"jsonrpc":"2.0","id":{request["id"]},"error":{{"code":1,"message":"m","data":1e999}}}}'
        )
        await wait_all_tasks_blocked()
        assert isinstance(result.error, resroute.InvalidAnswer)
        assert isinstance(other.error, resroute.InvalidAnswer)
        nothing = start_call(nursery, lambda: client.call("m", resource_id="r"))
        request = await router.expect("route.call")
        await router.send({"jsonrpc": "2.0", "id": request["id"]})
        await wait_all_tasks_blocked()
        assert isinstance(nothing.error, resroute.InvalidAnswer)
        await check_alive(client, router)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "7",
        "[]",
        '{"jsonrpc":"2.0","id":true,"result":1}',
        '{"jsonrpc":"2.0","id":1.5,"result":1}',
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}',
        '{"jsonrpc":"2.0","method":7}',
        "[" * 5000,
    ],
)
async def test_what_cannot_be_understood_is_counted_and_the_session_lives(
    text: str, autojump_clock: MockClock
) -> None:
    async with open_scripted() as (client, router):
        await router.send_text(text)
        await wait_all_tasks_blocked()
        assert client.statistics().unreadable_messages == 1
        await check_alive(client, router)


async def check_alive(client: Client, router: ScriptedRouter) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.ping)
        await router.answer(await router.expect("session.ping"), {})
