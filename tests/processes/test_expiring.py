"""Over sockets: what is not renewed is free in time, and nobody is held up by the many that expire with it."""

import trio

from tests.processes.running import open_router

NAMES = [f"row:{number}" for number in range(1000)]


async def test_a_thousand_expire_while_their_owner_keeps_one_alive() -> None:
    async with (
        open_router() as router,
        router.open_instance("owner") as owner,
        router.open_instance("next") as second,
    ):
        metadata = {name: {"ttl_seconds": 1.5} for name in NAMES}
        began = trio.current_time()
        await owner.ask("resource.register", resource_ids=NAMES, metadata=metadata)
        await owner.ask("resource.renew", resource_ids=NAMES[:1], ttl_seconds=60)
        while (await second.ask("resource.query", limit=1))["total_count"] > 1:
            pass
        assert trio.current_time() - began >= 1.5
        registered = await second.ask("resource.register", resource_ids=NAMES, partial=True)
        assert registered["conflicts"] == {NAMES[0]: "owner"}
        [kept] = (await second.ask("resource.query", resource_ids=NAMES[:1]))["resources"]
        assert kept["expires_at"] > kept["registered_at"]


async def test_what_expires_is_released_within_a_tenth_of_a_second_and_never_before() -> None:
    """Of twenty, one after another, at least one finds a machine that has time for it."""
    late: list[float] = []
    async with open_router() as router, router.open_instance("owner") as owner:
        for number in range(20):
            resource_id = f"row:{number}"
            due = trio.current_time() + 0.2
            metadata = {resource_id: {"ttl_seconds": 0.2}}
            await owner.ask("resource.register", resource_ids=[resource_id], metadata=metadata)
            lost = await owner.next_notice()
            late.append(trio.current_time() - due)
            assert lost["params"] == {"resource_ids": [resource_id], "cause": "expired"}
    assert min(late) >= 0
    assert min(late) <= 0.1
