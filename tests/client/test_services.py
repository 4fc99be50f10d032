"""A service out of functions: typed params and results, the call itself, fencing, and handlers that block."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

import resroute
from resroute import Call, OwnedCall, RemoteError, Service, current_call
from resroute.client.blocking import Stopwatch
from resroute.testing import MemoryRouter
from tests.client.networks import open_network, open_reconnecting
from tests.client.scripted import delivered, open_scripted
from tests.client.test_instance import start_instance


@attrs.frozen
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Reply:
    points: list[Point]
    at: datetime
    large: int = 1


def geometry() -> Service:
    service = Service()

    @service.method
    async def move(call: Call, points: list[Point], by: float = 1) -> Reply:
        assert call is current_call()
        moved = [Point(round(point.x + by), point.y) for point in points]
        return Reply(moved, datetime(2026, 1, 1, tzinfo=UTC))

    @service.method
    def name(call: Call) -> str | None:
        return call.resource_id

    @service.method
    async def count(to: int) -> AsyncIterator[Point]:
        for number in range(to):
            yield Point(number)

    @service.method
    def large() -> Reply:
        return Reply([], datetime(2026, 1, 1, tzinfo=UTC), large=2**70)

    return service


async def ask(network: MemoryRouter, service: object, method: str, params: Any = None) -> Any:
    async with network.open_client() as client, client.open_instance("geometry", service) as instance:
        await instance.register("plane:1")
        return await client.call(method, params, resource_id="plane:1")


@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        ("move", {"points": [{"x": 1}], "by": 2}, [{"x": 3, "y": 0}]),
        ("move", [[{"x": 1, "y": 5}]], [{"x": 2, "y": 5}]),
        ("move", [[], 0.5], []),
    ],
)
async def test_typed_params_become_values_and_results_json(
    method: str, params: Any, answer: object, autojump_clock: MockClock
) -> None:
    async with open_network() as network:
        reply = await ask(network, geometry(), method, params)
    assert reply == {"points": answer, "at": "2026-01-01T00:00:00+00:00", "large": 1}


async def test_the_call_is_no_param_of_the_callers(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        assert await ask(network, geometry(), "name") == "plane:1"
        for params in ({"call": 1}, ["a"]):
            with pytest.raises(RemoteError) as caught:
                await ask(network, geometry(), "name", params)
            assert caught.value.code == -32602


async def test_integers_of_any_size_are_kept_in_typed_results(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        assert (await ask(network, geometry(), "large"))["large"] == 2**70


@pytest.mark.parametrize(
    ("params", "errors"),
    [
        ({"points": "abc"}, {"points": "must be an array, not a string"}),
        ([["a"]], {"points.0": "must be an object, not a string"}),
        ({"points": [{"x": 1}, {"x": "1", "q": 2}], "by": "2"}, {
            "points.1.x": "must be an integer, not a string",
            "points.1.q": "unknown member",
            "by": "must be a number, not a string",
        }),
        ({"by": 2}, {"points": "is missing"}),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_named_to_the_caller(
    params: Any, errors: dict[str, str], autojump_clock: MockClock
) -> None:
    async with open_network() as network:
        with pytest.raises(RemoteError) as caught:
            await ask(network, geometry(), "move", params)
    assert caught.value.code == -32602
    assert {error["path"]: error["message"] for error in caught.value.data["errors"]} == errors


@dataclass
class Mandate:
    """A class that looks at what it is given, and has a bug."""

    holder: str

    def __post_init__(self) -> None:
        if not self.holder:
            raise ValueError("somebody must hold it")
        if self.holder == "nobody":
            raise FileNotFoundError("/etc/mandates")


async def test_what_a_class_says_of_its_values_is_told_and_its_bugs_are_not(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()

    @service.method
    def give(mandate: Mandate) -> str:
        return mandate.holder

    async with open_network() as network:
        with pytest.raises(RemoteError) as caught:
            await ask(network, service, "give", [{"holder": ""}])
        assert caught.value.data["errors"] == [{"path": "mandate", "message": "somebody must hold it"}]
        with pytest.raises(RemoteError) as caught:
            await ask(network, service, "give", [{"holder": "nobody"}])
    assert (caught.value.code, caught.value.message) == (-32000, "Internal error in 'give'")
    assert "/etc/mandates" in caplog.text


@dataclass
class Tree:
    children: "list[Tree]"


@pytest.mark.parametrize("depth", [100, 200, 400, 2000])
async def test_what_is_nested_too_deeply_is_its_callers_mistake(
    depth: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()

    @service.method
    def count(tree: Tree) -> int:
        return len(tree.children)

    tree = '{"children":[' * depth + "]}" * depth
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, _ = await start_instance(nursery, client, router, service)
        await router.send_text(f'{{"jsonrpc":"2.0","id":1,"method":"count","params":[{tree}],"meta":{{}}}}')
        answer = await router.receive()
        if depth == 100:
            assert answer["result"] == 1
        else:
            assert answer["error"]["code"] == -32602
        assert "call_failed" not in caplog.text
        life.leave()
        await router.expect_leaving()


async def test_no_more_than_twenty_mistakes_are_named(autojump_clock: MockClock) -> None:
    async with open_network() as network:
        with pytest.raises(RemoteError) as caught:
            await ask(network, geometry(), "move", {"points": ["a"] * 1000})
    assert len(caught.value.data["errors"]) == 20


async def test_params_that_are_collected_are_typed_each(autojump_clock: MockClock) -> None:
    service = Service()

    @service.method
    def add(first: int, *more: int) -> int:
        return first + sum(more)

    @service.method
    def name(first: str, **others: Point) -> list[str]:
        return [first, *(f"{name} at {point.x}" for name, point in others.items())]

    @service.method
    def take(*anything: Any, **all_else: Any) -> int:
        return len(anything) + len(all_else)

    async with open_network() as network:
        assert await ask(network, service, "add", [1, 2, 3]) == 6
        assert await ask(network, service, "add", {"first": 1}) == 1
        assert await ask(network, service, "name", {"first": "a", "b": {"x": 1}}) == ["a", "b at 1"]
        assert await ask(network, service, "take", [1, "a"]) == 2
        assert await ask(network, service, "take", {"a": 1, "b": "c"}) == 2
        for method, params, errors in (
            ("add", [1, "2", 3, None], {
                "more.0": "must be an integer, not a string",
                "more.2": "must be an integer, not null",
            }),
            ("add", ["1", 2], {"first": "must be an integer, not a string"}),
            ("name", {"first": "a", "b": {"x": "1"}}, {"b.x": "must be an integer, not a string"}),
        ):  # fmt: skip
            with pytest.raises(RemoteError) as caught:
                await ask(network, service, method, params)
            assert {error["path"]: error["message"] for error in caught.value.data["errors"]} == errors


async def test_a_generator_gives_typed_progress(autojump_clock: MockClock) -> None:
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("geometry", geometry()):
            async with client.open_stream("count", {"to": 2}, service_name="geometry") as chunks:
                assert [chunk async for chunk in chunks] == [{"x": 0, "y": 0}, {"x": 1, "y": 0}]


async def test_methods_of_an_object_are_typed_as_well(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        pass

    class Plane:
        def double(self, x: "int", unknown: "NotThere", odd: Odd) -> list[Any]:  # type: ignore[name-defined] # noqa: F821
            return [2 * x, unknown, odd]

        def shift(self, point: Point) -> Point:
            return attrs.evolve(point, x=point.x + 1)

    async with open_network() as network:
        assert await ask(network, Plane(), "shift", {"point": {"x": 1}}) == {"x": 2, "y": 0}
        assert await ask(network, Plane(), "double", [1, "a", {}]) == [2, "a", {}], (
            "what is unknown goes as it comes"
        )
        with pytest.raises(RemoteError, match="x must be an integer"):
            await ask(network, Plane(), "double", ["ab", "a", {}])
    said = [record.message for record in caplog.records if "param_not_checked" in record.message]
    assert any("method=double param=unknown reason=\"name 'NotThere' is not defined" in line for line in said)
    assert any("method=double param=odd" in line for line in said)
    assert not any("param=x" in line for line in said)


async def test_functions_come_before_the_methods_of_an_object(autojump_clock: MockClock) -> None:
    class Plane:
        def one(self) -> str:
            return "object"

        def two(self) -> str:
            return "object"

    service = Service(Plane())

    @service.method
    def one() -> str:
        return "function"

    async with open_network() as network:
        assert await ask(network, service, "one") == "function"
        assert await ask(network, service, "two") == "object"
        with pytest.raises(RemoteError, match="no method 'three'"):
            await ask(network, service, "three")


def test_what_cannot_be_a_method_is_refused() -> None:
    service = Service()
    with pytest.raises(TypeError, match="JSON"):

        @service.method
        def odd(value: bytes) -> None:
            pass

    def unknown(value: int) -> None:
        pass

    unknown.__annotations__["value"] = "Missing"
    with pytest.raises(TypeError, match="'Missing' is not defined"):
        service.method(unknown)
    unknown.__annotations__ = {"value": "int", "return": "Missing"}
    service.method(unknown)

    with pytest.raises(TypeError, match="not async"):

        @service.method
        def lines() -> Iterator[str]:
            yield "a"

    with pytest.raises(TypeError, match="first parameter"):

        @service.method
        def late(value: int, call: Call) -> None:
            pass

    @service.method
    def twice() -> None:
        pass

    with pytest.raises(ValueError, match="already"):
        service.fenced(twice)
    with pytest.raises(TypeError, match="no methods"):
        Service().handler  # noqa: B018


# --- fencing ------------------------------------------------------------------------------------------------------


def documents(ran: list[str]) -> Service:
    service = Service()

    by_id: dict[str, int] = {}

    @service.fenced
    async def save(call: OwnedCall, text: str) -> str:
        ran.append(text)
        by_id[call.resource_id] = call.epoch + 0  # types are checked here, too
        return f"{text} under {by_id[call.resource_id]}"

    return service


async def test_a_fenced_method_runs_for_what_is_owned(autojump_clock: MockClock) -> None:
    ran: list[str] = []
    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("documents", documents(ran)) as instance:
            await instance.register("doc:1")
            answer = await client.call("save", ["a"], resource_id="doc:1")
            assert answer == f"a under {instance.resources['doc:1']}"
            with pytest.raises(RemoteError, match="resource_id"):
                await client.call("save", ["b"], service_name="documents")
    assert ran == ["a"]


async def test_a_resource_that_is_lost_before_its_method_begins_is_stale(autojump_clock: MockClock) -> None:
    """The loss arrives together with the call, and so before anything of that has run."""
    ran: list[str] = []
    async with open_reconnecting() as (client, router, _), trio.open_nursery() as nursery:
        nursery.start_soon(router.expect_register_instance)
        async with client.open_instance("documents", documents(ran)):
            lost = {"resource_ids": ["doc:1"], "cause": "expired"}
            await router.send(
                delivered("r:1", "save", ["a"], resource_id="doc:1", epoch=7),
                delivered(None, "resource.lost", lost),
            )
            answer = await router.receive()
            assert answer["error"]["data"]["type"] == "stale_epoch"
            assert ran == []
            nursery.start_soon(router.expect_leaving)


async def test_a_call_knows_whether_its_grant_is_still_in_force(autojump_clock: MockClock) -> None:
    known: list[bool] = []
    begun, go_on = trio.Event(), trio.Event()

    async def work(call: Call) -> None:
        known.append(call.is_current)
        begun.set()
        await go_on.wait()
        known.append(call.is_current)

    async with open_network() as network, network.open_client() as client, network.open_client() as caller:
        async with client.open_instance("documents", work) as instance, trio.open_nursery() as nursery:
            await instance.register("doc:1")
            nursery.start_soon(lambda: caller.call("work", resource_id="doc:1"))
            await begun.wait()
            await instance.release("doc:1")
            go_on.set()
            await wait_all_tasks_blocked()
    assert known == [True, False]
    assert Call("by hand").is_current


# --- handlers that block ------------------------------------------------------------------------------------------


def blocks_at_once(call: Call) -> str:
    time.sleep(0.6)
    return "done"


async def blocks_later(call: Call) -> str:
    await trio.lowlevel.checkpoint()
    try:
        await trio.lowlevel.checkpoint()
    finally:
        time.sleep(0.6)  # noqa: ASYNC251
    return "done"


async def blocks_between_values(call: Call) -> AsyncIterator[int]:
    yield 1
    time.sleep(0.6)  # noqa: ASYNC251
    yield 2


@pytest.mark.parametrize("handler", [blocks_at_once, blocks_later, blocks_between_values])
async def test_a_handler_that_blocks_is_warned_of(
    handler: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "resroute.client")
    async with open_network() as network:
        await ask(network, handler, "read_slowly")
    [message] = [record.message for record in caplog.records if "handler_blocked" in record.message]
    assert "method=read_slowly" in message


class Clock:
    """Shows what a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_of_many_that_block_one_is_named_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    async def block() -> None:
        clock.now += 1

    async def block_often() -> None:
        for _ in range(25):
            await stopwatch.run(block(), Call("m"), lambda: None)

    trio.run(block_often)
    assert len(caplog.records) == 3


async def test_what_is_raised_into_a_handler_arrives_there(autojump_clock: MockClock) -> None:
    """Cancellations above all; and what the handler makes of them leaves it."""
    stopwatch = Stopwatch()
    ended: list[str] = []

    async def work() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            ended.append("cancelled")
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ended.append("cleaned up")
        raise AssertionError

    with trio.move_on_after(1) as scope:
        await stopwatch.run(work(), Call("m"), lambda: None)
    assert scope.cancelled_caught
    assert ended == ["cancelled", "cleaned up"]

    async def fail() -> str:
        await trio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        await stopwatch.run(fail(), Call("m"), lambda: None)


async def test_what_a_handler_returns_may_be_anything_that_can_be_awaited(autojump_clock: MockClock) -> None:
    async def wait_a_moment() -> str:
        await trio.lowlevel.checkpoint()
        return "waited"

    class Odd:
        """Can be awaited, and is no coroutine."""

        def __await__(self) -> Any:
            return iter(wait_a_moment().__await__())

    async with open_network() as network:
        assert await ask(network, lambda _call: Odd(), "m") == "waited"


async def test_results_that_json_cannot_hold_are_a_bug_of_the_callees(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()

    @service.method
    def odd() -> object:
        return {"a": b"x"}

    async with open_network() as network:
        with pytest.raises(RemoteError, match="Internal error"):
            await ask(network, service, "odd")
    assert "call_failed" in caplog.text


async def test_a_handler_that_never_returns_costs_its_caller_its_time_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    service = Service()

    @service.method
    async def hang() -> None:
        await trio.sleep_forever()

    @service.method
    async def answer() -> int:
        return 7

    async with open_network() as network, network.open_client() as client:
        async with client.open_instance("s", service):
            with pytest.raises(resroute.CallTimeout):
                await client.call("hang", service_name="s")
            assert trio.current_time() == 30
            assert await client.call("answer", service_name="s") == 7
            await wait_all_tasks_blocked()
            assert client.statistics().calls_serving == 0
