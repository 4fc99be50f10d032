"""``resroute watch`` at an admin API: server-sent events, over as many connections as it takes."""

import json
import signal
from typing import Any

import pytest
import trio
import trio.testing

from resroute import ConnectionLost, InvalidParams, RevisionGone, WatchLost, open_client
from resroute.cli.remote import event_format
from resroute.cli.remote import events as events_module
from resroute.cli.remote.event_format import EventReader, SentEvent
from resroute.cli.remote.events import AWAY_SECONDS, SILENCE_SECONDS
from resroute.cli.remote.refusals import NoAdminApi, TokenRefused
from resroute.errors import ConnectionFailed
from tests.cli.peers import Asked, Script, answering, open_peer, saying
from tests.cli.running import open_both, open_program

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"


# --- the format -----------------------------------------------------------------------------------------------------


def read(text: bytes, size: int) -> list[SentEvent]:
    """The events of a text that comes in pieces of so many bytes."""
    reader = EventReader()
    return [event for first in range(0, len(text), size) for event in reader.feed(text[first : first + size])]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_they_are_cut(end: bytes, size: int) -> None:
    lines = (
        b"retry: 100",
        b": a comment",
        b"",
        b"event: changes",
        b"id: 7",
        b"data: {",
        b"data:}",
        b"",
        b"event: nothing",
        b"",
        b"data",
        b"unknown: x",
        b"",
        b"id",
        b"data:  \xc3\xa4\xff",
        b"",
        b"data: unfinished",
    )
    assert read(end.join((*lines, b"")), size) == [
        SentEvent("changes", "{\n}", "7"),
        SentEvent("message", "", "7"),
        SentEvent("message", " ä\ufffd", ""),
    ]


def test_an_event_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_format, "MAX_EVENT_BYTES", 1000)
    for text in (b"data: " + b"a" * 2000, b"data: aaaaaaaaaa\n" * 100):
        with pytest.raises(ValueError, match="longer than 1000"):
            read(text, 50)
    assert len(read(b"data: a\n\n" * 1000, 50)) == 1000


def test_a_pause_that_is_none_is_not_taken() -> None:
    reader = EventReader()
    for text in (b"retry: -1\n", b"retry: soon\n", b"retry: " + b"9" * 30 + b"\n"):
        assert list(reader.feed(text)) == []
        assert reader.retry_seconds is None


# --- what is told ---------------------------------------------------------------------------------------------------


def event(name: str, data: object, event_id: int | None = None) -> bytes:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {name}\n{head}data: {json.dumps(data)}\n\n".encode()


def watching(revision: int) -> bytes:
    return b"retry: 100\n\n" + event("watching", {"revision": revision}, revision)


def changes(revision: int, *names: str, is_last: bool = True) -> bytes:
    told = [
        {
            "event": "registered",
            "cause": "request",
            "resource": {
                "resource_id": name,
                "owner_instance_id": "docs-1",
                "service_name": "documents",
                "registered_at": "2026-11-26T09:30:00.250Z",
                "epoch": revision,
                "is_healthy": True,
            },
        }
        for name in names
    ]
    data = {"revision": revision, "index": 0, "count": 1 if is_last else 2, "events": told}
    return event("changes", data, revision if is_last else None)


def streaming(*pieces: bytes) -> Script:
    """A stream that says this, and ends."""
    return saying(HEAD, *pieces)


def last_event_ids(asked: list[Asked]) -> list[str | None]:
    return [it.headers.get("last-event-id") for it in asked]


async def follow(*scripts: Script, count: int, from_revision: int | None = None) -> dict[str, Any]:
    """What is told until so many events have come."""
    async with open_peer(*scripts) as place:
        async with place.api.open_watch(prefix="doc:", from_revision=from_revision) as events:
            told = [(await anext(aiter(events))).resource.resource_id for _ in range(count)]
            return {
                "told": told,
                "ids": last_event_ids(place.peer.asked),
                "target": place.peer.asked[0].target,
                "away": place.away,
                "revision": events.revision,
            }


async def test_every_change_is_told_once_over_all_connections(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen = await follow(
        streaming(watching(5), changes(6, "a", "b"), b": hello\n\n", changes(7, "c", is_last=False)),
        streaming(watching(6), changes(7, "c", is_last=False)),
        streaming(watching(6), changes(7, "c", "d", is_last=False)),
        streaming(watching(6), changes(7, "c", is_last=False), changes(7, "d", "e"), changes(8, "f")),
        streaming(watching(8), changes(9, "g")),
        count=7,
    )
    assert seen["told"] == ["a", "b", "c", "d", "e", "f", "g"]
    assert seen["ids"] == [None, "6", "6", "6", "8"]
    assert seen["target"] == "/api/v1/events?prefix=doc%3A"
    assert len(seen["away"]) == 4
    assert "ended the stream" in seen["away"][0]


async def test_it_goes_on_from_where_it_began_if_nothing_was_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen = await follow(streaming(watching(5)), streaming(watching(5), changes(6, "a")), count=1)
    assert seen["ids"] == [None, "5"]
    seen = await follow(streaming(watching(3), changes(4, "a")), count=1, from_revision=3)
    assert seen["ids"] == ["3"]


async def test_what_stands_in_the_way_meanwhile_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen = await follow(
        streaming(watching(5)),
        saying(b""),
        saying(answering(b"<html>", status="502 Bad", kind="text/html")),
        saying(answering(b'{"type": "about:blank"}', status="503 X", kind="application/problem+json")),
        streaming(watching(5), changes(6, "a")),
        count=1,
    )
    assert seen["told"] == ["a"]
    assert len(seen["away"]) == 1


async def test_who_says_nothing_for_long_is_not_there_any_more(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "SILENCE_SECONDS", 20.0)

    async def silent(stream: trio.abc.Stream, _: Asked) -> None:
        await stream.send_all(HEAD + watching(5))
        await trio.sleep_forever()

    seen = await follow(silent, streaming(watching(5), changes(6, "a")), count=1)
    assert seen["told"] == ["a"]
    assert "not a word for 20 seconds" in seen["away"][0]
    assert SILENCE_SECONDS > 20


async def test_after_a_minute_it_gives_up(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "AWAY_SECONDS", 20.0)
    began_at = trio.current_time()
    async with open_peer(streaming(watching(5))) as place:
        async with place.api.open_watch() as events:
            with pytest.raises(ConnectionFailed, match="nobody is there"):
                await anext(aiter(events))
            assert events.revision == 5
    assert 19 < trio.current_time() - began_at <= 20 < AWAY_SECONDS


async def test_a_stream_that_ends_again_and_again_is_given_up_too(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "AWAY_SECONDS", 2.0)
    async with open_peer(streaming(watching(5)), *[streaming()] * 100) as place:
        async with place.api.open_watch() as events:
            with pytest.raises(ConnectionLost):
                await anext(aiter(events))
        assert len(place.away) == 1


@pytest.mark.parametrize(
    ("first", "kind", "text"),
    [
        (event("gone", {"oldest_revision": 9}) + watching(12), RevisionGone, "from revision 9 on"),
        (event("gone", {"oldest_revision": None}) + watching(12), InvalidParams, "which is at 12"),
        (event("watching", []), NoAdminApi, "cannot read"),
        (event("gone", {"oldest_revision": "x"}), NoAdminApi, "cannot read"),
    ],
)
async def test_a_watch_that_cannot_begin_says_why(first: bytes, kind: type[Exception], text: str) -> None:
    async with open_peer(streaming(first)) as place:
        with pytest.raises(kind, match=text):
            async with place.api.open_watch(from_revision=3):
                pass


@pytest.mark.parametrize("oldest", [9, None])
async def test_what_is_forgotten_on_the_way_ends_the_watch(
    oldest: int | None, autojump_clock: trio.testing.MockClock
) -> None:
    gone = event("gone", {"oldest_revision": oldest}) + watching(12)
    async with open_peer(streaming(watching(5)), streaming(gone)) as place:
        async with place.api.open_watch() as events:
            with pytest.raises(WatchLost, match=str(oldest or 12)):
                await anext(aiter(events))


async def test_a_token_that_is_withdrawn_ends_the_watch(autojump_clock: trio.testing.MockClock) -> None:
    refused = saying(answering(b'{"type": "x"}', status="401 X", kind="application/problem+json"))
    async with open_peer(streaming(watching(5)), refused, token="s3cr3t") as place:
        async with place.api.open_watch() as events:
            with pytest.raises(TokenRefused):
                await anext(aiter(events))


# --- a router -------------------------------------------------------------------------------------------------------


def answer(_call: object) -> None:
    pass


async def test_the_command_prints_what_it_prints_at_the_routers_own_port() -> None:
    async with open_both() as (url, admin_url), open_client(url) as client:
        async with (
            open_program("watch", "--prefix=doc:", "--tag=new", f"--url={url}") as wire,
            open_program("watch", "--prefix=doc:", "--tag=new", f"--url={admin_url}") as http,
            client.open_instance("documents", answer, instance_id="one") as instance,
        ):
            for program in (wire, http):
                await program.wait_said("CAUSE")
            await instance.register("doc:1", metadata={"doc:1": {"tags": ["new"]}})
            await instance.register("doc:2")
            await instance.release("doc:1")
            for program in (wire, http):
                await program.wait_said("released")
                program.signal(signal.SIGINT)
                assert await program.wait_ended() == 0
        lines = [[line.split()[1:] for line in it.stdout.splitlines()] for it in (wire, http)]
        assert lines[0] == lines[1]
        assert len(lines[0]) == 3
        assert wire.stderr == http.stderr


async def test_it_begins_where_it_is_told_to() -> None:
    async with open_both() as (url, admin_url), open_client(url) as client:
        async with client.open_instance("documents", answer, instance_id="one") as instance:
            epoch = (await instance.register("doc:1")).epochs["doc:1"]
            await instance.register("doc:2")
            arguments = ("watch", "--json", f"--url={admin_url}", f"--from-revision={epoch}")
            async with open_program(*arguments) as program:
                await program.wait_said("doc:2")
                program.signal(signal.SIGTERM)
                assert await program.wait_ended() == 0
            assert "doc:1" not in program.stdout
            async with open_program("watch", f"--url={admin_url}", "--from-revision=0") as program:
                assert await program.wait_ended() == 4
            assert "take a new snapshot" in program.stderr
