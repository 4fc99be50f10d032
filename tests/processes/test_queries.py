"""Queries over real sockets, while owners come and go."""

from typing import Any

import trio

from resroute.settings import Settings
from tests.processes.independent import Session
from tests.processes.running import open_router

STAYING = [f"stay:{n:05d}" for n in range(1200)]
MOVING = [f"stay:{n:05d}:moves" for n in range(0, 1200, 4)]


async def all_pages(session: Session, **given: Any) -> list[str]:
    """The ids on all pages, from the first to the last."""
    seen: list[str] = []
    page = await session.ask("resource.query", **given)
    while True:
        seen += [info["resource_id"] for info in page["resources"]]
        if not page["has_more"]:
            return seen
        page = await session.ask("resource.query", **given, cursor=page["next_cursor"])


async def test_nothing_that_stays_is_missed_or_told_twice_while_others_come_and_go() -> None:
    async with (
        open_router(max_resources_per_instance=10_000) as router,
        router.open_instance("stays") as stays,
        router.open_instance("moves") as moves,
        router.open_session() as caller,
    ):
        for first in range(0, len(STAYING), 500):
            some = STAYING[first : first + 500]
            said = {name: {"resource_type": "page", "tags": ["a", "b"]} for name in some}
            await stays.ask("resource.register", resource_ids=some, metadata=said)
        said = {name: {"resource_type": "page", "tags": ["b", "a"]} for name in MOVING}

        async def come_and_go() -> None:
            while True:
                await moves.ask("resource.register", resource_ids=MOVING, metadata=said)
                await moves.ask("resource.release", resource_ids=MOVING)
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_and_go)
            for given in (
                {"tags": ["a", "b"], "resource_type": "page"},
                {"prefix": "stay:"},
                {"tags": ["b"]},
            ):
                seen = await all_pages(caller, **given, limit=100)
                assert seen == sorted(set(seen))
                assert set(STAYING) <= set(seen) <= {*STAYING, *MOVING}
            nursery.cancel_scope.cancel()


async def test_pages_end_where_a_message_ends_however_much_each_resource_says() -> None:
    limit = 64 * 1024
    assert limit < Settings().max_message_bytes
    async with (
        open_router(max_message_bytes=limit) as router,
        router.open_instance("owner") as owner,
        router.open_session() as caller,
    ):
        names = [f"doc:{n:03d}" for n in range(60)]
        for name in names:
            said = {"attributes": {"text": "x" * 9000}, "tags": ["large"]}
            await owner.ask("resource.register", resource_ids=[name], metadata={name: said})
        page = await caller.ask("resource.query", tags=["large"], limit=1000)
        assert (len(page["resources"]), page["total_count"], page["has_more"]) == (6, 60, True)
        assert await all_pages(caller, tags=["large"], limit=1000) == names
        assert await all_pages(caller, tags=["large"], limit=1000, include_metadata=False) == names
