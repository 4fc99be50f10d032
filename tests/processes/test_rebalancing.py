"""A service that has too much to do: an instance that joins it, in a process of its own, takes its share when asked."""

from collections import Counter

import trio

from tests.processes.accounts import Accounts
from tests.processes.independent import Session
from tests.processes.running import open_router

IDS = [f"doc:{number}" for number in range(900)]
SOON_SECONDS = 10.0
"""Generous: it takes some milliseconds, but on a busy machine calls go on meanwhile."""


async def owners(session: Session) -> Counter[str]:
    """How many each of the instances owns."""
    page = await session.ask("resource.query", limit=1000, include_metadata=False)
    return Counter(info["owner_instance_id"] for info in page["resources"])


async def test_who_joins_a_busy_service_has_its_share_soon_and_no_call_fails() -> None:
    async with open_router(anonymous_roles="caller,instance,admin") as router:
        async with (
            router.open_owner("store-0", *IDS[::2]),
            router.open_owner("store-1", *IDS[1::2]),
            router.open_session("admin") as admin,
            router.open_session() as session,
        ):
            calls = Accounts(session)
            is_done = trio.Event()

            async def call() -> None:
                while not is_done.is_set():
                    some = IDS[len(calls.calls) % 90 :: 90]
                    pending = [await calls.start("echo", resource_id=resource_id) for resource_id in some]
                    await pending[-1].wait()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                async with router.open_owner("store-2") as fresh:
                    assert await owners(admin) == {"store-0": 450, "store-1": 450}
                    began = trio.current_time()
                    with trio.fail_after(SOON_SECONDS):
                        result = await admin.ask("service.rebalance", service_name="store", by="count")
                    seconds = trio.current_time() - began
                    assert len(result["moves"]) == 300
                    assert len(result["transfer_ids"]) == 2
                    assert await owners(admin) == {"store-0": 300, "store-1": 300, "store-2": 300}
                    moved = [move["resource_id"] for move in result["moves"]]
                    for resource_id in moved[::30]:
                        answer = await session.call("echo", resource_id=resource_id)
                        assert answer == {"by": "store-2"}
                    told = [
                        resource["resource_id"]
                        for notice in fresh.notices()
                        for resource in notice["params"]["resources"]
                    ]
                    assert sorted(told) == sorted(moved)
                    is_done.set()
                    await calls.wait_settled()
            print(f"300 of 900 moved in {seconds * 1000:.0f} ms, {len(calls.calls)} calls meanwhile")
            assert not calls.refused
        await router.wait_baseline()


async def test_by_calls_who_joins_gets_what_is_called_most() -> None:
    async with open_router(anonymous_roles="caller,instance,admin") as router:
        async with (
            router.open_owner("store-0", *IDS),
            router.open_owner("store-1"),
            router.open_session("admin") as admin,
        ):
            for resource_id, count in (("doc:1", 30), ("doc:2", 20), ("doc:3", 10)):
                for _ in range(count):
                    await admin.call("echo", resource_id=resource_id)
            result = await admin.ask("service.rebalance", service_name="store", by="calls")
            assert [move["resource_id"] for move in result["moves"]] == ["doc:1"]
            assert await admin.call("echo", resource_id="doc:1") == {"by": "store-1"}
            again = await admin.ask("service.rebalance", service_name="store", by="calls")
            assert again["moves"] == []
        await router.wait_baseline()
