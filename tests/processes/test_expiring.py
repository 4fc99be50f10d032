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
