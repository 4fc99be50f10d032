"""What becomes of resources, as server-sent events."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from resroute.admin.streams import MAX_STREAMS
from resroute.settings import Settings
from tests.admin.asking import Client, Exchange, open_place


@attrs.frozen
class Event:
    name: str
    data: Any
    id: str | None = None


class Stream:
    """A stream of events, read as browsers do."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._text = b""
        self.comments = 0

    async def next(self) -> Event:
        while True:
            while b"\n\n" not in self._text:
                piece = await self._exchange.data()
                if not piece:
                    raise EOFError
                self._text += piece
            block, _, self._text = self._text.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line)
            if "event" in fields:
                return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            self.comments += block.startswith(b":")

    async def changes(self) -> list[tuple[str, str]]:
        event = await self.next()
        assert event.name == "changes"
        return [(it["event"], it["resource"]["resource_id"]) for it in event.data["events"]]


@asynccontextmanager
async def open_events(client: Client, query: str = "", **headers: str) -> AsyncGenerator[Stream]:
    async with await client.begin("GET", f"/api/v1/events{query}", headers=headers) as exchange:
        yield Stream(exchange)


async def test_every_change_is_told_with_its_revision() -> None:
    async with open_place() as place:
        async with open_events(place.client) as stream:
            begun = await stream.next()
            assert (begun.name, begun.id) == ("watching", str(begun.data["revision"]))
            ada = await place.instance("ada", "a", "b")
            event = await stream.next()
            assert event.name == "changes"
            assert event.id == str(event.data["revision"])
            assert [it["resource"]["resource_id"] for it in event.data["events"]] == ["a", "b"]
            assert event.data["events"][0]["resource"]["owner_instance_id"] == "ada"
            await ada.ask("resource.release", resource_ids=["a"])
            assert await stream.changes() == [("released", "a")]


async def test_only_what_matches_is_told() -> None:
    async with open_place() as place:
        async with open_events(place.client, "?prefix=user:&service_name=rooms") as stream:
            await stream.next()
            await place.instance("ada", "room:1", "user:1")
            assert await stream.changes() == [("registered", "user:1")]


async def test_a_stream_goes_on_where_another_stopped() -> None:
    async with open_place() as place:
        ada = await place.instance("ada")
        async with open_events(place.client) as stream:
            await stream.next()
            await ada.ask("resource.register", resource_ids=["a"])
            last = (await stream.next()).id
        assert last is not None
        await ada.ask("resource.register", resource_ids=["b"])
        for query, headers in (("", {"Last-Event-ID": last}), (f"?from_revision={last}", {})):
            async with open_events(place.client, query, **headers) as stream:
                assert (await stream.next()).name == "watching"
                assert await stream.changes() == [("registered", "b")]
        # the header is newer than the address, which a browser uses again as it was
        async with open_events(place.client, "?from_revision=0", **{"Last-Event-ID": last}) as stream:
            await stream.next()
            assert await stream.changes() == [("registered", "b")]


async def test_a_stream_that_cannot_go_on_says_so_and_begins_anew() -> None:
    async with open_place(Settings(watch_history_events=2)) as place:
        ada = await place.instance("ada", *(f"r:{number}" for number in range(20)))
        for number in range(20):
            await ada.ask("resource.release", resource_ids=[f"r:{number}"])
        for last in ("0", "1", "9007199254740991"):
            async with open_events(place.client, **{"Last-Event-ID": last}) as stream:
                gone = await stream.next()
                assert gone.name == "gone"
                assert (await stream.next()).name == "watching"
                await ada.ask("resource.register", resource_ids=["new"])
                assert await stream.changes() == [("registered", "new")]
                await ada.ask("resource.release", resource_ids=["new"])


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?prefix=%00", {}),
        ("?nothing=1", {}),
        ("?limit=1", {}),
        ("?from_revision=x", {}),
        ("?from_revision=1.5", {}),
        ("", {"Last-Event-ID": "x"}),
        ("", {"Last-Event-ID": "-1"}),
        ("", {"Last-Event-ID": "9" * 17}),
    ],
)
async def test_a_wrong_parameter_is_a_problem(query: str, headers: dict[str, str]) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", f"/api/v1/events{query}", headers=headers)
        assert answer.problem_type() == (400, "invalid_params")
        await wait_sessions(place.router, 0)


async def wait_sessions(router: Any, count: int) -> None:
    while router.statistics().sessions > count:  # noqa: ASYNC110  # nothing tells of it
        await trio.sleep(0.01)


async def test_who_leaves_leaves_nothing_behind() -> None:
    async with open_place() as place:
        for _ in range(3):
            async with open_events(place.client) as stream:
                await stream.next()
                assert place.router.statistics().watches == 1
            await wait_sessions(place.router, 0)
        head = await place.client.ask("HEAD", "/api/v1/events")
        assert (head.status, head.headers["content-type"], head.body) == (200, "text/event-stream", b"")
        await wait_sessions(place.router, 0)
        assert place.router.statistics().watches == 0


async def test_there_are_no_more_streams_than_allowed() -> None:
    async with open_place() as place:
        async with trio.open_nursery() as nursery:
            begun = []
            for _ in range(MAX_STREAMS):
                exchange = await place.client.begin("GET", "/api/v1/events")
                begun.append(exchange)
                await Stream(exchange).next()
            answer = await place.client.ask("GET", "/api/v1/events")
            assert answer.problem_type() == (503, "about:blank")
            for exchange in begun:
                await trio.aclose_forcefully(exchange.stream)
            await wait_sessions(place.router, 0)
            async with open_events(place.client) as stream:
                assert (await stream.next()).name == "watching"
            nursery.cancel_scope.cancel()


async def test_a_router_that_stops_says_so_and_ends_its_streams() -> None:
    async with open_place() as place:
        async with open_events(place.client) as stream:
            await stream.next()
            await place.router.drain(0)
            closing = await stream.next()
            assert closing.name == "closing"
            assert closing.data["reconnect_after_seconds"] > 0
            with pytest.raises(EOFError):
                await stream.next()


async def test_a_large_change_comes_in_parts_of_which_the_last_has_the_id() -> None:
    settings = Settings(max_resources_per_instance=10_000, max_message_bytes=16 * 1024)
    async with open_place(settings) as place:
        async with open_events(place.client) as stream:
            await stream.next()
            ada = await place.instance("ada")
            resources = [{"resource_id": f"resource:{number:05}"} for number in range(300)]
            await ada.ask("resource.bulk_register", resources=resources, batch_size=300)
            parts = [await stream.next()]
            while parts[-1].data["index"] + 1 < parts[-1].data["count"]:
                parts.append(await stream.next())
            assert len(parts) > 1
            assert [part.id is None for part in parts] == [True] * (len(parts) - 1) + [False]
            assert sum(len(part.data["events"]) for part in parts) == 300
