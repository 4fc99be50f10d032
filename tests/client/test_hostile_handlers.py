"""What handlers may do to those whose calls they do not work on: nothing."""

import contextvars
import time
from collections.abc import AsyncGenerator
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from resroute import Call, Instance, Releasing, RemoteError, Service
from tests.client.networks import open_network
from tests.client.scripted import delivered
from tests.client.test_serving import ask, open_serving
from tests.client.test_sharing_tasks import answers_of

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_a_call_that_was_held_sees_nothing_of_the_handler_that_lets_it_go(
    autojump_clock: MockClock,
) -> None:
    service = Service()
    instances: list[Instance] = []

    @service.method
    async def keep_after_all() -> None:
        variable.set("of another")
        with pytest.raises(ValueError, match="not now"):
            await instances[0].release("r")
        await trio.sleep(1)  # so that another task takes what was held

    @service.method
    def tell() -> str:
        return variable.get()

    @service.before_release
    async def save(releasing: Releasing) -> None:
        await trio.sleep(1)
        if releasing.cause == "request":
            raise ValueError("not now")

    async with open_network() as network, network.open_client() as owner, network.open_client() as caller:
        async with owner.open_instance("s", service) as instance, trio.open_nursery() as nursery:
            instances.append(instance)
            await instance.register("r")
            nursery.start_soon(partial(caller.call, "keep_after_all", service_name="s"))
            await trio.sleep(0.5)
            assert await caller.call("tell", resource_id="r") == "unset"
            assert trio.current_time() >= 1, "it was held"


async def test_an_error_that_is_far_too_large_is_a_bug_of_the_callees(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(call: Call) -> None:
        raise RemoteError(1, "no", "x" * 5000)

    async with open_serving(refuse, limits={"max_message_bytes": 2000}) as (_, router):
        answer = await ask(router, delivered(1, "m", trace_id="t1"))
        assert answer["error"] == {"code": -32000, "message": "Internal error in 'm'"}
    assert [record.getMessage() for record in caplog.records] == ["call_failed method=m trace_id=t1"]


async def test_a_scope_that_a_handler_leaves_open_does_not_end_the_instance(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[AsyncGenerator[int]] = []

    async def values() -> AsyncGenerator[int]:
        with trio.move_on_after(1):
            yield 1  # noqa: ASYNC101, ASYNC119  # as nobody should

    async def handle(call: Call) -> int:
        if call.method == "careless":
            left.append(values())
            return await anext(left[0])
        await trio.sleep(5)
        return 2

    async with open_serving(handle) as (_, router):
        answer = await ask(router, delivered(1, "careless"))
        assert answer["result"] == 1
        for n in (2, 3):
            answer = await ask(router, delivered(n, "careful"))
            assert answer["result"] == 2
    assert [record.getMessage() for record in caplog.records] == ["scope_left_open"]
    await left[0].aclose()


async def test_many_that_compute_for_a_while_let_others_run_in_between(autojump_clock: MockClock) -> None:
    """Pings, say: each of them alone is far from blocking, and all together would."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    def compute(call: Call) -> int:
        time.sleep(0.06)
        return turns

    async with open_serving(compute) as (_, router), trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await router.send(*(delivered(n, "m") for n in range(10)))
        answers = await answers_of(router, 10)
        nursery.cancel_scope.cancel()
    seen = [answers[n]["result"] for n in range(10)]
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


@pytest.mark.parametrize("is_typed", [True, False])
async def test_whatever_a_caller_names_its_instance_lives_and_the_answer_is_short(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, is_typed: bool
) -> None:
    service = Service()

    @service.method
    def work(count: int) -> int:
        return count

    def fail(call: Call) -> None:
        raise ValueError("a bug")

    async with open_network() as network, network.open_client() as owner, network.open_client() as caller:
        async with owner.open_instance("s", service if is_typed else fail) as instance:
            await instance.register("r")
            before = dict(instance.resources)
            # what is in quotes has both kinds of them: of one character three are made
            for name in (
                "x" * 1_040_000,
                "'" * 1_040_000 + '"',
                "\\" * 520_000,
                "a\nhandler_blocked method=b",
            ):
                with pytest.raises(RemoteError) as caught:
                    await caller.call(name, resource_id="r")
                assert len(str(caught.value)) + len(str(caught.value.data)) < 500
            if is_typed:
                for params in (dict.fromkeys(map(str, range(60_000)), 1), {"k" * 1_000_000: 1}):
                    with pytest.raises(RemoteError, match="is no parameter of work") as caught:
                        await caller.call("work", params, resource_id="r")
                    assert len(caught.value.data["errors"]) <= 20
                    assert len(str(caught.value)) + len(str(caught.value.data)) < 3000
            assert (instance.resources, owner.statistics().connections) == (before, 1)
    for record in caplog.records:
        assert "\n" not in record.getMessage() and len(record.getMessage()) < 500
