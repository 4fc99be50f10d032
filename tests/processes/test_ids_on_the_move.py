"""A thousand calls a second, for ids that change their owners a hundred times a second, by instances in processes."""

import random
from collections import Counter
from contextlib import AsyncExitStack

import attrs
import pytest
import trio

from tests.processes.independent import Pending, Session
from tests.processes.running import KnownPeer, Serving, open_router

CALLS_PER_SECOND = 1000
MOVES_PER_SECOND = 100
"""As many as a machine that is not busy has time for; a busy one makes as many, but takes longer."""

INSTANCES = 4
CALLERS = 4
IN_FLIGHT = 100
IDS = [f"doc:{number}" for number in range(20)]
MOVES_BETWEEN_REBALANCES = 40


@attrs.frozen
class Called:
    """One call, and what came of it."""

    resource_id: str
    pending: Pending


async def call(sessions: list[Session], count: int) -> list[Called]:
    """Make so many calls, at the rate that is wanted or that the machine allows, and wait for their answers."""
    rng = random.Random(1)
    began = trio.current_time()
    room = trio.Semaphore(IN_FLIGHT)
    calls: list[Called] = []

    async def wait_settled(pending: Pending) -> None:
        await pending.wait_settled()
        room.release()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await trio.sleep_until(began + number / CALLS_PER_SECOND)
            await room.acquire()
            session, resource_id = sessions[number % len(sessions)], rng.choice(IDS)
            method, params = ("sleep", {"seconds": 0.01}) if rng.random() < 0.1 else ("echo", None)
            pending = await session.start_call(method, params, resource_id=resource_id)
            calls.append(Called(resource_id, pending))
            nursery.start_soon(wait_settled, pending)
    return calls


async def move(admin: Session, count: int) -> Counter[str]:
    """Have ids go from one instance to another, alone or several at once, and now and then to whoever has least."""
    rng = random.Random(2)
    began = trio.current_time()
    moved: Counter[str] = Counter()
    for number in range(1, count + 1):
        await trio.sleep_until(began + number / MOVES_PER_SECOND)
        if not number % MOVES_BETWEEN_REBALANCES:
            result = await admin.ask(
                "service.rebalance", service_name="store", by=rng.choice(("count", "calls"))
            )
            moved.update(move["resource_id"] for move in result["moves"])
            continue
        target = f"store-{rng.randrange(INSTANCES)}"
        result = await admin.ask(
            "resource.transfer",
            resource_ids=rng.sample(IDS, rng.choice((1, 1, 1, 5))),
            from_instance_id=target,
            to_instance_id=target,
            reason="on the move",
            verify_ownership=False,
            partial=True,
        )
        moved.update(result["transferred"])
    return moved


async def open_instances(stack: AsyncExitStack, router: Serving) -> list[KnownPeer]:
    """Each owns some of the ids. One works on few calls at a time, so that others wait for it in the router."""
    return [
        await stack.enter_async_context(
            router.open_owner(
                f"store-{number}", *IDS[number::INSTANCES], max_concurrency=100 if number else 2
            )
        )
        for number in range(INSTANCES)
    ]


async def check_ids_on_the_move(seconds: float) -> None:
    """Call and move for so long. What each session heard is held against the checker at the end of the router's block."""
    async with open_router(anonymous_roles="caller,instance,admin", log_level="error") as router:
        async with AsyncExitStack() as stack:
            instances = await open_instances(stack, router)
            admin = await stack.enter_async_context(router.open_session("admin"))
            sessions = [await stack.enter_async_context(router.open_session()) for _ in range(CALLERS)]
            began = trio.current_time()
            moved: Counter[str] = Counter()
            calls: list[Called] = []

            async def make_calls() -> None:
                calls.extend(await call(sessions, round(seconds * CALLS_PER_SECOND)))

            async def make_moves() -> None:
                moved.update(await move(admin, round(seconds * MOVES_PER_SECOND)))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(make_calls)
                nursery.start_soon(make_moves)
            took = trio.current_time() - began
            print(f"{len(calls)} calls and {moved.total()} moves in {took:.1f} s")

            epochs: dict[str, dict[int, str]] = {resource_id: {} for resource_id in IDS}
            for called in calls:
                answer = called.pending.message
                assert answer is not None and "result" in answer, answer
                by, meta = answer["result"]["by"], answer["meta"]
                assert (meta["instance_id"], meta["resource_id"]) == (by, called.resource_id)
                assert epochs[called.resource_id].setdefault(meta["epoch"], by) == by, (
                    "one owner for each epoch"
                )
            assert moved.keys() == set(IDS)
            assert sum(map(len, epochs.values())) > moved.total() / 10, "ids that were called have moved"
            worked = [len(instance.requests()) for instance in instances]
            assert sum(worked) == len(calls) and all(worked)
        await router.wait_baseline()


async def test_calls_for_ids_that_move_are_answered_once_by_who_owns_them_then_and_in_order() -> None:
    await check_ids_on_the_move(2)


@pytest.mark.slow
async def test_and_so_they_are_for_longer() -> None:
    await check_ids_on_the_move(20)
