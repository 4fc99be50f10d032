"""Registering and releasing in bulk from the SDK, with a router."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute import BatchProgress, BulkProgress, BulkResource, Instance, InvalidParams, Unavailable
from tests.client.scripted import open_client_of, open_router, open_scripted
from tests.client.test_instance import start_instance

NAMES = [f"doc:{number}" for number in range(250)]


@asynccontextmanager
async def open_two() -> AsyncGenerator[tuple[Instance, Instance]]:
    """Two instances of one router."""
    async with (
        open_router() as router,
        open_client_of(router) as ours,
        open_client_of(router) as theirs,
        ours.open_instance("documents", lambda _: "ours") as instance,
        theirs.open_instance("documents", lambda _: "theirs") as other,
    ):
        yield instance, other


async def test_all_of_it_is_owned_afterwards_with_its_epochs(autojump_clock: MockClock) -> None:
    async with open_two() as (instance, _):
        await instance.register("doc:7")
        before = instance.resources["doc:7"]
        told: list[BatchProgress] = []
        result = await instance.bulk_register(NAMES, on_progress=told.append)
        assert result.complete and not result.rolled_back
        assert (result.registered, result.total_registered) == (tuple(NAMES), 250)
        assert result.epochs == instance.resources
        assert result.epochs["doc:7"] == before < result.epochs["doc:8"]
        assert [(progress.done, progress.total) for progress in told] == [(100, 250), (200, 250), (250, 250)]
        assert [batch.batch_number for batch in result.batch_results] == [1, 2, 3]
        released = await instance.bulk_release(NAMES)
        assert (released.released, released.complete) == (tuple(NAMES), True)
        assert instance.resources == {}


async def test_what_cannot_be_had_is_told_and_nothing_is_registered(autojump_clock: MockClock) -> None:
    async with open_two() as (instance, other):
        await other.register("doc:120")
        result = await instance.bulk_register(NAMES)
        assert (result.complete, result.rolled_back, result.registered) == (False, True, ())
        [failure] = result.failed
        assert (failure.resource_id, failure.error_code) == ("doc:120", "resource_conflict")
        assert failure.current_owner == other.instance_id
        assert instance.resources == {}


async def test_another_attempt_goes_on_from_the_first_batch_that_is_not_done(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (instance, other):
        await other.register("doc:120")
        progress = BulkProgress()
        result = await instance.bulk_register(NAMES, continue_on_error=True, progress=progress)
        assert (result.total_registered, len(progress.done)) == (249, 249)
        assert result.epochs == instance.resources
        await other.release("doc:120")
        result = await instance.bulk_register(NAMES, continue_on_error=True, progress=progress)
        assert (result.total_requested, result.registered) == (1, ("doc:120",))
        result = await instance.bulk_register(NAMES, progress=progress)
        assert (result.total_requested, result.complete) == (0, True)
        everything = await other.bulk_register(NAMES, continue_on_error=True, progress=progress)
        assert everything.total_requested == 250, "another instance has done nothing yet"


async def test_each_may_have_metadata(autojump_clock: MockClock) -> None:
    async with open_two() as (instance, _):
        resources: list[str | BulkResource] = ["a", BulkResource(resource_id="b", metadata={"tags": ["x"]})]
        assert (await instance.bulk_register(resources)).complete
        renewed = await instance.update("b", {"priority": 1}, merge=True)
        assert renewed.metadata is not None
        assert (renewed.metadata.version, renewed.metadata.tags) == (2, ("x",))


async def test_what_a_listener_raises_is_raised_once_the_answer_is_there(autojump_clock: MockClock) -> None:
    async with open_two() as (instance, _):

        def listen(_progress: BatchProgress) -> None:
            raise LookupError("mine")

        with pytest.raises(LookupError, match="mine"):
            await instance.bulk_register(NAMES, on_progress=listen)
        assert len(instance.resources) == 250


async def test_what_is_wrong_is_an_error(autojump_clock: MockClock) -> None:
    async with open_two() as (instance, _):
        for attempt in (
            instance.bulk_register(["/"]),
            instance.bulk_register(["a"], batch_size=0),
            instance.bulk_release(["a"], batch_size=1001),
        ):
            with pytest.raises(InvalidParams):
                await attempt
        for resources in ("abc", [5], [["a"]], ["a", None]):
            with pytest.raises(TypeError):
                await instance.bulk_register(resources)  # type: ignore[arg-type]
        for names in ("abc", [5], [["a"]]):
            with pytest.raises(TypeError):
                await instance.bulk_release(names)  # type: ignore[arg-type]
        assert instance.resources == {}


@pytest.mark.parametrize("number", [0, -1, 4, 2**70, "1"])
async def test_a_router_that_tells_of_batches_that_there_are_not_is_not_believed(
    autojump_clock: MockClock, number: object
) -> None:
    progress = BulkProgress()
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        life, instance = await start_instance(nursery, client, router, lambda _: None)

        async def register() -> None:
            with pytest.raises(Unavailable):
                await instance.bulk_register(NAMES, continue_on_error=True, progress=progress)

        nursery.start_soon(register)
        request = await router.expect("resource.bulk_register")
        told = {"batch_number": number, "success_count": 100, "failure_count": 0, "duration_ms": 1}
        value = told | {"done": 100, "total": 250}
        await router.send(
            {
                "jsonrpc": "2.0",
                "method": "$/progress",
                "params": {"token": request["params"]["progress_token"], "value": value},
            }
        )
        await router.refuse(request, 503, "unavailable", reason="draining")
        await wait_all_tasks_blocked()
        assert progress.done == ()
        assert client.statistics().unreadable_messages == 1
        life.leave()
        await router.expect_leaving()
