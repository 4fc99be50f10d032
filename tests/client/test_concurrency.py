"""How many handlers run at a time: as many as the instance says, whoever counts."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute import Call, Client, Instance, Releasing, Service
from resroute.client.messages import notification_line
from tests.client.networks import open_network
from tests.client.scripted import CALLER, Json, ScriptedRouter, delivered, open_scripted
from tests.client.test_sharing_tasks import answers_of


@attrs.define
class Work:
    """Handlers that end when they are let go, and then take a while to clean up."""

    cleaning_seconds: float = 0.0
    began: list[int] = attrs.field(factory=list)
    running: int = 0
    most: int = 0
    may_end: trio.Event = attrs.field(factory=trio.Event)

    async def handle(self, call: Call) -> int:
        number: int = call.params["n"]
        self.began.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if call.method != "quick":
                await self.may_end.wait()
            return number
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.cleaning_seconds)
            self.running -= 1


@asynccontextmanager
async def open_limited(
    work: Work, max_concurrency: int | None
) -> AsyncGenerator[tuple[Client, ScriptedRouter, trio.CancelScope]]:
    """An instance of a scripted router, which counts nothing, and what ends the instance."""
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        done = trio.Event()

        async def live(*, task_status: trio.TaskStatus[None]) -> None:
            with scope:
                async with client.open_instance("s", work.handle, max_concurrency=max_concurrency):
                    task_status.started()
                    await trio.sleep_forever()
            done.set()

        nursery.start_soon(router.expect_register_instance)
        await nursery.start(live)
        yield client, router, scope
        scope.cancel()
        if not done.is_set():
            await router.expect_leaving()
        await done.wait()


def call(number: int, method: str = "m", call_id: Any = "", **meta: Any) -> Json:
    return delivered(number if call_id == "" else call_id, method, {"n": number}, **meta)


async def test_no_more_run_than_were_asked_for_and_the_rest_in_order(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_limited(work, 3) as (client, router, _):
        await router.send(*(call(n) for n in range(10)))
        await wait_all_tasks_blocked()
        assert (work.began, client.statistics().calls_serving) == ([0, 1, 2], 10)
        await router.send(call(10, "quick"), call(11))
        await wait_all_tasks_blocked()
        assert work.began == [0, 1, 2]
        work.may_end.set()
        answers = await answers_of(router, 12)
        assert {n: answer["result"] for n, answer in answers.items()} == {n: n for n in range(12)}
        assert (work.began, work.most) == (list(range(12)), 3)
        await router.send(*(call(n, "quick") for n in range(12, 18)))
        await answers_of(router, 6)
        assert work.most == 3


async def test_without_a_limit_all_run(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_limited(work, None) as (_, router, _):
        await router.send(*(call(n) for n in range(100)))
        await wait_all_tasks_blocked()
        assert work.running == 100
        work.may_end.set()
        await answers_of(router, 100)


async def test_notifications_that_nobody_works_off_are_dropped_and_counted_and_calls_go_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    large = {"n": 0, "text": "x" * (1024 * 1024 - 2048)}
    async with open_limited(work, None) as (client, router, _):
        for _ in range(40):
            await router.send(delivered(None, "m", large, caller=CALLER))
        await router.send(call(1, "quick"))
        assert (await answers_of(router, 1))[1]["result"] == 1
        assert work.running == 16
        assert client.statistics().dropped_notifications == 24
        assert [record.message for record in caplog.records] == ["notifications_dropped method=m handlers=16"]
        work.may_end.set()
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "m", large, caller=CALLER))
        await wait_all_tasks_blocked()
        assert (len(work.began), work.running) == (18, 0)
        assert client.statistics().dropped_notifications == 24


@pytest.mark.parametrize("is_key", [False, True])
async def test_what_a_notification_says_besides_its_params_counts_too(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, is_key: bool
) -> None:
    work = Work()
    text = "x" * (1024 * 1024 - 2048)
    async with open_limited(work, None) as (client, router, _):
        for _ in range(20):
            meta = {"idempotency_key": text} if is_key else {}
            await router.send(delivered(None, "m" if is_key else text, {"n": 0}, caller=CALLER, **meta))
        await wait_all_tasks_blocked()
        assert (work.running, client.statistics().dropped_notifications) == (16, 4)
        [record] = caplog.records
        assert len(record.message) < 200
        work.may_end.set()


async def test_small_notifications_that_nobody_works_off_are_bounded_too(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_limited(work, 1) as (client, router, _):
        for _ in range(200):
            await router.send(*(call(n, call_id=None, caller=CALLER) for n in range(100)))
        await wait_all_tasks_blocked()
        statistics = client.statistics()
        assert statistics.calls_serving + statistics.dropped_notifications == 20_000
        assert 10_000 < statistics.calls_serving < 16_384
        work.may_end.set()


async def test_notifications_count(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_limited(work, 1) as (_, router, _):
        await router.send(*(call(n, call_id=None, caller=CALLER) for n in range(3)), call(3))
        await wait_all_tasks_blocked()
        assert work.began == [0]
        work.may_end.set()
        await answers_of(router, 1)
        assert (work.began, work.most) == ([0, 1, 2, 3], 1)


async def test_one_that_is_cancelled_counts_until_it_has_ended(autojump_clock: MockClock) -> None:
    work = Work(cleaning_seconds=5)
    async with open_limited(work, 1) as (_, router, _):
        await router.send(call(0))
        await wait_all_tasks_blocked()
        await router.send(delivered(None, "$/cancelRequest", {"id": 0}))
        await router.send(call(1, "quick"))
        began_at = trio.current_time()
        await answers_of(router, 1)
        assert trio.current_time() - began_at == 10
        assert (work.began, work.most) == ([0, 1], 1)


async def test_who_waits_for_room_may_be_cancelled_or_run_out_of_time(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_limited(work, 1) as (client, router, _):
        await router.send(call(0), call(1), call(2, timeout_seconds=1), call(3))
        await router.send(delivered(None, "$/cancelRequest", {"id": 1}))
        await trio.sleep(2)
        work.may_end.set()
        assert set(await answers_of(router, 2)) == {0, 3}
        await wait_all_tasks_blocked()
        assert (work.began, client.statistics().calls_serving) == ([0, 3], 0)


async def test_who_waits_for_room_is_answered_when_the_instance_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    work = Work(cleaning_seconds=1)
    async with open_limited(work, 2) as (_, router, scope):
        await router.send(*(call(n) for n in range(6)))
        await wait_all_tasks_blocked()
        scope.cancel()
        answers: dict[int, Json] = {}
        while len(answers) < 6:
            message = await router.receive()
            if "method" in message:
                await router.answer(message, {"handed_over": 0, "released": 0, "in_flight": 0})
            else:
                answers[message["id"]] = message
        assert {answer["error"]["message"] for answer in answers.values()} == {
            "This instance has stopped serving"
        }
        assert work.most == 2
        await wait_all_tasks_blocked()


async def test_what_a_router_does_not_count_is_counted_here(autojump_clock: MockClock) -> None:
    work = Work(cleaning_seconds=5)
    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("s", work.handle, max_concurrency=2) as instance:
            await instance.register("a")
            session = caller._link.usable
            assert session is not None
            for number in range(4):
                request = {"method": "quick", "resource_id": "a", "params": {"n": number}}
                session.answer(notification_line("route.call", request))
            for number in range(4, 8):
                with trio.move_on_after(1):
                    await caller.call("m", {"n": number}, resource_id="a", idempotency_key="k")
            assert await caller.call("quick", {"n": 8}, resource_id="a") == 8
            assert work.most == 2


async def test_a_handler_that_hands_its_resource_over_does_not_wait_for_what_waits_for_its_room(
    autojump_clock: MockClock,
) -> None:
    service, ran = Service(), list[str]()
    instances: list[Instance] = []

    @service.before_release
    def save(_releasing: Releasing) -> int:
        return 7

    @service.method
    async def move(call: Call) -> str:
        await trio.sleep(1)
        assert call.resource_id is not None
        await instances[0].transfer(call.resource_id, to="other", reason="full")
        return "moved"

    @service.method
    def note() -> None:
        ran.append("here")

    async with (
        open_network() as network,
        network.open_client() as client,
        network.open_client() as another,
        network.open_client() as caller,
        another.open_instance("s", lambda call: call.method, instance_id="other"),
        client.open_instance("s", service, max_concurrency=1) as instance,
    ):
        instances.append(instance)
        await instance.register("a", "b")
        answers: list[str] = []

        async def call_it(method: str, resource_id: str) -> None:
            answers.append(await caller.call(method, resource_id=resource_id))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_it, "move", "a")
            await trio.sleep(0.5)
            session = caller._link.usable
            assert session is not None
            for name in ("a", "b"):
                session.answer(notification_line("route.call", {"method": "note", "resource_id": name}))
            nursery.start_soon(call_it, "note", "a")
        assert trio.current_time() == 1
        assert sorted(answers) == ["moved", "note"], "the call has followed its resource"
        await wait_all_tasks_blocked()
        assert ran == ["here"], "of b, which has stayed"
