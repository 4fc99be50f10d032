"""Whole stories of watches, with a real router in memory whose log answers at once, or late."""

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from resroute import Client, RevisionGone, TooManyWatches, WatchLost
from resroute.settings import Heartbeat, Settings
from tests.client.scripted import open_client_of
from tests.scenario import open_scenario

pytestmark = pytest.mark.parametrize("is_lagging", [False, True], ids=["at once", "late"])


async def test_a_snapshot_and_the_events_after_it_are_how_things_are(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    """While the pages of a long snapshot are read, everything keeps changing."""
    async with open_scenario(is_lagging=is_lagging) as scenario:
        names = [f"doc:{n:03}" for n in range(600)]
        owner = await scenario.owner("owner", *names[::2])
        async with open_client_of(scenario.router) as client, trio.open_nursery() as nursery:
            is_over = trio.Event()

            async def change() -> None:
                for n in range(0, 600, 4):
                    await owner.ask("resource.release", resource_ids=[names[n]])
                    await owner.ask("resource.register", resource_ids=[names[n + 1]])
                await owner.ask("resource.register", resource_ids=["doc:end"])
                is_over.set()

            nursery.start_soon(change)
            await trio.lowlevel.checkpoint()
            async with client.open_watch(prefix="doc:", snapshot=True) as events:
                epochs = {info.resource_id: info.epoch for info in events.snapshot}
                async for event in events:
                    resource_id = event.resource.resource_id
                    if event.event == "released":
                        del epochs[resource_id]
                    else:
                        assert resource_id not in epochs, "what the snapshot shows is not told again"
                        epochs[resource_id] = event.resource.epoch
                    if resource_id == "doc:end":
                        break
            assert epochs == await read_epochs(client)
        await scenario.wait_until(lambda: not scenario.statistics().watches)


async def read_epochs(client: Client) -> dict[str, int]:
    """What a query says."""
    epochs: dict[str, int] = {}
    cursor = None
    while True:
        page = await client.query_resources(limit=1000, cursor=cursor)
        epochs |= {info.resource_id: info.epoch for info in page.resources}
        cursor = page.next_cursor
        if cursor is None:
            return epochs


async def test_a_watch_goes_on_where_another_stopped_on_another_connection(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    async with open_scenario(Settings(watch_history_events=20), is_lagging=is_lagging) as scenario:
        owner = await scenario.instance("owner")
        seen: list[str] = []
        revision = None
        for round_ in range(3):
            async with open_client_of(scenario.router) as client:
                async with client.open_watch(from_revision=revision) as events:
                    for n in range(4):
                        await owner.ask("resource.register", resource_ids=[f"doc:{round_}{n}"])
                    async for event in events:
                        seen.append(event.resource.resource_id)
                        if event.resource.resource_id.endswith("2"):
                            break
                    revision = events.revision
        assert seen == [
            *("doc:00", "doc:01", "doc:02"),
            *("doc:03", "doc:10", "doc:11", "doc:12"),
            *("doc:13", "doc:20", "doc:21", "doc:22"),
        ]
        for n in range(30):
            await owner.ask("resource.register", resource_ids=[f"img:{n}"])
        async with open_client_of(scenario.router) as client:
            with pytest.raises(RevisionGone) as gone:
                async with client.open_watch(from_revision=revision):
                    pass
            assert revision is not None and gone.value.oldest_revision > revision


async def test_who_does_not_read_loses_the_watch_and_nothing_else(
    is_lagging: bool, autojump_clock: MockClock
) -> None:
    settings = Settings(
        watch_history_events=10,
        outbox_soft_bytes=1000,
        max_watches=1,
        write_timeout_seconds=1000,
        heartbeat=Heartbeat(interval_seconds=1000, timeout_seconds=3000),
    )
    async with open_scenario(settings, is_lagging=is_lagging) as scenario:
        owner = await scenario.instance("owner")
        async with open_client_of(scenario.router) as client:
            async with client.open_watch() as events:
                with pytest.raises(TooManyWatches):
                    async with client.open_watch():
                        pass
                # more than fits into what lies between the router and the client, in one command
                names = [f"doc:{n}" for n in range(11)]
                await owner.ask("resource.register", resource_ids=names)
                with pytest.raises(WatchLost):
                    await anext(events)
            await client.ping()
            async with client.open_watch() as events:
                await owner.ask("resource.release", resource_ids=["doc:1"])
                assert (await anext(events)).event == "released"
