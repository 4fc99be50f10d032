"""The router's own process is told to stop, told twice, or killed: what its sessions see, and what comes after."""

import json
import signal

import trio

from tests.fuzz import said
from tests.processes.hostile import connect
from tests.processes.running import Serving, open_router


async def test_a_router_that_is_told_to_stop_lets_calls_finish_and_says_goodbye() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
    ):
        calls = [await session.start_call("sleep", {"seconds": 1}, resource_id="doc:1") for _ in range(20)]
        await owner.wait_requests(20)
        router.program.send_signal(signal.SIGTERM)

        notice = await session.next_notice()
        assert notice["method"] == "session.closing"
        assert notice["params"]["reconnect_after_seconds"] > 0
        late = await (await session.start_call("echo", resource_id="doc:1")).wait_refused()
        assert (late.code, late.type, late.data["reason"]) == (503, "unavailable", "draining")
        assert late.data["delivery"] == "not_delivered"
        for call in calls:
            assert await call.wait() == {"by": "store-1"}

        await session.closed.wait()
        closed_at = trio.current_time()
        assert session.close_code == 1001
        assert (await owner.wait_event("closed"))["closed"] == 1001
        assert [notice["method"] for notice in owner.notices()] == ["session.closing"]
        assert await router.program.wait_ended() == 0
        assert trio.current_time() - closed_at < 1.5, "it waits for nobody who has said goodbye"


async def test_calls_that_stand_in_line_when_a_router_is_told_to_stop_have_their_turn() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", "doc:1", max_concurrency=2) as owner,
        router.open_session() as session,
    ):
        calls = [await session.start_call("sleep", {"seconds": 0.3}, resource_id="doc:1") for _ in range(6)]
        await owner.wait_requests(2)
        await session.ask("session.ping")  # behind the calls: the router has seen them all
        router.program.send_signal(signal.SIGTERM)
        assert (await session.next_notice())["method"] == "session.closing"
        assert len(owner.requests()) == 2
        for call in calls:
            assert await call.wait() == {"by": "store-1"}
        assert await router.program.wait_ended() == 0


async def test_calls_that_do_not_finish_in_time_are_ended_and_the_router_still_stops_cleanly() -> None:
    async with (
        open_router(drain_seconds=0.5) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
    ):
        call = await session.start_call("hold", resource_id="doc:1")
        await owner.wait_requests(1)
        router.program.send_signal(signal.SIGTERM)
        await session.closed.wait()
        assert session.close_code == 1001
        assert call.message is None or call.refused is not None
        assert await router.program.wait_ended() == 0


async def test_a_router_that_drains_says_so_first_and_takes_nothing_new() -> None:
    async with (
        open_router(drain_seconds=60) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
        router.open_session() as newcomer,
    ):
        in_flight = await session.start_call("sleep", {"seconds": 1.5}, resource_id="doc:1")
        waits = await session.start_call("echo", resource_id="doc:none", wait_for_owner_seconds=50)
        await owner.wait_requests(1)
        await session.ask("session.ping")
        router.program.send_signal(signal.SIGTERM)
        notices = [await each.next_notice() for each in (session, newcomer)]

        status, body = await router.ask_ready()
        assert (status, json.loads(body)["status"]) == (503, "draining")
        assert len({notice["params"]["reconnect_after_seconds"] for notice in notices}) == 2
        ended = await waits.wait_refused()
        assert (ended.type, ended.data["reason"]) == ("unavailable", "draining")
        assert ended.data["delivery"] == "not_delivered"
        assert not in_flight.is_settled, "what waits for an owner ends at once, what one has does not"
        become = await newcomer.start("instance.register", service_name="store")
        call = await newcomer.start_call("echo", resource_id="doc:1")
        for refused in (await become.wait_refused(), await call.wait_refused()):
            assert (refused.code, refused.data["reason"]) == (503, "draining")
        async with connect(router) as late:
            await late.send(said.handshake("resroute.v1"))
            await late.over.wait()
            assert late.refusal is not None and late.refusal.startswith(b"HTTP/1.1 503")
        assert await in_flight.wait() == {"by": "store-1"}
        assert await router.program.wait_ended() == 0


async def test_a_wish_to_reread_the_settings_does_not_cut_a_drain_short() -> None:
    async with (
        open_router(drain_seconds=60) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
    ):
        call = await session.start_call("sleep", {"seconds": 1}, resource_id="doc:1")
        await owner.wait_requests(1)
        router.program.send_signal(signal.SIGTERM)
        await session.next_notice()
        router.program.send_signal(signal.SIGHUP)
        assert await call.wait() == {"by": "store-1"}
        assert await router.program.wait_ended() == 0


async def test_a_second_signal_ends_a_router_at_once() -> None:
    async with (
        open_router(drain_seconds=60) as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
    ):
        call = await session.start_call("hold", resource_id="doc:1")
        await owner.wait_requests(1)
        router.program.send_signal(signal.SIGTERM)
        assert (await session.next_notice())["method"] == "session.closing"

        router.program.send_signal(signal.SIGTERM)
        assert await router.program.wait_ended() == -signal.SIGTERM
        await call.wait_settled()
        assert call.message is None
        assert (await owner.wait_event("closed"))["closed"] is None


async def register_and_call(router: Serving, resource_id: str) -> int:
    """Own a resource for a moment. Returns its epoch, as a call to it says."""
    async with router.open_instance("store-2") as owner, router.open_session() as session:
        granted = await owner.ask("resource.register", resource_ids=[resource_id])
        call = await session.start_call("get", resource_id=resource_id)
        request = await owner.next_request()
        await owner.answer(request, "here")
        assert await call.wait() == "here"
        epoch: int = request["meta"]["epoch"]
        assert granted["epochs"] == {resource_id: epoch}
        return epoch


async def test_a_killed_router_is_seen_to_be_gone_and_the_next_one_grants_greater_epochs() -> None:
    async with open_router() as first:
        async with (
            first.open_owner("store-1", "doc:1") as owner,
            first.open_session() as session,
        ):
            epochs = [await register_and_call(first, "doc:2") for _ in range(10)]
            assert epochs == sorted(set(epochs))
            call = await session.start_call("hold", resource_id="doc:1")
            await owner.wait_requests(1)

            killed_at = trio.current_time()
            first.program.send_signal(signal.SIGKILL)
            await session.closed.wait()
            seconds = trio.current_time() - killed_at
            print(f"seen to be gone after {seconds * 1000:.1f} ms")
            assert seconds < 3
            assert session.close_code is None
            assert call.message is None
            assert (await owner.wait_event("closed"))["closed"] is None
            assert await first.program.wait_ended() == -signal.SIGKILL

        async with open_router(port=first.port) as second:
            assert second.url == first.url
            async with second.open_session() as session:
                unowned = await (await session.start_call("echo", resource_id="doc:1")).wait_refused()
                assert (unowned.code, unowned.type) == (404, "resource_not_found")
            assert await register_and_call(second, "doc:2") > max(epochs)
