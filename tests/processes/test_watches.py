"""Watches over real sockets: of owners that are killed, and by watchers that do not read."""

from collections import Counter

import pytest
import trio

from resroute import Client, WatchLost, open_client
from tests.processes.independent import open_nursery
from tests.processes.running import open_router, start_peer


class Watcher:
    """What somebody who watches ``many:`` has seen."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.names: set[str] = set()
        self.is_lost = False
        self.has_seen_all = trio.Event()

    async def run(
        self, client: Client, released: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch until so many were released, or the watch is lost."""
        try:
            async with client.open_watch(prefix="many:") as events:
                task_status.started()
                async for event in events:
                    self.events[event.event, event.cause] += 1
                    if event.event == "released":
                        self.names.add(event.resource.resource_id)
                        if len(self.names) == released:
                            break
            self.has_seen_all.set()
        except WatchLost:
            self.is_lost = True


async def test_everybody_who_watches_is_told_what_a_killed_owner_had() -> None:
    async with open_router() as router:
        async with (
            open_client(router.url) as first,
            open_client(router.url) as second,
            open_nursery() as nursery,
        ):
            watchers = [Watcher() for _ in range(3)]
            for watcher, client in zip(watchers, (first, first, second), strict=True):
                await nursery.start(watcher.run, client, 2400)
            async with start_peer("many", url=router.url, instances=3, each=800) as owner:
                await owner.wait_event("ready")
                owner.kill()
                for watcher in watchers:
                    await watcher.has_seen_all.wait()
            for watcher in watchers:
                assert watcher.events == {
                    ("registered", "request"): 2400,
                    ("released", "session_ended"): 2400,
                }
            await first.ping()
            await second.ping()
        await router.wait_baseline()


@pytest.mark.slow
async def test_the_end_of_the_owner_of_100_000_costs_no_watcher_its_session() -> None:
    """Those who read are told all of it. One that does not read for a while loses the watch at most."""
    async with open_router(max_resources_per_instance=25_000) as router:
        async with (
            open_client(router.url) as reading,
            open_client(router.url) as paused,
            open_nursery() as nursery,
            start_peer("many", url=router.url, instances=4, each=25_000) as owner,
        ):
            await owner.wait_event("ready")
            watcher = Watcher()
            async with paused.open_watch() as unread:
                await nursery.start(watcher.run, reading, 100_000)
                began = trio.current_time()
                owner.kill()
                slowest = 0.0
                while len(watcher.names) < 100_000:
                    asked = trio.current_time()
                    await reading.ping()
                    slowest = max(slowest, trio.current_time() - asked)
                    await trio.sleep(0.05)
                print(
                    f"100 000 events after {trio.current_time() - began:.1f} s, the slowest ping took "
                    f"{slowest * 1000:.0f} ms"
                )
                assert watcher.events == {("released", "session_ended"): 100_000}
                assert not watcher.is_lost
                await anext(unread)
            await paused.ping()
        await router.wait_baseline()
