"""An owner's process is killed, stopped, or cut off: what it owned, the calls it had, and everybody else."""

from contextlib import AbstractAsyncContextManager

import attrs
import pytest
import trio

from tests.processes.accounts import Accounts
from tests.processes.independent import Session
from tests.processes.proxy import open_proxy
from tests.processes.running import Serving, open_router

SOON_SECONDS = 3.0
"""Generous: what takes milliseconds on a quiet machine may not take this long on a busy one."""

IDS = ("doc:1", "doc:2", "doc:3")
LARGE = 100_000

INTERVAL_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0
WRITE_TIMEOUT_SECONDS = 2.0


def open_quick_router() -> AbstractAsyncContextManager[Serving]:
    """A router with a short heartbeat."""
    return open_router(heartbeat_interval_seconds=INTERVAL_SECONDS, heartbeat_timeout_seconds=TIMEOUT_SECONDS)


@attrs.frozen
class Taken:
    """Ids that were registered as soon as they were free."""

    epochs: dict[str, int]
    at: float


async def take(contender: Session, *resource_ids: str) -> Taken:
    """Register ids as soon as they are free."""
    while True:
        pending = await contender.start("resource.register", resource_ids=resource_ids)
        await pending.wait_settled()
        if pending.refused is None:
            return Taken((await pending.wait())["epochs"], pending.answered_at)
        assert pending.refused.type == "resource_conflict"


async def epochs_of(session: Session, *resource_ids: str) -> dict[str, int]:
    """The epoch of each of these that has an owner."""
    page = await session.ask("resource.query", resource_ids=resource_ids)
    return {resource["resource_id"]: resource["epoch"] for resource in page["resources"]}


async def fill(session: Session, calls: Accounts, resource_id: str) -> None:
    """Make large calls to an owner that stands still until one is refused: the others wait, in a socket or the router."""
    while not calls.refused:
        await calls.start("echo", size=LARGE, resource_id=resource_id)
        await session.ask("session.ping")  # behind the call: the router has seen it
    assert calls.refusals() == {("unavailable", "not_delivered"): 1}
    assert calls.refused[0].data["reason"] == "overloaded"


async def test_a_killed_owner_costs_its_callers_a_502_and_its_ids_are_free_at_once() -> None:
    async with open_router() as router:
        async with (
            router.open_owner("store-1", *IDS) as owner,
            router.open_instance("store-2") as contender,
            router.open_session() as session,
        ):
            calls = Accounts(session)
            for number in range(60):
                await calls.start("hold", resource_id=IDS[number % 3])
            await owner.wait_requests(60)
            before = await epochs_of(session, *IDS)

            killed_at = owner.kill()
            taken = await take(contender, *IDS)
            await calls.wait_settled()

            told_seconds, free_seconds = calls.last_answer_at - killed_at, taken.at - killed_at
            print(
                f"callers told after {told_seconds * 1000:.1f} ms, ids free after {free_seconds * 1000:.1f} ms"
            )
            assert told_seconds < SOON_SECONDS
            assert free_seconds < SOON_SECONDS
            assert calls.refusals() == {("owner_disconnected", "unknown"): 60}
            assert {refused.code for refused in calls.refused} == {502}
            assert {refused.data["instance_id"] for refused in calls.refused} == {"store-1"}

            assert all(taken.epochs[resource_id] > before[resource_id] for resource_id in IDS)
            again = await session.start_call("echo", resource_id="doc:1")
            request = await contender.next_request()
            assert request["meta"]["epoch"] == taken.epochs["doc:1"]
            await contender.answer(request, "from the new owner")
            assert await again.wait() == "from the new owner"
        await router.wait_baseline()


async def test_calls_that_a_killed_owner_was_never_handed_are_not_delivered() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", "doc:1") as owner,
        router.open_session() as session,
    ):
        calls = Accounts(session)
        owner.stop()
        await fill(session, calls, "doc:1")
        owner.kill()
        await calls.wait_settled()
        await owner.program.wait_ended()

        counts = calls.refusals()
        assert sum(counts.values()) == len(calls.calls)
        assert counts["owner_disconnected", "unknown"] >= 1
        assert counts["owner_disconnected", "not_delivered"] >= 1


async def test_calls_to_a_service_that_a_killed_instance_was_never_handed_go_to_another() -> None:
    async with (
        open_router() as router,
        router.open_owner("store-1", priority=1) as first,
        router.open_owner("store-2") as second,
        router.open_session() as session,
    ):
        calls = Accounts(session)
        first.stop()
        while not second.requests():  # which gets calls once too many wait for the first
            await calls.start("echo", size=LARGE, service_name="store")
            await trio.sleep(0.005)
        first.kill()
        await calls.wait_settled()
        await first.program.wait_ended()

        assert {answer["by"] for answer in calls.answered} == {"store-2"}
        assert calls.refusals().keys() == {("owner_disconnected", "unknown")}
        first_tag, *tags = [request["params"]["tag"] for request in second.requests()]
        moved = [tag for tag in tags if tag < first_tag]
        assert moved
        assert moved == sorted(moved)


async def test_an_owner_that_stands_still_loses_all_when_its_heartbeat_does_and_finds_that_out() -> None:
    async with open_quick_router() as router:
        async with (
            router.open_owner("store-1", *IDS) as owner,
            router.open_instance("store-2") as contender,
            router.open_session() as session,
        ):
            before = await epochs_of(session, *IDS)
            calls = Accounts(session)
            stopped_at = trio.current_time()
            owner.stop()
            await calls.start("echo", resource_id="doc:1")
            taken = await take(contender, *IDS)
            await calls.wait_settled()

            free_seconds = taken.at - stopped_at
            print(f"ids free after {free_seconds:.2f} s, with a heartbeat timeout of {TIMEOUT_SECONDS} s")
            assert TIMEOUT_SECONDS - INTERVAL_SECONDS - 0.1 < free_seconds < TIMEOUT_SECONDS + SOON_SECONDS
            assert calls.refusals() == {("owner_disconnected", "unknown"): 1}
            assert all(taken.epochs[resource_id] > before[resource_id] for resource_id in IDS)

            owner.go_on()
            assert (await owner.wait_event("closed"))["closed"] == 4011
            assert await epochs_of(session, *IDS) == taken.epochs
            again = await session.start_call("echo", resource_id="doc:1")
            await contender.answer(await contender.next_request(), "from the new owner")
            assert await again.wait() == "from the new owner"
            await owner.program.wait_ended()
            for other in (contender, session):
                assert not other.closed.is_set()
        await router.wait_baseline()


async def test_an_owner_that_stands_still_is_not_waited_for_when_somebody_wants_what_it_owns() -> None:
    probe_seconds = 0.5
    async with open_router(
        heartbeat_interval_seconds=INTERVAL_SECONDS,
        heartbeat_timeout_seconds=60,
        probe_timeout_seconds=probe_seconds,
    ) as router:
        async with (
            router.open_owner("store-1", *IDS) as owner,
            router.open_instance("store-2") as contender,
        ):
            stopped_at = trio.current_time()
            owner.stop()
            taken = await take(contender, *IDS)
            free_seconds = taken.at - stopped_at
            print(f"ids free after {free_seconds:.2f} s, with a heartbeat timeout of 60 s")
            assert free_seconds < INTERVAL_SECONDS + 2 + probe_seconds + SOON_SECONDS
            owner.go_on()
            assert (await owner.wait_event("closed"))["closed"] == 4011
        await router.wait_baseline()


async def test_what_a_silent_connection_owned_is_free_when_its_heartbeat_is_lost() -> None:
    async with open_quick_router() as router:
        async with (
            open_proxy(router.port) as proxy,
            router.open_owner("store-1", *IDS, url=proxy.url) as owner,
            router.open_instance("store-2") as contender,
            router.open_session() as session,
        ):
            calls = Accounts(session)
            await (await calls.start("echo", resource_id="doc:1")).wait()
            await calls.start("hold", resource_id="doc:2")
            await owner.wait_requests(2)

            cut_at = trio.current_time()
            owner.is_cut_off()
            proxy.cut()
            await calls.start("echo", resource_id="doc:3")
            taken = await take(contender, *IDS)
            await calls.wait_settled()

            free_seconds = taken.at - cut_at
            print(f"ids free after {free_seconds:.2f} s, with a heartbeat timeout of {TIMEOUT_SECONDS} s")
            assert TIMEOUT_SECONDS - INTERVAL_SECONDS - 0.1 < free_seconds < TIMEOUT_SECONDS + SOON_SECONDS
            assert calls.refusals() == {("owner_disconnected", "unknown"): 2}
            assert "closed" not in owner.events[-1], "the owner cannot know"
        await router.wait_baseline()


@pytest.mark.slow
async def test_an_owner_that_stands_still_costs_nobody_else_anything() -> None:
    async with open_router(write_timeout_seconds=WRITE_TIMEOUT_SECONDS) as router:
        async with (
            router.open_owner("store-1", "doc:1") as stopped,
            router.open_owner("store-2", "doc:2"),
            router.open_session() as victim,
            router.open_session() as session,
        ):
            stopped_at = trio.current_time()
            stopped.stop()
            lost, others = Accounts(victim), Accounts(session)
            await fill(victim, lost, "doc:1")

            slowest = 0.0
            until = trio.current_time() + 1
            while trio.current_time() < until:
                began = trio.current_time()
                pending = await others.start("echo", resource_id="doc:2")
                assert (await pending.wait())["by"] == "store-2"
                slowest = max(slowest, pending.answered_at - began)
            assert lost.refusals() == {("unavailable", "not_delivered"): 1}, "the others still wait"
            print(
                f"{len(others.calls)} calls to another owner meanwhile, the slowest {slowest * 1000:.1f} ms"
            )
            assert slowest < SOON_SECONDS

            await lost.wait_settled()
            assert lost.last_answer_at - stopped_at < WRITE_TIMEOUT_SECONDS + SOON_SECONDS
            assert lost.refusals().keys() == {
                ("unavailable", "not_delivered"),
                ("owner_disconnected", "not_delivered"),
                ("owner_disconnected", "unknown"),
            }
            stopped.go_on()
            await stopped.wait_event("closed")
            await stopped.program.wait_ended()
        await router.wait_baseline()
