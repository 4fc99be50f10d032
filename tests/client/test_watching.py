"""Watches as a client sees them, from a router that says each word as the test wants it."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from resroute import Client, ConnectionLost, FellBehind, ResourceEvents, RevisionGone, WatchLost
from resroute.client.arrivals import MAX_ARRIVALS_BYTES
from tests.client.scripted import Json, ScriptedRouter, open_scripted


def info(name: str, epoch: int = 1) -> Json:
    return {
        "resource_id": name,
        "owner_instance_id": "i1",
        "service_name": "s",
        "registered_at": "2026-11-22T09:30:00.250Z",
        "epoch": epoch,
        "is_healthy": True,
        "calls_total": 0,
    }


def change(name: str, event: str = "registered", **more: Any) -> Json:
    return {"event": event, "resource": info(name), "cause": "request", **more}


def events(revision: int, *changes: Json, index: int = 0, count: int = 1, watch_id: str = "w1") -> Json:
    params = {"watch_id": watch_id, "revision": revision, "index": index, "count": count}
    return {"jsonrpc": "2.0", "method": "resource.events", "params": {**params, "events": list(changes)}}


LOST = {
    "jsonrpc": "2.0",
    "method": "resource.watch_lost",
    "params": {"watch_id": "w1", "oldest_revision": 99},
}


class Watching:
    """What a block that watches has seen, until it ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, str]] = []
        self.revisions: list[int] = []
        self.events: ResourceEvents | None = None
        self.error: Exception | None = None
        self.go_on = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self, client: Client, **filters: Any) -> None:
        try:
            with self.scope:
                async with client.open_watch(**filters) as self.events:
                    await self.go_on.wait()
                    async for event in self.events:
                        self.seen.append((event.revision, event.event, event.resource.resource_id))
                        self.revisions.append(self.events.revision)
        except Exception as error:
            self.error = error


async def start_watching(
    nursery: trio.Nursery, client: Client, router: ScriptedRouter, **filters: Any
) -> Watching:
    watching = Watching()
    watching.go_on.set()
    nursery.start_soon(lambda: watching.run(client, **filters))
    request = await router.expect("resource.watch")
    await router.answer(request, {"watch_id": "w1", "revision": 10})
    await wait_all_tasks_blocked()
    return watching


async def test_events_come_in_order_until_the_block_ends_and_then_the_watch_does(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = await start_watching(nursery, client, router, prefix="doc:")
        await router.send(
            events(11, change("doc:1"), change("doc:2")),
            events(12, change("other"), watch_id="another"),
            events(13, change("doc:1", "released", previous_owner="i1")),
        )
        await wait_all_tasks_blocked()
        assert watching.seen == [
            (11, "registered", "doc:1"),
            (11, "registered", "doc:2"),
            (13, "released", "doc:1"),
        ]
        watching.scope.cancel()
        assert (await router.expect("resource.unwatch"))["params"] == {"watch_id": "w1"}
        await router.send(events(14, change("doc:3")))
        await wait_all_tasks_blocked()
        assert len(watching.seen) == 3 and watching.error is None
        assert client.statistics().unreadable_messages == 0


async def test_a_revision_has_been_taken_when_all_of_it_was(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = await start_watching(nursery, client, router)
        await router.send(
            events(11, change("a"), change("b"), index=0, count=2),
            events(11, change("c"), index=1, count=2),
            events(12, change("d"), index=0, count=2),
        )
        await wait_all_tasks_blocked()
        assert watching.revisions == [10, 10, 11, 11]
        assert watching.events is not None and watching.events.revision == 11
        watching.scope.cancel()


async def test_what_a_page_of_the_snapshot_shows_already_is_not_told_again(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = Watching()
        nursery.start_soon(lambda: watching.run(client, prefix="doc:", snapshot=True))
        request = await router.expect("resource.watch")
        assert request["params"] == {"prefix": "doc:", "snapshot": True}
        first = {"resources": [info("doc:1"), info("doc:3")], "next_cursor": "c1"}
        await router.answer(request, {"watch_id": "w1", "revision": 10, **first})
        request = await router.expect("resource.query")
        assert request["params"] == {"prefix": "doc:", "cursor": "c1", "limit": 1000}
        await router.send(
            events(11, change("doc:2"), change("doc:4"), change("doc:6"), change("doc:9")),
            events(12, change("doc:3", "updated"), change("doc:4", "updated")),
        )
        page = {"total_count": 0, "has_more": True, "next_cursor": "c2"}
        await router.answer(request, {"resources": [info("doc:5")], "revision": 11, **page})
        request = await router.expect("resource.query")
        await router.answer(
            request, {"resources": [info("doc:7")], "revision": 13, "total_count": 0, "has_more": False}
        )
        await router.send(
            events(13, change("doc:1", "updated"), change("doc:8")),
            events(14, change("doc:8", "released"), change("doc:5", "released")),
        )
        watching.go_on.set()
        await wait_all_tasks_blocked()
        assert watching.events is not None
        assert [it.resource_id for it in watching.events.snapshot] == ["doc:1", "doc:3", "doc:5", "doc:7"]
        assert watching.seen == [
            (11, "registered", "doc:2"),
            (12, "updated", "doc:3"),
            (12, "updated", "doc:4"),
            (13, "updated", "doc:1"),
            (14, "released", "doc:8"),
            (14, "released", "doc:5"),
        ]
        assert watching.events.revision == 14
        watching.scope.cancel()


async def test_who_falls_behind_hears_what_came_before_and_then_that_it_is_over(
    autojump_clock: MockClock,
) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = await start_watching(nursery, client, router)
        await router.send(events(11, change("a")), LOST, events(12, change("b")))
        await wait_all_tasks_blocked()
        assert watching.seen == [(11, "registered", "a")]
        assert isinstance(watching.error, WatchLost) and watching.error.oldest_revision == 99
        assert "99" in str(watching.error)
        assert router.frames[-1].count("resource.unwatch") == 0, "there is nothing left to end"


async def test_events_that_nobody_takes_are_bounded(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = Watching()
        nursery.start_soon(lambda: watching.run(client))
        request = await router.expect("resource.watch")
        await router.answer(request, {"watch_id": "w1", "revision": 10})
        await wait_all_tasks_blocked()
        many = [change(f"doc:{n}:{'x' * 200}") for n in range(100)]
        size = len(str(events(11, *many)))
        count = MAX_ARRIVALS_BYTES // size + 50
        for revision in range(11, 11 + count):
            await router.send(events(revision, *many))
        await wait_all_tasks_blocked()
        watching.go_on.set()
        await wait_all_tasks_blocked()
        assert isinstance(watching.error, FellBehind)
        assert watching.events is not None and 11 < watching.events.revision < 11 + count
        assert len(watching.seen) == 100 * (watching.events.revision - 10)
        await router.expect("resource.unwatch")


async def test_the_end_of_the_connection_ends_the_iteration(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = await start_watching(nursery, client, router)
        await router.send(events(11, change("a")))
        await router.close(1001, "away")
        await wait_all_tasks_blocked()
        assert watching.seen == [(11, "registered", "a")]
        assert isinstance(watching.error, ConnectionLost) and watching.error.code == 1001


async def test_a_watch_that_cannot_begin_raises_why(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = Watching()
        nursery.start_soon(lambda: watching.run(client, from_revision=3))
        request = await router.expect("resource.watch")
        assert request["params"] == {"from_revision": 3}
        await router.refuse(request, 410, "revision_gone", oldest_revision=7)
        await wait_all_tasks_blocked()
        assert isinstance(watching.error, RevisionGone) and watching.error.oldest_revision == 7


async def test_a_watch_whose_beginning_is_cancelled_is_ended(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = Watching()
        nursery.start_soon(lambda: watching.run(client))
        request = await router.expect("resource.watch")
        watching.scope.cancel()
        await router.expect("$/cancelRequest")
        await router.answer(request, {"watch_id": "w1", "revision": 10})
        assert (await router.expect("resource.unwatch"))["params"] == {"watch_id": "w1"}


async def test_a_snapshot_that_is_cancelled_half_way_ends_its_watch(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = Watching()
        nursery.start_soon(lambda: watching.run(client, snapshot=True))
        request = await router.expect("resource.watch")
        await router.answer(request, {"watch_id": "w1", "revision": 10, "resources": [], "next_cursor": "c"})
        await router.expect("resource.query")
        watching.scope.cancel()
        await router.expect("$/cancelRequest")
        await router.expect("resource.unwatch")


async def test_after_its_block_a_watch_tells_nothing(autojump_clock: MockClock) -> None:
    async with open_scripted() as (client, router), trio.open_nursery() as nursery:
        watching = await start_watching(nursery, client, router)
        watching.scope.cancel()
        await router.expect("resource.unwatch")
        assert watching.events is not None
        with pytest.raises(trio.ClosedResourceError):
            await anext(watching.events)
