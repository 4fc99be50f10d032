"""Whole stories of calls that take their time, with a real router in memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

import resroute
from resroute import Client, StaleEpoch, current_call, open_client_over
from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from resroute.router.router import Router
from resroute.settings import Settings
from tests.client.scripted import open_client_of, open_router


class Library:
    """Answers in chunks, and in other ways that take time."""

    def __init__(self) -> None:
        self.runs = 0
        self.closed = trio.Event()

    async def pages(self, count: int, seconds: float = 0) -> AsyncGenerator[int]:
        try:
            for page in range(count):
                await trio.sleep(seconds)
                yield page
        finally:
            self.closed.set()

    async def count(self, to: int) -> int:
        for n in range(to):
            await current_call().progress(n)
        return to

    async def stall(self) -> AsyncGenerator[str]:
        try:
            yield "one"
            await trio.sleep_forever()
        finally:
            self.closed.set()

    async def flood(self, size: int) -> AsyncGenerator[str]:
        try:
            while True:
                yield "x" * size
                await trio.sleep(0.001)
        finally:
            self.closed.set()

    def describe(self) -> list[object]:
        call = current_call()
        return [call.idempotency_key, call.caller.session_id, call.resource_id, call.epoch]

    async def refuse_as_stale(self) -> None:
        self.runs += 1
        raise StaleEpoch


@attrs.frozen
class Lending:
    """A caller, and an instance that owns ``library:1``."""

    router: Router
    caller: Client
    library: Library


@asynccontextmanager
async def open_lending(settings: Settings | None = None) -> AsyncGenerator[Lending]:
    library = Library()
    async with (
        open_router(settings) as router,
        open_client_of(router, retry=None) as caller,
        open_client_of(router) as owner,
    ):
        async with owner.open_instance("library", library) as instance:
            await instance.register("library:1")
            yield Lending(router, caller, library)
    assert set(attrs.astuple(router.statistics())) == {0}


async def read(client: Client, method: str, *params: object) -> tuple[list[object], object]:
    """All chunks of a call, and its result."""
    async with client.open_stream(method, params, resource_id="library:1") as chunks:
        return [chunk async for chunk in chunks], chunks.result


async def test_every_chunk_arrives_in_order_and_before_the_result(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        assert await read(lending.caller, "pages", 3) == ([0, 1, 2], None)
        assert await read(lending.caller, "count", 5000) == (list(range(5000)), 5000)
        assert await lending.caller.call("count", [3], resource_id="library:1") == 3
        assert await lending.caller.call("pages", [3], service_name="library") is None


async def test_many_streams_at_once_do_not_mix(autojump_clock: MockClock) -> None:
    async with open_lending() as lending, open_client_of(lending.router) as other:

        async def count(client: Client, to: int) -> None:
            assert await read(client, "count", to) == (list(range(to)), to)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(count, (lending.caller, other)[n % 2], 200 + n)


async def test_who_has_enough_ends_the_call_at_its_callee(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        async with lending.caller.open_stream("pages", [1000, 1], resource_id="library:1") as chunks:
            async for page in chunks:
                if page == 2:
                    break
        await lending.library.closed.wait()
        assert trio.current_time() == pytest.approx(3)


async def test_a_deadline_in_the_midst_of_a_stream_is_trios_own(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        pages: list[object] = []
        with pytest.raises(trio.TooSlowError), trio.fail_after(3.5):
            async with lending.caller.open_stream("pages", [1000, 1], resource_id="library:1") as chunks:
                async for page in chunks:
                    pages.append(page)
        assert pages == [0, 1, 2]
        assert trio.current_time() == pytest.approx(3.5)
        await lending.library.closed.wait()


async def test_a_stream_lasts_as_long_as_chunks_flow_and_ends_when_they_stop(
    autojump_clock: MockClock,
) -> None:
    async with open_lending(Settings(default_timeout_seconds=5)) as lending:
        pages, _ = await read(lending.caller, "pages", 10, 4)
        assert pages == list(range(10))
        assert trio.current_time() == pytest.approx(40, abs=1)
        lending.library.closed = trio.Event()
        chunks_until_then: list[object] = []
        async with lending.caller.open_stream("stall", resource_id="library:1") as chunks:
            with pytest.raises(resroute.CallTimeout) as caught:
                async for chunk in chunks:
                    chunks_until_then.append(chunk)
        assert chunks_until_then == ["one"]
        assert caught.value.delivery == "unknown"
        await lending.library.closed.wait()
        assert trio.current_time() == pytest.approx(45, abs=1)


async def test_a_callee_that_goes_leaves_what_it_had_sent(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    async with (
        open_router() as router,
        open_client_of(router) as caller,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(router.serve_stream, theirs)
        async with open_client_over(ours) as owner, owner.open_instance("library", Library()) as instance:
            await instance.register("library:1")
            pages: list[object] = []
            async with caller.open_stream("pages", [1000, 1], resource_id="library:1") as chunks:
                with pytest.raises(resroute.OwnerDisconnected):
                    async for page in chunks:
                        pages.append(page)
                        if page == 2:
                            await trio.aclose_forcefully(ours)
            assert pages == [0, 1, 2]


async def test_who_falls_behind_costs_only_its_own_call(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        kept = 0
        async with lending.caller.open_stream("flood", [50_000], resource_id="library:1") as chunks:
            await lending.library.closed.wait()  # the SDK has cancelled it
            assert await read(lending.caller, "pages", 2) == ([0, 1], None)
            with pytest.raises(resroute.FellBehind):
                async for chunk in chunks:
                    kept += len(chunk)
        assert MAX_ARRIVALS_BYTES - 100_000 < kept < MAX_ARRIVALS_BYTES + 100_000


async def test_a_call_can_wait_for_an_owner(autojump_clock: MockClock) -> None:
    async with open_lending() as lending, trio.open_nursery() as nursery:
        caller = lending.caller

        async def own_later() -> None:
            async with (
                open_client_of(lending.router) as client,
                client.open_instance("library", Library()) as instance,
            ):
                await trio.sleep(2)
                await instance.register("library:2")
                await trio.sleep(10)

        nursery.start_soon(own_later)
        with trio.fail_after(20):
            found = await caller.call("describe", resource_id="library:2", wait_for_owner_seconds=5)
        assert found[2] == "library:2"
        assert trio.current_time() == pytest.approx(2)
        with pytest.raises(resroute.ResourceNotFound):
            await caller.call("describe", resource_id="library:3", wait_for_owner_seconds=1)
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        with trio.move_on_after(0.5) as scope:
            await caller.call("describe", resource_id="library:3", wait_for_owner_seconds=5)
        assert scope.cancelled_caught


async def test_a_handler_learns_the_callers_key(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        described = await lending.caller.call("describe", resource_id="library:1", idempotency_key="k-1")
        session_id = (await lending.caller.info()).session_id
        assert described[:3] == ["k-1", session_id, "library:1"]
        assert isinstance(described[3], int)


async def test_a_call_that_its_owner_calls_stale_may_be_repeated(autojump_clock: MockClock) -> None:
    async with open_lending() as lending:
        with pytest.raises(resroute.Unavailable) as caught:
            await lending.caller.call("refuse_as_stale", resource_id="library:1")
        assert (caught.value.reason, caught.value.delivery) == ("moved", "not_delivered")
        assert lending.library.runs == 1, "the owner is still the same"


async def test_a_stale_call_goes_to_the_owner_that_there_is_now(autojump_clock: MockClock) -> None:
    """It had arrived at the old owner, which learns before it has run anything that it is none any more."""
    arrived = trio.Event()

    class Old:
        async def describe(self) -> None:
            arrived.set()
            await moved.wait()
            raise StaleEpoch

    moved = trio.Event()
    answers: list[object] = []
    async with (
        open_router() as router,
        open_client_of(router) as caller,
        open_client_of(router) as first,
        open_client_of(router) as second,
        second.open_instance("library", Library()) as new,
        first.open_instance("library", Old()) as old,
        trio.open_nursery() as nursery,
    ):
        await old.register("library:1")

        async def call() -> None:
            answers.append(await caller.call("describe", resource_id="library:1"))

        nursery.start_soon(call)
        await arrived.wait()
        await old.release("library:1")
        epochs = (await new.register("library:1")).epochs
        moved.set()
        await wait_all_tasks_blocked()
        [answer] = answers
        assert isinstance(answer, list)
        assert answer[2:] == ["library:1", epochs["library:1"]]
