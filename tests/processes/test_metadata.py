"""Several processes that change the metadata of one resource, and lose none of each other's changes."""

import trio

from tests.processes.independent import Session
from tests.processes.running import open_router

CHANGES = 20


async def count_up(session: Session) -> int:
    """Add one to a counter in the metadata, so many times. Returns how often somebody else was first."""
    conflicts = 0
    for _ in range(CHANGES):
        while True:
            [counter] = (await session.ask("resource.query", resource_ids=["counter"]))["resources"]
            metadata = counter["metadata"]
            pending = await session.start(
                "resource.update",
                resource_id="counter",
                metadata={"attributes": {"count": metadata["attributes"]["count"] + 1}},
                merge=True,
                expected_version=metadata["version"],
            )
            await pending.wait_settled()
            if pending.refused is None:
                break
            assert pending.refused.type == "version_conflict"
            conflicts += 1
    return conflicts


async def test_no_change_is_lost_between_those_who_expect_a_version() -> None:
    async with (
        open_router(anonymous_roles="admin") as router,
        router.open_instance("owner") as owner,
        router.open_session() as one,
        router.open_session() as two,
    ):
        metadata = {"counter": {"tags": ["shared"], "attributes": {"count": 0}}}
        await owner.ask("resource.register", resource_ids=["counter"], metadata=metadata)
        conflicts: list[int] = []

        async def count(session: Session) -> None:
            conflicts.append(await count_up(session))

        async with trio.open_nursery() as nursery:
            for session in (owner, one, two):
                nursery.start_soon(count, session)
        [counter] = (await owner.ask("resource.query"))["resources"]
        print(f"{sum(conflicts)} of {3 * CHANGES + sum(conflicts)} updates were refused")
        assert counter["metadata"]["attributes"] == {"count": 3 * CHANGES}
        assert (counter["metadata"]["version"], counter["metadata"]["tags"]) == (3 * CHANGES + 1, ["shared"])
