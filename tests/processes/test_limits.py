"""Every limit over real sockets: what is at it passes, what is over it is refused, and nobody else notices."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from tests.fuzz import said
from tests.fuzz.talking import PING, call, request, short
from tests.processes.hostile import connect, open_bystanders, shake_hands
from tests.processes.running import open_router

LIMITS: dict[str, Any] = {
    "max_resources_per_instance": 3,
    "max_message_bytes": 20_000,
    "max_calls_in_flight": 4,
    "max_bulk_items": 5,
    "max_batch_messages": 6,
    "max_metadata_bytes": 100,
    "max_watches": 2,
    "max_state_bytes": 50,
    "max_waiters_per_resource": 3,
    "max_waiters_per_session": 2,
    "max_queued_calls": 2,
    "watch_history_events": 1000,
    "watch_history_bytes": 1_000_000,
    "outbox_soft_bytes": 100_000,
    "max_outbox_bytes": 200_000,
    "max_outbox_total_bytes": 2_000_000,
    "max_sessions": 5,
    "handshake_timeout_seconds": 0.5,
    "write_timeout_seconds": 1.5,
    "probe_timeout_seconds": 1,
    "default_timeout_seconds": 0.5,
    "max_timeout_seconds": 2,
    "max_resume_grace_seconds": 3,
}


async def test_the_limits_that_were_set_are_told() -> None:
    async with open_router(**LIMITS) as router, router.open_session() as session:
        assert (await session.ask("session.info"))["limits"] == LIMITS


async def test_what_a_request_may_hold_has_limits() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as peer:

            async def errors_of(method: str, /, **params: object) -> list[str]:
                answer = await peer.ask(method, **params)
                if "result" in answer:
                    return []
                assert answer["error"]["code"] == -32602
                return [error["path"] for error in answer["error"]["data"]["errors"]]

            identity = {"service_name": "bad", "instance_id": "bad-1"}
            assert await errors_of("instance.register", **identity, metadata={"a": "x" * 93}) == ["metadata"]
            assert await errors_of("instance.register", **identity, metadata={"a": "x" * 101}) == ["metadata"]
            assert await errors_of("instance.register", **identity, metadata={"a": "x" * 92}) == []
            ids = [f"bad:{number}" for number in range(6)]
            assert await errors_of("resource.query", resource_ids=ids[:5]) == []
            assert await errors_of("resource.query", resource_ids=ids) == ["resource_ids"]
            assert await errors_of("resource.bulk_release", resource_ids=ids[:5]) == []
            assert await errors_of("resource.bulk_release", resource_ids=ids) == ["resource_ids"]
            items = [{"resource_id": id} for id in ids]
            assert await errors_of("resource.bulk_register", resources=items) == ["resources"]
            assert await errors_of("resource.bulk_register", resources=items[:5]) == []
            assert await errors_of("resource.register", resource_ids=ids[:3]) == []
            refused = await peer.ask("resource.register", resource_ids=ids[3:4])
            assert short(refused) == ("ask", 429, "resource_limit_exceeded")
            assert (
                refused["error"]["data"] | {"limit": 3, "current": 3, "requested": 1}
                == refused["error"]["data"]
            )
            target = {"resource_id": "good:1", "method": "echo"}
            for seconds, wrong in ((2.5, ["timeout_seconds"]), (0, ["timeout_seconds"])):
                assert await errors_of("route.call", **target, params={}, timeout_seconds=seconds) == wrong
            answer = await peer.ask("route.call", **target, params={"n": 1}, timeout_seconds=2)
            assert answer["result"] == {"n": 1}


async def test_a_grace_has_a_limit() -> None:
    async with open_router(**LIMITS) as router, router.open_session() as session:
        for seconds in (3.001, -0.5):
            pending = await session.start(
                "instance.register", service_name="store", resume_grace_seconds=seconds
            )
            [error] = (await pending.wait_refused()).data["errors"]
            assert error["path"] == "resume_grace_seconds"
        await session.ask("instance.register", service_name="store", resume_grace_seconds=3)
        for seconds in (0, 2.999):
            async with router.open_session() as other:
                await other.ask("instance.register", service_name="store", resume_grace_seconds=seconds)


async def test_watches_have_a_limit() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router), shake_hands(router) as peer:
        ids = [f"bad:{number}" for number in range(6)]
        refused = await peer.ask("resource.watch", resource_ids=ids)
        assert short(refused) == ("ask", -32602, "invalid_params")
        for count in (4, 5):
            assert "result" in await peer.ask("resource.watch", resource_ids=ids[:count])
        assert short(await peer.ask("resource.watch")) == ("ask", 429, "too_many_watches")


async def test_a_message_has_a_limit_whole_in_fragments_or_announced() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        at_the_limit = (PING % 1).encode().ljust(20_000)
        over = at_the_limit + b" "
        for make in (said.text, lambda data: said.fragments(data, 700)):
            async with shake_hands(router) as peer:
                await peer.send(make(at_the_limit))
                assert [short(answer) for answer in await peer.hear()] == [(1, "result")]
                await peer.send(make(over))
                assert await peer.wait_closed() == 1009
        async with shake_hands(router) as peer:
            await peer.send(said.frame(said.TEXT, size=2**62, size_bytes=8))
            assert await peer.wait_closed() == 1009
        async with shake_hands(router) as owner:  # of which answers are read up to twice the limit
            await owner.ask("instance.register", service_name="bad")
            await owner.send(said.text(over))
            assert await owner.wait_closed() == 1009


async def test_an_answer_has_a_limit() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad")
            await owner.ask("resource.register", resource_ids=["bad:1"])

            async def answer_with(size: int) -> tuple[object, ...] | None:
                await caller.say(call(1, "bad:1"))
                [delivered] = await owner.hear()
                message = '{"jsonrpc":"2.0","id":%d,"result":"' % delivered["id"]
                await owner.say(message + "r" * (size - len(message) - 2) + '"}')
                heard = await caller.hear()
                return short(heard[0]) if heard else None

            assert await answer_with(20_000) == (1, "result")
            assert await answer_with(20_001) == (1, 413, "answer_too_large")
            assert await answer_with(40_000) == (1, 413, "answer_too_large")
            assert await answer_with(40_001) == (1, 502, "owner_disconnected")
            assert await owner.wait_closed() == 1009


async def test_batches_have_a_limit() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router), shake_hands(router) as peer:
        for count in (5, 6):
            await peer.say(f"[{','.join([PING % 1] * count)}]")
            [answers] = await peer.hear()
            assert len(answers) == count
        await peer.say(f"[{','.join([PING % 1] * 7)}]")
        assert [short(answer) for answer in await peer.hear()] == [(None, -32600, "invalid_request")]


@pytest.mark.parametrize("is_batch", [False, True])
async def test_calls_in_flight_have_a_limit_and_cancelling_makes_room(is_batch: bool) -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad")
            await owner.ask("resource.register", resource_ids=["bad:1"])
            calls = [call(number, "bad:1", timeout_seconds=2) for number in range(4)]
            await caller.say(*([f"[{','.join(calls)}]"] if is_batch else calls))
            assert len(await owner.hear(4)) == 4
            for member in (call(4, "bad:1"), PING % 4):
                await caller.say(member)
                assert [short(answer) for answer in await caller.hear()] == [(4, 429, "too_many_calls")]
            await caller.say('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":0}}', PING % 5)
            heard = [short(answer) for answer in await caller.hear(1 if is_batch else 2)]
            assert heard == [*([] if is_batch else [(0, 499, "call_cancelled")]), (5, "result")]


async def test_the_line_of_an_instance_has_a_limit() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad", max_concurrency=1)
            await owner.ask("resource.register", resource_ids=["bad:1"])
            await caller.say(*(call(number, "bad:1", timeout_seconds=2) for number in range(4)))
            assert [short(answer) for answer in await caller.hear()] == [(3, 503, "unavailable")]
            for number in range(3):
                [delivered] = await owner.hear()
                await owner.say('{"jsonrpc":"2.0","id":%d,"result":1}' % delivered["id"])
                assert [short(answer) for answer in await caller.hear()] == [(number, "result")]


async def test_those_who_wait_for_one_resource_have_a_limit() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router), shake_hands(router) as caller:
        waits = {"timeout_seconds": 2, "wait_for_owner_seconds": 0.5}
        await caller.say(*(call(number, "bad:1", **waits) for number in range(4)))
        assert [short(answer) for answer in await caller.hear()] == [(3, 429, "too_many_waiters")]
        heard = [short(answer) for answer in await caller.hear(3)]
        assert heard == [(number, 404, "resource_not_found") for number in range(3)]


async def test_those_who_wait_to_register_have_limits() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as first, shake_hands(router) as second:
            for name, peer in (("owner", owner), ("first", first), ("second", second)):
                await peer.ask("instance.register", service_name="bad", instance_id=name)
            await owner.ask("resource.register", resource_ids=["bad:1", "bad:2"])

            def wait(number: int, name: str) -> str:
                params = json.dumps({"resource_ids": [name], "wait_seconds": 2})
                return request("resource.register", params, str(number))

            await first.say(*(wait(number, "bad:1") for number in range(3)))
            assert [short(answer) for answer in await first.hear()] == [(2, 429, "too_many_waiters")]
            await second.say(wait(0, "bad:1"), wait(1, "bad:1"))
            assert [short(answer) for answer in await second.hear()] == [(1, 429, "too_many_waiters")]
            await second.say(wait(1, "bad:2"))
            await owner.ask("resource.release", resource_ids=["bad:1"])
            assert [short(answer) for answer in await first.hear(2)] == [(0, "result"), (1, "result")]
            heard = [short(answer) for answer in await second.hear(2)]
            assert heard == [(number, 409, "resource_conflict") for number in range(2)]


async def test_a_call_without_a_time_of_its_own_has_the_default() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router) as owner, shake_hands(router) as caller:
            await owner.ask("instance.register", service_name="bad")
            await owner.ask("resource.register", resource_ids=["bad:1"])
            answer = await caller.ask("route.call", resource_id="bad:1", method="never")
            assert short(answer) == ("ask", 504, "call_timeout")
            assert answer["error"]["data"]["timeout_seconds"] == 0.5


async def test_there_are_no_more_sessions_than_there_may_be() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router):
        async with shake_hands(router), shake_hands(router):
            async with shake_hands(router) as last:
                assert (await last.ask("session.ping"))["result"]
                async with shake_hands(router) as one_too_many:
                    assert await one_too_many.wait_closed() == 4029
            await router.wait_metrics(lambda metrics: metrics["sessions"] == 4)
            async with shake_hands(router) as again:
                assert (await again.ask("session.ping"))["result"]


async def test_a_handshake_has_a_limit_of_time() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router), connect(router) as peer:
        began = trio.current_time()
        await peer.over.wait()
        assert trio.current_time() - began >= 0.4


async def test_who_reads_nothing_is_ended_and_its_outbox_is_bounded() -> None:
    async with open_router(**LIMITS) as router, open_bystanders(router) as bystanders:
        async with await trio.open_tcp_stream("127.0.0.1", router.port) as stream:
            await stream.send_all(said.handshake("resroute.v1"))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")  # frames may not come before
            info = said.text(request("session.info").encode())
            with trio.move_on_after(20):  # it may have to fill the sockets' buffers first
                try:
                    while True:
                        await stream.send_all(info * 100)
                        metrics = await router.metrics()
                        assert metrics["outbox_bytes"] < 2 * LIMITS["max_outbox_bytes"]
                except trio.BrokenResourceError:
                    pass
            await router.wait_metrics(lambda metrics: metrics["sessions"] == 2)
        await bystanders.wait_served()


async def test_what_all_sessions_take_has_a_limit_and_the_largest_goes_first() -> None:
    limits = LIMITS | {"max_outbox_total_bytes": 50_000}
    async with open_router(**limits) as router, open_bystanders(router):
        async with shake_hands(router) as small, shake_hands(router) as large, shake_hands(router) as other:
            for peer, size in ((small, 10_000), (large, 19_000), (other, 15_000)):
                await peer.send(said.frame(said.TEXT, b" " * size, fin=False))
                await peer.wait_pong()
            assert (await router.metrics())["sessions"] == 5
            await small.send(said.frame(said.CONTINUATION, b" " * 8_500, fin=False))
            assert await large.wait_closed() == 4008
            for peer in (small, other):
                await peer.send(said.frame(said.CONTINUATION, (PING % 1).encode()))
                assert [short(answer) for answer in await peer.hear()] == [(1, "result")]


async def test_sessions_are_as_many_as_there_may_be_open_files_and_the_router_says_so() -> None:
    async with open_router(max_open_files=140) as router, open_bystanders(router) as bystanders:
        assert (await bystanders.caller.ask("session.info"))["limits"]["max_sessions"] == 12
        [warning] = [json.loads(line) for line in router.program.lines if b"fewer sessions than set" in line]
        assert (warning["level"], warning["max_sessions"], warning["wanted"]) == ("warning", 12, 10_000)
        async with AsyncExitStack() as stack:
            for _ in range(10):
                peer = await stack.enter_async_context(shake_hands(router))
                assert (await peer.ask("session.ping"))["result"]
            one_too_many = await stack.enter_async_context(shake_hands(router))
            assert await one_too_many.wait_closed() == 4029


async def test_more_connections_than_open_files_cost_nobody_who_is_in() -> None:
    async with open_router(max_open_files=140, handshake_timeout_seconds=1) as router:
        async with (
            router.open_instance("good-2", "good:2") as owner,
            router.open_session() as caller,
            AsyncExitStack() as stack,
        ):
            strangers = [await stack.enter_async_context(connect(router)) for _ in range(200)]
            for number in range(20):
                pending = await caller.start_call("echo", resource_id="good:2")
                await owner.answer(await owner.next_request(), number)
                assert await pending.wait() == number
            assert (await router.metrics())["sessions"] == 2, "there are files left for the admin pages"
            for stranger in strangers:
                await stranger.over.wait()
            newcomer = await stack.enter_async_context(shake_hands(router))
            assert (await newcomer.ask("session.ping"))["result"]
        await router.wait_baseline()
        assert not any(b"Traceback" in line for line in router.program.lines)
